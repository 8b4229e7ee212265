"""Waiting for tasks that must end even if the wait is cancelled, and for work in a thread."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["OFFLOAD_BYTES", "is_cancelled", "offload", "wait_uncancelled"]

P = ParamSpec("P")
T = TypeVar("T")

OFFLOAD_BYTES = 2**17
"""From this size on a document is read in a thread: it takes 5 ms, a hostile one 50."""


offload = asyncio.to_thread
"""Calls a pure function in a thread, where its input has `OFFLOAD_BYTES` or more. It touches
nothing that the event loop's thread may change."""


def is_cancelled() -> bool:
    """Return whether the running task itself was asked to stop, and not what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def wait_uncancelled(work: Iterable[asyncio.Future[Any]], *, until: float = inf) -> None:
    """Wait for tasks or futures to end. A cancellation is delivered after that.

    Neither `asyncio.shield` nor, for a task's own `cancel`, anyio's shield waits.

    Args:
        work: What must end. It is not cancelled.
        until: When to stop waiting, by the loop's clock; infinity for never.
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
