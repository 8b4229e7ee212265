"""The time that `--timeout` gives to a command that waits.

It decides what of it is left for each step: the lists that are asked for first, then the batch, and
what is still read and downloaded when that is over. How a batch keeps its time is its own matter.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from testvibe_async import OutcomeUnknownError
from testvibe_async.cli.words import duration, reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from testvibe_async import VibeError
    from testvibe_async.events import OutageStarted

__all__ = ["MAX_OUTAGE_SECONDS", "TimeLimit"]

QUIET_SECONDS = 5.0
"""After how long a step that has no answer is told."""

MAX_OUTAGE_SECONDS = 300.0
"""How long a service may be away or too busy: as long as for the polls of a `Client`."""

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
        self._asked: str | None = None
        """What is asked for at this moment."""
        self._outage: VibeError | None = None

    @property
    def left(self) -> float | None:
        """Seconds that are left for the next step, above 0; None for no limit."""
        return None if self._left is None else max(self._left, 0.001)

    @property
    def ending(self) -> float | None:
        """Seconds that what is left at the end may take; None for no limit."""
        return None if self._seconds is None else ENDING_SECONDS

    async def ask(self, what: str, work: Callable[[], Awaitable[T]]) -> T:
        """Ask the service for something, and give up when no time is left.

        Args:
            what: What is asked for.
            work: Asks for it.

        Raises:
            VibeError: The service refused, or no answer came in time.
        """
        loop = asyncio.get_running_loop()
        began, host = loop.time(), urlsplit(self._server).netloc
        told = loop.call_later(
            QUIET_SECONDS, self._note, f"Still waiting for {what}: {host} has not answered."
        )
        self._asked, self._outage = what, None
        try:
            async with asyncio.timeout(self._left):
                return await work()
        except TimeoutError as error:
            assert self._seconds is not None
            what = f"{what} did not come within {duration(self._seconds)}"
            if self._outage is not None:
                what = f"{what}: {reason(self._outage)}"
            raise OutcomeUnknownError(what, method="GET", url=self._server) from error
        finally:
            told.cancel()
            self._asked = None
            if self._left is not None:
                self._left -= loop.time() - began

    def note_outage(self, event: OutageStarted) -> None:
        """Say why a step has no answer yet; what follows later is told of operations in flight."""
        self._outage = event.error
        if self._asked is not None:
            self._note(f"Still waiting for {self._asked}: {reason(event.error)}; trying again.")

    async def last(self, work: Awaitable[T], default: T) -> T:
        """Return what is read at the end; the default where that takes too long."""
        try:
            async with asyncio.timeout(self.ending):
                return await work
        except TimeoutError:
            return default
