"""The time that `--timeout` gives to a command that waits.

It decides what of it is left for each step: the lists that are asked for first, then the batch, and
what is still read and downloaded when that is over. How a batch keeps its time is its own matter.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from testvibe_async import (
    OutcomeUnknownError,
    RateLimitedError,
    ServerError,
    TransportError,
    VibeError,
)
from testvibe_async.cli.words import duration, reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["TimeLimit"]

QUIET_SECONDS = 5.0
"""After how long a step that has no answer is told."""

MAX_OUTAGE_SECONDS = 300.0
"""How long a service may be away or too busy: as long as for the polls of a `Client`."""

AGAIN_SECONDS = 3.0
"""How long after a failure it is asked again; the client has tried some times by then."""

ENDING_SECONDS = 10.0
"""How long what is still to be read at the end may take, where there is a limit."""

T = TypeVar("T")


class TimeLimit:
    """The time of one command, of which each step takes a part."""

    def __init__(
        self,
        seconds: float | None,
        *,
        server: str,
        note: Callable[[str], object],
        has_answered: Callable[[], bool],
    ) -> None:
        """Make it.

        Args:
            seconds: The whole time; None for no limit.
            server: The service.
            note: Is told of a step that has no answer for some seconds.
            has_answered: Returns whether the service has answered well before.
        """
        self._seconds = self._left = seconds
        self._server = server
        self._note = note
        self._has_answered = has_answered

    @property
    def left(self) -> float | None:
        """Seconds that are left for the next step, above 0; None for no limit."""
        return None if self._left is None else max(self._left, 0.001)

    @property
    def ending(self) -> float | None:
        """Seconds that what is left at the end may take; None for no limit."""
        return None if self._seconds is None else ENDING_SECONDS

    async def ask(self, what: str, work: Callable[[], Awaitable[T]]) -> T:
        """Ask the service for something, also again while it is away or too busy.

        Args:
            what: What is asked for.
            work: Asks once.

        Raises:
            VibeError: The service refused, or the time is over; then the last error, if there was
                one.
        """
        loop = asyncio.get_running_loop()
        began, host = loop.time(), urlsplit(self._server).netloc
        told = loop.call_later(
            QUIET_SECONDS, self._note, f"Still waiting for {what}: {host} has not answered."
        )
        failure: VibeError | None = None
        try:
            async with asyncio.timeout(self._left):
                while True:
                    try:
                        return await work()
                    except (ServerError, RateLimitedError, TransportError) as error:
                        is_given_up = loop.time() - began > MAX_OUTAGE_SECONDS
                        if is_given_up or not self._may_pass(error):
                            raise
                        if failure is None:
                            self._note(f"Still waiting for {what}: {reason(error)}; trying again.")
                        failure = error
                        told.cancel()
                        await asyncio.sleep(AGAIN_SECONDS)
        except TimeoutError as error:
            if failure is not None:
                raise failure from error
            assert self._seconds is not None
            what = f"{what} did not come within {duration(self._seconds)}"
            raise OutcomeUnknownError(what, method="GET", url=self._server) from error
        finally:
            told.cancel()
            if self._left is not None:
                self._left -= loop.time() - began

    def _may_pass(self, error: VibeError) -> bool:
        """Return whether a failure may be an outage: what never answered may be mistyped."""
        return self._has_answered() or not isinstance(error, TransportError)

    async def last(self, work: Awaitable[T], default: T) -> T:
        """Return what is read at the end; the default where that takes too long."""
        try:
            async with asyncio.timeout(self.ending):
                return await work
        except TimeoutError:
            return default
