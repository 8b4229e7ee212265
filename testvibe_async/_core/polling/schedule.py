"""Due times of polls: by a poll plan, later after failures, in ticks.

This module reads no clock and sets no timer.

Time is divided into ticks. Operations that are due at about the same time are polled together, and
all operations of one list can be found at once.
"""

from __future__ import annotations

import heapq
from math import floor
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from testvibe_async._core.config import require_seconds
from testvibe_async._core.http import Availability, refused_seconds
from testvibe_async._core.wire import KINDS
from testvibe_async.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from testvibe_async._core.polling.polled import FailedPolls, PolledOperation
    from testvibe_async.errors import KindName
    from testvibe_async.models import Snapshot

ListKey: TypeAlias = tuple[str, str]
"""The project and the kind of the operations that one list may show."""

MAX_INTERVAL = 1e9
"""Upper bound in seconds of an interval that a plan returns, so that it can be counted in ticks."""

MAX_ASKED = 10 / 3
"""Maximum interval that `Retry-After` may ask for, in multiples of the base interval."""

TICKS_AN_INTERVAL = 10
"""Number of ticks in an interval: few enough to share calls, and at most a tenth early."""

ROUNDING = 1e-6
"""Tolerance, in ticks, for the rounding error of a sum of floats."""


class PollPlan(Protocol):
    """A function that returns the seconds from one poll of an operation to the next."""

    def __call__(self, kind: KindName, age: float, seen: Snapshot | None, /) -> float:
        """Return the seconds until the next poll, above 0.

        Args:
            kind: `run` or `generation`.
            age: Seconds since the operation was dispatched or attached.
            seen: The last snapshot; None before the first poll.
        """
        ...


def standard_poll_plan(interval: float) -> PollPlan:
    """Return the default plan.

    Args:
        interval: Seconds between two polls of a run. A generation takes minutes: its intervals grow
            with its age, from `interval` to 10/3 of it (3 s to 10 s).
    """

    def plan(kind: str, age: float, seen: Snapshot | None) -> float:  # noqa: ARG001
        return min(max(interval, age / 20), interval * KINDS[kind].longest_interval)

    return plan


def checked_plan(plan: PollPlan) -> PollPlan:
    """Wrap a user's plan: any result but a number of seconds above 0 raises a `ConfigError`."""
    if not callable(plan):
        raise ConfigError(f"poll_plan must be a function, not {plan!r}")

    def checked(kind: KindName, age: float, seen: Snapshot | None) -> float:
        try:
            seconds = plan(kind, age, seen)
        except Exception as error:
            raise ConfigError(f"poll_plan failed: {error!r}") from error
        return require_seconds("what poll_plan returns", seconds)

    return checked


class Schedule:
    """Operations with a planned poll, by tick and by the list that may show them."""

    def __init__(self, interval: float, *, offset: float) -> None:
        """Start empty.

        Args:
            interval: Seconds between two polls of a run.
            offset: From 0 to 1, the fraction of a tick by which all ticks are shifted.
        """
        self.tick_seconds: float = interval / TICKS_AN_INTERVAL
        """Length of a tick in seconds."""

        self._offset = offset * self.tick_seconds
        self._buckets: dict[int, dict[ListKey, list[PolledOperation[Any]]]] = {}
        """An entry is outdated if its operation was taken early: its `tick` then differs."""
        self._ticks: list[int] = []
        """Heap of the ticks that have a bucket."""

    @property
    def first_tick(self) -> int | None:
        """The earliest tick with a planned poll; None if no poll is planned."""
        return self._ticks[0] if self._ticks else None

    def time_of(self, tick: int) -> float:
        """Return the start of a tick, by the loop's clock."""
        return self._offset + tick * self.tick_seconds

    def tick_of(self, instant: float) -> int:
        """Return the tick that contains an instant of the loop's clock."""
        return floor((instant - self._offset) / self.tick_seconds + ROUNDING)

    def add(self, polled: PolledOperation[Any], due: float) -> bool:
        """Plan a poll; return whether it is the first one in its tick.

        Args:
            polled: The operation; it has no poll planned.
            due: The due time, by the loop's clock.
        """
        tick = polled.tick = self.tick_of(due)
        bucket = self._buckets.get(tick)
        is_first = bucket is None
        if bucket is None:
            bucket = self._buckets[tick] = {}
            heapq.heappush(self._ticks, tick)
        bucket.setdefault(polled.list_key, []).append(polled)
        return is_first

    def take_due(self, tick: float) -> dict[ListKey, list[PolledOperation[Any]]]:
        """Remove and return, by list, the operations due by a tick that still have listeners.

        With an infinite tick, all operations are due.
        """
        due: dict[ListKey, list[PolledOperation[Any]]] = {}
        while self._ticks and self._ticks[0] <= tick:
            earliest = heapq.heappop(self._ticks)
            for key, operations in self._buckets.pop(earliest).items():
                taken = [each for each in operations if _take(each, earliest)]
                due.setdefault(key, []).extend(taken)
        return due

    def take_early(
        self, key: ListKey, tick: int, *, may_show: Callable[[PolledOperation[Any]], bool]
    ) -> list[PolledOperation[Any]]:
        """Remove and return the operations that a list may show, due an interval after a tick."""
        return [
            polled
            for later in range(tick + 1, tick + TICKS_AN_INTERVAL + 1)
            for polled in self._buckets.get(later, {}).get(key, ())
            if may_show(polled) and _take(polled, later)
        ]


def _take(polled: PolledOperation[Any], tick: int) -> bool:
    """Remove an operation from a tick; return False if it is not there, or has no listener."""
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
    availability: Availability,
) -> float:
    """Return when to poll the operation next, by the clock of `now`.

    Args:
        polled: The operation.
        now: The present time.
        plan: Returns the seconds until the next poll.
        interval: Seconds between two polls of a run.
        tick_seconds: Length of a tick; due times are rounded down to a tick.
        availability: How the service is.
    """
    planned = plan(polled.ref.kind, now - polled.began, polled.snapshot)
    if polled.other_id is not None:  # The next answer decides, so poll as soon as a run.
        planned = min(planned, interval)
    if polled.asked_seconds is not None:
        planned = min(max(interval, polled.asked_seconds), interval * MAX_ASKED)
    planned = min(max(tick_seconds, planned), MAX_INTERVAL)
    if polled.polled_at is not None:
        if polled.failures:
            planned = _backed_off(
                polled.failures, planned, polled.polled_at, tick_seconds, availability
            )
        return max(now, polled.polled_at + planned)
    # A freshly dispatched operation is still in flight after less than an interval. The added tick
    # makes up for rounding down.
    return now if polled.phase is None else max(now, polled.began + planned + tick_seconds)


def _backed_off(
    failures: FailedPolls,
    interval: float,
    polled_at: float,
    tick_seconds: float,
    availability: Availability,
) -> float:
    """Return an interval that grows with failures, but ends no later than the grace of a 404."""
    # During an outage, polls of other operations replace most polls of this one.
    if availability.has_lasted_since(failures.since):
        return interval
    if (seconds := refused_seconds(failures.last)) is not None:
        return max(interval, seconds + tick_seconds)
    longer = failures.interval_after(interval)
    if failures.missing_until is None or failures.missing_until <= polled_at:
        return longer
    return min(longer, max(interval, failures.missing_until - polled_at))
