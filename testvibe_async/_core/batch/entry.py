"""One feature of a batch: its rows in the ledger, with the live operation.

The rows say what is known; items, refs and counts are views of them. The module decides what they
mean for the batch, and does no I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from attrs import define, field

from testvibe_async._core.dispatch import unknown_of
from testvibe_async.errors import (
    DispatchUnknownError,
    ForbiddenError,
    LedgerError,
    NotSentError,
    ResponseError,
    UnauthorizedError,
)
from testvibe_async.ledger import Row, RowState
from testvibe_async.models import Snapshot
from testvibe_async.outcomes import BatchItem

if TYPE_CHECKING:
    from testvibe_async._core.batch.jobs import Job
    from testvibe_async._core.dispatch import Dispatch
    from testvibe_async.errors import VibeError
    from testvibe_async.operations import Operation
    from testvibe_async.refs import Ref

SnapshotT = TypeVar("SnapshotT", bound=Snapshot)


@define(eq=False, kw_only=True)
class Entry(Generic[SnapshotT]):
    """One feature of a batch, with one configuration."""

    index: int
    """The entry's index in the batch, from 0."""

    job: Job
    """The feature and configuration requested."""

    item: str
    """The item that its rows are of."""

    rows: list[Row] = field(factory=list[Row])
    """The attempts to dispatch it, by any process, oldest first."""

    outcomes: list[SnapshotT] = field(factory=list["SnapshotT"])
    """The outcomes of all finished attempts, oldest first."""

    error: VibeError | None = None
    """The reason why the batch stopped work on the feature without an outcome."""

    operation: Operation[SnapshotT] | None = None
    """The operation of the last attempt that this process waited for."""

    dispatch: Dispatch[Any] | None = None
    """This process's dispatch that is under way or unanswered."""

    final: BatchItem[SnapshotT] | None = None
    """The item, once the batch has stopped work on the entry."""

    def __attrs_post_init__(self) -> None:
        """Take over the outcomes that the ledger has."""
        if self.rows:
            found: list[Any] = [row.outcome for row in self.rows if row.outcome is not None]
            self.outcomes = found

    @property
    def row(self) -> Row | None:
        """The row of the last attempt."""
        return self.rows[-1] if self.rows else None

    @property
    def state(self) -> RowState:
        """The state of the last attempt; `NOT_STARTED` if there was none."""
        return self.rows[-1].state if self.rows else RowState.NOT_STARTED

    @property
    def is_awaited(self) -> bool:
        """True if this process sent a dispatch whose answer may still come."""
        return self.dispatch is not None and self.dispatch.is_awaited

    @property
    def is_sent(self) -> bool:
        """True if this process sent a dispatch whose operation is not known."""
        return self.dispatch is not None and self.dispatch.is_sent

    def is_to_repeat(self, attempts: int) -> bool:
        """Return whether the last attempt failed, and another one is allowed."""
        is_failure = bool(self.outcomes) and self.outcomes[-1].is_failure
        return is_failure and len(self.outcomes) < attempts

    def has_ended(self, attempts: int) -> bool:
        """Return whether nothing is left to dispatch or to wait for."""
        if self.state in {RowState.FINISHED, RowState.NOT_STARTED} and self.outcomes:
            return not self.is_to_repeat(attempts)
        return self.state is RowState.DROPPED

    def add(self, row: Row) -> None:
        """Note the row of another attempt, or the present one as another process knows it."""
        if self.rows and self.rows[-1].number == row.number:
            self.rows[-1] = row
        else:
            self.rows.append(row)

    def observe(self, outcome: SnapshotT) -> None:
        """Note the outcome of an attempt."""
        self.outcomes.append(outcome)

    @property
    def stored_error(self) -> VibeError | None:
        """The reason why there is no outcome, as far as the last row says."""
        row = self.row
        if row is None or row.state in {RowState.FINISHED, RowState.DROPPED}:
            return None
        if not row.is_open or isinstance(row.error, DispatchUnknownError):
            return row.error
        what, advice = (
            "the process ended before the answer came",
            "resume the batch, which looks for it",
        )
        return unknown_of(row, what, advice=advice)

    def end(self, error: VibeError | None) -> BatchItem[SnapshotT]:
        """Note that the batch stops work on the entry, and the error if any; return its item."""
        if error is None and self.row is not None and self.row.is_open:
            error = self.stored_error  # Of an earlier process: it may have started.
        self.error = error
        self.final = self._final_item(error)
        return self.final

    def current(self) -> BatchItem[SnapshotT]:
        """Return the entry's item in the batch: as it ended, or as it is now."""
        if self.final is not None:
            is_late = self.final.ref is None and self.state is RowState.DISPATCHED
            if is_late and isinstance(self.error, DispatchUnknownError):  # It was answered since.
                return self._final_item(None)
            return self.final
        error = self.error
        if self.dispatch is not None and self.is_sent:
            error = self.dispatch.unknown("its answer has not come yet")
        ref = self.rows[-1].ref if self.state is RowState.DISPATCHED else None
        return self._item(ref, error=error, is_waiting=ref is None and error is None)

    def _final_item(self, error: VibeError | None) -> BatchItem[SnapshotT]:
        """Return the item of an entry that has ended.

        The last outcome counts, also if the attempt that was to follow is not dispatched.
        """
        refs = [row.ref for row in self.rows if row.ref is not None]
        if error is None and self.outcomes and self.state is not RowState.DISPATCHED:
            return self._item(refs[-1] if refs else None, outcome=self.outcomes[-1])
        is_known = self.state in {RowState.DISPATCHED, RowState.FINISHED}
        return self._item(self.rows[-1].ref if is_known else None, error=error)

    def _item(
        self,
        ref: Ref | None,
        *,
        outcome: SnapshotT | None = None,
        error: VibeError | None = None,
        is_waiting: bool = False,
    ) -> BatchItem[SnapshotT]:
        return BatchItem(
            feature=self.job.feature,
            name=self.job.name,
            config=self.job.config,
            repetition=self.job.repetition,
            ref=ref,
            outcome=outcome,
            error=error,
            is_waiting=is_waiting,
            is_dropped=self.state is RowState.DROPPED,
            earlier=tuple(self.outcomes if outcome is None else self.outcomes[:-1]),
        )


def is_refusal(error: VibeError | None) -> bool:
    """Return whether an error is the service's final word on a feature that was not dispatched.

    Only the service's own error body is final: a redirect, a bare 404 or a proxy's page may be
    temporary. A refusal of the key, or a rate limit, says nothing about the feature.
    """
    if not isinstance(error, ResponseError) or error.code is None or error.status is None:
        return False
    return error.status not in {401, 403, 429} and error.status < 500  # noqa: PLR2004


def is_key_refused(error: VibeError | None) -> bool:
    """Return whether the service refused the key, so that every other feature would fail too."""
    return isinstance(error, UnauthorizedError | ForbiddenError) and error.code is not None


def is_futile(error: VibeError | None) -> bool:
    """Return whether every other feature would fail too: no key, or no service."""
    is_not_sent = isinstance(error, NotSentError) and not isinstance(error, LedgerError)
    return is_not_sent or is_key_refused(error)
