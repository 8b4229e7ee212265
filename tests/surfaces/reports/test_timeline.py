"""The timeline: bars by their times, in as few rows as there were operations at once."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests.support.amounts import amount
from tests.surfaces.reports.items import ITEMS, PASSED, Item, at, generation_item, run_item
from tests.surfaces.reports.parsed import Node, parsed
from testvibe_async.reports import to_html
from testvibe_async.reports.report import Report
from testvibe_async.reports.timeline import MOST_ROWS, clock, timeline

MANY = amount(2000, few=60)
Bars = list[tuple[str, float, float]]


def picture_of(*items: Item) -> Node:
    (svg,) = parsed(to_html(items, started_at=at(0), finished_at=at(100))).all("svg", "timeline")
    return svg


def rects(node: Node) -> Bars:
    """Return class, left and right of each bar, in percent."""
    found: Bars = []
    for rect in node.all("rect"):
        left, width = (float((rect.attributes[name] or "").strip("%")) for name in ("x", "width"))
        found.append((rect.attributes["class"] or "", left, round(left + width, 2)))
    return found


def run_at(begin: float, end: float, number: int = 1) -> Item:
    times: dict[str, Any] = {"created_at": at(begin), "started_at": at(begin)}
    name = f"Feature {number}"
    return run_item(PASSED, run_id=number, feature=name, finished_at=at(end), **times)


@pytest.mark.parametrize(
    ("items", "bars"),
    [
        ([run_item(PASSED)], [("queue", 0, 8), ("succeeded", 8, 43)]),
        ([generation_item()], [("failed", 0, 100)]),
        ([ITEMS["in flight"]], [("in-flight open", 0, 100)]),
        (
            [run_at(20, 20), run_at(100, 100), run_at(150, 170)],
            [("succeeded", 20, 20.3), *[("succeeded", 99.7, 100)] * 2],
        ),
    ],
    ids=["queue and work", "cut off at the edge", "no end", "no duration"],
)
def test_an_operation_is_a_bar(items: list[Item], bars: Bars) -> None:
    """A bar goes from the dispatch to the end, and is visible whatever its times are."""
    assert rects(picture_of(*items)) == bars


def test_few_have_rows_with_names() -> None:
    """A few operations have a row each, in the order of their beginnings, and their names."""
    svg = picture_of(run_at(60, 70, 2), run_at(10, 20, 1))

    labels = [text for text in svg.all("text") if text.text.startswith("Feature")]
    assert [(t.text, t.attributes["x"], t.attributes.get("class")) for t in labels] == [
        ("Feature 1", "10.00%", None),
        ("Feature 2", "70.00%", "before"),
    ]
    assert [rect.attributes["y"] for rect in svg.all("rect")] == ["26.00", "50.00"]
    assert svg.attributes["height"] == "72"
    assert [g.attributes["data-number"] for g in svg.all("g")] == ["2", "1"]
    titles = [title.text for title in svg.all("title")]
    assert titles == ["Feature 1: passed, 10 s", "Feature 2: passed, 10 s"]


@pytest.mark.parametrize(
    ("items", "rows"),
    [
        ([run_at(2 * n, 2 * n + 4.5, n) for n in range(MOST_ROWS + 8)], 3),
        ([run_at(0, 100, n) for n in range(MANY)], MANY),
        ([run_at(n * 7 % 90, n * 7 % 90 + n % 11, n) for n in range(MANY)], None),
    ],
    ids=["one after the other", "all at once", "any"],
)
def test_many_share_rows(items: list[Item], rows: int | None) -> None:
    """Many have as many rows as were in flight at once, below 300 pixels, and hide no other."""
    svg = picture_of(*items)
    by_row: dict[str | None, list[tuple[float, float]]] = {}
    for rect, (_, left, right) in zip(svg.all("rect"), rects(svg), strict=True):
        by_row.setdefault(rect.attributes["y"], []).append((left, right))

    assert len(svg.all("g")) == len(items)
    assert rows is None or len(by_row) == rows
    assert int(svg.attributes["height"] or 0) < 300
    assert not [text for text in svg.all("text") if text.text.startswith("Feature")]
    for bars in by_row.values():
        assert all(a[1] <= b[0] + 0.011 for a, b in pairwise(sorted(bars)))


def test_the_axis() -> None:
    """The axis has a few round times, and none is cut off at the edge, also of days."""
    svg = picture_of(run_at(0, 100))

    assert [text.text for text in svg.all("text", "tick")] == ["0:00", "0:30", "1:00", "1:30"]
    assert len(svg.all("line")) == 4
    assert len(parsed(to_html([run_at(0, 900_000)])).all("line")) == 7
    times = {0: "0:00", 90: "1:30", 3600: "1:00:00", 36_610: "10:10:10"}
    assert {seconds: clock(seconds) for seconds in times} == times


def test_no_times_no_timeline() -> None:
    """A report without a time, or of a single instant, has no timeline."""
    refused = ITEMS["refused"]
    assert timeline(Report.of([refused])) is None
    assert timeline(Report.of([refused], started_at=at(0), finished_at=at(9))) is None
    assert timeline(Report.of([run_at(5, 5)])) is None
