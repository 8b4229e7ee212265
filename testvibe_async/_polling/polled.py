"""The poller's record of one operation: its state, its listeners, and its next tick.

`poller`, `schedule` and `reader` write the fields for scheduling, `traces` writes the span. A
listener that is closed or collected no longer counts. The record decides one thing: an answer with
the same bytes as the last one is not decoded again, since most polls of a long operation bring the
same bytes.
"""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from attrs import frozen

from testvibe_async._polling.state import Change
from testvibe_async._wire import KINDS, decode
from testvibe_async.models import Snapshot

if TYPE_CHECKING:
    from weakref import finalize
    from weakref import ref as weak_ref

    from testvibe_async._polling.state import OperationState
    from testvibe_async._telemetry import Trace
    from testvibe_async._wire import Request, Response, UnreadableField
    from testvibe_async.errors import VibeError
    from testvibe_async.refs import Ref

SnapshotT = TypeVar("SnapshotT", bound=Snapshot)

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


@frozen
class OpenTrace:
    """The span of an operation that has not finished."""

    trace: Trace
    finalizer: finalize[Any, Any]
    """Ends the span if the operation is dropped before its end."""


class PolledOperation(Generic[SnapshotT]):
    """One operation of a client, shared by all handles, waits and iterations on the operation."""

    __slots__ = (
        "__weakref__",
        "_answer",
        "_request",
        "is_in_progress",
        "is_traced",
        "list_key",
        "listeners",
        "polled_at",
        "read_at",
        "ref",
        "state",
        "tick",
        "trace",
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

        self.trace: OpenTrace | None = None
        """The span that ends with the operation; None if no span is recorded."""

        self.is_traced: bool = False
        """True if a span was requested."""

        # A tuple of weak references: most operations have at most one listener, and a `WeakSet` for
        # each would cost 1 KiB.
        self.listeners: tuple[weak_ref[Listener], ...] = ()
        """The listeners, in order; some may be collected or closed."""

        self._request: Request[SnapshotT] | None = None
        self._answer: tuple[int, SnapshotT] | None = None

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
        # The bytes themselves would take 0.3 KiB. A hash of 64 bits, keyed by the process, is equal
        # for other bytes less often than a machine miscalculates.
        digest = hash(response.body)
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
