"""The timeline: every operation as a bar from its dispatch to its end, as inline SVG.

Decides where each bar is drawn. A few operations have a row each, with a name; many share rows, so
that the picture is as high as operations were in flight at once. Lengths across are shares of the
width, so that it fits any screen. It never shows anything that the list of operations does not say
in words.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from attrs import frozen

from testvibe_async.reports.markup import Html, element, slug
from testvibe_async.reports.text import clock, duration, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from testvibe_async.reports.entries import Entry
    from testvibe_async.reports.report import Report

__all__ = ["timeline"]

MOST_ROWS = 40
"""Number of operations up to which each has a row of its own, with a name."""

_ROW_PIXELS = 24.0
_SHARED_PIXELS = 240.0
"""Greatest height of the picture of many operations."""

_AXIS_PIXELS = 24
_LEAST_PERCENT = 0.3
"""Least width of a bar, so that each can be seen."""

_TICK_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200)
_MOST_TICKS = 6


@frozen
class _Bar:
    """The bar of an operation, in percent of the whole time."""

    entry: Entry
    """The item, or one of its attempts."""
    name: str
    begin: float
    """Where it was queued."""
    start: float
    """Where it left the queue."""
    end: float
    """Where it finished, or the picture ends."""
    is_open: bool
    """Whether its end is not known."""


def timeline(report: Report) -> Html | None:
    """Return the picture of all operations whose time is known; None where there is none."""
    bars = _bars(report)
    if not bars or not report.seconds:
        return None
    has_own_rows = len(bars) <= MOST_ROWS
    rows = list(range(len(bars))) if has_own_rows else _shared_rows(bars)
    count = max(rows) + 1
    pitch = _ROW_PIXELS if has_own_rows else min(12.0, _SHARED_PIXELS / count)
    height = round(_AXIS_PIXELS + count * pitch)
    return element(
        "svg",
        *_axis(report.seconds, height),
        *(
            _draw(bar, _AXIS_PIXELS + row * pitch, pitch, has_label=has_own_rows)
            for bar, row in zip(bars, rows, strict=True)
        ),
        class_="timeline rows" if has_own_rows else "timeline shared",
        width="100%",
        height=height,
        role="img",
        aria_label=f"Timeline of {len(bars)} operations over {duration(report.seconds)}; "
        "the list of operations shows the same times",
    )


def _bars(report: Report) -> list[_Bar]:
    """Return the bars in the order in which they begin."""
    origin, total = report.started_at, report.seconds
    if origin is None or not total:
        return []

    def percent(instant: datetime | None, otherwise: float) -> float:
        if instant is None:
            return otherwise
        return min(100.0, max(0.0, 100 * (instant - origin).total_seconds() / total))

    bars: list[_Bar] = []
    for entry, name in _operations(report):
        times = entry.times
        if times.began_at is not None:
            begin = percent(times.began_at, 0)
            end = max(begin, percent(times.finished_at, 100))
            start = min(end, max(begin, percent(times.started_at, begin)))
            bars.append(_Bar(entry, name, begin, start, end, is_open=times.finished_at is None))
    return sorted(bars, key=lambda bar: (bar.begin, bar.end))


def _operations(report: Report) -> Iterator[tuple[Entry, str]]:
    """Yield every attempt of every entry with its name."""
    for entry in report.entries:
        for number, attempt in enumerate((*entry.earlier, entry), 1):
            yield attempt, f"{entry.name}, attempt {number}" if entry.earlier else entry.name


def _shared_rows(bars: list[_Bar]) -> list[int]:
    """Return a row for each bar: the one that is free for longest, or else a new one."""
    free: list[tuple[float, int]] = []
    rows: list[int] = []
    for bar in bars:
        row = heappop(free)[1] if free and free[0][0] <= bar.begin else len(free)
        rows.append(row)
        heappush(free, (max(bar.end, bar.begin + _LEAST_PERCENT), row))
    return rows


def _axis(seconds: float, height: int) -> list[Html]:
    step = next((s for s in _TICK_SECONDS if seconds / s < _MOST_TICKS), seconds / _MOST_TICKS)
    parts: list[Html] = []
    for number in range(int(seconds / step) + 1):
        x = f"{100 * number * step / seconds:.2f}%"
        parts.append(element("line", x1=x, x2=x, y1=16, y2=height, class_="tick"))
        if number * step < 0.94 * seconds:  # A label needs room to the right of its line.
            parts.append(element("text", clock(number * step), x=x, y=11, class_="tick"))
    return parts


def _draw(bar: _Bar, top: float, pitch: float, *, has_label: bool) -> Html:
    gap = 4 if has_label else pitch / 5
    y, height = f"{top + gap / 2:.2f}", f"{pitch - gap:.2f}"

    def rect(left: float, right: float, kind: str) -> Html:
        width = max(right - left, _LEAST_PERCENT)
        left = min(left, 100 - width)
        return element("rect", x=_x(left), y=y, width=_x(width), height=height, class_=kind)

    queue = rect(bar.begin, bar.start, "queue") if bar.start > bar.begin else None
    kind = slug(bar.entry.verdict) + (" open" if bar.is_open else "")
    label = _label(bar, top + pitch / 2 + 4) if has_label else None
    return element(
        "g",
        element("title", _tooltip(bar)),
        queue,
        rect(bar.start, bar.end, kind),
        label,
        data_number=bar.entry.number,
    )


def _label(bar: _Bar, baseline: float) -> Html:
    """Return the name, right of the start; left of the end where the start is in the right half."""
    name = one_line(bar.name, 60)
    if bar.start <= 50:  # noqa: PLR2004 - the middle
        return element("text", name, x=_x(bar.start), dx=6, y=f"{baseline:g}")
    return element("text", name, x=_x(bar.end), dx=-6, y=f"{baseline:g}", class_="before")


def _tooltip(bar: _Bar) -> str:
    entry = bar.entry
    took = duration(entry.times.seconds)
    return f"{bar.name}: {entry.status}{f', {took}' if took else ''}"


def _x(percent: float) -> str:
    return f"{percent:.2f}%"
