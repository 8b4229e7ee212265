"""Polls outside the schedule: polls by hand, and one last poll when a wait times out.

Decides which callers share a request, and which error each of them raises. It never decides what an
answer means.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from testvibe_async._core.http import Outlook
from testvibe_async._core.polling.polled import own_copy
from testvibe_async.errors import ObservationError, OutcomeUnknownError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextvars import Context

    from testvibe_async._core.polling.list_polling import ListPolling, Lists
    from testvibe_async._core.polling.polled import PolledOperation
    from testvibe_async._core.polling.reader import Reader
    from testvibe_async.errors import VibeError

LAST_POLL_SECONDS = 1.0
"""Maximum seconds by which a wait outlasts its time-out, for one last poll."""

CANCEL_SECONDS = 0.05
"""Seconds in which the requests then under way must be cancelled."""


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
        failure = await asyncio.shield(poll)
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


class LastPoll:
    """One last poll of the operations of waits that time out in the same turn of the event loop."""

    def __init__(
        self,
        reader: Reader,
        lists: Lists,
        *,
        max_concurrent: int,
        context: Context,
    ) -> None:
        """Create it without polls; does no I/O.

        Args:
            reader: Reads an operation by its id.
            lists: The lists that may show operations.
            max_concurrent: Maximum number of reads under way at once.
            context: The context of the polls: one poll serves all waits, not the first of them
                alone.
        """
        self._reader = reader
        self._lists = lists
        self._max_concurrent = max_concurrent
        self._context = context
        self._collected: dict[PolledOperation[Any], None] = {}
        self._collecting: asyncio.Task[None] | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        """The last polls that are under way, to be cancelled when the client closes."""

    async def poll(self, operations: Iterable[PolledOperation[Any]]) -> None:
        """Poll operations once more, within a second; failures only affect the state."""
        self._collected.update(dict.fromkeys(operations))
        if self._collecting is None or self._collecting.done():  # another task cancelled it
            self._collecting = asyncio.create_task(
                self._run(), name="testvibe_async last poll", context=self._context.copy()
            )
            self.tasks.add(self._collecting)
            self._collecting.add_done_callback(self.tasks.discard)
        # A task of its own: the wait that started it may be cancelled while others wait on. The
        # client may close and cancel the task, which cancels none of the waits.
        collecting = self._collecting
        # The task ends by itself after that second; the bound allows for slow cancellation.
        await asyncio.wait([collecting], timeout=LAST_POLL_SECONDS + CANCEL_SECONDS)
        if collecting.done() and not collecting.cancelled():
            collecting.result()

    async def _run(self) -> None:
        await asyncio.sleep(0)  # Other waits end in this turn of the event loop too.
        operations, self._collected = list(self._collected), {}
        self._collecting = None
        groups: dict[ListPolling, list[PolledOperation[Any]]] = {}
        for polled in operations:
            if not polled.is_finished:
                groups.setdefault(self._lists[polled.list_key], []).append(polled)
        began = asyncio.get_running_loop().time()
        sent: set[PolledOperation[Any]] = set()
        try:
            async with asyncio.timeout(LAST_POLL_SECONDS), asyncio.TaskGroup() as polls:
                for group in groups.items():
                    polling = self._poll_group(*group, sent)
                    polls.create_task(polling, name="testvibe_async last poll")
        except TimeoutError:
            for polled in sent:  # A poll that was not sent says nothing of the service.
                if not polled.is_finished and (polled.seen_at or 0.0) < began:
                    self._note_silence(polled)

    def _note_silence(self, polled: PolledOperation[Any]) -> None:
        """Note a last poll without an answer in time: its wait must not claim it still runs."""
        request = polled.request
        what = f"no answer to the last poll within {LAST_POLL_SECONDS:g} s"
        url = request.url(polled.ref.server)
        error = OutcomeUnknownError(what, method=request.method, url=url)
        self._reader.handle_failure(polled, error, Outlook.AWAY)

    async def _poll_group(
        self,
        list_polling: ListPolling,
        operations: list[PolledOperation[Any]],
        sent: set[PolledOperation[Any]],
    ) -> None:
        """Poll operations that one list may show; `sent` receives those that were requested."""
        to_read = deque(operations)
        listable = [polled for polled in operations if list_polling.may_show(polled)]
        if list_polling.is_worth_it(len(listable), asyncio.get_running_loop().time()):
            sent.update(listable)
            listed = await list_polling.poll(listable)
            if listed is not None and listed.is_refused:
                return  # Reading all of them instead would send many more requests.
            if listed is not None:
                await self._reader.apply_rows(listed)
                shown = {*listed.running}
                to_read = deque(polled for polled in operations if polled not in shown)
        # Not `gather`: once cancelled, it ends with the first read, and the others continue.
        async with asyncio.TaskGroup() as readers:
            for _ in range(min(self._max_concurrent, len(to_read))):
                readers.create_task(self._read(to_read, sent), name="testvibe_async last poll")

    async def _read(
        self, to_read: deque[PolledOperation[Any]], sent: set[PolledOperation[Any]]
    ) -> None:
        while to_read:
            polled = to_read.popleft()
            sent.discard(polled)
            error = await self._reader.read(
                polled, retries=False, on_sent=partial(sent.add, polled)
            )
            if error is not None:
                self._reader.note_failure(polled, error)
