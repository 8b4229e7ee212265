"""The workers of a batch: each carries one planned entry at a time to its end.

An entry that was left open has a task of its own: `_resume` recovers it first. `_carry` dispatches
an entry, waits for it, and dispatches it again if it failed and attempts remain.
Decides when the batch stops dispatching, and how its entries then end. Lower layers decide what an
answer means, and whether a dispatch may be repeated.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from testvibe_async._batch.entry import (
    Entry,
    EntryState,
    is_futile,
    is_key_refused,
    unknown_error,
)
from testvibe_async._batch.recovery import Gate, Recovery
from testvibe_async._batch.store import EntryRecorder
from testvibe_async._batch.tasks import Tasks
from testvibe_async._batch.waits import Waits
from testvibe_async._dispatch import CLOSE_SECONDS, DISPATCHES, TestsMadeError, knowing
from testvibe_async._polling import Iteration, Mailbox
from testvibe_async._wire import KINDS
from testvibe_async.errors import (
    ClientClosedError,
    DispatchUnknownError,
    NotSentError,
    RateLimitedError,
    VibeError,
    WaitTimeoutError,
)
from testvibe_async.models import Snapshot, Transition
from testvibe_async.operations import operation_of
from testvibe_async.refs import GenerationRef

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context

    from testvibe_async._batch.plan import Limits, Plan
    from testvibe_async._batch.store import EntrySource, Store
    from testvibe_async._dispatch import Dispatch, Starter
    from testvibe_async.intents import Intent
    from testvibe_async.operations import Operation
    from testvibe_async.outcomes import BatchItem
    from testvibe_async.refs import Ref

SnapshotT = TypeVar("SnapshotT", bound=Snapshot)

READ_A_TURN = 100
"""Number of features that are read before other tasks get to run."""

DISPATCHES_AT_ONCE = 32
"""Maximum number of dispatches of a batch under way at once."""

REFUSED_SECONDS = 300.0
"""Seconds for which a rate-limited dispatch of a feature is retried."""

LAZY_SECONDS = 600.0
"""Seconds to wait for a generator's next feature, whose dispatch would prove that another did not
start: the generator itself may wait for the result of that one."""

MAX_FUTILE = 3
"""Number of features in a row that fail as every other would, at which dispatching stops."""


class Workers(Generic[SnapshotT]):
    """Carries the entries of one batch."""

    def __init__(
        self,
        plan: Plan,
        limits: Limits,
        source: EntrySource,
        starter: Starter,
        *,
        store: Store | None,
    ) -> None:
        """Create the workers; nothing is read or dispatched yet.

        Args:
            plan: The settings common to all entries.
            limits: The limits of this process.
            source: Reads the entries.
            starter: Sends dispatches, and reconciles those that an earlier process left open.
            store: Saves the entries; None to save nothing.
        """
        self.plan: Plan = plan
        """The settings common to all entries."""
        self.source = source
        """Reads the entries."""
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
        self._store = store
        self._failures = 0
        self._known = knowing(self._dispatched)
        self._recovery = Recovery(
            self._dispatcher,
            self._attach,
            self._known,
            may_dispatch=self._may_dispatch,
            patience=LAZY_SECONDS if source.is_lazy else None,
        )
        self._tasks = Tasks(is_stopped=lambda: self._is_stopped, ended=self._note_task_ended)
        self._slots = asyncio.Semaphore(limits.max_in_flight)
        self._gate = Gate(DISPATCHES_AT_ONCE, self._recovery, is_held=self._is_needed_as_proof)
        self._ready: deque[Entry[SnapshotT]] = deque()
        """The entries that wait for a worker."""
        self._workers = 0
        self._waits: Waits[SnapshotT] = Waits(self._parts.poller)
        self._tests: dict[int | str, GenerationRef] = {}
        """The generation of the missing tests of each feature, which serves all of its entries."""
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
    def entries(self) -> Sequence[Entry[SnapshotT]]:
        """The entries read so far."""
        return self.source.entries

    @property
    def is_over(self) -> bool:
        """True once each entry has ended, and no more are to come."""
        return (self.source.is_over or self._is_stopped) and self._ended == len(self.entries)

    async def start(self, context: Context) -> None:
        """Start to dispatch. All features are read first, unless a generator provides them.

        Args:
            context: The context in which the batch's tasks run.

        Raises:
            WaitTimeoutError: The time-out passed before the features were listed.
            ClientClosedError: The client is closed.
            ConfigError: The client belongs to another event loop.
        """
        self._parts.poller.bind()
        loop = asyncio.get_running_loop()
        self._tasks.context = context
        self._began = loop.time()
        if self._limits.timeout is not None:
            self._deadline = self._began + self._limits.timeout
        if not self.source.is_lazy:
            await self._read_all()
        if self._deadline is not None:
            self._timer = loop.call_at(self._deadline, self._time_out)
        self._hire()

    async def _read_all(self) -> None:
        try:
            async with asyncio.timeout_at(self._deadline):
                while not self.source.is_over:
                    await self._read()
                    if len(self.entries) % READ_A_TURN == 0:
                        await asyncio.sleep(0)
        except TimeoutError:
            what = "the batch's features were not listed"
            raise WaitTimeoutError(what, ref=None, status=None, elapsed=self._elapsed()) from None

    def _elapsed(self) -> float:
        return asyncio.get_running_loop().time() - self._began

    async def _read(self) -> None:
        """Read one more entry; an operation left in flight by an earlier process resumes now."""
        try:
            entry = await self.source.read()
        except Exception:
            self.source.is_over = True  # Nothing waits for what a failed generator would yield.
            raise
        if entry is None:
            self._recovery.note_progress()  # No later feature will prove anything.
            self._finish_changes()
            return
        if entry.generation is not None:
            self._tests[entry.job.feature] = entry.generation
        if not entry.is_left:
            self._complete_entry(entry, entry.error)
        elif entry.state is EntryState.PLANNED and not self._is_stopped:
            self._ready.append(entry)
        elif entry.state is EntryState.PLANNED:
            self._end(entry, None)
        else:
            if entry.state is EntryState.INTENDED:
                self._recovery.begin(entry)
            self._tasks.start(self._resume(entry))

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
            # No slot is held while the next is read: what is in flight already may need it.
            while await self._has_next():
                self._hire()
                async with self._slots:
                    if self._ready:
                        await self._carry(self._ready.popleft())
        finally:
            self._workers -= 1

    async def _has_next(self) -> bool:
        """Read until an entry waits for a worker; return False if none is left."""
        while not self._ready and not self.source.is_over and not self._is_stopped:
            await self._tasks.withdrawable(self._read())
        return bool(self._ready) and not self._is_stopped

    async def _resume(self, entry: Entry[SnapshotT]) -> None:
        """Resume an entry that was dispatched by an earlier process, or whose answer was lost."""
        try:
            operation = await self._recover(entry)
        except ClientClosedError:
            raise
        except VibeError as error:
            self._end(entry, error)
            return
        async with self._slots:
            await self._carry(entry, operation)

    async def _recover(self, entry: Entry[SnapshotT]) -> Operation[SnapshotT] | None:
        """Return the operation that an earlier dispatch left in flight; None if there is none.

        Raises:
            VibeError: It is unknown.
        """
        if entry.state is EntryState.DISPATCHED:
            assert entry.ref is not None
            return self._attach(entry.ref)
        found: Operation[Any] | None = None
        if not self._is_stopped:
            found = await self._tasks.withdrawable(self._recovery.operation(entry))
        if found is None and self._is_stopped:
            what = "the batch ended before it was reconciled"
            raise entry.error or unknown_error(entry.job, entry.intent, what)
        if found is None:
            entry.withdraw()
        else:
            entry.start(found.ref)
        self._save(entry)
        return found if found is not None and found.ref.kind == self.plan.kind else None

    def _attach(self, ref: Ref) -> Operation[Any]:
        """Return a handle on an operation."""
        return operation_of(ref, self._parts)

    async def _carry(
        self, entry: Entry[SnapshotT], operation: Operation[SnapshotT] | None = None
    ) -> None:
        """Carry an entry to its end, in a slot.

        Args:
            entry: The entry.
            operation: The operation already in flight; None to dispatch.
        """
        error: VibeError | None = None
        if operation is None and len(entry.outcomes) >= self.plan.attempts:
            # An earlier batch was to make more attempts than this one.
            entry.end_attempts()
            self._end(entry, None)
            return
        try:
            operation = operation or await self._dispatch(entry)
            while operation is not None and await self._is_to_repeat(entry, operation):
                operation = await self._dispatch(entry)
        except ClientClosedError:
            raise  # Concerns no single feature: the caller of the batch must know.
        except TestsMadeError as made:
            latest: Any = made.latest
            entry.observe(latest, is_last=True)
        except VibeError as caught:
            if isinstance(caught, DispatchUnknownError) and self._can_recover(entry, caught):
                entry.lose(caught)
                self._recovery.begin(entry)
                self._tasks.start(self._resume(entry))
                return
            # If the next attempt is rate-limited, the attempt before it counts.
            is_last_attempt = isinstance(caught, RateLimitedError) and entry.outcomes
            error = None if is_last_attempt else caught
        if self._is_closed and operation is not None and error is None and entry.is_left:
            return  # It was in flight at the close, and keeps its last observed state.
        self._end(entry, error)

    def _can_recover(self, entry: Entry[SnapshotT], error: DispatchUnknownError) -> bool:
        """Return whether to find out, once, what a lost answer started."""
        if self._is_stopped or entry.is_recovered:
            return False
        if self._dispatcher.hold.is_given_up:
            return False
        if self._limits.stop_on_failure:  # The unknown result stops the batch.
            return False
        kind = self.plan.kind if error.intent is None else error.intent.kind
        is_provable = not KINDS[kind].ids_grow or self._may_dispatch()
        return error.reason in {"absent", "unseen"} and is_provable

    async def _is_to_repeat(self, entry: Entry[SnapshotT], operation: Operation[SnapshotT]) -> bool:
        """Wait for an operation, and return whether its feature is to be dispatched again.

        Raises:
            VibeError: The wait ended before the operation did.
        """
        entry.operation = operation
        error = await self._waits.end_of(operation, began=self._began, deadline=self._deadline)
        if error is not None:
            raise error
        outcome = operation.outcome
        if outcome is None:  # The batch was closed.
            return False
        is_last = len(entry.outcomes) + 1 >= self.plan.attempts
        is_repeated = outcome.is_failure and not is_last
        entry.observe(outcome, is_last=not is_repeated)
        if is_repeated:  # Otherwise `_end` saves it.
            self._save(entry)
        return is_repeated and not self._is_stopped

    async def _dispatch(self, entry: Entry[SnapshotT]) -> Operation[SnapshotT] | None:
        """Dispatch an entry; return None if it was withdrawn before it was sent.

        Raises:
            VibeError: The entry can't be dispatched, or it is unknown whether it was.
        """
        if self._is_stopped:
            return None
        dispatch = entry.dispatch = self._dispatch_of(entry)
        operation: Operation[Any] | None = None
        try:
            sending = self._starter.start(
                dispatch, on_conflict=self.plan.on_conflict, deadline=self._deadline
            )
            operation = await self._tasks.withdrawable(sending, entry)
        except (NotSentError, WaitTimeoutError) as error:
            if isinstance(error, WaitTimeoutError) or not dispatch.is_withdrawn:
                raise
        finally:
            self._recovery.note_progress()
            if not dispatch.is_written:  # A sent dispatch is kept: it may be answered after a stop.
                entry.dispatch = None
        if operation is None and dispatch.ref is not None and dispatch.ref.kind == self.plan.kind:
            # It was withdrawn while its recorder stored the operation.
            operation = self._attach(dispatch.ref)
        if operation is None and dispatch.is_written:
            raise dispatch.unknown("the batch ended before its answer came")
        outage = self._dispatcher.hold.error if self._is_timed_out else None
        if operation is None and dispatch.ref is None and outage is not None:
            raise outage
        return operation

    def _dispatch_of(self, entry: Entry[SnapshotT]) -> Dispatch[Any]:
        """Return a dispatch of an entry, which reports to the entry and its store."""
        recorder = None if self._store is None else EntryRecorder(entry, self._store)
        return DISPATCHES[self.plan.kind](
            parts=self._parts,
            project=self.plan.project,
            feature=entry.job.feature,
            config=entry.job.config,
            site_url=self.plan.site_url,
            missing_only=self.plan.missing_only,
            generation=lambda: entry.generation or self._tests.get(entry.job.feature),
            recorders=self._dispatcher.recorders_with(recorder),
            patience=REFUSED_SECONDS,
            gate=self._gate,
            known=self._known,
            on_ref=partial(self._note_started, entry),
            on_accepted=partial(self._note_accepted, entry),
        )

    def _note_started(self, entry: Entry[SnapshotT], ref: Ref) -> None:
        """Save the operation of an entry, even if its answer came after the batch ended."""
        entry.start(ref)
        self._save(entry)
        if ref.kind == self.plan.kind:
            self._recovery.note_dispatched()
        else:
            assert isinstance(ref, GenerationRef)
            self._tests[entry.job.feature] = ref

    def _note_accepted(self, entry: Entry[SnapshotT], intent: Intent) -> None:
        """Save that an entry's dispatch was accepted, so that no process sends it again."""
        entry.accept(intent)
        self._save(entry)

    def _dispatched(self) -> list[object]:
        """Return all dispatches of the batch, by this process and earlier ones."""
        entries = self.entries if self._store is None else self._store.entries
        return [each for entry in entries for each in entry.dispatches()]

    def _may_dispatch(self) -> bool:
        """Return whether another feature may still be dispatched by this process."""
        is_under_way = self._ready or self._tasks.is_dispatching
        is_more_to_come = not self.source.is_over or is_under_way or self._recovery.is_open
        return not self._is_stopped and bool(is_more_to_come)

    def _is_needed_as_proof(self) -> bool:
        """Return whether the last dispatch is to wait, to prove later that others did not start."""
        if self._ready or not self.source.is_over or self._is_stopped:
            return False
        if not KINDS[self.plan.kind].ids_grow:
            return False
        return self._recovery.is_open or self._tasks.is_reconciling

    def _save(self, entry: Entry[SnapshotT]) -> None:
        if self._store is not None:
            self._store.save(entry)

    def _end(self, entry: Entry[SnapshotT], error: VibeError | None) -> None:
        """Note that the batch stops work on an entry, and stop the batch if it must."""
        item = self._complete_entry(entry, error)
        self._save(entry)
        self._futile = self._futile + 1 if is_futile(error) else 0
        self._failures += item.is_bad
        self._recovery.note_progress()  # It may have been the last that could prove anything.
        if error is not None and self._futile >= MAX_FUTILE:
            self.stop()
            if is_key_refused(error):
                self._waits.fail(error)
        elif 0 < self._limits.stop_on_failure <= self._failures:
            self.stop()

    def _complete_entry(
        self, entry: Entry[SnapshotT], error: VibeError | None
    ) -> BatchItem[SnapshotT]:
        item = entry.final = self.mark(entry.end(error))
        self._ended += 1
        self.completed.put((entry.index, item))
        return item

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
        # Each task waits for a slot at most once, and must wake to find that no work is left.
        for _ in range(self._tasks.count):
            self._slots.release()
            self._gate.release()
        self._recovery.note_progress()

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
                entry.is_carried = False
                # Its task was cancelled by other code, or the client was closed, before it was
                # sent.
                is_unsent = entry.state is EntryState.PLANNED and not entry.is_written
                if entry.final is None and is_unsent:
                    self._end(entry, None)
            self.completed.wake()
            self._finish_changes()

    def raise_failure(self) -> None:
        """Raise the failure of the first failed task, if any: an error or foreign cancellation."""
        self._tasks.raise_failure()

    def changes(self) -> Iteration[tuple[Operation[SnapshotT], Transition[SnapshotT]]]:
        """Iterate over the transitions of all operations, including future ones."""
        operations = [each.operation for each in self.entries if each.operation is not None]
        changes = self._waits.changes(operations)
        self._finish_changes()
        return changes

    def _note_task_ended(self) -> None:
        self.completed.wake()
        self._finish_changes()

    def _finish_changes(self) -> None:
        """End the iterations over changes, once no more operations are to come."""
        if self._is_closed or self.is_over or self._tasks.is_failure:
            self._waits.finish_changes()
