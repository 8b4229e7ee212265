"""The failures of a batch on the page: first, grouped, with what shows them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.surfaces.reports.items import ERROR, FAILED, PASSED, every_kind, run_item
from tests.surfaces.reports.parsed import Node, parsed
from testvibe_async import CaseResult
from testvibe_async.reports import page, to_html, write_report

if TYPE_CHECKING:
    from tests.surfaces.reports.items import Item

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 40


def failures_of(*items: Item, **options: Any) -> list[Node]:
    """Return the groups of failures on the page."""
    return parsed(to_html(items, **options)).all("details", "group")


def test_failures_come_before_the_timeline() -> None:
    """What failed is the first thing beneath the outcome; where nothing did there is no section."""
    page = to_html(every_kind())
    assert page.index("<h2>Failures</h2>") < page.index("<h2>Timeline</h2>")
    assert "Failures</h2>" not in to_html([run_item(PASSED)])


def test_a_failure_is_shown_whole_and_leads_to_its_run() -> None:
    """A test has its whole error, and a link to its run."""
    (group,) = failures_of(run_item(PASSED, FAILED))
    assert "open" in group.attributes
    assert group.all("summary")[0].text == "Login: Locked-out user sees an error"
    assert [pre.text for pre in group.all("pre")] == [ERROR]
    (link,) = group.all("a")
    assert link.attributes["href"] == "#operation-1"


def test_equal_errors_are_one_group() -> None:
    """Many tests with one error are listed beneath it with their number, the rest to expand."""
    items = [run_item(FAILED, feature=f"Feature {n}", run_id=n) for n in range(25)]
    other = run_item(CaseResult("Odd", "failed", 1, "Error: odd"), feature="Odd", run_id=99)
    same, odd = failures_of(other, *items)
    assert same.all("summary")[0].text.startswith("25 tests: TimeoutError: ")
    assert len(same.all("pre")) == 1
    assert len(same.all("li")) == 25
    (rest,) = same.all("details", "rest")
    assert rest.all("summary")[0].text == "5 more with the same error"
    assert odd.all("summary")[0].text == "Odd: Odd"


def test_many_errors_are_not_all_open() -> None:
    """The first errors are open, the others to expand."""
    items = [
        run_item(CaseResult("T", "failed", 1, f"Error: number {n}"), feature=f"F{n}", run_id=n)
        for n in range(10 + 3)
    ]
    assert sum("open" in group.attributes for group in failures_of(*items)) == 10


def test_a_trace_comes_with_its_command() -> None:
    """Beside a test is the command that shows its trace, quoted for a shell."""
    files = [Path("out/it's/trace/locked-out.zip"), Path("out/data.zip")]
    (group,) = failures_of(run_item(FAILED), artifacts={214: files})
    assert [code.text for code in group.all("code")] == [
        "npx playwright show-trace 'out/it'\"'\"'s/trace/locked-out.zip'"
    ]


def test_screenshots_are_part_of_the_page(tmp_path: Path) -> None:
    """A screenshot is inline, so that the page stays one file; what is no image is only a link."""
    files = [tmp_path / "a" / "b" / "locked-out-user.png", tmp_path / "a" / "b" / "empty.png"]
    files[0].parent.mkdir(parents=True)
    files[0].write_bytes(PNG)
    files[1].write_bytes(b"<script>alert(1)</script>")
    empty = CaseResult("Empty", "failed", 1, "Error: empty")
    path = write_report(tmp_path / "report.html", [run_item(FAILED, empty)], artifacts={214: files})
    (image,) = parsed(path.read_text(encoding="utf-8")).all("img")
    data = base64.b64encode(PNG).decode()
    assert image.attributes["src"] == f"data:image/png;base64,{data}"
    assert image.attributes["alt"] == "Screenshot of Locked-out user sees an error"


@pytest.mark.parametrize("fault", ["large", "missing", "empty", "full"])
def test_screenshots_are_bounded(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A screenshot that is too large, gone or empty is not shown, nor one too many."""
    shot = tmp_path / "locked-out.png"
    if fault == "large":
        monkeypatch.setattr(page, "MAX_IMAGE_BYTES", len(PNG) - 1)
    if fault != "missing":
        shot.write_bytes(b"" if fault == "empty" else PNG)
    other = tmp_path / "other.png"
    other.write_bytes(PNG)
    if fault == "full":
        monkeypatch.setattr(page.read_images, "__kwdefaults__", {"most": len(PNG)})
    items = [run_item(FAILED), run_item(CaseResult("Other", "failed"), run_id=215)]
    path = write_report(tmp_path / "a.html", items, artifacts={214: [shot], 215: [other]})
    shown = parsed(path.read_text(encoding="utf-8")).all("img")
    assert len(shown) == (0 if fault == "large" else 1)
