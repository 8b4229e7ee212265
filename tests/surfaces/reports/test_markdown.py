"""Markdown for a CI summary; markdown-it, set to GitHub's flavour, is the oracle."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from tests.surfaces.reports.items import (
    ERROR,
    FAILED,
    ITEMS,
    LOG,
    PASSED,
    every_kind,
    flaky_item,
    run_item,
)
from tests.surfaces.reports.parsed import rendered
from testvibe_async import CaseResult
from testvibe_async.reports import to_markdown
from testvibe_async.reports.markdown import MAX_BYTES


def test_a_batch() -> None:
    """The outcome comes first, then a table with failures first, then each failure to unfold."""
    text = to_markdown(every_kind(), title="Nightly", generation_logs={"a1b2": LOG})

    assert text.startswith(
        "## Nightly\n\n"
        "❌ **2 of 7 failed, 2 in error, 1 in flight, 1 skipped**\n\n"
        "3 tests: 2 passed, 1 failed · 2 min 50 s\n\n"
        "|  | Feature | Config | Result | Time |\n"
        "| --- | --- | --- | --- | ---: |\n"
        "| ❌ | Login | Mobile | 1 of 2 tests failed | 35&nbsp;s |\n"
    )
    assert text.count("\n| ") == 9
    assert text.count("<details>") == 4
    assert "| ⏭️ | Newsletter |  | skipped&#58; it was never dispatched" in text


def test_success_needs_no_details() -> None:
    """A batch without failures has no details, and one configuration no column."""
    text = to_markdown([run_item(PASSED), run_item(PASSED)])

    assert "✅ **All 2 succeeded**" in text
    assert "|  | Feature | Result | Time |" in text
    assert "<details>" not in text


def test_a_failure() -> None:
    """A failure shows each failed test with its error, the log, the files, and the ids."""
    item = run_item(PASSED, FAILED, log="\n".join(f"line {n}" for n in range(100)))
    page = rendered(to_markdown([item], artifacts={214: [Path("out/trace/a.zip")]}))

    (details,) = page.all("details")
    (summary,) = details.all("summary")
    error, log = (code.text for code in details.all("pre"))
    assert summary.text == "❌ Login: 1 of 2 tests failed"
    assert "Locked-out user sees an error failed after 9.1 s" in details.text
    assert "Valid user signs in" not in details.text
    assert error == f"{FAILED.error}\n"
    assert log.startswith("… 60 earlier lines left out …\nline 60\n")
    assert [item.text for item in details.all("li")] == ["out/trace/a.zip"]
    assert "runId 214" in details.text


@pytest.mark.parametrize(
    "text",
    [
        "a | b \\| c",
        "`code` ``more``",
        "**bold** _it_ ~~no~~ $x$",
        "<script>alert(1)</script>",
        "[link](https://x.example) ![](https://x.example/a.png)",
        "https://x.example www.x.example a@x.example",
        "# heading",
        "1. one",
        "- list",
        "> quote",
        "&lt; &#60; &amp;",
        "</summary></details>",
        ":bug: @someone #12",
        "\\",
    ],
)
def test_no_markup_comes_from_data(text: str) -> None:
    """Names and errors that look like markup are shown as they are."""
    test = CaseResult(text, "failed", 1000, error=f"{text}\n\n{text}\n````\n```")
    item = run_item(test, feature=text, config=text)
    page = rendered(to_markdown([item, evolve(ITEMS["refused"], feature=text)], title=text))

    assert page.all("h2")[0].text == text
    assert [cells.all("td")[1].text for cells in page.all("tr")[1:]] == [text, text]
    assert f"{text} failed after 1.0 s" in page.text
    assert page.all("pre")[0].text == f"{test.error}\n"
    assert not page.all("a") + page.all("img") + page.all("script") + page.all("em")
    assert len(page.all("details")) == 2


def test_markdown_names_what_is_flaky() -> None:
    """A line names what is flaky, its row has a mark of its own, and its failure unfolds."""
    text = to_markdown([run_item(PASSED, feature="Cart"), flaky_item(config="Mobile")])
    many = to_markdown([flaky_item(feature=f"F{number}") for number in range(12)])
    (details,) = rendered(text).all("details")

    assert "✅ **All 2 succeeded, 1 flaky**" in text
    assert "3 tests: 3 passed (1 flaky)" in text
    assert "\n🔁 **1 flaky**: Login &#91;Mobile&#93;\n" in text
    assert "| 🔁 | Login | Mobile | flaky&#58; 2 tests passed (attempt 2) | 29&nbsp;s |" in text
    assert "| ✅ | Cart |" in text
    assert "Attempt 1, run 215: 1 of 2 tests failed" in details.text
    assert [pre.text for pre in details.all("pre")] == [f"{ERROR}\n"]
    assert "**12 flaky**: F0, F1, F2, F3, F4, F5, F6, F7, F8, F9 and 2 more\n" in many


def test_it_stays_below_the_limit() -> None:
    """Rows and details beyond the limit are left out from the end, and counted."""
    bad = [run_item(CaseResult("x", "failed", error="e" * 900), run_id=n) for n in range(50)]
    good = [run_item(PASSED, run_id=n, feature="é" * 40) for n in range(100, 600)]

    text = to_markdown([*bad, *good], max_bytes=20_000)

    rows, details = text.count("\n| ") - 2, text.count("<details>")
    assert 15_000 < len(text.encode()) <= 20_000
    assert MAX_BYTES < 2**20  # GitHub's limit of a step
    assert 50 < rows < 550
    assert 3 < details < 50
    assert f"The rows of {550 - rows:,} more are left out here." in text
    assert f"The details of {50 - details} more are left out here." in text


def test_an_empty_batch() -> None:
    """An empty batch says so, without a table."""
    assert to_markdown([]) == "## TestVibe\n\n✅ **Nothing was asked for**\n\n\n\n"
