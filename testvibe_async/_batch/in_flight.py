"""What a batch has in flight, and who follows its changes.

The poller notifies it of each end: it waits with no task. It dispatches nothing.
"""

from __future__ import annotations

import asyncio
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
        end: Callable[[int, VibeError | None], None],
    ) -> None:
        """Make it; nothing is polled yet.

        Args:
            poller: Polls the operations.
            records: Where each operation is kept.
            end: Called with the place of each that is over, and why if it can't be observed.
        """
        self._poller = poller
        self._records = records
        self._end = end
        self._listener = CompletionListener(self._complete)
        self._places: dict[PolledOperation[Any], list[int]] = {}
        """One place each, or several that joined the same generation."""
        self._followers: WeakSet[ManyTransitions[Operation[SnapshotT], SnapshotT]] = WeakSet()
        self._given_up_since: float | None = None
        """When the batch began, once its time is over."""

    def __len__(self) -> int:
        """How many features they are of."""
        return sum(map(len, self._places.values()))

    def add(self, place: int, operation: Operation[SnapshotT]) -> None:
        """Wait for the end of what was dispatched, if that is not over."""
        self._records.operations[place] = operation
        polled = self._poller.known.operation(operation.ref)
        for follower in list(self._followers):
            follower.add(polled, operation)
        if operation.done:
            self._end(place, None)
            return
        try:
            self._poller.listen(polled, self._listener)
        except VibeError as error:
            self._end(place, error)
            return
        self._places.setdefault(polled, []).append(place)
        if self._given_up_since is not None:
            self._give_up(polled, since=self._given_up_since)

    def _complete(self, polled: PolledOperation[Any], error: VibeError | None) -> None:
        """Take an operation that is over, or can't be observed, from the poller."""
        for place in self._places.pop(polled):
            self._end(place, error)

    async def give_up(self, *, since: float) -> None:
        """See all of them once more, and wait for none any more, nor for what is added later.

        Args:
            since: When the batch began, by the loop's clock.
        """
        self._given_up_since = since
        operations = list(self._places)
        await self._poller.poll_last(operations)
        for polled in operations:
            if polled in self._places:
                self._give_up(polled, since=since)

    def _give_up(self, polled: PolledOperation[Any], *, since: float) -> None:
        polled.discard(self._listener)
        elapsed = asyncio.get_running_loop().time() - since
        for place in self._places.pop(polled):
            self._end(place, polled.state.timed_out(elapsed=elapsed))

    def close(self) -> None:
        """Wait for none any more. They stay as they were last seen."""
        for polled in self._places:
            polled.discard(self._listener)
        self._places.clear()
        self.finish_changes()

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
