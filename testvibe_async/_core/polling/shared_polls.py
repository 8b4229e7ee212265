"""Polls by hand, outside the schedule: which callers share a request.

Decides which error each of them raises. It never decides what an answer means.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from testvibe_async._core.polling.polled import own_copy
from testvibe_async.errors import ObservationError

if TYPE_CHECKING:
    from contextvars import Context

    from testvibe_async._core.polling.polled import PolledOperation
    from testvibe_async._core.polling.reader import Reader
    from testvibe_async.errors import VibeError


class SharedPolls:
    """The polls by hand of one client that are under way."""

    def __init__(self, reader: Reader, *, context: Context) -> None:
        """Create it without polls; does no I/O.

        Args:
            reader: Reads an operation by its id.
            context: The context of the polls: one poll serves all callers, not the first of them
                alone.
        """
        self._reader = reader
        self._context = context
        self._polls: dict[PolledOperation[Any], asyncio.Task[VibeError | None]] = {}
        self._callers: Counter[asyncio.Task[VibeError | None]] = Counter()

    @property
    def tasks(self) -> list[asyncio.Task[VibeError | None]]:
        """The polls that are under way, to be cancelled when the client closes."""
        return list(self._polls.values())

    async def poll(self, polled: PolledOperation[Any], *, max_age: float) -> None:
        """Poll an operation now; see `Poller.poll`.

        Raises:
            CancelledError: The caller was cancelled, or the client closed and cancelled the poll.
        """
        loop, seen_at = asyncio.get_running_loop(), polled.seen_at
        if max_age and seen_at is not None and loop.time() - seen_at <= max_age:
            return
        poll = self._polls.get(polled)
        if poll is None:
            # A task, since the first caller may be cancelled while the others wait on.
            poll = loop.create_task(
                self._read(polled), name="testvibe_async poll", context=self._context.copy()
            )
            self._polls[polled] = poll
            poll.add_done_callback(lambda _: self._polls.pop(polled))
        self._callers[poll] += 1
        try:
            failure = await asyncio.shield(poll)
        finally:
            self._callers[poll] -= 1
            if not self._callers[poll]:  # Nobody wants its answer any more.
                del self._callers[poll]
                poll.cancel()
        if failure is not None:
            raise own_copy(failure)

    async def _read(self, polled: PolledOperation[Any]) -> VibeError | None:
        """Read an operation by its id; return the error that all callers must raise, if any."""
        error = await self._reader.read(polled, retries=True)
        if error is None or polled.is_finished:
            return None
        now = asyncio.get_running_loop().time()
        outlook = self._reader.outlook_after(polled, error)
        failure = polled.note_failure(error, outlook, now=now, max_outage=None)
        if failure is None:
            failure = ObservationError(error.brief, ref=polled.ref)
            failure.__cause__ = error
        return failure
