"""Poll plans: the seconds from one poll of an operation to the next. No clock, I/O or state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from testvibe_async._config import require_seconds
from testvibe_async._wire import KINDS
from testvibe_async.errors import ConfigError

if TYPE_CHECKING:
    from testvibe_async.errors import KindName
    from testvibe_async.models import Snapshot


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
