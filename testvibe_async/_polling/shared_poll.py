"""Polls that somebody asks for, whatever is due: concurrent ones of an operation share a request.

Decides that a snapshot is young enough, and what each caller raises. It never decides what an
answer means.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from testvibe_async._polling import traces
from testvibe_async._polling.polled import own_copy
from testvibe_async.errors import ObservationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from testvibe_async._polling.list_polling import ListPolling
    from testvibe_async._polling.polled import PolledOperation
    from testvibe_async._polling.reader import Reader
    from testvibe_async.errors import VibeError

__all__ = ["SharedPolls"]


class SharedPolls:
    """The polls of one client that are under way because somebody asked for them."""

    def __init__(
        self,
        reader: Reader,
        list_of: Callable[[PolledOperation[Any]], ListPolling],
        context: Context,
    ) -> None:
        """Make it; no I/O is done.

        Args:
            reader: Reads an operation by its id.
            list_of: Returns the list that may show an operation.
            context: What polls run in: one serves all who ask, not the first of them alone.
        """
        self._reader = reader
        self._list_of = list_of
        self._context = context
        self._polls: dict[PolledOperation[Any], asyncio.Task[VibeError | None]] = {}

    @property
    def tasks(self) -> list[asyncio.Task[VibeError | None]]:
        """The polls that are under way, to be cancelled at the close."""
        return list(self._polls.values())

    async def poll(self, polled: PolledOperation[Any], *, max_age: float) -> None:
        """Poll an operation now; see `Poller.poll`.

        Raises:
            CancelledError: The caller was cancelled, or the poll by the close of the client.
        """
        loop, seen_at = asyncio.get_running_loop(), polled.state.seen_at
        if max_age and seen_at is not None and loop.time() - seen_at <= max_age:
            return
        traces.begin(polled)
        poll = self._polls.get(polled)
        if poll is None:
            # A task, since the caller that starts it may be cancelled, and the others not.
            poll = loop.create_task(
                self._read(polled), name="testvibe_async poll", context=self._context
            )
            self._polls[polled] = poll
            poll.add_done_callback(lambda _: self._polls.pop(polled))
        failure = await asyncio.shield(poll)
        if failure is not None:
            raise own_copy(failure)

    async def _read(self, polled: PolledOperation[Any]) -> VibeError | None:
        """Read an operation by its id, and return what those who asked for it must raise."""
        error = await self._reader.read(polled, retries=True)
        self._list_of(polled).note_read(polled)
        if error is None or polled.state.is_finished:
            return None
        now = asyncio.get_running_loop().time()
        outlook = self._reader.outlook_after(polled, error)
        failure = polled.state.note_failure(error, outlook, now=now, max_outage=None)
        if failure is None:
            failure = ObservationError(str(error), ref=polled.ref)
            failure.__cause__ = error
        return failure
