"""The waits of a batch's workers, and the iterations that follow its operations.

Decides what ends the waits besides the end of an operation: an error, the close.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakSet

from testvibe_async._core.polling import Change, EndWait, Iteration, Subscription, own_copy
from testvibe_async.models import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from testvibe_async._core.batch.tasks import Course
    from testvibe_async._core.polling import PolledOperation, Poller
    from testvibe_async.errors import VibeError
    from testvibe_async.models import Transition
    from testvibe_async.operations import Operation

SnapshotT = TypeVar("SnapshotT", bound=Snapshot)


class Waits(Generic[SnapshotT]):
    """The waits of one batch. Several waits may join one generation."""

    def __init__(self, poller: Poller) -> None:
        """Create it without waits; `poller` polls the operations in flight."""
        self._poller = poller
        self._open: dict[EndWait, PolledOperation[Any]] = {}
        self._followers: WeakSet[Subscription] = WeakSet()

    async def end_of(self, operation: Operation[SnapshotT], course: Course) -> VibeError | None:
        """Wait for the end of an operation, or for the end of all waits.

        Args:
            operation: The operation.
            course: The progress of the batch, with its deadline.

        Returns:
            The error that ended the observation; None if the operation has finished, or at the
            close.
        """
        polled = self._poller.known.operation(operation.ref)
        for follower in list(self._followers):
            follower.add(polled, operation)
        if operation.done or course.is_closed:
            return None
        deadline = course.deadline
        if deadline is not None and asyncio.get_running_loop().time() >= deadline:
            return polled.timed_out(elapsed=course.elapsed())
        wait = EndWait(self._poller)
        self._open[wait] = polled
        try:
            return await wait.end_of(polled, began=course.began, deadline=deadline)
        finally:
            del self._open[wait]

    def fail(self, error: VibeError) -> None:
        """End all waits with an error, such as a refusal of the key."""
        for wait, polled in self._open.items():
            own = own_copy(error)
            own.ref = polled.ref
            wait.notify(polled, own)

    def close(self) -> None:
        """End all waits without a result, and request no more polls."""
        for wait in self._open:
            wait.close()

    def changes(
        self, operations: Iterable[Operation[SnapshotT]], *, at_end: Callable[[], None]
    ) -> Iteration[tuple[Operation[SnapshotT], Transition[SnapshotT]]]:
        """Iterate over the transitions of operations, and of operations waited for later.

        Args:
            operations: The operations that are waited for already.
            at_end: Called after the last transition; raises what ended the batch early.
        """
        follower = Subscription(self._poller, {}, wants=Change.TRANSITION, may_grow=True)
        for operation in operations:
            follower.add(self._poller.known.operation(operation.ref), operation)
        self._followers.add(follower)
        return Iteration(follower, lambda change: change, at_end=at_end)

    def finish_changes(self) -> None:
        """End these iterations after the operations that they have: no more are to come."""
        for follower in list(self._followers):
            follower.finish()
