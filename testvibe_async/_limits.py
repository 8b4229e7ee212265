"""How much goes over the wire at once, and when nothing does.

One gate for all traffic of a client, first come, first served: dispatches and looks wait in the
same queue, so neither starves the other.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from anyio import CapacityLimiter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["Gate"]


class Gate:
    """Lets a number of requests through at once, and none while it is paused."""

    def __init__(self, max_connections: int) -> None:
        self._slots = CapacityLimiter(max_connections)
        self._paused_until = 0.0

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator[None]:
        """Wait for a turn, and hold it for the body."""
        loop = asyncio.get_running_loop()
        async with self._slots:
            while (pause := self._paused_until - loop.time()) > 0:  # noqa: ASYNC110 - time itself
                await asyncio.sleep(pause)
            yield

    def pause(self, seconds: float) -> None:
        """Let nothing through for so many seconds from now."""
        until = asyncio.get_running_loop().time() + seconds
        self._paused_until = max(self._paused_until, until)
