"""The scheduler of all waits of a client.

Decides when each operation is polled, and with how many requests at once. Time is divided into
ticks. Operations due within one tick are polled together: by one list call if that is cheaper,
otherwise by id. Polling follows demand: an operation without a listener costs nothing. The poller
never decides what an answer means: `polled` does, and `list_polling` for the rows of a list.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import contextmanager
from contextvars import Context
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, Any

from testvibe_async._core.polling.known import KnownOperations
from testvibe_async._core.polling.list_polling import Lists
from testvibe_async._core.polling.polled import (
    OPERATIONS_A_TURN,
    Change,
    Listener,
    PolledOperation,
)
from testvibe_async._core.polling.polls import LastPoll, ListCall, Poll, Polls
from testvibe_async._core.polling.reader import Reader
from testvibe_async._core.polling.schedule import Schedule, next_due
from testvibe_async._core.polling.shared_polls import SharedPolls
from testvibe_async._core.util.waiting import cancelling, wait_uncancelled
from testvibe_async.errors import (
    ClientClosedError,
    ConfigError,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from testvibe_async._core.http import Transport
    from testvibe_async._core.polling.schedule import PollPlan
    from testvibe_async.events import Emitter
    from testvibe_async.models import Snapshot
    from testvibe_async.refs import Ref


LAST_POLL_SECONDS = 1.0
"""Maximum seconds by which a wait outlasts its time-out, for one last poll."""


class Poller:
    """Polls operations for as long as they have listeners."""

    def __init__(
        self,
        transport: Transport,
        *,
        interval: float,
        plan: PollPlan,
        max_concurrent_polls: int,
        hooks: Emitter,
    ) -> None:
        """Create the poller; does no I/O.

        Args:
            transport: Sends the requests.
            interval: Seconds between two polls of a run.
            plan: Returns the seconds until each next poll.
            max_concurrent_polls: Maximum number of the poller's requests under way at once.
            hooks: Notified of transitions and of failures.
        """
        self._transport = transport
        self._interval = interval
        self._plan = plan
        self.lists: Lists = Lists(transport, interval=interval, hooks=hooks)
        """The lists that replace reads by id, and what they show of the dispatches to come."""
        self._reader = Reader(transport, self.lists, hooks=hooks)
        # Clients that start together must not keep polling together.
        offset = random.random()  # noqa: S311 - spreads load, guards nothing
        self._schedule = Schedule(interval, offset=offset)
        self.known: KnownOperations = KnownOperations()
        """The operations on which handles exist."""
        self.awaited: set[object] = set()
        """The subscriptions that a task waits for: nothing else may reference the task."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_tick = 0
        self._polls = Polls(
            transport,
            self._reader,
            self._plan_poll,
            interval=interval,
            slack=self._schedule.tick_seconds,
            max_at_once=max_concurrent_polls,
        )
        self._availability = transport.availability
        self._availability.returned = self._poll_all
        self._deferrals = 0
        # A poll serves all its waits: it must not run in the context of the first one.
        self._context = Context()
        self._shared_polls = SharedPolls(self._reader, context=self._context)
        self._to_queue: list[PolledOperation[Any]] = []
        """The operations whose last poll is queued at the end of this turn of the event loop."""

    def accept(self, ref: Ref, snapshot: Snapshot) -> None:
        """Accept a snapshot that another call brought, unless more is known."""
        polled, now = self.known.operation(ref), asyncio.get_running_loop().time()
        change = polled.accept(snapshot, sequence=0, now=now, at=datetime.now(UTC))
        self._reader.publish(polled, change, by_poll=False)

    def restore(self, ref: Ref, outcome: Snapshot) -> None:
        """Take over an outcome that a ledger has kept, unless the operation has finished here."""
        polled = self.known.operation(ref)
        if not polled.is_finished:
            polled.restore(outcome, at=datetime.now(UTC))
            self._reader.publish(polled, Change.END, by_poll=False)

    def listen(
        self, polled: PolledOperation[Any], listener: Listener, *, is_passive: bool = False
    ) -> None:
        """Poll an operation that has not finished, for as long as the listener exists and is open.

        Args:
            polled: The operation.
            listener: The listener.
            is_passive: True to request no poll for it; polls for others reach it too.

        Raises:
            ClientClosedError: The client is closed.
            ConfigError: The client belongs to another event loop.
        """
        self._check_usable(polled)
        polled.add(listener)
        # With a poll under way, the new listener shares its answer.
        if not polled.is_in_progress and not is_passive:
            self._plan_poll(polled)

    @contextmanager
    def defer_ticks(self) -> Generator[None]:
        """Defer all ticks while many listeners are added, so that one list may serve them all."""
        self._deferrals += 1
        try:
            yield
        finally:
            self._deferrals -= 1

    def bind(self) -> None:
        """Bind to the running event loop at first use; see `Transport.bind`."""
        self._transport.bind()

    def _check_usable(self, polled: PolledOperation[Any]) -> None:
        try:
            self._transport.bind()
        except ClientClosedError:
            raise ClientClosedError(ref=polled.ref) from None

    async def poll(self, polled: PolledOperation[Any], *, max_age: float) -> None:
        """Poll an operation now, regardless of the schedule. Concurrent calls share one request.

        Args:
            polled: The operation.
            max_age: Maximum age in seconds of the last snapshot that replaces a poll; 0 to poll in
                any case.

        Raises:
            UnauthorizedError, ForbiddenError: The key may not read the operation.
            ObservationError: The operation could not be observed.
            ClientClosedError: The client is closed.
        """
        self._check_usable(polled)
        cancellations = cancelling()
        try:
            await self._shared_polls.poll(polled, max_age=max_age)
        except asyncio.CancelledError:
            if self._transport.is_closed and cancelling() == cancellations:
                raise ClientClosedError(ref=polled.ref) from None
            raise

    async def poll_last(self, operations: Iterable[PolledOperation[Any]]) -> None:
        """Poll operations whose waits have timed out once more, before all others, for a second.

        Waits that end in the same turn of the event loop share the polls. Failures only affect the
        state.
        """
        loop = asyncio.get_running_loop()
        began, last = loop.time(), dict[PolledOperation[Any], LastPoll]()
        for polled in operations:
            if polled.is_finished or self._transport.is_closed:
                continue
            if (poll := self._polls.last.get(polled)) is None:
                poll = self._polls.last[polled] = LastPoll(loop.create_future())
                if not self._to_queue:
                    loop.call_soon(self._queue_last, context=self._context)
                self._to_queue.append(polled)
            last[polled] = poll
        if last:
            await asyncio.wait([each.ended for each in last.values()], timeout=LAST_POLL_SECONDS)
        for polled, poll in last.items():
            if self._polls.last.get(polled) is poll:
                del self._polls.last[polled]
                if poll.is_sent and (polled.seen_at or 0.0) < began:
                    self._reader.note_silence(polled, seconds=LAST_POLL_SECONDS)

    def _queue_last(self) -> None:
        """Queue the last polls that waits have requested in this turn of the event loop."""
        by_list: dict[tuple[str, str], list[PolledOperation[Any]]] = {}
        for polled in self._to_queue:
            polled.tick, polled.is_in_progress = None, True
            by_list.setdefault(polled.list_key, []).append(polled)
        self._to_queue = []
        tick = self._schedule.tick_of(asyncio.get_running_loop().time())
        for key, operations in by_list.items():
            self._assign(key, operations, tick, is_urgent=True)
        self._polls.start()

    def _plan_poll(self, polled: PolledOperation[Any]) -> None:
        """Plan an operation's next poll, if it may have a listener and no poll is planned."""
        # Closed listeners are noticed when the poll is due.
        if polled.tick is not None or not polled.listeners:
            return
        try:
            due = next_due(
                polled,
                now=asyncio.get_running_loop().time(),
                plan=polled.plan or self._plan,
                interval=self._interval,
                tick_seconds=self._schedule.tick_seconds,
                availability=self._availability,
            )
        except ConfigError as error:  # The poll plan failed.
            self._reader.end_waits(polled, error)
            return
        if self._schedule.add(polled, due):
            self._set_timer()

    def _set_timer(self) -> None:
        """Schedule `_tick` for the earliest tick in which an operation is due."""
        first = self._schedule.first_tick
        if first is None:
            return
        if self._timer is not None:
            if self._timer_tick <= first:
                return
            self._timer.cancel()
        self._timer_tick = first
        at = self._schedule.time_of(first)
        self._timer = asyncio.get_running_loop().call_at(at, self._tick, context=self._context)

    def _tick(self) -> None:
        """Queue the due operations: by list if that is cheaper, otherwise by id."""
        if self._deferrals:
            later = asyncio.get_running_loop().time() + self._schedule.tick_seconds
            self._timer = asyncio.get_running_loop().call_at(
                later, self._tick, context=self._context
            )
            return
        self._timer = None
        tick = self._timer_tick
        for key, operations in self._schedule.take_due(tick).items():
            self._assign(key, operations, tick)
        self._set_timer()
        self._polls.start()

    def _assign(
        self,
        key: tuple[str, str],
        due: list[PolledOperation[Any]],
        tick: int,
        *,
        is_urgent: bool = False,
    ) -> None:
        """Queue the due operations of one list."""
        list_polling, now = self.lists[key], asyncio.get_running_loop().time()
        if self._availability.is_probing or not list_polling.is_worth_it(len(due), now):
            self._polls.put(due, is_urgent=is_urgent)
            return
        listed: list[PolledOperation[Any]] = []
        unlisted: list[PolledOperation[Any]] = []
        for polled in due:
            (listed if list_polling.may_show(polled) else unlisted).append(polled)
        # Operations that no list can show go first: the list call may turn out to be of no use.
        rest: list[Poll] = [*listed]
        if list_polling.is_worth_it(len(listed), now):
            early = self._schedule.take_early(key, tick, may_show=list_polling.may_show)
            rest = [ListCall(list_polling, listed, early, is_urgent)]
        self._polls.put([*unlisted, *rest], is_urgent=is_urgent)

    def _poll_all(self) -> None:
        """Poll all operations now, after an outage."""
        for list_polling in self.lists.values():
            list_polling.end_trouble()
        tick = self._schedule.tick_of(asyncio.get_running_loop().time())
        for key, operations in self._schedule.take_due(inf).items():
            self._assign(key, operations, tick)
        self._polls.start()

    async def aclose(self) -> None:
        """Stop polling, and end all waits with a `ClientClosedError`."""
        if self._timer is not None:
            self._timer.cancel()
        # A poll that runs this call would wait for itself: see `Dispatcher.aclose`.
        here, this = asyncio.get_running_loop(), asyncio.current_task()
        tasks = [*self._polls.workers, *self._shared_polls.tasks]
        tasks = [task for task in tasks if task.get_loop() is here and task is not this]
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            await wait_uncancelled([asyncio.create_task(self._end_waits())])

    async def _end_waits(self) -> None:
        """End the waits for all operations, and let other tasks run in between."""
        for polled in list(self._polls.last):
            self._polls.end(polled)
        # Includes unscheduled operations: their poll may have been in the cancelled workers.
        for number, polled in enumerate(self.known.close(), start=1):
            if polled.listeners:
                self._reader.end_waits(polled, ClientClosedError(ref=polled.ref))
            if number % OPERATIONS_A_TURN == 0:
                await asyncio.sleep(0)
