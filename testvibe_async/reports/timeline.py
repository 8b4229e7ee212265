"""The timeline: every operation as a bar from its dispatch to its end, for the page's SVG.

Decides where each bar is drawn. A few operations have a row each, with a name; many share rows, so
that the picture is as high as operations were in flight at once. Lengths across are percentages of
the width, so that it fits any screen.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from testvibe_async.reports.entries import between
from testvibe_async.runner.words import duration

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from testvibe_async.reports.entries import Entry
    from testvibe_async.reports.report import Report

MOST_ROWS = 40
"""Number of operations up to which each has a row of its own, with a name."""

_LEAST_PERCENT = 0.3
"""Minimum width of a bar, so that each is visible."""

_TICK_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200)
_MOST_TICKS = 6


@frozen
class _Bar:
    """The bar of an operation, in percent of the whole time."""

    entry: Entry
    """The item, or one of its attempts."""
    name: str
    begin: float
    """Position at which the operation was queued."""
    start: float
    """Position at which it left the queue."""
    end: float
    """Position at which it ended; 100 if it did not."""
    row: int = 0

    @property
    def parts(self) -> Iterator[tuple[str, float, float]]:
        """The word, the left and the width of the time in the queue, if any, and of the work."""
        if self.start > self.begin:
            yield "queue", *_extent(self.begin, self.start)
        yield self.entry.word, *_extent(self.start, self.end)


@frozen
class Timeline:
    """The picture."""

    bars: list[_Bar]
    rows: int
    seconds: float

    @property
    def has_names(self) -> bool:
        """True if each bar has a row of its own, with its name."""
        return len(self.bars) <= MOST_ROWS

    @property
    def pitch(self) -> float:
        """The height of a row in pixels; of many rows that of a picture of 240 pixels."""
        return 24.0 if self.has_names else min(12.0, 240.0 / self.rows)

    @property
    def ticks(self) -> Iterator[tuple[float, str]]:
        """The place of each tick in percent, and its text; empty if there is no room for it."""
        least = self.seconds / _MOST_TICKS
        step = next((each for each in _TICK_SECONDS if each > least), least)
        for number in range(int(self.seconds / step) + 1):
            at = number * step
            is_shown = at < 0.94 * self.seconds
            yield 100 * at / self.seconds, (duration(at) if at else "0") if is_shown else ""


def timeline(report: Report) -> Timeline | None:
    """Return the picture of all operations whose time is known; None if there is none."""
    bars = sorted(_bars(report), key=lambda bar: (bar.begin, bar.end))
    seconds = between(report.started_at, report.finished_at)
    if not bars or not seconds:
        return None
    rows = list(range(len(bars)) if len(bars) <= MOST_ROWS else _shared_rows(bars))
    placed = [evolve(bar, row=row) for bar, row in zip(bars, rows, strict=True)]
    return Timeline(placed, max(rows) + 1, seconds)


def _bars(report: Report) -> Iterator[_Bar]:
    def percent(instant: datetime | None, otherwise: float) -> float:
        if instant is None or origin is None or not total:
            return otherwise
        return min(100.0, max(0.0, 100 * (instant - origin).total_seconds() / total))

    origin, total = report.started_at, between(report.started_at, report.finished_at)
    for entry in report.entries:
        for attempt in (*entry.earlier, entry):
            times = attempt.times
            if times.began_at is not None:
                which = f", attempt {attempt.attempt}" if entry.earlier else ""
                begin = percent(times.began_at, 0)
                end = max(begin, percent(times.finished_at, 100))
                start = min(end, max(begin, percent(times.started_at, begin)))
                yield _Bar(attempt, f"{entry.name}{which}", begin, start, end)


def _shared_rows(bars: list[_Bar]) -> Iterator[int]:
    """Yield a row for each bar: the row that is free for longest, or else a new one."""
    free: list[tuple[float, int]] = []
    for bar in bars:
        row = heappop(free)[1] if free and free[0][0] <= bar.begin else len(free)
        heappush(free, (max(bar.end, bar.begin + _LEAST_PERCENT), row))
        yield row


def _extent(left: float, right: float) -> tuple[float, float]:
    """Return the left and the width of a visible bar."""
    width = max(right - left, _LEAST_PERCENT)
    return min(left, 100 - width), width
