"""Which feature of a batch is dispatched next, and what follows its end.

It dispatches with a few tasks, keeps the batch's journal, and makes an item of each feature. What
is in flight is waited for in `in_flight`; the caller of a batch sees `batch`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from attrs import evolve

from testvibe_async._batch.in_flight import InFlight
from testvibe_async._batch.job_queue import JobQueue
from testvibe_async._batch.reconciliation import Reconciliation
from testvibe_async._batch.records import Records
from testvibe_async._batch.sending import Sending
from testvibe_async._batch.tasks import Tasks
from testvibe_async._journal import ItemState
from testvibe_async._polling import Mailbox
from testvibe_async.errors import RateLimitedError, VibeError, WaitTimeoutError
from testvibe_async.models import Generation, Run
from testvibe_async.outcomes import BatchItem, BatchSummary, Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextvars import Context

    from testvibe_async._batch.reconciliation import Resumption
    from testvibe_async._dispatch import Job, JobSource
    from testvibe_async._http import Submission
    from testvibe_async._journal import PlannedJobs, Restored
    from testvibe_async._polling import ManyTransitions, PolledOperation, Poller
    from testvibe_async.intents import Intent, Recorder
    from testvibe_async.operations import Operation
    from testvibe_async.refs import Ref

__all__ = ["Scheduler"]

SnapshotT = TypeVar("SnapshotT", bound=Run | Generation)

CLOSE_SECONDS = 10.0
"""How long a batch that ends early waits for the answers to dispatches under way."""

RESTORED_A_TURN = 100
"""How many features are read, and restored, before other tasks get to run."""

REFUSED_SECONDS = 300.0
"""For how long a feature is sent again that the service refuses as one too many."""

DISPATCHES_AT_ONCE = 32
"""How many dispatches of a batch may be under way at once."""


class Scheduler(Generic[SnapshotT]):
    """Dispatches the features of a batch as others end, and makes the item of each."""

    def __init__(  # noqa: PLR0913 - each by name
        self,
        source: JobSource | PlannedJobs,
        dispatch: Callable[
            [Job, float | None, Submission, Recorder | None], Awaitable[Operation[SnapshotT]]
        ],
        *,
        kind: Literal["run", "generation"],
        attach: Callable[[Ref], Operation[SnapshotT]],
        poller: Poller,
        max_in_flight: int,
        timeout: float | None,
        stop_on_failure: bool,
        attempts: int,
        resumption: Resumption | None,
    ) -> None:
        """Make it; nothing is read or dispatched yet.

        Args:
            source: What has the features.
            dispatch: Dispatches one.
            kind: What it dispatches.
            attach: Makes the operation of a ref.
            poller: Polls what is in flight.
            max_in_flight: How many may be in flight at once.
            timeout: Seconds after which nothing more is dispatched or waited for; None for never.
            stop_on_failure: Whether nothing more is dispatched once one did not succeed.
            attempts: How often a feature may run in total.
            resumption: How it goes on with a journal; None for no journal.
        """
        self.records: Records[SnapshotT] = Records()
        self.completed: Mailbox[tuple[int, BatchItem[SnapshotT]]] = Mailbox()
        """The place and item of each as it completes. It is woken when a task ends, and at the
        close."""
        self._reconciliation = Reconciliation(resumption, may_dispatch=self._may_dispatch)
        self._queue = JobQueue(
            source,
            self._take_in,
            max_in_flight=max_in_flight,
            reconciliation=self._reconciliation,
        )
        self._tasks = Tasks(is_stopped=lambda: self._queue.is_stopped, ended=self._note_task_ended)
        self._rows = None if resumption is None else resumption.rows
        self._in_flight: InFlight[SnapshotT] = InFlight(
            poller, self.records, on_end=self._end, elapsed=self._elapsed
        )
        self._sending = Sending(
            dispatch,
            kind=kind,
            attach=attach,
            records=self.records,
            reconciliation=self._reconciliation,
            rows=self._rows,
        )
        self._kind = kind
        self._attach = attach
        self._stop_on_failure = stop_on_failure
        self.attempts: int = attempts
        """How often a feature may run in total."""
        self._timeout = timeout
        self._task_count = min(max_in_flight, DISPATCHES_AT_ONCE)
        self._dispatching = 0
        """How many tasks dispatch."""
        self._reconcilers: dict[int, asyncio.Task[None]] = {}
        """The tasks that reconcile, until they know what became of a dispatch."""
        self._refused_at: dict[int, float] = {}
        """When a feature was first refused as one too many."""
        self._began = 0.0
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def is_read(self) -> bool:
        """Whether no more features are to come."""
        return self._queue.is_read

    async def start(self, context: Context) -> None:
        """Start to dispatch. All features are read first, unless they are a generator's.

        Args:
            context: What its tasks run in.

        Raises:
            WaitTimeoutError: The time-out came before the features were listed.
        """
        loop = asyncio.get_running_loop()
        self._tasks.context = context
        self._began = loop.time()
        if self._timeout is not None:
            self._deadline = self._began + self._timeout
        if not self._queue.is_lazy:
            await self._read_all()
            self._task_count = min(self._task_count, len(self.records.jobs))
        if self._deadline is not None:
            self._timer = loop.call_at(self._deadline, self._time_out)
        for _ in range(self._task_count):
            self._start_dispatching()

    async def _read_all(self) -> None:
        """Read all features, so that it is known how many there are.

        Raises:
            WaitTimeoutError: The time-out came before.
        """
        try:
            async with asyncio.timeout_at(self._deadline):
                while not self._queue.is_read:
                    await self._queue.read()
                    if len(self.records.jobs) % RESTORED_A_TURN == 0:
                        await asyncio.sleep(0)
        except TimeoutError:
            what = "the project's features were not listed"
            raise WaitTimeoutError(what, ref=None, status=None, elapsed=self._elapsed()) from None

    def _elapsed(self) -> float:
        """Return how many seconds ago it began."""
        return asyncio.get_running_loop().time() - self._began

    def summary(self) -> BatchSummary:
        """Count the verdicts at this moment."""
        if self._is_closed:
            return BatchSummary.of(self.items())
        return self.records.summary(self._in_flight.count)

    def items(self) -> list[BatchItem[SnapshotT]]:
        """Return what is known of each feature at this moment, in the order asked."""
        return self.records.items(is_stopped=self._queue.is_stopped)

    def changes(self) -> ManyTransitions[Operation[SnapshotT], SnapshotT]:
        """Iterate over the transitions of all operations, with those that are to come."""
        transitions = self._in_flight.changes()
        self._finish_changes()
        return transitions

    def raise_failure(self) -> None:
        """Raise why the first task failed that did: its error, or somebody else's cancellation."""
        self._tasks.raise_failure()

    def _stop(self, *, is_timed_out: bool = False) -> None:
        """Dispatch no more: withdraw what was not sent, and free the tasks that wait for room.

        Args:
            is_timed_out: Whether the reason is the time-out. A dispatch that waits for a generation
                is then left alone: it has the same deadline, and ends with an error of its own.
        """
        self._queue.stop()
        self._reconciliation.note_progress()
        while self._reconcilers:
            place, reconciler = self._reconcilers.popitem()
            reconciler.cancel()
            assert self._rows is not None
            what = "the batch ended before it was reconciled"
            self._finish(place, self._rows.unknown(place, what))
        self._sending.withdraw(is_timed_out=is_timed_out)
        while self._queue.waiting:
            self._finish(self._queue.waiting.popleft(), error=None)
        # Each task waits for room at most once, and must wake to see that nothing waits any more.
        for _ in range(self._tasks.count):
            self._queue.room.release()

    async def close(self) -> None:
        """Dispatch no more, and wait for nothing any more. Cancels nothing at the service.

        Dispatches that are under way get up to 10 s for their answers. A cancellation is delivered
        after that.
        """
        if self._timer is not None:
            self._timer.cancel()
        self._stop()
        try:
            await self._tasks.close(within_seconds=CLOSE_SECONDS)
        finally:
            self._is_closed = True
            self._in_flight.close()
            self.completed.wake()
            self._finish_changes()

    def _time_out(self) -> None:
        """Dispatch no more, and see once more what is in flight before it is given up."""
        operations = self._in_flight.time_out()
        self._stop(is_timed_out=True)
        self._tasks.start(self._give_up(operations))

    async def _give_up(self, operations: list[PolledOperation[Any]]) -> None:
        await self._in_flight.give_up(operations)
        await self._sending.give_up(within_seconds=CLOSE_SECONDS)

    def _take_in(self, job: Job | None) -> None:
        """Take in what was read from the source; None for its end."""
        if job is None:
            self._finish_changes()
            return
        place = len(self.records.jobs)
        self.records.jobs.append(job)
        restored = None if self._rows is None else self._rows.restore(place)
        if restored is not None and self._restore(place, restored):
            return
        if self._queue.is_stopped:
            self._finish(place, error=None)
        else:
            self._queue.waiting.append(place)

    def _restore(self, place: int, restored: Restored) -> bool:
        """Go on with one where its journal left it; False where it is still to be dispatched."""
        self.records.earlier[place].extend(cast("list[SnapshotT]", restored.earlier))
        if restored.generation is not None:
            self.records.generations[place] = restored.generation
        if restored.state is ItemState.PLANNED:
            return False
        if restored.state is ItemState.DISPATCHED:
            assert restored.ref is not None
            self._tasks.start(self._go_on(place, self._attach(restored.ref)))
        elif restored.state is ItemState.INTENDED:
            assert restored.intent is not None
            self._reconciliation.begin(place)
            self._reconcilers[place] = self._tasks.start(self._reconcile(place, restored.intent))
        else:
            item = self.records.new_item(place, restored.error)
            outcome = cast("SnapshotT | None", restored.outcome)
            self._finish_with(place, evolve(item, ref=restored.ref, outcome=outcome))
        return True

    async def _go_on(self, place: int, operation: Operation[SnapshotT]) -> None:
        """Wait for what an earlier process dispatched."""
        await self._queue.room.acquire()
        self._in_flight.add(place, operation)

    async def _reconcile(self, place: int, intent: Intent) -> None:
        """Find out what became of a dispatch that a crash left open, and go on with it."""
        assert self._rows is not None
        try:
            operation = await self._reconciliation.operation(place, intent)
        except VibeError as error:
            self._reconcilers.pop(place, None)
            await self._queue.room.acquire()  # `_end` gives it back.
            self._end(place, error)
            return
        except asyncio.CancelledError:
            if place in self._reconcilers:  # Else the batch was stopped, and has said so.
                raise
            return
        self._reconcilers.pop(place, None)
        if operation is None:
            self._rows.note_nothing(place, intent)
            self._requeue(place)
            return
        self._rows.note_result(place, intent, operation.ref)
        if operation.ref.kind == self._kind:
            await self._go_on(place, operation)
        else:
            # A generation of a run's tests: the run is still to be dispatched, and waits for it.
            self.records.generations[place] = operation.ref
            self._requeue(place)

    def _may_dispatch(self) -> bool:
        """Say whether another feature may still be dispatched."""
        queue = self._queue
        is_under_way = queue.waiting or self.records.submissions or self._reconciliation.is_open
        return not queue.is_stopped and (not queue.is_read or bool(is_under_way))

    def _start_dispatching(self) -> None:
        self._dispatching += 1
        self._tasks.start(self._keep_dispatching())

    async def _keep_dispatching(self) -> None:
        """Dispatch what waits, whenever fewer than `max_in_flight` are in flight."""
        try:
            while (place := await self._queue.next()) is not None:
                await self._dispatch_one(place)
        finally:
            self._dispatching -= 1

    async def _dispatch_one(self, place: int) -> None:
        """Dispatch one, again where its last attempt failed."""
        failed = self.records.operations.pop(place, None)
        if failed is not None and failed.outcome is not None:
            earlier = self.records.earlier[place]
            earlier.append(failed.outcome)
            if self._rows is not None:
                self._rows.note_attempt(place, len(earlier), failed.outcome)
        try:
            operation = await self._sending.dispatch(place, deadline=self._deadline)
        except RateLimitedError as error:
            self._put_off(place, failed, error)
        except VibeError as error:
            self._end(place, error)
        else:
            self._note_started(place, operation, failed)

    def _put_off(
        self, place: int, failed: Operation[SnapshotT] | None, error: RateLimitedError
    ) -> None:
        """Have one sent again that was refused as one too many, unless that lasts for long."""
        if not self._is_given_up(place):
            self._take_back(place, failed)
            self._queue.waiting.appendleft(place)
            self._queue.room.release()
        elif failed is not None:
            self._leave_failed(place, failed)
        else:
            self._end(place, error)

    def _note_started(
        self,
        place: int,
        operation: Operation[SnapshotT] | None,
        failed: Operation[SnapshotT] | None,
    ) -> None:
        """Wait for what was dispatched; where that was withdrawn, the last attempt counts."""
        self._refused_at.pop(place, None)
        if operation is not None:
            self._in_flight.add(place, operation)
        elif failed is not None:
            self._leave_failed(place, failed)
        else:
            self._end(place)

    def _leave_failed(self, place: int, failed: Operation[SnapshotT]) -> None:
        """Finish one whose next attempt was not dispatched: it failed, and its journal goes on."""
        self._take_back(place, failed)
        self._queue.room.release()
        self._finish_with(place, self.records.new_item(place, None))

    def _take_back(self, place: int, failed: Operation[SnapshotT] | None) -> None:
        """Take an attempt that failed for the last one, as no other was dispatched."""
        if failed is not None:
            self.records.operations[place] = failed
            self.records.earlier[place].pop()

    def _is_given_up(self, place: int) -> bool:
        """Say whether one was refused as one too many for so long that it is not sent again.

        The client sends no faster than the service takes it, but many wait for the same room.
        """
        now = asyncio.get_running_loop().time()
        refused_for = now - self._refused_at.setdefault(place, now)
        return self._queue.is_stopped or refused_for > REFUSED_SECONDS

    def _end(self, place: int, error: VibeError | None = None) -> None:
        """Finish one, or run it again, and make room for the next."""
        self._queue.room.release()
        if error is None and self._runs_again(place):
            return
        verdict = self._finish(place, error)
        if self._stop_on_failure and verdict in {Verdict.FAILED, Verdict.ERROR, Verdict.UNKNOWN}:
            self._stop()

    def _runs_again(self, place: int) -> bool:
        """Plan another attempt for an operation that failed, if there is to be one."""
        operation = self.records.operations.get(place)
        outcome = None if operation is None else operation.outcome
        is_last = len(self.records.earlier[place]) + 1 >= self.attempts
        if outcome is None or not outcome.is_failure or is_last or self._queue.is_stopped:
            return False
        self._requeue(place)  # With its outcome, until the next attempt starts.
        return True

    def _requeue(self, place: int) -> None:
        """Have one dispatched, or dispatched again."""
        self._queue.waiting.append(place)
        # The tasks end when nothing waits, so there may be none any more.
        if self._dispatching < self._task_count:
            self._start_dispatching()

    def _finish(self, place: int, error: VibeError | None) -> Verdict:
        """Make the item of one, for good."""
        item = self.records.new_item(place, error)
        if self._rows is not None:
            self._rows.note_end(place, item)
        return self._finish_with(place, item)

    def _finish_with(self, place: int, item: BatchItem[SnapshotT]) -> Verdict:
        self.records.finish(place, item)
        self.completed.put((place, item))
        self._finish_changes()
        return item.verdict

    def _note_task_ended(self) -> None:
        self.completed.wake()
        self._finish_changes()

    def _finish_changes(self) -> None:
        """End the iterations over changes, once no operation is to come."""
        is_over = self.is_read and len(self.records.finished) == len(self.records.jobs)
        if self._is_closed or is_over or self._tasks.is_failure:
            self._in_flight.finish_changes()
