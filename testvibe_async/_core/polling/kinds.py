"""The records of runs and of generations: which answers belong to them, and when they ended.

Pure, like `polled`: the caller passes the time.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from testvibe_async._core.polling.polled import OtherOperationError, PolledOperation
from testvibe_async._core.wire import GENERATION, RUN
from testvibe_async.errors import OperationSupersededError
from testvibe_async.models import FeatureStatus, Generation, Run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from testvibe_async.refs import GenerationRef, Ref, RunRef

NO_TIME = timedelta()

RESET_TIME = timedelta(minutes=1)
"""Minimum time between the creations of two runs with one id, before and after a reset."""


class PolledRun(PolledOperation[Run]):
    """Record of one run, as observed."""

    __slots__ = ()
    ref: RunRef  # pyright: ignore[reportIncompatibleVariableOverride]
    kind = RUN

    @property
    def list_id(self) -> int:
        """The run's id, as in list_runs."""
        return self.ref.run_id

    @property
    def ended_at(self) -> datetime | None:
        """The time at which the run ended: `finishedUtc`."""
        return self.snapshot.finished_at if self.snapshot and self.is_finished else None

    def is_of_this(self, snapshot: Run) -> bool:
        """Compare the `runId`s."""
        return snapshot.run_id == self.ref.run_id

    def belongs(self, snapshot: Run, now: float) -> bool:  # noqa: ARG002
        """Accept a digest of this run only."""
        if not self.is_of_this(snapshot):
            raise OtherOperationError(f"it is of run {snapshot.run_id}, not {self.ref.run_id}")
        # A service that was reset uses ids again.
        feature, own = snapshot.feature_id, self.ref.feature_id
        if feature != own and feature is not None and own is not None:
            raise OtherOperationError(f"it is of feature {feature}, not {own}")
        created_at = self.snapshot and self.snapshot.created_at
        if created_at and snapshot.created_at and snapshot.created_at - created_at > RESET_TIME:
            raise OtherOperationError("it was created later than this run, at $.createdUtc")
        return True


class PolledGeneration(PolledOperation[Generation]):
    """Record of one generation, as observed. The service shows only a feature's latest one."""

    __slots__ = ("previous_id",)
    ref: GenerationRef  # pyright: ignore[reportIncompatibleVariableOverride]
    kind = GENERATION

    def __init__(
        self,
        ref: Ref,
        *,
        began: float,
        answered_at: datetime | None,
        previous_id: str | None = None,
    ) -> None:
        """Start without an answer; see `PolledOperation`."""
        super().__init__(ref, began=began, answered_at=answered_at)
        self.previous_id: str | None = previous_id

    @property
    def list_id(self) -> int:
        """The id of the generation's feature, as in list_features."""
        return self.ref.feature_id

    @property
    def ended_at(self) -> datetime | None:
        """The time of the generation's last change, once it has finished: `updatedUtc`."""
        return self.snapshot.updated_at if self.snapshot and self.is_finished else None

    def is_of_this(self, snapshot: Generation) -> bool:
        """Compare the `requestId`s."""
        return snapshot.request_id == self.ref.request_id

    def belongs(self, snapshot: Generation, now: float) -> bool:
        """Accept a status of this generation; raise if another one has certainly superseded it.

        The service may answer from a stale replica, and so show an earlier generation. A generation
        known before the dispatch never supersedes this one, nor does one with an older
        `updatedUtc`. Another generation supersedes it when two answers in a row show that
        generation, or when that generation is newer.
        """
        if self.is_of_this(snapshot):
            self.other_id = None
            return True
        if snapshot.request_id is None and self._is_unnamed_too(snapshot):
            return True
        if self.snapshot is None and self.may_be_unknown(now):
            return False
        if snapshot.request_id is None:
            what = "it does not say which generation it is of, at $.requestId"
            raise OtherOperationError(what)
        if snapshot.request_id == self.previous_id:
            raise OtherOperationError("it is of the generation before this one, at $.requestId")
        later = self._later(snapshot)
        if later < NO_TIME:
            raise OtherOperationError("it is of a generation before this one, at $.updatedUtc")
        is_repeated = snapshot.request_id == self.other_id
        self.other_id = snapshot.request_id
        if not is_repeated and later == NO_TIME:
            return False
        raise OperationSupersededError(ref=self.ref, newer_request_id=snapshot.request_id)

    def _is_unnamed_too(self, snapshot: Generation) -> bool:
        """Return whether a status that names no generation belongs to this one.

        Some services may never name the generation. Two kinds of status then count as this
        generation's: one in flight after its dispatch, and an end that is later by `updatedUtc`.
        Any other end may belong to the previous generation, and so may a draft. Where this client
        did not dispatch the generation, any status may belong to a later one.
        """
        before = self.snapshot
        if before is None:
            is_dispatched_here = self.phase is not None
            return is_dispatched_here and snapshot.feature_status == FeatureStatus.GENERATING
        if before.request_id is not None or before.is_finished:
            return False
        return not snapshot.is_finished or self._later(snapshot) > NO_TIME

    def _later(self, snapshot: Generation) -> timedelta:
        """Return the time between the last snapshot of this generation and a snapshot's update.

        Zero if either time is unknown.
        """
        last = self.snapshot.updated_at if self.snapshot else None
        if last is None or snapshot.updated_at is None:
            return NO_TIME
        return snapshot.updated_at - last


RECORDS: Mapping[str, type[PolledOperation[Any]]] = {
    record.kind.name: record for record in (PolledRun, PolledGeneration)
}
"""The class of the record of each kind."""
