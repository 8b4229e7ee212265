"""Waiting for tasks that must end even if the wait is cancelled, and for work in a thread."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from math import inf
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import anyio

# At its first use, it would be imported while the event loop runs.
import anyio._backends._asyncio  # pyright: ignore[reportUnusedImport]

if TYPE_CHECKING:
    from collections.abc import Iterable

P = ParamSpec("P")
T = TypeVar("T")

OFFLOAD_BYTES = 2**17
"""Size in bytes from which a document is read in a thread: it takes 5 ms, a hostile one 50."""

NO_CONTEXT = nullcontext()
"""Stands for a lock, limit or time-out that there is not; each operation enters a few."""

offload = asyncio.to_thread
"""Calls a pure function in a thread, for an input of `OFFLOAD_BYTES` or more.

The function uses nothing that the event loop's thread may change.
"""


def cancelling() -> int:
    """Return how often the running task was cancelled; 0 if only what it awaits was."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


async def wait_uncancelled(work: Iterable[asyncio.Future[Any]], *, until: float = inf) -> None:
    """Wait for tasks or futures to end. A cancellation is delivered after that.

    Neither `asyncio.shield` nor, for a task's own `cancel`, anyio's shield waits.

    Args:
        work: The tasks or futures. They are not cancelled.
        until: The loop's clock at which to stop waiting; infinity for no limit.
    """
    loop = asyncio.get_running_loop()
    work = list(work)
    cancellation = None
    with anyio.CancelScope(shield=True):
        while (pending := [each for each in work if not each.done()]) and until > loop.time():
            seconds = None if until == inf else until - loop.time()
            try:
                await asyncio.wait(pending, timeout=seconds)
            except asyncio.CancelledError as error:
                cancellation = error
    if cancellation is not None:
        raise cancellation
