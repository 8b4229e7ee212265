"""The timeline: every operation as a bar from its dispatch to its end, for the page's SVG.

Decides where each bar is drawn. A few operations have a row each, with a name; many share rows, so
that the picture is as high as operations were in flight at once. Lengths across are percentages of
the width, so that it fits any screen.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from attrs import frozen

from testvibe_async.reports.text import clock, duration, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from testvibe_async.reports.entries import Entry
    from testvibe_async.reports.report import Report

__all__ = ["Timeline", "timeline"]

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

    @property
    def label(self) -> str:
        return one_line(self.name, 60)

    @property
    def tooltip(self) -> str:
        took = duration(self.entry.times.seconds)
        return f"{self.name}: {self.entry.status}{f', {took}' if took else ''}"

    @property
    def parts(self) -> Iterator[tuple[str, float, float]]:
        """The class, the left and the width of what is drawn."""
        if self.start > self.begin:
            yield "queue", *_extent(self.begin, self.start)
        kind = self.entry.verdict.replace(" ", "-") + (" open" if self.is_open else "")
        yield kind, *_extent(self.start, self.end)


@frozen
class Timeline:
    """The picture."""

    bars: list[_Bar]
    rows: list[int]
    """The row of each bar."""
    count: int
    """The number of rows."""
    seconds: float

    @property
    def drawn(self) -> Iterator[tuple[_Bar, int]]:
        """Each bar with its row."""
        return zip(self.bars, self.rows, strict=True)

    @property
    def has_names(self) -> bool:
        """Whether each bar has a row of its own, with its name."""
        return len(self.bars) <= MOST_ROWS

    @property
    def pitch(self) -> float:
        """The height of a row in pixels."""
        return _ROW_PIXELS if self.has_names else min(12.0, _SHARED_PIXELS / self.count)

    @property
    def gap(self) -> float:
        """The space between two rows in pixels."""
        return 4 if self.has_names else self.pitch / 5

    @property
    def height(self) -> int:
        """The height of the picture in pixels."""
        return round(self.top(self.count))

    def top(self, row: int) -> float:
        """Return where a row begins, in pixels."""
        return _AXIS_PIXELS + row * self.pitch

    @property
    def ticks(self) -> Iterator[tuple[float, str]]:
        """The place of each tick in percent, and its text; empty where there is no room for it."""
        step = next(
            (s for s in _TICK_SECONDS if self.seconds / s < _MOST_TICKS), self.seconds / _MOST_TICKS
        )
        for number in range(int(self.seconds / step) + 1):
            at = number * step
            yield 100 * at / self.seconds, clock(at) if at < 0.94 * self.seconds else ""

    @property
    def description(self) -> str:
        """The picture in words."""
        return (
            f"Timeline of {len(self.bars)} operations over {duration(self.seconds)}; "
            "the list of operations shows the same times"
        )


def timeline(report: Report) -> Timeline | None:
    """Return the picture of all operations whose time is known; None where there is none."""
    bars = _bars(report)
    if not bars or not report.seconds:
        return None
    rows = list(range(len(bars))) if len(bars) <= MOST_ROWS else _shared_rows(bars)
    return Timeline(bars, rows, max(rows) + 1, report.seconds)


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
    for entry in report.entries:
        for number, attempt in enumerate((*entry.earlier, entry), 1):
            times = attempt.times
            if times.began_at is None:
                continue
            name = f"{entry.name}, attempt {number}" if entry.earlier else entry.name
            begin = percent(times.began_at, 0)
            end = max(begin, percent(times.finished_at, 100))
            start = min(end, max(begin, percent(times.started_at, begin)))
            bars.append(_Bar(attempt, name, begin, start, end, times.finished_at is None))
    return sorted(bars, key=lambda bar: (bar.begin, bar.end))


def _shared_rows(bars: list[_Bar]) -> list[int]:
    """Return a row for each bar: the one that is free for longest, or else a new one."""
    free: list[tuple[float, int]] = []
    rows: list[int] = []
    for bar in bars:
        row = heappop(free)[1] if free and free[0][0] <= bar.begin else len(free)
        rows.append(row)
        heappush(free, (max(bar.end, bar.begin + _LEAST_PERCENT), row))
    return rows


def _extent(left: float, right: float) -> tuple[float, float]:
    """Return the left and the width of a bar that can be seen."""
    width = max(right - left, _LEAST_PERCENT)
    return min(left, 100 - width), width
