"""The timeline: bars by their times, in as few rows as there were operations at once."""

from __future__ import annotations

from itertools import pairwise

from tests.surfaces.reports.items import (
    PASSED,
    Item,
    at,
    generation_item,
    in_flight_item,
    refused_item,
    run_item,
)
from tests.surfaces.reports.parsed import Node, parsed
from testvibe_async.reports import to_html
from testvibe_async.reports.report import Report
from testvibe_async.reports.timeline import MOST_ROWS, timeline


def picture_of(*items: Item) -> Node:
    (svg,) = parsed(to_html(items, started_at=at(0), finished_at=at(100))).all("svg", "timeline")
    return svg


def rects(node: Node) -> list[tuple[str, float, float]]:
    """Return class, left and right of each bar, in percent."""
    found: list[tuple[str, float, float]] = []
    for rect in node.all("rect"):
        left, width = (float((rect.attributes[name] or "").strip("%")) for name in ("x", "width"))
        found.append((rect.attributes["class"] or "", left, round(left + width, 2)))
    return found


def run_at(begin: float, end: float, number: int = 1) -> Item:
    return run_item(
        PASSED,
        run_id=number,
        feature=f"Feature {number}",
        created_at=at(begin),
        started_at=at(begin),
        finished_at=at(end),
    )


def rows_of(svg: Node) -> int:
    return len({rect.attributes["y"] for rect in svg.all("rect")})


def test_a_run_waits_and_works() -> None:
    """A run has a bar for its time in the queue and one for its work."""
    assert rects(picture_of(run_item(PASSED))) == [("queue", 0, 8), ("succeeded", 8, 43)]


def test_a_generation() -> None:
    """A generation has one bar, from its dispatch to its last update, cut off at the edge."""
    assert rects(picture_of(generation_item())) == [("failed", 0, 100)]


def test_what_goes_on_is_open() -> None:
    """The bar of an operation without an end goes on to the edge, and has its own style."""
    assert rects(picture_of(in_flight_item())) == [("in-flight open", 0, 100)]


def test_no_bar_is_invisible() -> None:
    """A bar without a duration is visible, at the right edge too."""
    bars = rects(picture_of(run_at(20, 20), run_at(100, 100), run_at(150, 170)))

    assert bars == [("succeeded", 20, 20.3), *[("succeeded", 99.7, 100)] * 2]


def test_a_bar_says_what_it_is() -> None:
    """A bar has the operation's number and a tooltip with its name, status and time."""
    (group,) = picture_of(run_at(0, 50)).all("g")

    assert group.attributes["data-number"] == "1"
    assert [title.text for title in group.all("title")] == ["Feature 1: passed, 50 s"]


def test_few_have_rows_with_names() -> None:
    """A few operations have a row each, in the order of their beginnings, and their names."""
    svg = picture_of(run_at(60, 70, 2), run_at(10, 20, 1))

    labels = [text for text in svg.all("text") if text.text.startswith("Feature")]
    assert rows_of(svg) == 2
    assert [(t.text, t.attributes["x"], t.attributes.get("class")) for t in labels] == [
        ("Feature 1", "10.00%", None),
        ("Feature 2", "70.00%", "before"),
    ]


def test_many_share_rows() -> None:
    """Many operations have as many rows as there were operations at once."""
    items = [run_at(2 * n, 2 * n + 4.5, n) for n in range(MOST_ROWS + 8)]
    svg = picture_of(*items)

    assert len(svg.all("g")) == len(items)
    assert rows_of(svg) == 3
    assert not [text for text in svg.all("text") if text.text.startswith("Feature")]


def test_bars_of_a_row_do_not_overlap() -> None:
    """No bar hides another."""
    items = [run_at(n * 7 % 90, n * 7 % 90 + n % 11, n) for n in range(200)]
    by_row: dict[str | None, list[tuple[float, float]]] = {}
    for rect, (_, left, right) in zip(
        (svg := picture_of(*items)).all("rect"), rects(svg), strict=True
    ):
        by_row.setdefault(rect.attributes["y"], []).append((left, right))

    for bars in by_row.values():
        ordered = sorted(bars)
        assert all(a[1] <= b[0] + 0.011 for a, b in pairwise(ordered))


def test_thousands_at_once_are_no_higher_than_a_screen() -> None:
    """The picture of any number of operations at once stays small."""
    svg = picture_of(*(run_at(0, 100, n) for n in range(2000)))

    assert int(svg.attributes["height"] or 0) < 300


def test_the_axis() -> None:
    """The axis has a few round times, and none is cut off at the edge."""
    svg = picture_of(run_at(0, 100))

    ticks = [text.text for text in svg.all("text", "tick")]
    assert ticks == ["0:00", "0:30", "1:00", "1:30"]
    assert len(svg.all("line")) == 4


def test_days_have_an_axis_too() -> None:
    """A batch of days has no more ticks than one of seconds."""
    assert len(parsed(to_html([run_at(0, 900_000)])).all("line")) == 7


def test_no_times_no_timeline() -> None:
    """A report without a time, or of a single instant, has no timeline."""
    assert timeline(Report.of([refused_item()])) is None
    assert timeline(Report.of([refused_item()], started_at=at(0), finished_at=at(9))) is None
    assert timeline(Report.of([run_at(5, 5)])) is None
