"""The polls that are due, and the few tasks that make them, instead of one task for each poll.

Decides how many polls run at once, and in which order, and loses none when a task is cancelled or
fails. It never decides when an operation is due, nor what an answer means.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import define, frozen

from testvibe_async._core.polling.polled import OPERATIONS_A_TURN, PolledOperation, own_copy
from testvibe_async.errors import ObservationError
from testvibe_async.events import logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from testvibe_async._core.http import Transport
    from testvibe_async._core.polling.list_polling import ListPolling
    from testvibe_async._core.polling.reader import Reader

POLLS_A_TURN = 50
"""Number of polls that a task makes before others get to run: some polls wait for nothing."""


@define(eq=False)
class LastPoll:
    """The last poll of an operation whose waits have timed out."""

    ended: asyncio.Future[None]
    is_sent: bool = False

    def note_sent(self) -> None:
        """Note that it has its slot: without an answer, the service is silent."""
        self.is_sent = True


@frozen
class ListCall:
    """A list call to make."""

    list_polling: ListPolling
    due: list[PolledOperation[Any]]
    early: list[PolledOperation[Any]]
    """Operations due soon that are listed with the others: one more row costs no request."""
    is_urgent: bool = False
    """True if it serves waits that have timed out."""

    @property
    def operations(self) -> list[PolledOperation[Any]]:
        """All operations that the list is asked about."""
        return [*self.due, *self.early]


Poll: TypeAlias = "PolledOperation[Any] | ListCall"
"""A poll of one operation by its id, or a list call for several."""


class Polls:
    """The queued polls of a client, and the tasks that make them."""

    def __init__(  # noqa: PLR0913 - each by name
        self,
        transport: Transport,
        reader: Reader,
        plan_next: Callable[[PolledOperation[Any]], None],
        *,
        interval: float,
        slack: float,
        max_at_once: int,
    ) -> None:
        """Create an empty queue.

        Args:
            transport: Sends the requests, and closes with the client.
            reader: Reads operations.
            plan_next: Plans the next poll of an operation that was polled.
            interval: Seconds between two probes of an outage.
            slack: Seconds by which such a probe may be early.
            max_at_once: Maximum number of polls under way at once.
        """
        self._transport = transport
        self._availability = transport.availability
        self._reader = reader
        self._plan_next = plan_next
        self._interval = interval
        self._slack = slack
        self._max_at_once = max_at_once
        self._usual: deque[Poll] = deque()
        self._urgent: deque[Poll] = deque()
        self._is_urgent_turn = True
        self.workers: set[asyncio.Task[None]] = set()
        """The tasks that make polls, to be cancelled when the client closes."""
        self.last: dict[PolledOperation[Any], LastPoll] = {}
        """The last polls that have not ended."""

    def put(self, polls: Sequence[Poll], *, is_urgent: bool = False) -> None:
        """Add polls, for `start` to have made; every other one is an urgent one."""
        (self._urgent if is_urgent else self._usual).extend(polls)

    def start(self) -> None:
        """Start as many tasks as the polls need and the limit allows."""
        if self._transport.is_closed:  # A client that closes ends all waits itself.
            return
        queued = len(self._usual) + len(self._urgent)
        for _ in range(min(queued, self._max_at_once - len(self.workers))):
            worker = asyncio.create_task(self._work(), name="testvibe_async poller")
            self.workers.add(worker)
            worker.add_done_callback(self._note_ended)

    def _next(self) -> Poll | None:
        """Remove and return the next poll: urgent ones must not keep all others waiting."""
        self._is_urgent_turn = not self._is_urgent_turn or not self._usual
        polls = self._urgent if self._is_urgent_turn and self._urgent else self._usual
        return polls.popleft() if polls else None

    def _note_ended(self, worker: asyncio.Task[None]) -> None:
        """Remove a task, and leave no queued poll without one.

        If the task was cancelled, all queued polls are abandoned: no wait may hang on an event loop
        that is shutting down.
        """
        self.workers.discard(worker)
        if worker.cancelled() and not self._transport.is_closed:
            while (poll := self._next()) is not None:
                self._abandon(poll, None)
        self.start()

    async def _work(self) -> None:
        """Make polls until none is queued."""
        number = 0
        while (poll := self._next()) is not None:
            number += 1
            try:
                await self._make(poll)
            except asyncio.CancelledError:
                self._usual.append(poll)  # `_note_ended` abandons it with the others.
                raise
            except BaseException as error:
                # Neither a defect nor an exception from a hook that ends the program may leave a
                # wait hanging.
                logger.exception("polling failed in an unforeseen way")
                self._abandon(poll, error)
                if not isinstance(error, Exception):
                    raise
            if number % POLLS_A_TURN == 0:
                await asyncio.sleep(0)

    def _make(self, poll: Poll) -> Awaitable[None]:
        if isinstance(poll, ListCall):
            return self._ask_list(poll)
        if self._availability.is_probing:
            now = asyncio.get_running_loop().time()
            is_probe = poll.has_listeners and self._availability.begin_probe(
                now, interval=self._interval, slack=self._slack
            )
            if not is_probe:
                return self._fail_with_others(poll)
        return self._read(poll)

    def end(self, polled: PolledOperation[Any]) -> None:
        """Note that an operation is not polled at present."""
        polled.is_in_progress = False
        if self.last and (last := self.last.pop(polled, None)) and not last.ended.done():
            last.ended.set_result(None)

    def _abandon(self, poll: Poll, error: BaseException | None) -> None:
        """End the waits of operations whose poll was cancelled, or failed unexpectedly."""
        what = "the poller's task was cancelled" if error is None else f"unforeseen: {error!r}"
        for polled in poll.operations if isinstance(poll, ListCall) else [poll]:
            self.end(polled)
            failure = ObservationError(what, ref=polled.ref)
            failure.__cause__ = error
            self._reader.end_waits(polled, failure)

    async def _read(self, polled: PolledOperation[Any]) -> None:
        """Read one operation by its id, and plan its next poll."""
        error = None
        last = self.last.get(polled) if self.last else None
        try:
            if polled.has_listeners:
                on_sent = None if last is None else last.note_sent
                error = await self._reader.read(polled, retries=False, on_sent=on_sent)
            if error is not None:
                self._reader.note_failure(polled, error)
        finally:
            self.end(polled)
        if polled.unclear is not None:
            self._reader.check_status(polled)
        self._plan_next(polled)

    async def _ask_list(self, call: ListCall) -> None:
        """Ask a list about operations, and queue a read by id for each that it leaves open."""
        if call.is_urgent:
            for polled in call.due:
                if (last := self.last.get(polled)) is not None:
                    last.note_sent()
        listed = await call.list_polling.poll(call.operations)
        if listed is not None:  # Or refused for the rate limit, which is an answer too.
            self._availability.note_answer()
        to_read: Sequence[PolledOperation[Any]] = call.due
        rescheduled: Sequence[PolledOperation[Any]] = call.early
        if listed is not None:
            to_read, rescheduled = listed.to_read, listed.running
        # The reads start before thousands are rescheduled, which takes several turns of the loop.
        self.put(to_read, is_urgent=call.is_urgent)
        self.start()
        if listed is not None:
            await self._reader.apply_rows(listed)
        for number, polled in enumerate(rescheduled, start=1):
            polled.is_in_progress = False
            if self.last:
                self.end(polled)
            self._plan_next(polled)
            if number % OPERATIONS_A_TURN == 0:
                await asyncio.sleep(0)

    async def _fail_with_others(self, polled: PolledOperation[Any]) -> None:
        """Note that a poll of an operation would fail like the last one, and plan its next poll."""
        self.end(polled)
        outage = self._availability
        if outage.failure is not None and polled.has_listeners:
            polled.polled_at = asyncio.get_running_loop().time()
            error = own_copy(outage.failure)
            self._reader.handle_failure(polled, error, outage.outlook, is_shared=True)
        self._plan_next(polled)
