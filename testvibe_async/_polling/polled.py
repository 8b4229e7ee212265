"""The poller's record of each operation: its state, its listeners, and its next tick.

There is one record for as long as a handle on the operation exists. The operations that finished
last are retained, so that attaching to them again costs no request.

`poller`, `schedule` and `reader` write the fields for scheduling. A
listener that is closed or collected no longer counts. The record decides one thing: an answer with
the same bytes as the last one is not decoded again, since most polls of a long operation bring the
same bytes.
"""

from __future__ import annotations

import asyncio
import copy
from collections import Counter, deque
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from weakref import WeakValueDictionary

from testvibe_async._polling.state import Change
from testvibe_async._polling.states import new_state
from testvibe_async._wire import KINDS, decode
from testvibe_async.models import Snapshot

if TYPE_CHECKING:
    from weakref import ref as weak_ref

    from testvibe_async._polling.state import OperationState
    from testvibe_async._wire import Request, Response, UnreadableField
    from testvibe_async.errors import VibeError
    from testvibe_async.refs import Ref

SnapshotT = TypeVar("SnapshotT", bound=Snapshot)

CLOCK_SKEW_SECONDS = 60.0
"""Seconds by which the clock of the machine that dispatched an operation may be ahead."""

MAX_OPERATIONS = 100
"""Maximum number of finished operations retained. Most take 2 to 3 KiB of memory."""

MAX_BYTES = 16 * 2**20
"""Maximum total size in bytes of the retained answers, as JSON; one outcome may be up to 1 MiB."""


OPERATIONS_A_TURN = 500
"""Number of operations that are handled in a row before other tasks get to run."""


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


class PolledOperation(Generic[SnapshotT]):
    """One operation of a client, shared by all handles, waits and iterations on the operation."""

    __slots__ = (
        "__weakref__",
        "_answer",
        "_request",
        "is_in_progress",
        "list_key",
        "listeners",
        "polled_at",
        "read_at",
        "ref",
        "state",
        "tick",
    )

    def __init__(self, state: OperationState[SnapshotT]) -> None:
        self.state: OperationState[SnapshotT] = state
        """The observed state."""

        self.list_key: tuple[str, str] = _list_key(state.ref.project, state.ref.kind)
        """The project and the kind, which name the list that may show the operation."""

        self.ref: Ref = state.ref
        """The operation's ref."""

        self.tick: int | None = None
        """The tick in which the next poll is due; None if none is planned."""

        self.is_in_progress: bool = False
        """True while a poll of the operation is queued or under way."""

        self.polled_at: float | None = None
        """The loop's clock at the end of the last poll; None before the first."""

        self.read_at: float = state.began
        """The loop's clock when the operation was last read by id, or could first have been."""

        # A tuple of weak references: most operations have at most one listener, and a `WeakSet` for
        # each would cost 1 KiB.
        self.listeners: tuple[weak_ref[Listener], ...] = ()
        """The listeners, in order; some may be collected or closed."""

        self._request: Request[SnapshotT] | None = None
        self._answer: tuple[int, SnapshotT] | None = None
        """The hash of the last answer's bytes, and its snapshot: the bytes take 0.4 KiB."""

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
        present = [weak for weak in self.listeners if (each := weak()) is not None and each.is_open]
        if present:
            self.listeners = (*present, *listener.weakly)
        else:
            self.state.forget_failures()
            self.listeners = listener.weakly

    @property
    def request(self) -> Request[SnapshotT]:
        """The documented call that reads the operation by its id."""
        if self._request is None:
            self._request = KINDS[self.ref.kind].read_request(self.ref)
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


class KnownOperations:
    """A client's record of each operation, by the operation's key."""

    def __init__(self) -> None:
        # Handles hold their operation, so it lives as long as any handle on it does.
        self._operations: WeakValueDictionary[tuple[object, ...], PolledOperation[Any]] = (
            WeakValueDictionary()
        )
        self._is_closed = False

    def operation(
        self, ref: Ref, *, sent_at: float | None = None, previous_id: str | None = None
    ) -> PolledOperation[Any]:
        """Return this client's record of an operation, created at first use.

        A service that was reset uses ids again: an observation from before the dispatch belongs to
        an earlier operation with the same id.

        Args:
            ref: The operation's ref.
            sent_at: The loop's clock when this client sent the dispatch, which was answered just
                now; None if the operation was attached.
            previous_id: The `requestId` of the feature's previous generation, if known.
        """
        key = ref.key
        polled = self._operations.get(key)
        if polled is None or _is_earlier(polled.state, ref, sent_at):
            now = asyncio.get_running_loop().time()
            age = _age(ref) if sent_at is None else now - sent_at
            # An operation must not seem old because another machine's clock is behind.
            began = now - age if age >= CLOCK_SKEW_SECONDS else now
            answered_at = None if sent_at is None else datetime.now(UTC)
            state = new_state(ref, began=began, answered_at=answered_at, previous_id=previous_id)
            polled = self._operations[key] = PolledOperation(state)
        return polled

    def __contains__(self, ref: Ref) -> bool:
        """Return whether a handle on the operation exists."""
        return ref.key in self._operations

    def is_in_flight(self, ref: Ref) -> bool:
        """Return whether a handle on the operation exists, and it has not finished."""
        polled = self._operations.get(ref.key)
        return polled is not None and not polled.state.is_finished

    def in_flight(self) -> Counter[str]:
        """Count the operations that are known and have not finished, by kind; none after the close.

        May be called in another thread: the references are copied in one step.
        """
        operations = [] if self._is_closed else self._operations.valuerefs()
        found = (weak() for weak in operations)
        return Counter(
            polled.ref.kind
            for polled in found
            if polled is not None and polled.state.is_known and not polled.state.is_finished
        )

    def close(self) -> list[PolledOperation[Any]]:
        """Stop counting operations, and return all that exist."""
        self._is_closed = True
        return [polled for weak in self._operations.valuerefs() if (polled := weak()) is not None]


class FinishedOperations:
    """The operations that finished last, in the order observed. It only keeps them alive."""

    def __init__(self) -> None:
        self._kept: deque[tuple[PolledOperation[Any], int]] = deque()
        self._bytes = 0

    def keep(self, polled: PolledOperation[Any], size_bytes: int) -> None:
        """Retain an operation, and drop the oldest ones beyond the maximum number or size.

        Args:
            polled: The operation.
            size_bytes: Size of the answer that holds the operation's outcome.
        """
        self._kept.append((polled, size_bytes))
        self._bytes += size_bytes
        while len(self._kept) > MAX_OPERATIONS or self._bytes > MAX_BYTES:
            _, oldest_bytes = self._kept.popleft()
            self._bytes -= oldest_bytes


def _is_earlier(state: OperationState[Any], ref: Ref, sent_at: float | None) -> bool:
    """Return whether the record under an id was last observed before the operation's dispatch."""
    if sent_at is not None:  # The local clock may have been set since.
        seen_at = state.began if state.seen_at is None else state.seen_at
        return state.is_known and seen_at <= sent_at
    dispatched_at = ref.dispatched_at
    if dispatched_at is None or dispatched_at == state.ref.dispatched_at:
        return False
    return state.observed_at is not None and state.observed_at < dispatched_at


def _age(ref: Ref) -> float:
    """Return the seconds since a dispatch, by two machines' clocks; 0 if its time is unknown."""
    if ref.dispatched_at is None:
        return 0.0
    return (datetime.now(UTC) - ref.dispatched_at).total_seconds()
