"""Each format stays well-formed with any text, shows no more, and commands no CI system."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias
from xml.etree import ElementTree as ET

from attrs import evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st
from junitparser.xunit2 import JUnitXml

from tests.support.amounts import amount
from tests.support.ci_systems import WICKED, obeyed
from tests.surfaces.reports import items as made
from tests.surfaces.reports.items import ITEMS, Item, at, run_item
from tests.surfaces.reports.parsed import Node, ctrf_of, parsed, rendered
from testvibe_async import BatchItem, CaseResult, GenerationLog, RunStatus, errors
from testvibe_async.models import Section, SectionLog
from testvibe_async.reports import to_ctrf, to_html, to_junit, to_markdown
from testvibe_async.reports.report import Report
from testvibe_async.reports.text import one_line

Batch: TypeAlias = tuple[list[Item], dict[str, Any]]
"""Items, and the options of a report on them."""

NASTY = [
    "\x1b[31mred\x1b[0m",
    "</pre></details><script>alert(1)</script>",
    "]]>",
    "<!-- --><![CDATA[",
    "```\n````",
    "| a | b |\n|---|---|\n",
    "\n\n# x\n\n<div>\n",
    "\ud800",
    "\x00\x0b\x85\u2028\ufffe",
    "$style ${script}",
    "javascript:alert(1)",
    "a\r\nb\rc",
    "x" * 30_000,
    "\u202e\u2066",
    "&#60;b&gt; &lt; &amp;",
    "<img src=x onerror=alert(1)>\"'></summary></details>",
    "[link](https://x.example) ![](https://x.example/a.png) www.x.example a@x.example",
    "`code` ``more`` **bold** _it_ ~~no~~ $x$ :bug: @someone #12 \\",
    *("# heading", "1. one", "- list", "> quote", "a | b \\| c"),
    WICKED,
    " ",
    "",
]
texts = st.one_of(
    st.text(st.characters(codec=None), max_size=40),
    st.sampled_from(NASTY),
    st.lists(st.sampled_from(NASTY), min_size=2, max_size=3).map("".join),
)


def made_of(text: str, other: str, seconds: float) -> Batch:
    """Return a batch that has one of two texts in each place, and any times."""
    tests = (CaseResult(text, "failed", 1000, text), CaseResult(other, text, seconds, other))
    where: dict[str, Any] = {"feature": text, "config": other, "site_url": text, "log": text}
    times: dict[str, Any] = {"created_at": at(seconds), "started_at": None, "finished_at": at(9)}
    failed = run_item(*tests, status=RunStatus.FAILED, **where, **times)
    passed = run_item(CaseResult(text, "passed"), status=RunStatus.PASSED, **where)
    unseen = errors.ObservationError(text, ref=made.run_ref())
    items: list[Item] = [
        failed,
        made.attempted(passed, failed),
        evolve(ITEMS["refused"], feature=text, config=other),
        run_item(CaseResult(other, text), feature=other, config=text, status=text, run_id=215),
        made.generation_item(text, sections=(Section(text, conclusion=other),)),
        BatchItem(feature=text, config=text, error=unseen),
        BatchItem(feature=other, config=other),
    ]
    section = SectionLog(text, other, status_reason=text, log=(text, other))
    file = Path("out") / text.replace("\x00", "").replace("/", "_")
    options: dict[str, Any] = {
        "title": text,
        "artifacts": {214: [file]},
        "generation_logs": {"a1b2": GenerationLog(sections=(section,))},
    }
    return items, options


def any_batch(test: Callable[[Batch], None]) -> Callable[[], None]:
    """Return a test of batches of any texts, and of each two nasty ones."""
    for text, other in zip(NASTY[::2], NASTY[1::2], strict=True):
        test = example(made_of(text, other, 9))(test)
    batches = st.builds(made_of, texts, texts, st.floats(-1e5, 1e7))
    return settings(max_examples=amount(60, few=6), deadline=None)(given(batches)(test))


MARKDOWN_TAGS = frozenset(
    {"h2", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "b"}
    | {"pre", "code", "ul", "li"}
)
PAGE_TAGS = frozenset(
    {"html", "head", "meta", "title", "link", "style", "script", "body", "header", "main", "footer"}
    | {"section", "h1", "h2", "h3", "p", "dl", "div", "dt", "dd", "ul", "li", "pre", "b", "bdi"}
    | {"span", "a", "details", "summary", "table", "thead", "tbody", "tr", "th", "td", "form"}
    | {"label", "input", "select", "option", "button", "svg", "g", "rect", "line", "text"}
)


@any_batch
def test_junit(batch: Batch) -> None:
    """The XML parses, and each name, error and log comes back as it went in."""
    report = Report.of(batch[0], **batch[1])
    text = to_junit(batch[0], **batch[1])
    xml: Any = JUnitXml.fromstring(text.encode())

    texts = ET.fromstring(text).itertext()  # noqa: S314 - written above
    assert not any(map(obeyed, [text, *texts]))
    assert len(xml) == len(report.entries)
    for suite, entry in zip(xml, report.entries, strict=True):
        assert suite.name == entry.name
        outputs = [case.system_out or "" for case in suite]
        assert any(output.endswith(entry.log) for output in outputs)
        for case, expected in zip(suite, entry.cases, strict=True):
            assert (case.name, case.classname) == (expected.name, entry.name)
            errors = [each.error for each in (*expected.earlier, expected)]
            assert all((result.text or "") in {"", *errors} for result in case.result)


@any_batch
def test_ctrf(batch: Batch) -> None:
    """The JSON is valid, can be encoded, and holds each test."""
    document = ctrf_of(*batch[0], **batch[1])

    assert not obeyed(to_ctrf(batch[0], **batch[1]))
    expected = [c for entry in Report.of(batch[0], **batch[1]).entries for c in entry.cases]
    tests = document["results"]["tests"]
    assert [t["name"] for t in tests] == [c.name for c in expected]
    assert [t.get("trace", "") for t in tests] == [c.error for c in expected]


@any_batch
def test_markdown(batch: Batch) -> None:
    """The rendered Markdown has every row, and only elements that the report itself makes."""
    text = to_markdown(batch[0], **batch[1])
    page = rendered(text)

    report = Report.of(batch[0], **batch[1])
    assert not obeyed(text)
    assert {node.tag for node in page} - {"document"} <= MARKDOWN_TAGS
    assert page.all("h2")[0].text == report.title
    names = [cells.all("td")[1].text for cells in page.all("tr")[1:]]
    assert names == [one_line(entry.feature, 200) for entry in report.by_urgency]
    failures = [case for entry in report.by_urgency for case in entry.failures]
    for case in failures:
        assert f"{one_line(case.name, 200)} {case.status}" in page.text
    shown = [pre.text.removesuffix("\n") for pre in page.all("pre")]
    short = [case.error for case in failures if len(case.error) < 4000]
    assert [error for error in short if (error or "no error given") not in shown] == []
    text.encode()


@any_batch
def test_html(batch: Batch) -> None:
    """The page parses strictly into elements that the report itself makes, with all texts.

    No attribute loads, styles or runs anything: the policy would forbid it.
    """
    html = to_html(batch[0], **batch[1])
    page = parsed(html)
    report = Report.of(batch[0], **batch[1])

    assert not obeyed(html)
    assert {node.tag for node in page} - {"document"} <= PAGE_TAGS
    assert len(page.all("script")) == len(page.all("style")) == 1
    for node in page:
        assert not {"src", "style", "action", "srcset"} & node.attributes.keys()
        assert not any(name.startswith("on") for name in node.attributes)
        external = "data:image/svg" if node.tag == "link" else r"[a-z]+:|//"
        is_external = re.match(external, node.attributes.get("href") or "") is not None
        assert is_external == (node.tag == "link")
    assert page.all("p", "title")[0].text == report.title
    options = [option.attributes["value"] for option in page.all("option")]
    assert options == (["", *report.configs] if len(report.configs) > 1 else [])
    lines = page.all("details", "operation")
    assert len(lines) == len(report.entries)
    for line, entry in zip(lines, report.by_urgency, strict=True):
        assert line.all("bdi")[0].text == entry.feature
        assert line.attributes.get("data-config") == entry.config
        attempts = (*entry.earlier, entry)
        tests = [c for each in attempts for c in each.cases if not c.is_operation]
        assert_shown(line, [c.error for c in tests if c.is_failed])
        assert_shown(line, [each.log for each in attempts if each.log])
        names = [bdi.text for bdi in line.all("bdi")][1:]
        assert sorted(names) == sorted(c.name for c in tests)
    html.encode()


def assert_shown(line: Node, expected: list[str]) -> None:
    shown = [pre.text for pre in line.all("pre")]
    assert [text for text in expected if (text or "no error given") not in shown] == []
