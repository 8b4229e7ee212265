"""When each operation is polled next: by the plan, later after failures, in ticks.

It reads no clock and sets no timer.

Time is cut into ticks, so that what is due at about the same time is polled together, and all of
one list can be found at once.
"""

from __future__ import annotations

import heapq
from math import floor
from typing import TYPE_CHECKING, Any

from testvibe_async._http import outage_interval, refused_seconds

if TYPE_CHECKING:
    from testvibe_async._polling.list_polling import ListPolling
    from testvibe_async._polling.outage import Outage
    from testvibe_async._polling.plan import PollPlan
    from testvibe_async._polling.polled import PolledOperation

__all__ = ["Schedule", "next_due"]

MAX_INTERVAL = 1e9
"""Seconds: the most that a plan's interval counts for, so that it can be counted in ticks."""

TICKS_AN_INTERVAL = 10
"""Into how many ticks an interval is cut: few enough to share calls, a tenth early at most."""

ROUNDING = 1e-6
"""By how much a sum of floats may miss the tick that it means, in ticks."""


class Schedule:
    """The operations that are to be polled, by tick and by the list that may show them."""

    def __init__(self, interval: float, *, offset: float) -> None:
        """Start empty.

        Args:
            interval: Seconds between two polls of a run.
            offset: From 0 to 1, the part of a tick by which all of them are shifted.
        """
        self.tick_seconds: float = interval / TICKS_AN_INTERVAL
        """How long a tick is."""

        self._offset = offset * self.tick_seconds
        self._buckets: dict[int, dict[ListPolling, list[PolledOperation[Any]]]] = {}
        """An entry is outdated once its operation was taken early: then its `tick` is another."""
        self._ticks: list[int] = []
        """A heap of the ticks with a bucket."""

    @property
    def first_tick(self) -> int | None:
        """The earliest tick in which anything is due; None where nothing is."""
        return self._ticks[0] if self._ticks else None

    def time_of(self, tick: int) -> float:
        """Return when a tick is, by the loop's clock."""
        return self._offset + tick * self.tick_seconds

    def tick_of(self, instant: float) -> int:
        """Return the tick in which an instant of the loop's clock is."""
        return floor((instant - self._offset) / self.tick_seconds + ROUNDING)

    def add(self, polled: PolledOperation[Any], list_polling: ListPolling, due: float) -> bool:
        """Plan a poll; say whether it is the first in its tick.

        Args:
            polled: The operation; it has no poll planned.
            list_polling: The list that may show it.
            due: When, by the loop's clock.
        """
        tick = polled.tick = self.tick_of(due)
        bucket = self._buckets.get(tick)
        is_first = bucket is None
        if bucket is None:
            bucket = self._buckets[tick] = {}
            heapq.heappush(self._ticks, tick)
        bucket.setdefault(list_polling, []).append(polled)
        return is_first

    def take_due(self, tick: int) -> dict[ListPolling, list[PolledOperation[Any]]]:
        """Take what is due up to a tick and still listened to, by list."""
        due: dict[ListPolling, list[PolledOperation[Any]]] = {}
        while self._ticks and self._ticks[0] <= tick:
            earliest = heapq.heappop(self._ticks)
            for list_polling, operations in self._buckets.pop(earliest).items():
                taken = [each for each in operations if _take(each, earliest)]
                due.setdefault(list_polling, []).extend(taken)
        return due

    def take_early(self, list_polling: ListPolling, tick: int) -> list[PolledOperation[Any]]:
        """Take what one list may show and is due within the interval after a tick."""
        return [
            polled
            for later in range(tick + 1, tick + TICKS_AN_INTERVAL + 1)
            for polled in self._buckets.get(later, {}).get(list_polling, ())
            if list_polling.may_show(polled) and polled.has_listeners and _take(polled, later)
        ]


def _take(polled: PolledOperation[Any], tick: int) -> bool:
    """Take an operation out of a tick; False where it is not there, or nobody listens to it."""
    if polled.tick != tick:
        return False
    polled.tick = None
    polled.is_in_progress = polled.has_listeners
    return polled.is_in_progress


def next_due(  # noqa: PLR0913 - each by name
    polled: PolledOperation[Any],
    *,
    now: float,
    plan: PollPlan,
    interval: float,
    tick_seconds: float,
    outage: Outage,
) -> float:
    """Return when to poll next, by the clock that `now` is of.

    Args:
        polled: The operation.
        now: The present time.
        plan: Gives the seconds to the next poll.
        interval: Seconds between two polls of a run.
        tick_seconds: How long a tick is: instants are rounded down to one.
        outage: Whether the service answers.
    """
    state = polled.state
    planned = plan(polled.ref.kind, now - state.began, state.snapshot)
    if state.is_doubtful:  # The next answer decides: it is asked for as soon as a run's.
        planned = min(planned, interval)
    planned = min(max(tick_seconds, planned), MAX_INTERVAL)
    if polled.polled_at is not None:
        if state.failures:
            planned = _backed_off(polled, planned, polled.polled_at, tick_seconds, outage)
        return max(now, polled.polled_at + planned)
    # What was just dispatched is still in flight after less than an interval. The tick makes up
    # for rounding down to one.
    return max(now, state.began + planned + tick_seconds) if state.is_known else now


def _backed_off(
    polled: PolledOperation[Any],
    interval: float,
    polled_at: float,
    tick_seconds: float,
    outage: Outage,
) -> float:
    """Return an interval that grows with failures, but not beyond the end of a 404's grace."""
    state = polled.state
    # During an outage the others' polls stand in for most of this one's.
    if outage.has_lasted_since(state.failing_since):
        return interval
    if (seconds := refused_seconds(state.last_failure)) is not None:
        return max(interval, seconds + tick_seconds)
    longer = outage_interval(interval, state.failures)
    if state.missing_until is None or state.missing_until <= polled_at:
        return longer
    return min(longer, max(interval, state.missing_until - polled_at))
