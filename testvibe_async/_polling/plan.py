"""When an operation is polled next. Pure: no clock, no I/O, no state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from testvibe_async._config import require_seconds
from testvibe_async.errors import ConfigError

if TYPE_CHECKING:
    from testvibe_async.models import Generation, Run

__all__ = ["PollPlan", "checked_plan", "outage_interval", "standard_poll_plan"]

MAX_LOOK_BACKOFF = 30.0
"""Seconds between two looks at an operation that can't be observed."""


class PollPlan(Protocol):
    """Decides how long after one look at an operation the next one is due."""

    def __call__(
        self, kind: Literal["run", "generation"], age: float, seen: Run | Generation | None, /
    ) -> float:
        """Return seconds, above 0.

        Args:
            kind: `run` or `generation`.
            age: Seconds since it was dispatched or attached.
            seen: What the last look showed; None before the first.
        """
        ...


def standard_poll_plan(interval: float) -> PollPlan:
    """Return the plan for those who have none.

    Args:
        interval: Seconds between looks at a run. A generation takes minutes: its own grow with its
            age, from this to 10/3 of it (3 s to 10 s).
    """

    def plan(kind: str, age: float, seen: Run | Generation | None) -> float:  # noqa: ARG001
        if kind == "run":
            return interval
        return min(max(interval, age / 20), interval * 10 / 3)

    return plan


def checked_plan(plan: PollPlan) -> PollPlan:
    """Wrap a plan of the user's: whatever is not a number of seconds above 0 is a `ConfigError`."""
    if not callable(plan):
        raise ConfigError(f"poll_plan must be a function, not {plan!r}")

    def checked(
        kind: Literal["run", "generation"], age: float, seen: Run | Generation | None
    ) -> float:
        try:
            seconds = plan(kind, age, seen)
        except Exception as error:
            raise ConfigError(f"poll_plan failed: {error!r}") from error
        return require_seconds("what poll_plan returns", seconds)

    return checked


def outage_interval(interval: float, failures: int) -> float:
    """Return the seconds to the next look after a number of looks in a row that failed."""
    return min(interval * 2.0 ** min(failures, 16), max(interval, MAX_LOOK_BACKOFF))
