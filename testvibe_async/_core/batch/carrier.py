"""The life of one feature of a batch: dispatched, waited for, and repeated if it failed.

Decides by an entry's rows, and by what was observed, what follows for the feature, and has the
ledger keep why there is no outcome. It never decides when the batch stops. Lower layers decide what
an answer means, and whether a dispatch may be repeated.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from testvibe_async._core.batch.waits import Waits
from testvibe_async._core.dispatch import NOTE_SECONDS, Record, TestsMadeError, noted, refute
from testvibe_async.errors import (
    ClientClosedError,
    ContradictionError,
    NotSentError,
    RateLimitedError,
    VibeError,
)
from testvibe_async.events import logger
from testvibe_async.ledger import Row, RowState
from testvibe_async.models import Snapshot
from testvibe_async.operations import operation_of

if TYPE_CHECKING:
    from testvibe_async._core.batch.entry import Entry
    from testvibe_async._core.batch.plan import Limits
    from testvibe_async._core.batch.source import EntrySource
    from testvibe_async._core.batch.tasks import Course, Tasks
    from testvibe_async._core.dispatch import Dispatch, Starter
    from testvibe_async.operations import Operation

SnapshotT = TypeVar("SnapshotT", bound=Snapshot)

DISPATCHES_AT_ONCE = 32
"""Maximum number of dispatches of a batch under way at once."""

REFUSED_SECONDS = 300.0
"""Seconds for which a rate-limited dispatch of a feature is retried."""


class Carrier(Generic[SnapshotT]):
    """Carries entries of one batch to their ends, each in the task that calls it."""

    def __init__(
        self, source: EntrySource, limits: Limits, starter: Starter, tasks: Tasks, course: Course
    ) -> None:
        """Create it; nothing is dispatched yet.

        Args:
            source: Knows the plan of the batch, once it is opened.
            limits: The limits of this process.
            starter: Sends dispatches.
            tasks: Cancels unsent dispatches at a stop.
            course: The progress of the batch.
        """
        self._source = source
        self._limits = limits
        self._starter = starter
        self._tasks = tasks
        self._course = course
        self._parts = starter.parts
        self._ledger = starter.dispatcher.ledger
        self._gate = asyncio.Semaphore(DISPATCHES_AT_ONCE)
        self.waits: Waits[SnapshotT] = Waits(self._parts.poller)
        """The waits for operations in flight."""

    async def carry(self, entry: Entry[SnapshotT]) -> VibeError | None:
        """Carry an entry to its end; return the reason why it has no outcome, if there is one.

        Raises:
            ClientClosedError: It concerns no single feature: the caller of the batch must know.
        """
        try:
            while (operation := await self._dispatch(entry)) is not None:
                await self._observe(entry, operation)
                if not self._has_next(entry):
                    break
        except ClientClosedError:
            raise
        except TestsMadeError as made:
            await self._keep_existing(entry, made.latest)
        except VibeError as error:
            kept = await self._keep_error(entry, error)
            # If the next attempt is rate-limited, the attempt before it counts.
            return None if isinstance(error, RateLimitedError) and entry.outcomes else kept
        return None

    async def _keep_existing(self, entry: Entry[SnapshotT], latest: Any) -> None:  # noqa: ANN401 - of the batch's kind
        """Keep the outcome of an operation that was not dispatched: the feature has tests."""
        entry.observe(latest)
        if self._source.plan.is_keyed:
            row = self._new_row(entry, RowState.FINISHED)
            row.outcome = latest
            await self._insert(entry, row)

    async def _keep_error(self, entry: Entry[SnapshotT], error: VibeError) -> VibeError:
        """Keep the reason why an entry has no outcome, for the readers of the ledger; return it."""
        row, is_keyed = entry.row, self._source.plan.is_keyed
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
        plan, job, row = self._source.plan, entry.job, entry.row
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

    async def _observe(self, entry: Entry[SnapshotT], operation: Operation[SnapshotT]) -> None:
        """Wait for an operation, and keep its outcome; the close of the batch ends the wait, too.

        Raises:
            VibeError: The wait ended before the operation did.
        """
        entry.operation = operation
        error = await self.waits.end_of(operation, self._course)
        if error is not None:
            raise error
        outcome = operation.snapshot if operation.done else None
        if outcome is None:  # The batch was closed.
            return
        row = entry.row
        assert row is not None
        if (problem := row.contradiction(outcome)) is not None:
            raise ContradictionError(problem, ref=operation.ref)
        if row.ref != operation.ref:  # Another call has had an answer that names another one.
            if row.outcome is None:
                return
            outcome = cast("SnapshotT", row.outcome)
        entry.observe(outcome)
        if row.outcome is None and row.note(RowState.FINISHED) and self._source.plan.is_keyed:
            row.outcome = outcome
            await noted(self._ledger, row)

    def _has_next(self, entry: Entry[SnapshotT]) -> bool:
        """Return whether an entry needs another attempt, or its row names another operation."""
        if entry.state is RowState.DISPATCHED:
            return not self._course.is_closed
        return entry.is_to_repeat(self._source.plan.attempts) and not self._course.is_stopped

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
                dispatch, on_conflict=self._source.plan.on_conflict, deadline=self._course.deadline
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
        outage = self._parts.transport.availability.error if self._course.is_timed_out else None
        if outage is not None:
            raise outage
        return None

    def _dispatch_of(self, entry: Entry[SnapshotT]) -> Dispatch[Any]:
        """Return a dispatch of an entry, which reports its rows to the entry."""
        plan, job, row = self._source.plan, entry.job, entry.row
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
        return self._starter.dispatcher.new(
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
