"""What a client knows of one operation, and what an answer adds to it.

Decides, without a clock and without I/O, what each answer means: a newer snapshot, an older one
that is dropped, a failure to observe that is borne, or one that the waits must hear of. It never
decides when to look.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from testvibe_async._wire import GET_GENERATION_STATUS, GET_RUN, UnreadableError, read
from testvibe_async.errors import (
    ClientClosedError,
    ConfigError,
    ForbiddenError,
    MalformedResponseError,
    NotFoundError,
    ObservationError,
    OperationNotFoundError,
    OperationSupersededError,
    UnauthorizedError,
    VibeError,
)
from testvibe_async.models import FeatureStatus, Generation, Phase, Run, RunStatus, Transition
from testvibe_async.refs import GenerationRef, Ref, RunRef

if TYPE_CHECKING:
    from testvibe_async._wire import Request

__all__ = ["GRACE_SECONDS", "GenerationState", "RunState", "State", "Watcher", "new_state"]

GRACE_SECONDS = 10.0
"""How long the service may take to know of an operation that it has just dispatched."""

_TOLD_AS_THEY_ARE = (
    ClientClosedError,
    ConfigError,
    ForbiddenError,
    OperationSupersededError,
    UnauthorizedError,
)

_RUN = GET_RUN.unread
_GENERATION = GET_GENERATION_STATUS.unread

SnapshotT = TypeVar("SnapshotT", bound=Run | Generation)


class Watcher(Protocol):
    """Somebody who wants to know how an operation goes on. While there is one, it is polled."""

    @property
    def is_following(self) -> bool:
        """Whether each change matters, or the end alone."""
        ...

    def observed(self, state: State[Any], *, is_transition: bool) -> None:
        """Hear of a snapshot that differs from the last."""

    def failed(self, state: State[Any], error: VibeError) -> None:
        """Hear that it can't be observed, or that the client closed. Called at most once."""


class _Crowd:
    """Several watchers of one operation, as one. Most operations have one, and need no set."""

    __slots__ = ("members",)

    def __init__(self, *members: Watcher) -> None:
        self.members = set(members)

    @property
    def is_following(self) -> bool:
        return any(member.is_following for member in tuple(self.members))

    def observed(self, state: State[Any], *, is_transition: bool) -> None:
        for member in tuple(self.members):
            member.observed(state, is_transition=is_transition)

    def failed(self, state: State[Any], error: VibeError) -> None:
        for member in tuple(self.members):
            member.failed(state, error)


class State(ABC, Generic[SnapshotT]):
    """One operation, for as long as somebody holds a handle on it."""

    shape: type[SnapshotT]
    """What an answer holds."""

    in_flight: ClassVar[str]
    """The service's word for an operation that was dispatched and is not over."""

    __slots__ = (
        "__weakref__",
        "_parsed",
        "_request",
        "began",
        "failing_since",
        "failures",
        "is_looking",
        "last_look",
        "last_read",
        "missing_since",
        "observed_at",
        "phase",
        "ref",
        "snapshot",
        "sweep",
        "tick",
        "ticket",
        "watcher",
    )

    def __init__(self, ref: Ref, *, began: float, is_dispatched: bool) -> None:
        """Begin.

        Args:
            ref: Its name.
            began: When it was dispatched or attached, by the loop's clock.
            is_dispatched: Whether a dispatch was just answered: then it is in flight, and known.
        """
        self.ref = ref
        self.began: float = began
        self.snapshot: SnapshotT | None = None
        self.phase: Phase | None = Phase.QUEUED if is_dispatched else None
        self.observed_at: datetime | None = datetime.now(UTC) if is_dispatched else None
        self.ticket: int = 0
        """The number of the look whose answer is the newest here."""

        self.last_look: float | None = None
        """When the last look ended, by the loop's clock; None before the first."""

        self.last_read: float = began
        """When it was last read by id, or could first have been."""

        self.sweep: Any = None
        """The list that may show it; the poller's."""

        self.is_looking: bool = False
        self.tick: int | None = None
        """The poller's tick in which the next look is due."""

        self.failures: int = 0
        self.failing_since: float | None = None
        self.missing_since: float | None = None
        self.watcher: Watcher | None = None
        self._request: Request[bytes] | None = None
        self._parsed: tuple[bytes, SnapshotT] | None = None

    @property
    @abstractmethod
    def list_id(self) -> int:
        """What a list calls it."""

    @property
    @abstractmethod
    def ended_at(self) -> datetime | None:
        """When it ended by the service's clock; None where it is not over, or nobody says."""

    @property
    def request(self) -> Request[bytes]:
        """The documented call that tells of it; `read` makes a snapshot of the answer."""
        if self._request is None:
            self._request = self._build_request()
        return self._request

    @abstractmethod
    def _build_request(self) -> Request[bytes]: ...

    def read(self, body: bytes) -> SnapshotT:
        """Make a snapshot of an answer. One that is the same as the last is not read again.

        Raises:
            MalformedResponseError: It is not what it should be.
        """
        if self._parsed is not None and self._parsed[0] == body:
            return self._parsed[1]
        try:
            snapshot = read(body, self.shape)
        except UnreadableError as error:
            raise self._unreadable(*error.problems) from error
        self._parsed = body, snapshot
        return snapshot

    def forget_reading(self) -> None:
        """Keep nothing for the next reading by id, as there will be none soon."""
        self._request = self._parsed = None

    @abstractmethod
    def is_of_this(self, snapshot: SnapshotT) -> bool:
        """Say whether a snapshot names this operation."""

    @abstractmethod
    def is_told_by(self, snapshot: SnapshotT, now: float) -> bool:
        """Say whether a snapshot is of this operation; False while the service may not know it.

        Raises:
            MalformedResponseError: It is of another operation.
            OperationSupersededError: It is of a later generation of the same feature.
        """

    @property
    def status(self) -> str | None:
        """The service's word for how it stands; None before anything was seen."""
        if self.snapshot is not None:
            return self.snapshot.status
        return self.in_flight if self.is_known else None

    @property
    def is_known(self) -> bool:
        """Whether the service told of it before, so that it ought to know it still."""
        return self.phase is not None

    @property
    def is_finished(self) -> bool:
        """Whether it is over. Then nothing changes it any more."""
        return self.phase is Phase.FINISHED

    @property
    def is_watched(self) -> bool:
        """Whether anybody wants to know how it goes on."""
        return self.watcher is not None

    @property
    def is_followed(self) -> bool:
        """Whether anybody wants to know of each change on the way, not of the end alone."""
        return self.watcher is not None and self.watcher.is_following

    @property
    def present(self) -> Transition[SnapshotT]:
        """The last that was seen, as a transition; there is none before anything was."""
        assert self.phase is not None
        assert self.observed_at is not None
        return Transition(self.phase, self.status, self.observed_at, self.snapshot)

    def watch(self, watcher: Watcher) -> None:
        """Add somebody who wants to know; a first one starts the count of failures anew."""
        if self.watcher is None:
            self._forget_failures()
            self.watcher = watcher
        elif isinstance(self.watcher, _Crowd):
            self.watcher.members.add(watcher)
        else:
            self.watcher = _Crowd(self.watcher, watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """Take somebody away who may be there."""
        if self.watcher is watcher:
            self.watcher = None
        elif isinstance(self.watcher, _Crowd):
            self.watcher.members.discard(watcher)
            if not self.watcher.members:
                self.watcher = None

    def _forget_failures(self) -> None:
        self.failures = 0
        self.failing_since = self.missing_since = None

    def tell(self, error: VibeError) -> None:
        """Tell all who watch that it can't be observed, and let them go."""
        watcher, self.watcher = self.watcher, None
        self._forget_failures()
        if watcher is not None:
            watcher.failed(self, error)

    def accept(self, snapshot: SnapshotT, *, ticket: int, now: float) -> None:
        """Take in an answer.

        Args:
            snapshot: What was answered.
            ticket: The number of the look, counted when it began.
            now: The loop's clock.

        Raises:
            MalformedResponseError, OperationSupersededError: It is of another operation.
        """
        is_end = snapshot.is_finished and self.is_of_this(snapshot)
        if self.is_finished or (ticket < self.ticket and not is_end):
            return
        if snapshot is self.snapshot:
            self.ticket = max(ticket, self.ticket)
            self._forget_failures()
            self.observed_at = datetime.now(UTC)
            return
        is_ours = self.is_told_by(snapshot, now)
        self.ticket = max(ticket, self.ticket)
        self._forget_failures()
        if is_ours:
            self._take(snapshot)

    def _take(self, snapshot: SnapshotT) -> None:
        before = self.phase, self.status
        is_change = snapshot != self.snapshot
        self.snapshot = snapshot
        # A row of a list may have told that it executes before this answer, older, came.
        if self.phase is not Phase.ACTIVE or snapshot.phase is not Phase.QUEUED:
            self.phase = snapshot.phase
        self.observed_at = datetime.now(UTC)
        watcher = self.watcher
        if self.is_finished:
            self.watcher = None
            self.forget_reading()
        if is_change and watcher is not None:
            watcher.observed(self, is_transition=before != (self.phase, self.status))

    def refuse(self, error: VibeError, *, now: float, max_outage: float) -> VibeError | None:
        """Take in a failure to observe.

        Args:
            error: What came instead of an answer.
            now: The loop's clock.
            max_outage: Seconds for which nothing but failures is borne.

        Returns:
            What the waits must be told; None where it is borne, and looked again.
        """
        failure = self._failure(error)
        if isinstance(failure, OperationNotFoundError):
            self.missing_since = now if self.missing_since is None else self.missing_since
            # Whoever dispatched it, a minute ago at most, the service need not know it at once.
            is_new = self.ref.dispatched_at is not None and now - self.began < GRACE_SECONDS
            is_borne = (self.is_known or is_new) and now - self.missing_since < GRACE_SECONDS
        elif type(failure) is ObservationError:
            self.failing_since = now if self.failing_since is None else self.failing_since
            outage = now - self.failing_since
            is_borne = outage < max_outage
            if max_outage:
                preface = f"nothing but failures for {outage:.0f} s, the last: "
                failure = self._failure(error, preface)
        else:
            is_borne = False
        return None if is_borne else failure

    def _failure(self, error: VibeError, preface: str = "") -> VibeError:
        """Return what a caller should be told of a failure to observe, with the ref."""
        if isinstance(error, _TOLD_AS_THEY_ARE):
            error.ref = self.ref
            return error
        kind = OperationNotFoundError if isinstance(error, NotFoundError) else ObservationError
        failure = kind(f"{preface}{error}", ref=self.ref)
        failure.__cause__ = error
        return failure

    def _unreadable(self, *problems: str) -> MalformedResponseError:
        url = self.request.url(self.ref.server)
        return MalformedResponseError(problems, status=200, method="GET", url=url)


class RunState(State[Run]):
    """What is known of a run."""

    __slots__ = ()
    ref: RunRef
    shape = Run
    in_flight = RunStatus.RUNNING

    @property
    def list_id(self) -> int:
        """What list_runs calls it."""
        return self.ref.run_id

    @property
    def ended_at(self) -> datetime | None:
        """When it ended: `finishedUtc`."""
        return self.snapshot.finished_at if self.snapshot and self.is_finished else None

    def _build_request(self) -> Request[bytes]:
        return _RUN.request(project=self.ref.project, run=self.ref.run_id)

    def is_of_this(self, snapshot: Run) -> bool:
        """Compare the `runId`s."""
        return snapshot.run_id == self.ref.run_id

    def is_told_by(self, snapshot: Run, now: float) -> bool:  # noqa: ARG002
        """Accept a digest of this run alone."""
        if not self.is_of_this(snapshot):
            raise self._unreadable(f"it tells of run {snapshot.run_id}, not {self.ref.run_id}")
        return True


class GenerationState(State[Generation]):
    """What is known of a generation. The service tells of a feature's latest one only."""

    __slots__ = ()
    ref: GenerationRef
    shape = Generation
    in_flight = FeatureStatus.GENERATING

    @property
    def list_id(self) -> int:
        """What list_features calls its feature."""
        return self.ref.feature_id

    @property
    def ended_at(self) -> datetime | None:
        """When it last changed, once it is over: `updatedUtc`."""
        return self.snapshot.updated_at if self.snapshot and self.is_finished else None

    def _build_request(self) -> Request[bytes]:
        return _GENERATION.request(project=self.ref.project, feature=self.ref.feature_id)

    def is_of_this(self, snapshot: Generation) -> bool:
        """Compare the `requestId`s."""
        return snapshot.request_id == self.ref.request_id

    def is_told_by(self, snapshot: Generation, now: float) -> bool:
        """Accept a status of this generation; bear with the previous one's while ours is new."""
        if self.is_of_this(snapshot):
            return True
        if self.snapshot is None and now - self.began < GRACE_SECONDS:
            return False
        if snapshot.request_id is None:
            raise self._unreadable("it does not say of which generation it tells, at $.requestId")
        raise OperationSupersededError(ref=self.ref, newer_request_id=snapshot.request_id)


def new_state(ref: Ref, *, began: float, is_dispatched: bool) -> State[Any]:
    """Return the state of an operation of which nothing was seen yet."""
    kind = RunState if isinstance(ref, RunRef) else GenerationState
    return kind(ref, began=began, is_dispatched=is_dispatched)
