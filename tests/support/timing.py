"""The time of the event loop, and a scenario in which every duration is known."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo

import pytest

from testvibe_async.testing import Scenario

STEADY = Scenario(
    run_queue=(5, 5),
    run_duration=(25, 25),
    failing_runs=0,
    generation_warm_up=(20, 20),
    generation_section=(35, 35),
    verification=(10, 10),
    failing_generations=0,
)
"""Every run queues for 5 s, executes for 25 s and passes; every generation takes at least 65 s."""


def now() -> float:
    """Return the time of the running event loop, in seconds."""
    return asyncio.get_running_loop().time()


def shift_local_clock(patch: pytest.MonkeyPatch, lead: Callable[[], float] = now) -> None:
    """Have dispatches and their recovery read a local clock that is ahead by so many seconds.

    By default, the local clock follows the virtual time of the event loop.
    """

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=lead())

    for module in ("ledger", "_core.dispatch.dispatch", "_core.dispatch.record"):
        patch.setattr(f"testvibe_async.{module}.datetime", Shifted)
