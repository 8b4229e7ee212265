"""The workers of a batch: each has one entry at a time carried to its end.

Decides how many entries are in flight, when the batch stops dispatching, and how its entries then
end. `carrier` decides what happens with one entry.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from testvibe_async._core.batch.carrier import Carrier
from testvibe_async._core.batch.entry import Entry, is_futile, is_key_refused
from testvibe_async._core.batch.slots import Slots
from testvibe_async._core.batch.source import READ_A_TURN
from testvibe_async._core.batch.tasks import Course, Tasks
from testvibe_async._core.dispatch import CLOSE_SECONDS
from testvibe_async._core.polling import Iteration, Mailbox
from testvibe_async.errors import VibeError, WaitTimeoutError
from testvibe_async.ledger import RowState
from testvibe_async.models import Snapshot, Transition

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context

    from testvibe_async._core.batch.plan import Limits, Plan
    from testvibe_async._core.batch.source import EntrySource
    from testvibe_async._core.dispatch import Starter
    from testvibe_async.operations import Operation
    from testvibe_async.outcomes import BatchItem

SnapshotT = TypeVar("SnapshotT", bound=Snapshot)

MAX_FUTILE = 3
"""Number of features in a row that fail as every other would, at which dispatching stops."""


class Workers(Generic[SnapshotT]):
    """Carries the entries of one batch."""

    def __init__(self, limits: Limits, source: EntrySource, starter: Starter) -> None:
        """Create the workers; nothing is read or dispatched yet.

        Args:
            limits: The limits of this process.
            source: Reads the entries.
            starter: Sends dispatches.
        """
        self.source = source
        """Reads the entries."""
        self.entries: Sequence[Entry[SnapshotT]] = source.entries
        """The entries read so far."""
        self.plan: Plan = source.plan
        """The settings common to all entries; complete once the batch's rows are read."""
        self.completed: Mailbox[tuple[int, BatchItem[SnapshotT]]] = Mailbox()
        """The index and item of each entry, as it completes.

        Its reader is also woken when a task ends, and at the close.
        """
        self.mark: Callable[[BatchItem[SnapshotT]], BatchItem[SnapshotT]] = lambda item: item
        """Marks the item of an entry that has ended with the caller's verdict."""
        self._limits = limits
        self._poller = starter.parts.poller
        self._course = Course()
        self._tasks = Tasks(self._course, ended=self._note_task_ended)
        self._carrier: Carrier[SnapshotT] = Carrier(
            source, limits, starter, self._tasks, self._course
        )
        self._failures = 0
        self.slots: Slots = Slots(limits.max_in_flight, max_unread=limits.max_unread)
        """The slots of the operations in flight."""
        self._ready: deque[Entry[SnapshotT]] = deque()
        """The entries that wait for a worker."""
        self._workers = 0
        self._ended = 0
        """Number of entries that have ended."""
        self._futile = 0
        """Number of features in a row that ended as every other would: no key, or no service."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_over(self) -> bool:
        """True once each entry has ended, and no more are to come."""
        return (self.source.is_over or self._course.is_stopped) and self._ended == len(self.entries)

    def bind(self) -> None:
        """Bind the client to the running event loop; see `Transport.bind`."""
        self._poller.bind()

    async def start(self, context: Context) -> None:
        """Start to dispatch. All features are read first, unless a generator provides them.

        Args:
            context: The context in which the batch's tasks run.

        Raises:
            WaitTimeoutError: The time-out passed before the features were listed.
        """
        self._tasks.context = context
        self._course.begin(self._limits.timeout)
        limit = asyncio.timeout_at(self._course.deadline)
        try:
            async with limit:
                await self._read_all()
        except TimeoutError:
            if not limit.expired():  # The ledger's own, or that of the caller's generator.
                raise
            what, elapsed = "the batch's features were not listed", self._course.elapsed()
            raise WaitTimeoutError(what, ref=None, status=None, elapsed=elapsed) from None
        if self._course.deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(self._course.deadline, self._time_out)
        self._hire()

    async def _read_all(self) -> None:
        """Read the batch's rows, and all features, unless a generator provides them."""
        self.plan = await self.source.open()
        while not self.source.is_lazy and not self.source.is_over:
            await self._read()
            if len(self.entries) % READ_A_TURN == 0:
                await asyncio.sleep(0)

    async def _read(self) -> None:
        """Read one more entry."""
        try:
            entry = await self.source.read()
        except Exception:
            self.source.is_over = True  # Nothing waits for what a failed generator would yield.
            raise
        if entry is None:
            self._finish_changes()
        elif entry.has_ended(self.plan.attempts):
            self._complete(entry, None)
        elif self._course.is_stopped:
            self._end(entry, None)
        else:
            self._ready.append(entry)

    def _hire(self) -> None:
        """Start a worker, if there may be work for one more."""
        if self._workers < self._limits.max_in_flight and (self._ready or not self.source.is_over):
            self._workers += 1
            self._tasks.start(self._work())

    async def _work(self) -> None:
        """Carry entries one after the other."""
        try:
            # With an eager task factory, it would otherwise start inside the `_hire` of another.
            await asyncio.sleep(0)
            while await self._carry_next():
                pass
        finally:
            self._workers -= 1

    async def _carry_next(self) -> bool:
        """Carry the next entry, once a slot is free; return False if none is left."""
        # After a stop, nothing would end the wait for a slot.
        if not self._course.is_stopped and not self.slots.try_occupy():
            await self._tasks.withdrawable(self.slots.occupy())
        if self._course.is_stopped:
            return False
        try:
            if not await self._has_next():
                return False
            self._hire()
            await self._carry(self._ready.popleft())
        finally:
            self.slots.leave()
        return True

    async def _has_next(self) -> bool:
        """Read until an entry waits for a worker; return False if none is left."""
        while not self._ready and not self.source.is_over and not self._course.is_stopped:
            await self._tasks.withdrawable(self._read())
        return bool(self._ready) and not self._course.is_stopped

    async def _carry(self, entry: Entry[SnapshotT]) -> None:
        """Carry an entry to its end; at the close, one in flight keeps its last observed state."""
        error = await self._carrier.carry(entry)
        is_in_flight = error is None and entry.operation is not None and not entry.operation.done
        if not (self._course.is_closed and is_in_flight):
            self._end(entry, error)

    def _end(self, entry: Entry[SnapshotT], error: VibeError | None) -> None:
        """Note that the batch stops work on an entry, and stop the batch if it must."""
        item = self._complete(entry, error)
        self._futile = self._futile + 1 if is_futile(error) else 0
        self._failures += item.is_bad
        if error is not None and self._futile >= MAX_FUTILE:
            self.stop()
            if is_key_refused(error):
                self._carrier.waits.fail(error)
        elif 0 < self._limits.stop_on_failure <= self._failures:
            self.stop()

    def _complete(self, entry: Entry[SnapshotT], error: VibeError | None) -> BatchItem[SnapshotT]:
        item = entry.final = self.mark(entry.end(error))
        self._ended += 1
        self.slots.unread += 1
        self.completed.put((entry.index, item))
        return item

    def take(self) -> tuple[int, BatchItem[SnapshotT]] | None:
        """Return the index and item of the next entry that has completed; None if there is none."""
        found = self.completed.take()
        if found is not None:
            self.slots.note_read()
        return found

    def stop(self) -> None:
        """Stop dispatching: withdraw unsent dispatches, and end entries without a worker."""
        if self._course.is_stopped:
            return
        self._course.is_stopped = True
        if self.source.is_lazy:  # Otherwise the features that remain are read, and get an item.
            self.source.is_over = True
        # At the time-out, a dispatch that waits for a generation is left alone: it has the same
        # deadline, and ends with an error of its own.
        self._tasks.withdraw(spares_idle=self._course.is_timed_out)
        if self._ready:
            self._tasks.start(self._end_ready())

    async def _end_ready(self) -> None:
        """End the entries that wait for a worker; there may be many."""
        while self._ready:
            for _ in range(min(len(self._ready), READ_A_TURN)):
                self._end(self._ready.popleft(), None)
            await asyncio.sleep(0)

    def _time_out(self) -> None:
        """Stop dispatching. Each wait has the same deadline, and polls once more by itself."""
        self._course.is_timed_out = True
        self.stop()
        self._tasks.start(self._tasks.await_answers(CLOSE_SECONDS))

    async def close(self, *, within_seconds: float) -> None:
        """Stop dispatching, and end all waits. Cancels nothing at the service.

        A cancellation is delivered after that.

        Args:
            within_seconds: Seconds to wait for the answers to dispatches under way.
        """
        if self._timer is not None:
            self._timer.cancel()
        self._course.is_closed = True
        self.stop()
        self._carrier.waits.close()
        try:
            await self._tasks.close(within_seconds=within_seconds)
        finally:
            self._ready.clear()
            for entry in self.entries:
                # Its task was cancelled by other code, or the client was closed, before it was
                # sent.
                is_unsent = entry.state in {RowState.NOT_STARTED, RowState.FINISHED}
                is_unsent = is_unsent and not entry.is_sent
                if entry.final is None and is_unsent:
                    self._end(entry, None)
            self.completed.wake()
            self._finish_changes()

    def raise_failure(self) -> None:
        """Raise the failure of the first failed task, if any: an error or foreign cancellation."""
        self._tasks.raise_failure()

    @property
    def has_unseen_failure(self) -> bool:
        """True if a task has failed, and nobody was told."""
        return self._tasks.has_unseen_failure

    def changes(self) -> Iteration[tuple[Operation[SnapshotT], Transition[SnapshotT]]]:
        """Iterate over the transitions of all operations, including future ones."""
        self.slots.note_follower()
        operations = [each.operation for each in self.entries if each.operation is not None]
        changes = self._carrier.waits.changes(operations, at_end=self.raise_failure)
        self._finish_changes()
        return changes

    def _note_task_ended(self) -> None:
        self.completed.wake()
        self._finish_changes()

    def _finish_changes(self) -> None:
        """End the iterations over changes, once no more operations are to come."""
        if self._course.is_closed or self.is_over or self._tasks.is_failure:
            self._carrier.waits.finish_changes()
