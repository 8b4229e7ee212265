"""The time that `--timeout` gives to a command that waits.

It decides what of it is left for each step: the lists that are asked for first, then the batch, and
what is still read and downloaded when that is over. How a batch keeps its time is its own matter.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from testvibe_async import OutcomeUnknownError
from testvibe_async.cli.words import duration

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

__all__ = ["TimeLimit"]

QUIET_SECONDS = 5.0
"""After how long a step that has no answer is told."""

ENDING_SECONDS = 10.0
"""How long what is still to be read at the end may take, where there is a limit."""

T = TypeVar("T")


class TimeLimit:
    """The time of one command, of which each step takes a part."""

    def __init__(
        self, seconds: float | None, *, server: str, note: Callable[[str], object]
    ) -> None:
        """Make it.

        Args:
            seconds: The whole time; None for no limit.
            server: The service.
            note: Is told of a step that has no answer for some seconds.
        """
        self._seconds = self._left = seconds
        self._server = server
        self._note = note

    @property
    def left(self) -> float | None:
        """Seconds that are left for the next step, above 0; None for no limit."""
        return None if self._left is None else max(self._left, 0.001)

    @property
    def ending(self) -> float | None:
        """Seconds that what is left at the end may take; None for no limit."""
        return None if self._seconds is None else ENDING_SECONDS

    @asynccontextmanager
    async def asking(self, what: str) -> AsyncGenerator[None]:
        """Let the body ask the service for something, and give up when no time is left.

        Raises:
            TransportError: No answer came in time.
        """
        loop = asyncio.get_running_loop()
        began, host = loop.time(), urlsplit(self._server).netloc
        told = loop.call_later(
            QUIET_SECONDS, self._note, f"Still waiting for {what}: {host} has not answered."
        )
        try:
            async with asyncio.timeout(self._left):
                yield
        except TimeoutError as error:
            assert self._seconds is not None
            what = f"{what} did not come within {duration(self._seconds)}"
            raise OutcomeUnknownError(what, method="GET", url=self._server) from error
        finally:
            told.cancel()
            if self._left is not None:
                self._left -= loop.time() - began

    async def last(self, work: Awaitable[T], default: T) -> T:
        """Return what is read at the end; the default where that takes too long."""
        try:
            async with asyncio.timeout(self.ending):
                return await work
        except TimeoutError:
            return default
