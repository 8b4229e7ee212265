"""The waits of a batch's workers, and the iterations that follow its operations.

Decides what ends the waits besides the end of an operation: a time-out, an error, the close.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakSet

from testvibe_async._polling import Change, Iteration, Subscription, own_copy
from testvibe_async.models import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from testvibe_async._polling import PolledOperation, Poller
    from testvibe_async.errors import VibeError
    from testvibe_async.models import Transition
    from testvibe_async.operations import Operation

__all__ = ["Waits"]

SnapshotT = TypeVar("SnapshotT", bound=Snapshot)


class Waits(Generic[SnapshotT]):
    """The waits of one batch. Several waits may join one generation."""

    def __init__(self, poller: Poller, *, elapsed: Callable[[], float]) -> None:
        """Create it without waits.

        Args:
            poller: Polls the operations in flight.
            elapsed: Returns the seconds since the batch began.
        """
        self._poller = poller
        self._elapsed = elapsed
        self._open: dict[Subscription, PolledOperation[Any]] = {}
        self._followers: WeakSet[Subscription] = WeakSet()
        self._is_timed_out = False
        self._is_closed = False

    async def end_of(self, operation: Operation[SnapshotT]) -> VibeError | None:
        """Wait for the end of an operation, or for the end of all waits.

        Returns:
            The error that ended the observation; None if the operation has finished, or at the
            close.
        """
        polled = self._poller.known.operation(operation.ref)
        for follower in list(self._followers):
            follower.add(polled, operation)
        if operation.done or self._is_closed:
            return None
        if self._is_timed_out:
            return polled.state.timed_out(elapsed=self._elapsed())
        subscription = Subscription(self._poller)
        self._open[subscription] = polled
        try:
            subscription.listen(polled)
            await subscription.arrival()
            _, error = subscription.take() or (None, None)  # None if it was closed.
        finally:
            subscription.close()
            del self._open[subscription]
        return error

    def fail(self, error: VibeError) -> None:
        """End all waits with an error, such as a refusal of the key."""
        for subscription, polled in self._open.items():
            own = own_copy(error)
            own.ref = polled.ref
            subscription.notify(polled, own)

    def time_out(self) -> Coroutine[Any, Any, None]:
        """End all waits, including later ones; return a coroutine that polls open ones again."""
        self._is_timed_out = True
        return self._give_up(dict(self._open))

    async def _give_up(self, waits: Mapping[Subscription, PolledOperation[Any]]) -> None:
        await self._poller.poll_last(waits.values())
        for subscription, polled in waits.items():
            subscription.notify(polled, polled.state.timed_out(elapsed=self._elapsed()))

    def close(self) -> None:
        """End all waits without a result, and request no more polls."""
        self._is_closed = True
        for subscription in self._open:
            subscription.close()

    def changes(
        self, operations: Iterable[Operation[SnapshotT]]
    ) -> Iteration[tuple[Operation[SnapshotT], Transition[SnapshotT]]]:
        """Iterate over the transitions of operations, and of operations waited for later."""
        follower = Subscription(self._poller, {}, wants=Change.TRANSITION, may_grow=True)
        for operation in operations:
            follower.add(self._poller.known.operation(operation.ref), operation)
        self._followers.add(follower)
        return Iteration(follower, lambda change: change, raises=False)

    def finish_changes(self) -> None:
        """End these iterations after the operations that they have: no more are to come."""
        for follower in list(self._followers):
            follower.finish()
