"""When an operation is polled next: by the plan, later after failures. Pure, with no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testvibe_async._http import outage_interval, refused_seconds

if TYPE_CHECKING:
    from testvibe_async._polling.outage import Outage
    from testvibe_async._polling.plan import PollPlan
    from testvibe_async._polling.polled import PolledOperation

__all__ = ["next_due"]

MAX_INTERVAL = 1e9
"""Seconds: the most that a plan's interval counts for, so that it can be counted in ticks."""


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
