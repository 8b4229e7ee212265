"""What a batch has in flight, and who follows its changes.

The poller notifies it of each end: it waits with no task. It dispatches nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakSet

from testvibe_async._polling import CompletionListener, ManyTransitions
from testvibe_async.errors import VibeError
from testvibe_async.models import Generation, Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from testvibe_async._batch.records import Records
    from testvibe_async._polling import PolledOperation, Poller
    from testvibe_async.operations import Operation

__all__ = ["InFlight"]

SnapshotT = TypeVar("SnapshotT", bound=Run | Generation)


class InFlight(Generic[SnapshotT]):
    """The operations of a batch that are dispatched and not over."""

    def __init__(
        self,
        poller: Poller,
        records: Records[SnapshotT],
        *,
        on_end: Callable[[int, VibeError | None], None],
        elapsed: Callable[[], float],
    ) -> None:
        """Make it; nothing is polled yet.

        Args:
            poller: Polls the operations.
            records: Where each operation is kept.
            on_end: Called with the place of each that is waited for no more, and why its outcome is
                not known. `add` may call it at once.
            elapsed: Returns how many seconds ago the batch began.
        """
        self._poller = poller
        self._records = records
        self._on_end = on_end
        self._elapsed = elapsed
        self._listener = CompletionListener(self._complete)
        self._places: dict[PolledOperation[Any], list[int]] = {}
        """One place each, or several that joined the same generation."""
        self._followers: WeakSet[ManyTransitions[Operation[SnapshotT], SnapshotT]] = WeakSet()
        self._is_timed_out = False

    @property
    def count(self) -> int:
        """How many features they are of."""
        return sum(map(len, self._places.values()))

    def add(self, place: int, operation: Operation[SnapshotT]) -> None:
        """Wait for the end of what was dispatched, if that is not over."""
        self._records.operations[place] = operation
        polled = self._poller.known.operation(operation.ref)
        for follower in list(self._followers):
            follower.add(polled, operation)
        if operation.done:
            self._on_end(place, None)
            return
        try:
            self._poller.listen(polled, self._listener)
        except VibeError as error:
            self._on_end(place, error)
            return
        self._places.setdefault(polled, []).append(place)
        if self._is_timed_out:
            self._give_up(polled)

    def _complete(self, polled: PolledOperation[Any], error: VibeError | None) -> None:
        """Take an operation that is over, or can't be observed, from the poller."""
        for place in self._places.pop(polled):
            self._on_end(place, error)

    def time_out(self) -> list[PolledOperation[Any]]:
        """Wait for nothing that is added from now on, and return what was added before."""
        self._is_timed_out = True
        return list(self._places)

    async def give_up(self, operations: list[PolledOperation[Any]]) -> None:
        """Poll operations once more, and wait for them no longer."""
        await self._poller.poll_last(operations)
        for polled in operations:
            if polled in self._places:
                self._give_up(polled)

    def _give_up(self, polled: PolledOperation[Any]) -> None:
        polled.discard(self._listener)
        for place in self._places.pop(polled):
            self._on_end(place, polled.state.timed_out(elapsed=self._elapsed()))

    def close(self) -> None:
        """Wait for none any more. They stay as they were last seen."""
        for polled in self._places:
            polled.discard(self._listener)
        self._places.clear()

    def changes(self) -> ManyTransitions[Operation[SnapshotT], SnapshotT]:
        """Iterate over the transitions of all that is dispatched, until `finish_changes`."""
        transitions: ManyTransitions[Operation[SnapshotT], SnapshotT]
        transitions = ManyTransitions(self._poller, raises=False)
        for _, operation in sorted(self._records.operations.items()):
            transitions.add(self._poller.known.operation(operation.ref), operation)
        self._followers.add(transitions)
        return transitions

    def finish_changes(self) -> None:
        """End the iterations over changes with what they have: no operation is to come."""
        for follower in list(self._followers):
            follower.finish()
