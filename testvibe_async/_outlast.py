"""Waiting for what must come to its end, whoever cancels the wait."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["outlast"]


async def outlast(work: Iterable[asyncio.Future[Any]], *, until: float = inf) -> None:
    """Wait for tasks or futures to end. A cancellation is delivered after that.

    Neither `asyncio.shield` nor, for a task's own `cancel`, anyio's shield waits.

    Args:
        work: What must end. It is not cancelled.
        until: How long to wait at most, by the loop's clock.
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
