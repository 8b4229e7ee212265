"""The workers of a batch: each carries one entry at a time to its end.

`_carry` dispatches an entry, or attaches to the operation that its rows have, waits for it, and
dispatches it again if it failed and attempts remain. Decides when the batch stops dispatching, and
how its entries then end. Lower layers decide what an answer means, and whether a dispatch may be
repeated.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from testvibe_async._core.batch.entry import Entry, is_futile, is_key_refused
from testvibe_async._core.batch.slots import Slots
from testvibe_async._core.batch.tasks import Tasks
from testvibe_async._core.batch.waits import Waits
from testvibe_async._core.dispatch import (
    CLOSE_SECONDS,
    NOTE_SECONDS,
    Record,
    TestsMadeError,
    noted,
    refute,
)
from testvibe_async._core.polling import Iteration, Mailbox
from testvibe_async.errors import (
    ClientClosedError,
    ContradictionError,
    NotSentError,
    RateLimitedError,
    VibeError,
    WaitTimeoutError,
)
from testvibe_async.events import logger
from testvibe_async.ledger import Row, RowState
from testvibe_async.models import Snapshot, Transition
from testvibe_async.operations import operation_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context

    from testvibe_async._core.batch.plan import Limits, Plan
    from testvibe_async._core.batch.source import EntrySource
    from testvibe_async._core.dispatch import Dispatch, Starter
    from testvibe_async.operations import Operation
    from testvibe_async.outcomes import BatchItem

SnapshotT = TypeVar("SnapshotT", bound=Snapshot)

READ_A_TURN = 100
"""Number of features that are read before other tasks get to run."""

DISPATCHES_AT_ONCE = 32
"""Maximum number of dispatches of a batch under way at once."""

REFUSED_SECONDS = 300.0
"""Seconds for which a rate-limited dispatch of a feature is retried."""

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
        self._starter = starter
        self._parts = starter.parts
        self._dispatcher = starter.dispatcher
        self._ledger = starter.dispatcher.ledger
        self._failures = 0
        self._tasks = Tasks(is_stopped=lambda: self._is_stopped, ended=self._note_task_ended)
        self.slots: Slots = Slots(limits.max_in_flight, max_unread=limits.max_unread)
        """The slots of the operations in flight."""
        self._gate = asyncio.Semaphore(DISPATCHES_AT_ONCE)
        self._ready: deque[Entry[SnapshotT]] = deque()
        """The entries that wait for a worker."""
        self._workers = 0
        self._waits: Waits[SnapshotT] = Waits(self._parts.poller)
        self._ended = 0
        """Number of entries that have ended."""
        self._futile = 0
        """Number of features in a row that ended as every other would: no key, or no service."""
        self._began = 0.0
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopped = False
        self._is_timed_out = False
        self._is_closed = False

    @property
    def is_over(self) -> bool:
        """True once each entry has ended, and no more are to come."""
        return (self.source.is_over or self._is_stopped) and self._ended == len(self.entries)

    def bind(self) -> None:
        """Bind the client to the running event loop; see `Transport.bind`."""
        self._parts.poller.bind()

    async def start(self, context: Context) -> None:
        """Start to dispatch. All features are read first, unless a generator provides them.

        Args:
            context: The context in which the batch's tasks run.

        Raises:
            WaitTimeoutError: The time-out passed before the features were listed.
        """
        loop = asyncio.get_running_loop()
        self._tasks.context = context
        self._began = loop.time()
        if self._limits.timeout is not None:
            self._deadline = self._began + self._limits.timeout
        limit = asyncio.timeout_at(self._deadline)
        try:
            async with limit:
                await self._read_all()
        except TimeoutError:
            if not limit.expired():  # The ledger's own, or that of the caller's generator.
                raise
            what = "the batch's features were not listed"
            raise WaitTimeoutError(what, ref=None, status=None, elapsed=self._elapsed()) from None
        if self._deadline is not None:
            self._timer = loop.call_at(self._deadline, self._time_out)
        self._hire()

    async def _read_all(self) -> None:
        """Read the batch's rows, and all features, unless a generator provides them."""
        self.plan = await self.source.open()
        while not self.source.is_lazy and not self.source.is_over:
            await self._read()
            if len(self.entries) % READ_A_TURN == 0:
                await asyncio.sleep(0)

    def _elapsed(self) -> float:
        return asyncio.get_running_loop().time() - self._began

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
        elif self._is_stopped:
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
        if not self._is_stopped and not self.slots.try_occupy():
            await self._tasks.withdrawable(self.slots.occupy())
        if self._is_stopped:
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
        while not self._ready and not self.source.is_over and not self._is_stopped:
            await self._tasks.withdrawable(self._read())
        return bool(self._ready) and not self._is_stopped

    async def _carry(self, entry: Entry[SnapshotT]) -> None:
        """Carry an entry to its end."""
        error: VibeError | None = None
        operation: Operation[SnapshotT] | None = None
        try:
            operation = await self._dispatch(entry)
            while operation is not None and await self._is_to_repeat(entry, operation):
                operation = await self._dispatch(entry)
        except ClientClosedError:
            raise  # Concerns no single feature: the caller of the batch must know.
        except TestsMadeError as made:
            await self._keep(entry, made.latest)
        except VibeError as caught:
            # If the next attempt is rate-limited, the attempt before it counts.
            is_last_attempt = isinstance(caught, RateLimitedError) and entry.outcomes
            kept = await self._keep_error(entry, caught)
            error = None if is_last_attempt else kept
        is_in_flight = operation is not None and error is None and not operation.done
        if self._is_closed and is_in_flight:
            return  # It was in flight at the close, and keeps its last observed state.
        self._end(entry, error)

    async def _keep(self, entry: Entry[SnapshotT], latest: Any) -> None:  # noqa: ANN401 - of the batch's kind
        """Keep the outcome of an operation that was not dispatched: the feature has tests."""
        entry.observe(latest)
        if self.plan.is_keyed:
            row = self._new_row(entry, RowState.FINISHED)
            row.outcome = latest
            await self._insert(entry, row)

    async def _keep_error(self, entry: Entry[SnapshotT], error: VibeError) -> VibeError:
        """Keep the reason why an entry has no outcome, for the readers of the ledger; return it."""
        row, is_keyed = entry.row, self.plan.is_keyed
        is_refuted = row is not None and refute(row, error, is_keyed=is_keyed)
        if is_keyed and row is None:
            row = self._new_row(entry, RowState.NOT_STARTED)
            row.error = error
            await self._insert(entry, row)
        elif is_keyed and row is not None and row.state is not RowState.FINISHED:
            row.error = row.error if is_refuted else error
            await noted(self._ledger, row)
        return row.error if is_refuted and row is not None and row.error is not None else error

    async def _insert(self, entry: Entry[SnapshotT], row: Row) -> None:
        """Keep a row for which no request was sent, unless another process has made the attempt."""
        try:
            async with asyncio.timeout(NOTE_SECONDS):
                entry.add(await self._ledger.insert(row))
        except Exception as error:  # noqa: BLE001 - the batch's own result stays
            logger.error("the ledger could not keep a result (%r)", error)

    def _new_row(self, entry: Entry[SnapshotT], state: RowState) -> Row:
        """Return a row of an entry for which no request was sent."""
        plan, job, row = self.plan, entry.job, entry.row
        return Row(
            server=plan.server,
            project=plan.project,
            key=plan.key,
            item=entry.item,
            number=1 if row is None else row.number + 1,
            kind=plan.kind,
            feature=job.feature,
            name=job.name,
            config=job.config,
            site_url=plan.site_url,
            state=state,
        )

    async def _is_to_repeat(self, entry: Entry[SnapshotT], operation: Operation[SnapshotT]) -> bool:
        """Wait for an operation, and return whether its feature is to be dispatched again.

        Raises:
            VibeError: The wait ended before the operation did.
        """
        entry.operation = operation
        error = await self._waits.end_of(operation, began=self._began, deadline=self._deadline)
        if error is not None:
            raise error
        outcome = operation.snapshot if operation.done else None
        if outcome is None:  # The batch was closed.
            return False
        row = entry.row
        assert row is not None
        if (problem := row.contradiction(outcome)) is not None:
            raise ContradictionError(problem, ref=operation.ref)
        if row.ref != operation.ref:  # Another call has had an answer that names another one.
            if row.outcome is None:
                return True  # That one is waited for.
            outcome = cast("SnapshotT", row.outcome)
        entry.observe(outcome)
        if row.outcome is None and row.note(RowState.FINISHED) and self.plan.is_keyed:
            row.outcome = outcome
            await noted(self._ledger, row)
        return entry.is_to_repeat(self.plan.attempts) and not self._is_stopped

    async def _dispatch(self, entry: Entry[SnapshotT]) -> Operation[SnapshotT] | None:
        """Dispatch an entry; return None if it was withdrawn before it was sent.

        Raises:
            VibeError: The entry can't be dispatched, or it is unknown whether it was.
        """
        row = entry.row
        if row is not None and row.state is RowState.DISPATCHED and row.ref is not None:
            return cast("Operation[SnapshotT]", operation_of(row.ref, self._parts, adopted=True))
        dispatch = entry.dispatch = self._dispatch_of(entry)
        try:
            sending = self._starter.start(
                dispatch, on_conflict=self.plan.on_conflict, deadline=self._deadline
            )
            operation = await self._tasks.withdrawable(sending, entry)
        except NotSentError:
            if not dispatch.is_withdrawn:
                raise
            operation = None
        finally:
            if not dispatch.is_sent:  # A sent dispatch is kept: it may be answered after a stop.
                entry.dispatch = None
        return self._withdrawn(dispatch) if operation is None else operation

    def _withdrawn(self, dispatch: Dispatch[Any]) -> Operation[SnapshotT] | None:
        """Return the operation of a dispatch that was withdrawn; None if nothing was sent.

        Raises:
            DispatchUnknownError: It was sent, and its answer has not come.
            VibeError: The batch timed out in an outage, which is the reason.
        """
        if (ref := dispatch.record.ref) is not None:  # Its ledger was about to store it.
            return cast("Operation[SnapshotT]", operation_of(ref, self._parts))
        if dispatch.is_sent:
            raise dispatch.unknown("the batch ended before its answer came")
        outage = self._parts.transport.availability.error if self._is_timed_out else None
        if outage is not None:
            raise outage
        return None

    def _dispatch_of(self, entry: Entry[SnapshotT]) -> Dispatch[Any]:
        """Return a dispatch of an entry, which reports its rows to the entry."""
        plan, job, row = self.plan, entry.job, entry.row
        is_over = row is not None and row.state is RowState.FINISHED
        record = Record(
            ledger=self._ledger,
            key=plan.key,
            is_keyed=plan.is_keyed,
            item=entry.item,
            row=None if is_over else row,
            previous=row if is_over else None,
            on_row=entry.add,
        )
        return self._dispatcher.new(
            plan.kind,
            record,
            project=plan.project,
            parts=self._parts,
            feature=job.feature,
            name=job.name,
            config=job.config,
            site_url=plan.site_url,
            missing_only=plan.missing_only,
            patience=REFUSED_SECONDS,
            # Else the unknown result stops the batch at once.
            is_persistent=self._limits.stop_on_failure != 1,
            gate=self._gate,
        )

    def _end(self, entry: Entry[SnapshotT], error: VibeError | None) -> None:
        """Note that the batch stops work on an entry, and stop the batch if it must."""
        item = self._complete(entry, error)
        self._futile = self._futile + 1 if is_futile(error) else 0
        self._failures += item.is_bad
        if error is not None and self._futile >= MAX_FUTILE:
            self.stop()
            if is_key_refused(error):
                self._waits.fail(error)
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
        if self._is_stopped:
            return
        self._is_stopped = True
        if self.source.is_lazy:  # Otherwise the features that remain are read, and get an item.
            self.source.is_over = True
        # At the time-out, a dispatch that waits for a generation is left alone: it has the same
        # deadline, and ends with an error of its own.
        self._tasks.withdraw(spares_idle=self._is_timed_out)
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
        self._is_timed_out = True
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
        self._is_closed = True
        self.stop()
        self._waits.close()
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
        changes = self._waits.changes(operations, at_end=self.raise_failure)
        self._finish_changes()
        return changes

    def _note_task_ended(self) -> None:
        self.completed.wake()
        self._finish_changes()

    def _finish_changes(self) -> None:
        """End the iterations over changes, once no more operations are to come."""
        if self._is_closed or self.is_over or self._tasks.is_failure:
            self._waits.finish_changes()
