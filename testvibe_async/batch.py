"""Batches: many dispatches at once, each result as it comes.

Decides how many operations are in flight, and makes one item for each feature asked for, whether it
was dispatched or not. It dispatches with a few tasks and waits with none: the poller notifies it of
each completion.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, cast
from weakref import WeakSet

from attrs import asdict, evolve

from testvibe_async._batch import JobQueue, Reconciliation, Records
from testvibe_async._http import SendState, Submission
from testvibe_async._journal import ItemState, RowRecorder
from testvibe_async._polling import CompletionListener, Mailbox, ManyTransitions
from testvibe_async._telemetry import telemetry
from testvibe_async._util.waiting import wait_uncancelled
from testvibe_async.errors import (
    ConfigError,
    NotSentError,
    RateLimitedError,
    VibeError,
    WaitTimeoutError,
)
from testvibe_async.models import Generation, Run
from testvibe_async.outcomes import BatchItem, BatchSummary, Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

    from testvibe_async._batch import Resumption
    from testvibe_async._dispatch import Job, JobSource
    from testvibe_async._journal import PlannedJobs, Restored
    from testvibe_async._polling import PolledOperation, Poller
    from testvibe_async._telemetry import Trace
    from testvibe_async.intents import Intent, Recorder
    from testvibe_async.operations import Operation
    from testvibe_async.refs import Ref

__all__ = ["Batch"]

SnapshotT = TypeVar("SnapshotT", bound=Run | Generation)

CLOSE_SECONDS = 10.0
"""How long a batch that ends early waits for the answers to dispatches under way."""

RESTORED_A_TURN = 100
"""How many features are read, and restored, before other tasks get to run."""

REFUSED_SECONDS = 300.0
"""For how long a feature is sent again that the service refuses as one too many."""

DISPATCHES_AT_ONCE = 32
"""How many dispatches of a batch may be under way at once."""


class Batch(Generic[SnapshotT]):
    """Many operations, dispatched as others end; made by `run_features` and `generate_features`.

    Await it for all items, in the order asked. Or open it with `async with` and iterate over it for
    each item as it completes. Leaving early dispatches no more; what is dispatched goes on at the
    service, and `in_flight` names it. A feature that can't start is an item with its error.

    At the time-out all that is left comes at once: what goes on as items with a `WaitTimeoutError`,
    what was not dispatched as items without ref, outcome and error. What was not read from a
    generator by then is no item.
    """

    def __init__(  # noqa: PLR0913 - what `Project` knows of a batch, each by name
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
        attempts: int = 1,
        resumption: Resumption | None = None,
    ) -> None:
        self._records: Records[SnapshotT] = Records()
        self._reconciliation = Reconciliation(resumption, may_dispatch=self._may_dispatch)
        self._queue = JobQueue(
            source,
            self._take_in,
            max_in_flight=max_in_flight,
            reconciliation=self._reconciliation,
        )
        self._dispatch = dispatch
        self._kind = kind
        self._attach = attach
        self._poller = poller
        self._task_count = min(max_in_flight, DISPATCHES_AT_ONCE)
        self._timeout = timeout
        self._stop_on_failure = stop_on_failure
        self._attempts = attempts
        self._rows = None if resumption is None else resumption.rows
        self._is_open = False
        self._context = Context()
        self._trace: Trace | None = None
        self._began = 0.0
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_timed_out = False
        self._is_left = False
        """Whether the caller has left."""
        self._is_closed = False
        self._listener = CompletionListener(self._complete)
        self._refused_at: dict[int, float] = {}
        """When a feature was first refused as one too many."""
        self._waited: dict[PolledOperation[Any], list[int]] = {}
        """What is in flight: one place each, or several that joined the same generation."""
        self._items: Mailbox[tuple[int, BatchItem[SnapshotT]]] = Mailbox()
        self._taken = 0
        """How many items were handed out."""
        self._tasks: set[asyncio.Task[None]] = set()
        """Those that run."""
        self._failed_task: asyncio.Task[None] | None = None
        """The first that has raised, which the batch raises too."""
        self._dispatching = 0
        """How many tasks dispatch."""
        self._reconcilers: dict[int, asyncio.Task[None]] = {}
        """Those of them that reconcile, until they know what became of a dispatch."""
        self._followers: WeakSet[ManyTransitions[Operation[SnapshotT], SnapshotT]] = WeakSet()

    def __repr__(self) -> str:
        """Summarize its features."""
        return f"<Batch: {self.summary}>"

    @property
    def refs(self) -> list[Ref]:
        """The refs of all that is dispatched so far, in the order asked."""
        return self._records.refs(lambda _: True)

    @property
    def in_flight(self) -> list[Ref]:
        """The refs of what is dispatched and not over, as last seen."""
        return self._records.refs(lambda operation: not operation.done)

    @property
    def items(self) -> list[BatchItem[SnapshotT]]:
        """What is known of each feature at this moment, in the order asked.

        Also while the batch goes on, and after it was left, cancelled or out of time. A dispatch
        without an answer is `unknown`; once the answer comes, its item has the ref.
        """
        return self._records.items(is_stopped=self._queue.is_stopped)

    def changes(self) -> ManyTransitions[Operation[SnapshotT], SnapshotT]:
        """Iterate over the transitions of the batch's operations, each with its operation.

        Open the batch with `async with` first. It ends when the batch has nothing more in flight
        or to dispatch; `items` then has the results, and why one could not be observed: unlike
        `Client.changes` this raises nothing of its operations.

        Raises:
            ConfigError: The batch was not opened with `async with`.
        """
        if not self._is_open:
            raise ConfigError("open the batch with 'async with' before you follow its changes")
        transitions: ManyTransitions[Operation[SnapshotT], SnapshotT]
        transitions = ManyTransitions(self._poller, raises=False)
        for _, operation in sorted(self._records.operations.items()):
            transitions.add(self._poller.known.operation(operation.ref), operation)
        self._followers.add(transitions)
        self._finish_followers()
        return transitions

    @property
    def summary(self) -> BatchSummary:
        """How many features have which verdict, at this moment."""
        if self._is_closed:
            return BatchSummary.of(self.items)
        return self._records.summary(sum(map(len, self._waited.values())))

    def __await__(self) -> Generator[Any, None, list[BatchItem[SnapshotT]]]:
        """Run all of it and return the items in the order asked."""
        return self._all().__await__()

    async def _all(self) -> list[BatchItem[SnapshotT]]:
        items: dict[int, BatchItem[SnapshotT]] = {}
        async with self:
            while (found := await self._next()) is not None:
                items[found[0]] = found[1]
        return [items[place] for place in sorted(items)]

    async def __aenter__(self) -> Self:
        """Start to dispatch. Lists the project's features first where none were named.

        Raises:
            ConfigError: It was opened before. A batch runs once.
            WaitTimeoutError: The time-out came before the features were listed.
        """
        if self._is_open:
            raise ConfigError(
                "this batch was opened before: make another, or keep the items of this one"
            )
        self._is_open = True
        self._trace = telemetry().trace("testvibe batch", {"testvibe.attempts": self._attempts})
        with nullcontext() if self._trace is None else self._trace.use():
            self._context = copy_context()
        self._began = asyncio.get_running_loop().time()
        if self._timeout is not None:
            self._deadline = self._began + self._timeout
        if not self._queue.is_lazy:
            try:
                with nullcontext() if self._trace is None else self._trace.use():
                    await self._read_all()
            except BaseException as error:
                # What an earlier process dispatched may be waited for already.
                await self.__aexit__(type(error), error)
                raise
            self._task_count = min(self._task_count, len(self._records.jobs))
        if self._deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(self._deadline, self._start_time_out)
        for _ in range(self._task_count):
            self._start_dispatching()
        return self

    async def _read_all(self) -> None:
        """Read all features, so that it is known how many there are.

        Raises:
            WaitTimeoutError: The time-out came before.
        """
        try:
            async with asyncio.timeout_at(self._deadline):
                while not self._queue.is_read:
                    await self._queue.read()
                    if len(self._records.jobs) % RESTORED_A_TURN == 0:
                        await asyncio.sleep(0)
        except TimeoutError:
            what = "the project's features were not listed"
            elapsed = asyncio.get_running_loop().time() - self._began
            raise WaitTimeoutError(what, ref=None, status=None, elapsed=elapsed) from None

    def _take_in(self, job: Job | None) -> None:
        """Take in what was read from the source; None for its end."""
        if job is None:
            self._finish_followers()
            return
        place = len(self._records.jobs)
        self._records.jobs.append(job)
        restored = None if self._rows is None else self._rows.restore(place)
        if restored is not None and self._restore(place, restored):
            return
        if self._queue.is_stopped:
            self._finish(place, error=None)
        else:
            self._queue.waiting.append(place)

    def _restore(self, place: int, restored: Restored) -> bool:
        """Go on with one where its journal left it; False where it is still to be dispatched."""
        self._records.earlier[place].extend(cast("list[SnapshotT]", restored.earlier))
        if restored.generation is not None:
            self._records.generations[place] = restored.generation
        if restored.state is ItemState.PLANNED:
            return False
        if restored.state is ItemState.DISPATCHED:
            assert restored.ref is not None
            self._start_task(self._go_on(place, self._attach(restored.ref)))
        elif restored.state is ItemState.INTENDED:
            assert restored.intent is not None
            self._reconciliation.begin(place)
            self._reconcilers[place] = self._start_task(self._reconcile(place, restored.intent))
        else:
            item = self._records.new_item(place, restored.error)
            outcome = cast("SnapshotT | None", restored.outcome)
            self._finish_with(place, evolve(item, ref=restored.ref, outcome=outcome))
        return True

    async def _go_on(self, place: int, operation: Operation[SnapshotT]) -> None:
        """Wait for what an earlier process dispatched."""
        await self._queue.room.acquire()
        self._wait_for_end(place, operation)

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
            self._records.generations[place] = operation.ref
            self._requeue(place)

    def _may_dispatch(self) -> bool:
        """Say whether another feature may still be dispatched."""
        queue = self._queue
        is_under_way = queue.waiting or self._records.submissions or self._reconciliation.is_open
        return not queue.is_stopped and (not queue.is_read or bool(is_under_way))

    def _start_dispatching(self) -> None:
        self._dispatching += 1
        self._start_task(self._keep_dispatching())

    def _start_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # The poller, in a context of its own, starts further attempts: they are this caller's too.
        task = asyncio.create_task(work, name="testvibe_async batch", context=self._context.copy())
        task.add_done_callback(self._note_ended)
        self._tasks.add(task)
        return task

    def _note_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        # A batch that is stopped cancels its tasks; somebody else's cancellation is the caller's.
        has_failed = (
            not self._queue.is_stopped if task.cancelled() else task.exception() is not None
        )
        if has_failed and self._failed_task is None:
            self._failed_task = task
        self._items.wake()

    async def __aexit__(self, *exception: object) -> None:
        """Dispatch no more, and ask for no more polls. Cancels nothing at the service.

        Dispatches that are under way get up to 10 s to end, so that `refs` is complete.
        """
        if self._timer is not None:
            self._timer.cancel()
        self._skip_waiting()
        self._is_left = True
        try:
            await wait_uncancelled(
                self._tasks, until=asyncio.get_running_loop().time() + CLOSE_SECONDS
            )
        finally:
            for task in self._tasks:
                task.cancel()
            try:
                await wait_uncancelled(self._tasks)
            finally:
                self._is_closed = True
                for polled in self._waited:
                    polled.discard(self._listener)
                self._waited.clear()
                self._items.wake()
                self._finish_followers()
                kind = exception[0] if exception else None
                self._end_trace(failure=kind.__name__ if isinstance(kind, type) else None)

    def _end_trace(self, *, failure: str | None) -> None:
        if self._trace is not None:
            counts = asdict(self.summary)
            self._trace.add({f"testvibe.batch.{name}": count for name, count in counts.items()})
            self._trace.end(failure=failure)

    def __aiter__(self) -> Self:
        """Iterate.

        Raises:
            ConfigError: It was not opened with `async with`.
        """
        if not self._is_open:
            raise ConfigError("open the batch with 'async with' before you iterate over it")
        return self

    async def __anext__(self) -> BatchItem[SnapshotT]:
        """Wait for the next item."""
        found = await self._next()
        if found is None:
            raise StopAsyncIteration
        return found[1]

    async def _next(self) -> tuple[int, BatchItem[SnapshotT]] | None:
        while not self._is_left and not (
            self._queue.is_read and self._taken == len(self._records.jobs)
        ):
            if (found := self._items.take()) is not None:
                self._taken += 1
                return found
            if self._failed_task is not None:
                self._failed_task.result()
            await self._items.arrival()
        return None

    async def _keep_dispatching(self) -> None:
        """Dispatch what waits, whenever fewer than `max_in_flight` are in flight."""
        try:
            while (place := await self._queue.next()) is not None:
                await self._dispatch_one(place)
        finally:
            self._dispatching -= 1

    async def _dispatch_one(self, place: int) -> None:
        """Dispatch one, again where its last attempt failed."""
        failed = self._records.operations.pop(place, None)
        if failed is not None and failed.outcome is not None:
            earlier = self._records.earlier[place]
            earlier.append(failed.outcome)
            if self._rows is not None:
                self._rows.note_attempt(place, len(earlier), failed.outcome)
        try:
            operation = await self._start(place)
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
        if operation is not None:
            self._wait_for_end(place, operation)
        elif failed is not None:
            self._leave_failed(place, failed)
        else:
            self._end(place)

    def _leave_failed(self, place: int, failed: Operation[SnapshotT]) -> None:
        """Finish one whose next attempt was not dispatched: it failed, and its journal goes on."""
        self._take_back(place, failed)
        self._queue.room.release()
        self._finish_with(place, self._records.new_item(place, None))

    def _take_back(self, place: int, failed: Operation[SnapshotT] | None) -> None:
        """Take an attempt that failed for the last one, as no other was dispatched."""
        if failed is not None:
            self._records.operations[place] = failed
            self._records.earlier[place].pop()

    def _is_given_up(self, place: int) -> bool:
        """Say whether one was refused as one too many for so long that it is not sent again.

        The client sends no faster than the service takes it, but many wait for the same room.
        """
        now = asyncio.get_running_loop().time()
        refused_for = now - self._refused_at.setdefault(place, now)
        return self._queue.is_stopped or refused_for > REFUSED_SECONDS

    async def _start(self, place: int) -> Operation[SnapshotT] | None:
        """Dispatch one; None where it was withdrawn before it was sent.

        Raises:
            DispatchUnknownError: The batch ended before the answer came.
        """
        task, submission = asyncio.current_task(), Submission()
        assert task is not None
        submission.ref = self._records.generations.get(place)
        self._records.submissions[place] = task, submission
        try:
            recorder = None if self._rows is None else RowRecorder(self._rows, place)
            job = self._records.jobs[place]
            operation = await self._dispatch(job, self._deadline, submission, recorder)
        except (asyncio.CancelledError, NotSentError, WaitTimeoutError) as error:
            if submission.ref is not None and submission.ref.kind == self._kind:
                # It was withdrawn while its recorder noted it.
                self._reconciliation.note_dispatched()
                return self._attach(submission.ref)
            if submission.ref is not None:
                self._records.generations[place] = submission.ref
            if isinstance(error, WaitTimeoutError) or not submission.is_withdrawn:
                raise
            if submission.is_sent:
                self._records.unanswered[place] = submission
                what = "the batch ended before its answer came"
                raise submission.unknown_error(what) from None
            return None
        else:
            self._reconciliation.note_dispatched()
            return operation
        finally:
            del self._records.submissions[place]
            self._reconciliation.note_progress()

    def _wait_for_end(self, place: int, operation: Operation[SnapshotT]) -> None:
        """Have the poller notify of the end of what was dispatched, if that is not over."""
        self._records.operations[place] = operation
        polled = self._poller.known.operation(operation.ref)
        for follower in list(self._followers):
            follower.add(polled, operation)
        if operation.done:
            self._end(place)
            return
        try:
            self._poller.listen(polled, self._listener)
        except VibeError as error:
            self._end(place, error)
            return
        self._waited.setdefault(polled, []).append(place)
        if self._is_timed_out:
            self._stop_waiting_for(polled)

    def _start_time_out(self) -> None:
        """Dispatch no more, and see once more what is in flight before it is given up."""
        self._is_timed_out = True
        self._skip_waiting(is_timed_out=True)
        self._start_task(self._time_out(list(self._waited)))

    async def _time_out(self, operations: list[PolledOperation[Any]]) -> None:
        await self._poller.poll_last(operations)
        for polled in operations:
            if polled in self._waited:
                self._stop_waiting_for(polled)
        until = asyncio.get_running_loop().time() + CLOSE_SECONDS
        sent = [
            task for task, submission in self._records.submissions.values() if submission.is_sent
        ]
        await wait_uncancelled(sent, until=until)
        for task, submission in self._records.submissions.values():
            if submission.is_sent:
                task.cancel()  # Its item is unknown then; an answer that comes late still counts.

    def _stop_waiting_for(self, polled: PolledOperation[Any]) -> None:
        polled.discard(self._listener)
        elapsed = asyncio.get_running_loop().time() - self._began
        for place in self._waited.pop(polled):
            self._end(place, polled.state.timed_out(elapsed=elapsed))

    def _skip_waiting(self, *, is_timed_out: bool = False) -> None:
        """Dispatch no more: withdraw what was not sent, and free the tasks that wait for a place.

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
        for task, submission in self._records.submissions.values():
            submission.is_withdrawn = True
            is_pending = submission.state is SendState.PENDING
            if is_pending or (submission.state is not SendState.SENT and not is_timed_out):
                task.cancel()
        while self._queue.waiting:
            self._finish(self._queue.waiting.popleft(), error=None)
        # Each task waits for room at most once, and must wake to see that nothing waits any more.
        for _ in self._tasks:
            self._queue.room.release()

    def _complete(self, polled: PolledOperation[Any], error: VibeError | None) -> None:
        """Take an operation that is over, or can't be observed, from the poller."""
        for place in self._waited.pop(polled):
            self._end(place, error)

    def _end(self, place: int, error: VibeError | None = None) -> None:
        """Finish one, or run it again, and make room for the next."""
        self._queue.room.release()
        if error is None and self._runs_again(place):
            return
        verdict = self._finish(place, error)
        if self._stop_on_failure and verdict in {Verdict.FAILED, Verdict.ERROR, Verdict.UNKNOWN}:
            self._skip_waiting()

    def _runs_again(self, place: int) -> bool:
        """Plan another attempt for an operation that failed, if there is to be one."""
        operation = self._records.operations.get(place)
        outcome = None if operation is None else operation.outcome
        is_last = len(self._records.earlier[place]) + 1 >= self._attempts
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
        item = self._records.new_item(place, error)
        if self._rows is not None:
            self._rows.note_end(place, item)
        return self._finish_with(place, item)

    def _finish_with(self, place: int, item: BatchItem[SnapshotT]) -> Verdict:
        self._records.finish(place, item)
        self._items.put((place, item))
        self._finish_followers()
        return item.verdict

    def _finish_followers(self) -> None:
        """End the iterations over changes, once no operation is to come."""
        is_over = self._queue.is_read and len(self._records.finished) == len(self._records.jobs)
        if self._is_closed or is_over:
            for follower in list(self._followers):
                follower.finish()
