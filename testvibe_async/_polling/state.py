"""What was observed of one operation, and what each answer adds to it.

The one writer of that: only the methods here change an `OperationState` (the poller and its reader
call them). It is pure, and handed the time:
`now` is always the event loop's clock in seconds, `at` the local clock in UTC. It decides whether
an answer is newer, is of this operation, and which failure to observe ends the waits; never when
to poll, nor who is notified.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum, IntEnum, auto
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from testvibe_async._http import Outlook, is_same_failure, is_tolerated
from testvibe_async._util import plain
from testvibe_async._wire import UnreadableError, says_in_flight
from testvibe_async.errors import (
    ForbiddenError,
    NotFoundError,
    ObservationError,
    OperationNotFoundError,
    UnauthorizedError,
    VibeError,
    WaitTimeoutError,
)
from testvibe_async.models import FeatureStatus, Phase, Run, RunStatus, Snapshot, Transition

if TYPE_CHECKING:
    from datetime import datetime

    from testvibe_async._wire import Kind
    from testvibe_async.refs import Ref

__all__ = ["GRACE_SECONDS", "Change", "OperationState", "OtherOperationError"]

GRACE_SECONDS = 10.0
"""How long the service may answer from a copy that does not know an operation that it has shown."""

UNKNOWN_SECONDS = 60.0
"""How long the service may take to know an operation whose dispatch it has answered with its id."""

MAX_UNDOCUMENTED = 3
"""How many answers in a row may have a status that may or may not be an end."""

SnapshotT = TypeVar("SnapshotT", bound=Snapshot)


class OtherOperationError(UnreadableError):
    """An answer is of another operation: the copy that answered may be behind."""


class Change(IntEnum):
    """What an answer changed. What more waits want to know comes first."""

    END = auto()
    """The operation is over."""

    TRANSITION = auto()
    """The phase or the status, before the end."""

    UPDATE = auto()
    """Something else, such as a section of a generation."""


class OperationState(ABC, Generic[SnapshotT]):
    """What a client knows of one operation, for as long as somebody holds a handle on it."""

    kind: ClassVar[Kind]

    __slots__ = (
        "assumed_since",
        "began",
        "equal_failures",
        "failing_since",
        "failures",
        "is_assumed",
        "last_failure",
        "missing_until",
        "observed_at",
        "phase",
        "ref",
        "seen_at",
        "sequence",
        "snapshot",
        "undocumented",
    )

    def __init__(
        self,
        ref: Ref,
        *,
        began: float,
        answered_at: datetime | None,
        previous_id: str | None = None,  # noqa: ARG002 - for a generation alone
    ) -> None:
        """Start without an answer.

        Args:
            ref: The operation's name.
            began: When it was dispatched or attached, by the loop's clock.
            answered_at: When the answer to its dispatch came, by the local clock; then it is known
                to be queued. None where it was attached.
            previous_id: The `requestId` of the feature's latest generation before the dispatch.
        """
        self.ref: Ref = ref
        self.began: float = began
        self.snapshot: SnapshotT | None = None
        self.phase: Phase | None = None if answered_at is None else Phase.QUEUED
        self.observed_at: datetime | None = answered_at
        self.seen_at: float | None = None
        """When the snapshot was last read or confirmed by a list, by the loop's clock."""
        self.sequence: int = 0
        """The number, counted across the client, of the request with the newest answer so far."""
        self.failures: int = 0
        """How many polls have failed in a row."""
        self.last_failure: VibeError | None = None
        """The last one of these; None where the last poll was answered."""
        self.equal_failures: int = 0
        """How many of them, the last ones, were the same."""
        self.undocumented: int = 0
        """How many answers in a row had a status that is not documented, and no end."""
        self.assumed_since: float | None = None
        """Since when an undocumented status is taken for one in flight, by the loop's clock."""
        self.is_assumed: bool = False
        """Whether its status is not documented, and taken for one in flight."""
        self.failing_since: float | None = None
        self.missing_until: float | None = None
        """Until when a 404 means that the service does not know it yet; None after no 404."""

    @property
    @abstractmethod
    def list_id(self) -> int:
        """The id that its row has in a list."""

    @property
    @abstractmethod
    def ended_at(self) -> datetime | None:
        """When it ended by the service's clock; None where it is not over, or that is not known."""

    @abstractmethod
    def is_of_this(self, snapshot: SnapshotT) -> bool:
        """Say whether a snapshot names this operation."""

    @abstractmethod
    def belongs(self, snapshot: SnapshotT, now: float) -> bool:
        """Say whether a snapshot is of this operation; False while the service may not know it.

        Unlike `is_of_this` it raises where the snapshot can only be of another one.

        Raises:
            OtherOperationError: It is of another operation, or does not say of which.
            OperationSupersededError: It is of a later generation of the same feature.
        """

    @property
    def status(self) -> str | None:
        """The service's word for how it stands; None before anything was seen."""
        if self.snapshot is not None:
            return self.snapshot.status
        return self.kind.in_flight if self.is_known else None

    @property
    def is_known(self) -> bool:
        """Whether the service has shown it before, so that it ought to know it still."""
        return self.phase is not None

    @property
    def is_doubtful(self) -> bool:
        """Whether the last answer was of another operation, which may have taken its place."""
        return False

    @property
    def is_finished(self) -> bool:
        """Whether it is over. Then nothing changes it any more."""
        return self.phase is Phase.FINISHED

    @property
    def latest(self) -> Transition[SnapshotT]:
        """What was last seen, as a transition; there is none before anything was."""
        assert self.phase is not None
        assert self.observed_at is not None
        return Transition(self.phase, self.status, self.observed_at, self.snapshot)

    def accept(
        self, snapshot: SnapshotT, *, sequence: int, now: float, at: datetime
    ) -> Change | None:
        """Take in an answer, unless a newer one came before it.

        Args:
            snapshot: What was answered.
            sequence: The number of the request, counted across the client when it started.
            now: The loop's clock.
            at: The local clock.

        Raises:
            UnreadableError, OperationSupersededError: It is of another operation.
        """
        # An end stays an end, however late the answer that shows it comes.
        is_end = snapshot.is_finished and self.is_of_this(snapshot)
        if self.is_finished or (sequence < self.sequence and not is_end):
            return None
        # The same object again is an answer with the same bytes: see `PolledOperation.decode`.
        if snapshot is not self.snapshot and not self.belongs(snapshot, now):
            self._note_answer(sequence)
            return None
        self._note_answer(sequence)
        self.observed_at, self.seen_at = at, now
        doubt = _doubt(snapshot)
        self.undocumented = self.undocumented + 1 if doubt is _Doubt.IS_OVER else 0
        self.is_assumed = doubt is _Doubt.NOTHING
        if not self.is_assumed:
            self.assumed_since = None
        elif self.assumed_since is None:
            self.assumed_since = now
        return None if snapshot is self.snapshot else self._replace(snapshot)

    def _note_answer(self, sequence: int) -> None:
        self.sequence = max(sequence, self.sequence)
        if self.failing_since is not None or self.failures:
            self.forget_failures()

    def _replace(self, snapshot: SnapshotT) -> Change | None:
        before = self.phase, self.status
        is_other = snapshot != self.snapshot
        self.snapshot = snapshot
        # A list may have shown that it executes before this answer, which is older, came.
        if self.phase is not Phase.ACTIVE or snapshot.phase is not Phase.QUEUED:
            self.phase = snapshot.phase
        if before != (self.phase, self.status):
            return Change.END if self.is_finished else Change.TRANSITION
        return Change.UPDATE if is_other else None

    def timed_out(self, *, elapsed: float) -> WaitTimeoutError:
        """Return the error of a wait that stops before the end, caused by the last failed poll.

        Args:
            elapsed: Seconds since the wait began.
        """
        error = WaitTimeoutError(
            ref=self.ref,
            status=self.status,
            elapsed=elapsed,
            last_seen_at=self.observed_at,
            failures=self.failures,
        )
        error.__cause__ = self.last_failure
        return error

    def see_listed(self, *, now: float, at: datetime) -> None:
        """Take in that a list shows it as going on."""
        if self.phase is not Phase.FINISHED:
            self.observed_at, self.seen_at = at, now
            if self.failing_since is not None or self.failures:
                self.forget_failures()

    def see_started(self, *, at: datetime) -> Change | None:
        """Take in that a list shows it as started, unless more was seen by now."""
        if self.phase is not Phase.QUEUED:
            return None
        self.phase, self.observed_at = Phase.ACTIVE, at
        return Change.TRANSITION

    def forget_failures(self) -> None:
        """Start to count failures anew: an answer came, or a new wait begins."""
        self.failures = self.equal_failures = 0
        self.failing_since = self.missing_until = self.last_failure = None

    def note_failure(
        self,
        error: VibeError,
        outlook: Outlook,
        *,
        now: float,
        max_outage: float | None,
        is_shared: bool = False,
    ) -> VibeError | None:
        """Take in a failed poll.

        Args:
            error: What came instead of an answer.
            outlook: What another poll may bring.
            now: The loop's clock.
            max_outage: After how many seconds of failures alone the waits end; None for a poll by
                hand, which does not slow the waits down.
            is_shared: Whether another operation was polled, for this one too.

        Returns:
            The error that the waits must raise; None where the failure is tolerated, and another
            poll follows.
        """
        # A copy that is behind shows another operation, the same one each time.
        if isinstance(error.__cause__, OtherOperationError):
            outlook = Outlook.AWAY
        self.failing_since = now if self.failing_since is None else self.failing_since
        if max_outage is not None:
            is_equal = is_same_failure(error, self.last_failure)
            self.equal_failures = self.equal_failures + 1 if is_equal else 1
            self.failures += 1
            self.last_failure = error
        if isinstance(error, NotFoundError) and self._may_appear(now):
            return None
        if max_outage is None:
            return self._failure(error, outlook, "")
        outage, count = now - self.failing_since, self.equal_failures
        if is_tolerated(outlook, equal_failures=count, seconds=outage, max_outage=max_outage):
            return None
        whose = ", of another operation's poll" if is_shared else ""
        preface = f"nothing but failures for {outage:.0f} s, the last{whose}: "
        if outlook is Outlook.SAME and outage < max_outage:
            preface = f"the same answer {count} times: "
        return self._failure(error, outlook, preface)

    def _may_appear(self, now: float) -> bool:
        """Say whether a 404 may mean that the service does not know it yet, or a copy of it."""
        if self.missing_until is None:
            if self.snapshot is not None:
                self.missing_until = now + GRACE_SECONDS
            elif self.is_known or self.ref.dispatched_at is not None:
                # Anyone may have dispatched it a moment ago, and has the id from the service.
                self.missing_until = self.began + UNKNOWN_SECONDS
            else:
                self.missing_until = now
        return now < self.missing_until

    def may_be_unknown(self, now: float) -> bool:
        """Return whether a copy that answers may be from before the dispatch."""
        return now - self.began < GRACE_SECONDS

    def note_status(self, *, now: float, max_outage: float) -> VibeError | None:
        """Return the error that the waits must raise if nothing says any more whether it is over.

        A status that is not documented may be an end: it is polled a few times, or for as long as
        an outage is tolerated where the service says elsewhere that it is no end.
        """
        since = self.assumed_since
        if self.undocumented < MAX_UNDOCUMENTED and (since is None or now - since < max_outage):
            return None
        self.undocumented, self.assumed_since = 0, None
        status = plain(self.status or "")
        what = (
            f"its status is {status!r}, which is not documented, and nothing says that it is over"
        )
        return ObservationError(what, ref=self.ref)

    def _failure(self, error: VibeError, outlook: Outlook, preface: str) -> VibeError:
        """Return the error for the caller of a wait, with the ref."""
        is_refusal = isinstance(error, UnauthorizedError | ForbiddenError)
        if outlook in {Outlook.FINAL, Outlook.REFUSED} or (outlook is Outlook.SAME and is_refusal):
            error.ref = self.ref
            return error
        is_missing = outlook is Outlook.MISSING
        kind = OperationNotFoundError if is_missing else ObservationError
        failure = kind(f"{'' if is_missing else preface}{error.brief}", ref=self.ref)
        failure.__cause__ = error
        return failure


class _Doubt(Enum):
    """What a status that is not documented leaves open."""

    IS_OVER = auto()
    """Whether it is an end."""

    NOTHING = auto()
    """Nothing: the service says elsewhere that it is no end."""


def _doubt(snapshot: Snapshot) -> _Doubt | None:
    """Return what a status leaves open; None where it is documented, or can mean one thing only."""
    status = snapshot.status
    if snapshot.is_finished or status is None or isinstance(status, RunStatus | FeatureStatus):
        return None
    if says_in_flight(status):
        return None
    if isinstance(snapshot, Run):
        return _Doubt.NOTHING if "finishedUtc" in snapshot.extra else _Doubt.IS_OVER
    return _Doubt.NOTHING if says_in_flight(snapshot.overall_status or "") else _Doubt.IS_OVER
