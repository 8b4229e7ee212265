"""The states of a run and of a generation: which answers are theirs, and when they ended.

The same rules as in `state`: pure, and handed the time.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from testvibe_async._polling.state import OperationState, OtherOperationError
from testvibe_async._wire import GENERATION, RUN
from testvibe_async.errors import OperationSupersededError
from testvibe_async.models import FeatureStatus, Generation, Run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from testvibe_async.refs import GenerationRef, Ref, RunRef

__all__ = ["GenerationState", "RunState", "new_state"]

NO_TIME = timedelta()


class RunState(OperationState[Run]):
    """What is known of a run."""

    __slots__ = ()
    ref: RunRef  # pyright: ignore[reportIncompatibleVariableOverride]
    kind = RUN

    @property
    def list_id(self) -> int:
        """The run's id, as list_runs has it."""
        return self.ref.run_id

    @property
    def ended_at(self) -> datetime | None:
        """When it ended: `finishedUtc`."""
        return self.snapshot.finished_at if self.snapshot and self.is_finished else None

    def is_of_this(self, snapshot: Run) -> bool:
        """Compare the `runId`s."""
        return snapshot.run_id == self.ref.run_id

    def belongs(self, snapshot: Run, now: float) -> bool:  # noqa: ARG002
        """Accept a digest of this run alone."""
        if not self.is_of_this(snapshot):
            raise OtherOperationError(f"it is of run {snapshot.run_id}, not {self.ref.run_id}")
        return True


class GenerationState(OperationState[Generation]):
    """What is known of a generation. The service shows only a feature's latest one."""

    __slots__ = ("other_id", "previous_id")
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
        """Start without an answer; see `OperationState`."""
        super().__init__(ref, began=began, answered_at=answered_at)
        self.previous_id: str | None = previous_id
        self.other_id: str | None = None
        """The `requestId` of another generation that the last answer showed."""

    @property
    def list_id(self) -> int:
        """The id of its feature, as list_features has it."""
        return self.ref.feature_id

    @property
    def ended_at(self) -> datetime | None:
        """When it last changed, once it is over: `updatedUtc`."""
        return self.snapshot.updated_at if self.snapshot and self.is_finished else None

    def is_of_this(self, snapshot: Generation) -> bool:
        """Compare the `requestId`s."""
        return snapshot.request_id == self.ref.request_id

    def belongs(self, snapshot: Generation, now: float) -> bool:
        """Accept a status of this generation; another one supersedes it only for sure.

        The service may answer from a copy that is behind, and so show an earlier generation. One
        that was known before the dispatch never supersedes, nor does one that is older by
        `updatedUtc`; another does when two answers in a row show it, or when it is newer.
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
        """Return whether a status that names no generation is of this one.

        Some services may never name one. Then it is what was in flight after its dispatch, and an
        end that is later by `updatedUtc`. Another end may be of the generation before, a draft too;
        and where this client did not dispatch it, all of them may be of one that came later.
        """
        before = self.snapshot
        if before is None:
            is_dispatched_here = self.phase is not None
            return is_dispatched_here and snapshot.feature_status == FeatureStatus.GENERATING
        if before.request_id is not None or before.is_finished:
            return False
        return not snapshot.is_finished or self._later(snapshot) > NO_TIME

    @property
    def is_doubtful(self) -> bool:
        """Whether the last answer was of another generation, which may have taken its place."""
        return self.other_id is not None

    def _later(self, snapshot: Generation) -> timedelta:
        """Return by how much a snapshot was updated after the last one of this generation.

        Zero where that is not known.
        """
        last = self.snapshot.updated_at if self.snapshot else None
        if last is None or snapshot.updated_at is None:
            return NO_TIME
        return snapshot.updated_at - last


def new_state(
    ref: Ref, *, began: float, answered_at: datetime | None, previous_id: str | None = None
) -> OperationState[Any]:
    """Return the state of an operation before any poll; see `OperationState`."""
    return _STATES[ref.kind](ref, began=began, answered_at=answered_at, previous_id=previous_id)


_STATES: Mapping[str, type[OperationState[Any]]] = {
    state.kind.name: state for state in (RunState, GenerationState)
}
