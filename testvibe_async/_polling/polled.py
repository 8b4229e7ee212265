"""What the poller keeps of one operation: its state, its listeners, and when it is polled next.

`poller`, `schedule` and `reader` write what it needs for scheduling, `traces` its span; a listener
that is closed or gone counts no more. It decides one thing: an answer that equals the last one is
not decoded again, since most polls of a long operation bring the same bytes.
"""

from __future__ import annotations

import copy
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

__all__ = ["Listener", "PolledOperation", "own_copy"]

SnapshotT = TypeVar("SnapshotT", bound=Snapshot)


class Listener(Protocol):
    """What is notified of an operation's changes. While there is one, the operation is polled.

    It is held weakly: an iteration that is dropped takes its listener with it, and the polling ends
    by itself.
    """

    is_open: bool
    """Whether it is still to be notified."""

    wants: Change
    """Which changes matter: this kind, and those before it."""

    weakly: tuple[weak_ref[Listener], ...]
    """A reference to it, for an operation without another listener to keep."""

    def notify(self, polled: PolledOperation[Any], error: VibeError | None = None) -> None:
        """Take in a change, or why it can't be observed any more. An end and an error come last."""


@frozen
class OpenTrace:
    """The span of an operation that goes on."""

    trace: Trace
    finalizer: finalize[Any, Any]
    """Ends it where the operation is let go before its end."""


class PolledOperation(Generic[SnapshotT]):
    """One operation of a client. All handles, waits and iterations on it share this one."""

    __slots__ = (
        "__weakref__",
        "_answer",
        "_request",
        "is_in_progress",
        "is_traced",
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
        """What was observed."""

        self.ref: Ref = state.ref
        """The operation's name."""

        self.tick: int | None = None
        """The poller's tick in which the next poll is due; None where none is planned."""

        self.is_in_progress: bool = False
        """Whether a poll of it is queued or under way."""

        self.polled_at: float | None = None
        """When the last poll ended, by the loop's clock; None before the first."""

        self.read_at: float = state.began
        """When it was last read by its id, or could first have been."""

        self.trace: OpenTrace | None = None
        """The span that ends with it; None where nobody records one."""

        self.is_traced: bool = False
        """Whether a span was asked for."""

        # A tuple of weak references: most operations have one listener or none, and a `WeakSet` for
        # each would cost 1 KiB.
        self.listeners: tuple[weak_ref[Listener], ...] = ()
        """Its listeners, in order; some may be gone or closed."""

        self._request: Request[SnapshotT] | None = None
        self._answer: tuple[bytes, SnapshotT] | None = None

    @property
    def has_listeners(self) -> bool:
        """Whether it is to be polled for a listener."""
        for weak in self.listeners:  # `any` doubles what a tick costs for each
            listener = weak()
            if listener is not None and listener.is_open:
                return True
        return False

    @property
    def is_followed(self) -> bool:
        """Whether each transition matters to a listener, not the end alone."""
        for weak in self.listeners:
            listener = weak()
            if listener is not None and listener.is_open and listener.wants is not Change.END:
                return True
        return False

    def add(self, listener: Listener) -> None:
        """Add a listener; the first one starts the count of failures anew."""
        present = [weak for weak in self.listeners if (each := weak()) is not None and each.is_open]
        if present:
            self.listeners = (*present, *listener.weakly)
        else:
            self.state.forget_failures()
            self.listeners = listener.weakly

    @property
    def request(self) -> Request[SnapshotT]:
        """The documented call that reads it by its id."""
        if self._request is None:
            self._request = KINDS[self.ref.kind].read_request(self.ref)
        return self._request

    def decode(self, response: Response, unreadable: list[UnreadableField]) -> SnapshotT:
        """Return the snapshot in an answer to `request`.

        Args:
            response: The answer.
            unreadable: Takes in the fields that were left out.

        Raises:
            MalformedResponseError: It is not what it should be.
        """
        answer = self._answer  # It may be forgotten meanwhile: a large answer is read in a thread.
        if answer is not None and answer[0] == response.body:
            return answer[1]
        snapshot = decode(self.request, response, unreadable=unreadable)
        self._answer = response.body, snapshot
        return snapshot

    def forget_answer(self) -> None:
        """Free what speeds up the next read by id, when there will be none soon."""
        self._request = self._answer = None


def own_copy(error: VibeError) -> VibeError:
    """Return the same error for one more caller, so that no two share a traceback."""
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    return own
