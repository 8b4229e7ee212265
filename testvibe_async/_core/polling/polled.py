"""The poller's record of each operation: what was observed, who listens, and when it is due.

There is one record for as long as a handle on the operation exists. It decides whether an answer is
newer, whether an answer with the same bytes is decoded again, and which failure to observe ends the
waits. It is pure: `now` is always the event loop's clock in seconds, `at` the local clock in UTC.
`poller`, `schedule` and `reader` write the fields for scheduling.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from enum import IntEnum, StrEnum, auto
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar

from attrs import define

from testvibe_async._core.http import Failures, Outlook
from testvibe_async._core.util import plain
from testvibe_async._core.wire import UnreadableError, decode, says_in_flight
from testvibe_async.errors import (
    ForbiddenError,
    NotFoundError,
    ObservationError,
    OperationNotFoundError,
    UnauthorizedError,
    VibeError,
    WaitTimeoutError,
)
from testvibe_async.models import Generation, Phase, Snapshot, Transition

if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any
    from weakref import ref as weak_ref

    from testvibe_async._core.polling.schedule import PollPlan
    from testvibe_async._core.wire import Kind, Request, Response, UnreadableField
    from testvibe_async.refs import Ref

GRACE_SECONDS = 10.0
"""Seconds for which the service may answer from a replica without an operation it has shown."""

UNKNOWN_SECONDS = 60.0
"""Seconds for which the service may not know an operation whose dispatch it answered with an id."""

MAX_UNDOCUMENTED = 3
"""Number of answers in a row with a status that may or may not be an end, at which waits end."""

OPERATIONS_A_TURN = 500
"""Number of operations that are handled in a row before other tasks get to run."""

SnapshotT = TypeVar("SnapshotT", bound=Snapshot)


class OtherOperationError(UnreadableError):
    """An answer belongs to another operation: the replica that answered may be stale."""


@define(eq=False)
class FailedPolls(Failures):
    """The failed polls of an operation in a row."""

    missing_until: float | None = None
    """The loop's clock until which a 404 means "not known yet"; None if there was no 404."""


@define(eq=False)
class UnclearStatus:
    """Answers in a row with an undocumented status."""

    count: int = 0
    """Number of those at the end of the row that may show an end."""

    assumed_since: float | None = None
    """The loop's clock since when another field says that it is no end; None if none does."""

    def add(self, now: float, *, is_assumed: bool) -> None:
        """Add an answer; `is_assumed` is True if another field says that it is no end."""
        if is_assumed:
            self.count = 0
            self.assumed_since = now if self.assumed_since is None else self.assumed_since
        else:
            self.count, self.assumed_since = self.count + 1, None

    def is_tolerated(self, now: float, *, max_outage: float) -> bool:
        """Return whether to poll again, in the hope of a clear answer."""
        if self.assumed_since is not None:
            return now - self.assumed_since < max_outage
        return self.count < MAX_UNDOCUMENTED


class Change(IntEnum):
    """Kind of change that an answer made. The kind that more waits listen for comes first."""

    END = auto()
    """The operation has finished."""

    TRANSITION = auto()
    """The phase or the status changed, before the end."""

    UPDATE = auto()
    """Something else changed, such as a section of a generation."""


class Listener(Protocol):
    """A receiver of an operation's changes. While an operation has one, the operation is polled.

    Listeners are held weakly: an iteration that is dropped takes its listener with it, and the
    polling ends by itself.
    """

    is_open: bool
    """True while the listener wants to be notified."""

    wants: Change
    """The changes that matter: this kind, and the kinds before it."""

    weakly: tuple[weak_ref[Listener], ...]
    """A reference to the listener, kept by an operation that has no other listener."""

    def notify(self, polled: PolledOperation[Any], error: VibeError | None = None) -> None:
        """Receive a change, or the error that ends the observation. An end or error is last."""


class PolledOperation(ABC, Generic[SnapshotT]):
    """One operation of a client, shared by all handles, waits and iterations on the operation."""

    kind: ClassVar[Kind]

    __slots__ = (
        "__weakref__",
        "_answer",
        "_request",
        "asked_seconds",
        "began",
        "failures",
        "is_in_progress",
        "list_key",
        "listeners",
        "observed_at",
        "other_id",
        "phase",
        "plan",
        "polled_at",
        "read_at",
        "ref",
        "seen_at",
        "sequence",
        "snapshot",
        "tick",
        "unclear",
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
            ref: The operation's ref.
            began: The loop's clock when the operation was dispatched or attached.
            answered_at: The local clock when the dispatch was answered; the operation is then known
                to be queued. None if it was attached.
            previous_id: The `requestId` of the feature's latest generation before the dispatch.
        """
        self.ref: Ref = ref
        self.plan: PollPlan | None = None
        """Returns the seconds until its next poll; None for the client's plan."""
        self.began: float = began
        self.snapshot: SnapshotT | None = None
        self.phase: Phase | None = None if answered_at is None else Phase.QUEUED
        self.observed_at: datetime | None = answered_at
        self.seen_at: float | None = None
        """The loop's clock when the snapshot was last read, or confirmed by a list."""
        self.sequence: int = 0
        """The number, counted across the client, of the request with the newest answer."""
        self.failures: FailedPolls | None = None
        """The failed polls in a row; None after an answer."""
        self.unclear: UnclearStatus | None = None
        """The answers in a row that leave open whether it has finished; None after another one."""
        self.other_id: str | None = None
        """The `requestId` of another generation that the last answer showed, if any: it may have
        superseded this one."""
        self.list_key: tuple[str, str] = _list_key(ref.project, ref.kind)
        """The project and the kind, which name the list that may show the operation."""
        self.tick: int | None = None
        """The tick in which the next poll is due; None if none is planned."""
        self.asked_seconds: float | None = None
        """The seconds after which the last answer asked for the next poll; None if it did not."""
        self.is_in_progress: bool = False
        """True while a poll of the operation is queued or under way."""
        self.polled_at: float | None = None
        """The loop's clock at the end of the last poll; None before the first."""
        self.read_at: float = began
        """The loop's clock when the operation was last read by id, or could first have been."""
        # A tuple of weak references: most operations have at most one listener, and a `WeakSet` for
        # each would cost 1 KiB.
        self.listeners: tuple[weak_ref[Listener], ...] = ()
        """The listeners, in order; some may be collected or closed."""
        self._request: Request[SnapshotT] | None = None
        self._answer: tuple[int, SnapshotT] | None = None
        """The hash of the last answer's bytes, and its snapshot: the bytes take 0.4 KiB."""

    @property
    @abstractmethod
    def list_id(self) -> int:
        """The id of the operation's row in a list."""

    @property
    @abstractmethod
    def ended_at(self) -> datetime | None:
        """The service's time of the end; None if there is no end yet, or its time is unknown."""

    @abstractmethod
    def is_of_this(self, snapshot: SnapshotT) -> bool:
        """Return whether a snapshot names this operation."""

    @abstractmethod
    def belongs(self, snapshot: SnapshotT, now: float) -> bool:
        """Return whether a snapshot belongs to this operation; False if it may be unknown yet.

        Unlike `is_of_this`, this method raises if the snapshot can only belong to another
        operation.

        Raises:
            OtherOperationError: The snapshot belongs to another operation, or does not name its
                own.
            OperationSupersededError: The snapshot belongs to a later generation of the same
                feature.
        """

    @property
    def status(self) -> str | None:
        """The operation's status in the service's words; None before the first observation."""
        if self.snapshot is not None:
            return self.snapshot.status
        return self.kind.in_flight if self.is_known else None

    @property
    def is_known(self) -> bool:
        """True if the service has acknowledged or shown the operation, so it should know it."""
        return self.phase is not None

    @property
    def is_finished(self) -> bool:
        """True if the operation has finished. Nothing changes its state after that."""
        return self.phase is Phase.FINISHED

    @property
    def latest(self) -> Transition[SnapshotT]:
        """The last observation, as a transition; undefined before the first observation."""
        assert self.phase is not None
        assert self.observed_at is not None
        return Transition(self.phase, self.status, self.observed_at, self.snapshot)

    def accept(
        self, snapshot: SnapshotT, *, sequence: int, now: float, at: datetime
    ) -> Change | None:
        """Accept an answer, unless the answer to a later request came first.

        Args:
            snapshot: The answer.
            sequence: The number of the request, counted across the client when the request started.
            now: The loop's clock.
            at: The local clock.

        Raises:
            UnreadableError, OperationSupersededError: The answer belongs to another operation.
        """
        if self.phase is Phase.FINISHED:
            return None
        # An end is accepted however late the answer that shows it arrives.
        is_late = sequence < self.sequence
        if is_late and not (snapshot.is_finished and self.is_of_this(snapshot)):
            return None
        # The same object again means an answer with the same bytes: see `PolledOperation.decode`.
        if snapshot is not self.snapshot and not self.belongs(snapshot, now):
            self._note_answer(sequence)
            return None
        self._note_answer(sequence)
        self.observed_at, self.seen_at = at, now
        if _is_documented(snapshot):
            self.unclear = None
        else:
            self.unclear = self.unclear or UnclearStatus()
            self.unclear.add(now, is_assumed=_says_no_end(snapshot))
        return None if snapshot is self.snapshot else self._replace(snapshot)

    def restore(self, outcome: SnapshotT, *, at: datetime) -> None:
        """Take over an outcome that was observed before: nobody need check whose it is."""
        self.snapshot, self.phase, self.observed_at = outcome, Phase.FINISHED, at

    def _note_answer(self, sequence: int) -> None:
        self.sequence = max(sequence, self.sequence)
        self.failures = None

    def _replace(self, snapshot: SnapshotT) -> Change | None:
        before, last = (self.phase, self.status), self.snapshot
        self.snapshot = snapshot
        # A list may already have shown the operation as started when this older answer arrives.
        if self.phase is not Phase.ACTIVE or snapshot.phase is not Phase.QUEUED:
            self.phase = snapshot.phase
        if before != (self.phase, self.status):
            return Change.END if self.phase is Phase.FINISHED else Change.TRANSITION
        return Change.UPDATE if snapshot != last else None

    def timed_out(self, *, elapsed: float) -> WaitTimeoutError:
        """Return the error of a wait that times out; its cause is the last failed poll.

        Args:
            elapsed: Seconds since the wait began.
        """
        error = WaitTimeoutError(
            ref=self.ref,
            status=self.status,
            elapsed=elapsed,
            last_seen_at=self.observed_at,
            failures=self.failures.count if self.failures else 0,
        )
        error.__cause__ = self.failures.last if self.failures else None
        return error

    def see_listed(self, *, now: float, at: datetime) -> None:
        """Note that a list shows the operation as still in flight."""
        if self.phase is not Phase.FINISHED:
            self.observed_at, self.seen_at, self.asked_seconds = at, now, None
            self.failures = None

    def see_started(self, *, at: datetime) -> Change | None:
        """Note that a list shows the operation as started, unless more is known already."""
        if self.phase is not Phase.QUEUED:
            return None
        self.phase, self.observed_at = Phase.ACTIVE, at
        return Change.TRANSITION

    def note_failure(
        self,
        error: VibeError,
        outlook: Outlook,
        *,
        now: float,
        max_outage: float | None,
        is_shared: bool = False,
    ) -> VibeError | None:
        """Count a failed poll, and decide whether it ends the waits.

        Args:
            error: The failure.
            outlook: The result that another poll may bring.
            now: The loop's clock.
            max_outage: Seconds of uninterrupted failures after which the waits end; None for a poll
                by hand, which does not slow the waits down.
            is_shared: True if another operation was polled on behalf of this one.

        Returns:
            The error that the waits must raise; None if the failure is tolerated and another poll
                follows.
        """
        # A stale replica shows another operation, the same one each time.
        if isinstance(error.__cause__, OtherOperationError):
            outlook = Outlook.AWAY
        failures = self.failures = self.failures or FailedPolls(now)
        if max_outage is not None:
            failures.add(error, now=now)
        if isinstance(error, NotFoundError) and self._may_appear(failures, now):
            return None
        if max_outage is None:
            return self._failure(error, outlook, "")
        outage, count = now - failures.since, failures.equal_count
        if failures.are_tolerated(outlook, seconds=outage, max_outage=max_outage):
            return None
        whose = ", of another operation's poll" if is_shared else ""
        preface = f"nothing but failures for {outage:.0f} s, the last{whose}: "
        if outlook is Outlook.SAME and outage < max_outage:
            preface = f"the same answer {count} times: "
        return self._failure(error, outlook, preface)

    def _may_appear(self, failures: FailedPolls, now: float) -> bool:
        """Return whether a 404 may mean that the service or a replica does not know it yet."""
        if failures.missing_until is None:
            if self.snapshot is not None:
                failures.missing_until = now + GRACE_SECONDS
            elif self.is_known or self.ref.dispatched_at is not None:
                # Any client may have dispatched the operation a moment ago, and got its id from the
                # service. Later on, a 404 may be that of another dispatch, not shown yet.
                failures.missing_until = max(self.began + UNKNOWN_SECONDS, now + GRACE_SECONDS)
            else:
                failures.missing_until = now
        return now < failures.missing_until

    def may_be_unknown(self, now: float) -> bool:
        """Return whether the answering replica may predate the dispatch."""
        return now - self.began < GRACE_SECONDS

    def note_status(self, *, now: float, max_outage: float) -> VibeError | None:
        """Return the error that ends the waits if it stays unknown whether it has finished.

        An undocumented status may be an end, so the operation is polled a few more times. If the
        service says elsewhere that the status is no end, polling continues for as long as an outage
        is tolerated.
        """
        if self.unclear is None or self.unclear.is_tolerated(now, max_outage=max_outage):
            return None
        self.unclear = None
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

    @property
    def has_listeners(self) -> bool:
        """True if an open listener exists, so that the operation must be polled."""
        for weak in self.listeners:  # `any` would double the cost of a tick
            listener = weak()
            if listener is not None and listener.is_open:
                return True
        return False

    @property
    def is_followed(self) -> bool:
        """True if a listener wants each transition, not the end alone."""
        for weak in self.listeners:
            listener = weak()
            if listener is not None and listener.is_open and listener.wants is not Change.END:
                return True
        return False

    def add(self, listener: Listener) -> None:
        """Add a listener; the first one resets the count of failures."""
        present = self.listeners
        # To prune them at each addition would cost the square of their number.
        if len(present) & (len(present) - 1) == 0:
            living = ((weak, weak()) for weak in present)
            present = tuple(weak for weak, each in living if each is not None and each.is_open)
        if not present or not self.has_listeners:
            self.failures = None
        self.listeners = (*present, *listener.weakly)

    @property
    def request(self) -> Request[SnapshotT]:
        """The documented call that reads the operation by its id."""
        if self._request is None:
            self._request = self.kind.read_request(self.ref)
        return self._request

    def decode(self, response: Response, unreadable: list[UnreadableField]) -> SnapshotT:
        """Return the snapshot in an answer to `request`.

        Args:
            response: The answer.
            unreadable: Receives the fields that were left out.

        Raises:
            MalformedResponseError: The answer does not have the documented form.
        """
        answer = self._answer  # It may change meanwhile: a large answer is decoded in a thread.
        digest = hash(response.body)  # Of 64 bits, keyed by the process: it is as good as unique.
        if answer is not None and answer[0] == digest:
            return answer[1]
        snapshot = decode(self.request, response, unreadable=unreadable)
        self._answer = digest, snapshot
        return snapshot

    def forget_answer(self) -> None:
        """Free the cached request and answer when no read by id is expected soon."""
        self._request = self._answer = None


@lru_cache(maxsize=256)
def _list_key(project: str, kind: str) -> tuple[str, str]:
    """Return one object for equal keys, which thousands of operations share."""
    return project, kind


def own_copy(error: VibeError) -> VibeError:
    """Return a copy of an error for one more caller, so that no two callers share a traceback."""
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    return own


def _is_documented(snapshot: Snapshot) -> bool:
    """Return whether a status says by itself whether the operation has finished."""
    status = snapshot.status
    if status is None or isinstance(status, StrEnum):
        return True
    return snapshot.is_finished or says_in_flight(status)


def _says_no_end(snapshot: Snapshot) -> bool:
    """Return whether another field shows that an operation has not finished."""
    if isinstance(snapshot, Generation):
        return says_in_flight(snapshot.overall_status or "")
    return "finishedUtc" in snapshot.extra  # `convert` keeps it there if it is null.
