"""Batches: many dispatches at once, each result as it comes.

Decides how many operations are in flight, and keeps one item for each feature asked for, whatever
became of it. It dispatches by a few tasks and waits by none: the poller tells it of each end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import anyio
from attrs import frozen

from testvibe_async._waits import Basket, EndWatcher
from testvibe_async.errors import VibeError
from testvibe_async.models import Generation, Run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence
    from types import TracebackType

    from testvibe_async._poller import Poller
    from testvibe_async._state import State
    from testvibe_async.operations import Operation
    from testvibe_async.refs import Ref

__all__ = ["Batch", "BatchItem"]

SnapshotT = TypeVar("SnapshotT", bound=Run | Generation)

CLOSE_SECONDS = 10.0

DISPATCHES_AT_ONCE = 32
"""How many dispatches of a batch may be under way at once."""


@frozen
class BatchItem(Generic[SnapshotT]):
    """What became of one feature of a batch: `outcome` or `error` is set."""

    feature: int | str
    """The feature as it was asked for."""

    ref: Ref | None = None
    """The name of the operation; None where it could not be dispatched."""

    outcome: SnapshotT | None = None
    """The `Run` or `Generation`, good or bad."""

    error: VibeError | None = None
    """Why it could not be dispatched, or observed."""

    @property
    def run(self) -> SnapshotT | None:
        """The outcome, for batches of runs."""
        return self.outcome

    @property
    def generation(self) -> SnapshotT | None:
        """The outcome, for batches of generations."""
        return self.outcome


class Batch(Generic[SnapshotT]):
    """Many operations, dispatched as others end; made by `run_features` and `generate_features`.

    Await it for all items, in the order asked. Or open it with `async with` and iterate over it for
    each item as it comes. Leaving early dispatches no more; what is dispatched goes on at the
    service, and `refs` names it. One feature that can't start is an item with its error.
    """

    def __init__(
        self,
        features: Callable[[], Awaitable[Sequence[int | str]]],
        dispatch: Callable[[int | str], Awaitable[Operation[SnapshotT]]],
        *,
        poller: Poller,
        max_in_flight: int,
    ) -> None:
        self._list_features = features
        self._dispatch = dispatch
        self._poller = poller
        self._places = asyncio.Semaphore(max_in_flight)
        self._dispatchers = min(max_in_flight, DISPATCHES_AT_ONCE)
        self._features: Sequence[int | str] = ()
        self._waiting: deque[int] = deque()
        self._operations: dict[int, Operation[SnapshotT]] = {}
        self._watchers: dict[int, EndWatcher] = {}
        self._items: Basket[tuple[int, BatchItem[SnapshotT]]] = Basket()
        self._left = 0
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def refs(self) -> list[Ref]:
        """The names of all that is dispatched so far, in the order asked."""
        return [self._operations[place].ref for place in sorted(self._operations)]

    @property
    def in_flight(self) -> list[Ref]:
        """The names of what is dispatched and not over, as far as it was seen."""
        return [
            self._operations[place].ref
            for place in sorted(self._operations)
            if not self._operations[place].done
        ]

    def __await__(self) -> Generator[Any, None, list[BatchItem[SnapshotT]]]:
        """Run all of it and return the items in the order asked."""
        return self._all().__await__()

    async def _all(self) -> list[BatchItem[SnapshotT]]:
        items: dict[int, BatchItem[SnapshotT]] = {}
        async with self:
            while (found := await self._next()) is not None:
                items[found[0]] = found[1]
        return [items[place] for place in sorted(items)]

    async def __aenter__(self) -> Self:
        """Begin to dispatch. Asks for the list of features where none were named."""
        self._features = await self._list_features()
        self._left = len(self._features)
        self._waiting.extend(range(self._left))
        for _ in range(min(self._dispatchers, self._left)):
            task = asyncio.create_task(self._keep_dispatching(), name="testvibe_async batch")
            task.add_done_callback(lambda _: self._items.wake())
            self._tasks.append(task)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Dispatch no more, and ask for no more looks. Cancels nothing at the service.

        Dispatches that are under way get up to 10 s to end, so that `refs` is complete.
        """
        self._waiting.clear()
        try:
            with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                for _ in self._tasks:
                    self._places.release()
                await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            for task in self._tasks:
                task.cancel()
        for place, watcher in self._watchers.items():
            _state_of(self._operations[place]).unwatch(watcher)
        self._watchers.clear()
        self._left = 0
        self._items.wake()

    def __aiter__(self) -> Self:
        """Iterate."""
        return self

    async def __anext__(self) -> BatchItem[SnapshotT]:
        """Wait for the next item."""
        found = await self._next()
        if found is None:
            raise StopAsyncIteration
        return found[1]

    async def _next(self) -> tuple[int, BatchItem[SnapshotT]] | None:
        while self._left:
            if (found := self._items.take()) is not None:
                self._left -= 1
                return found
            for task in self._tasks:
                if task.done():
                    task.result()
            await self._items.arrival()
        return None

    async def _keep_dispatching(self) -> None:
        """Dispatch what waits, whenever there is a place in flight."""
        while self._waiting:
            await self._places.acquire()
            if not self._waiting:
                self._places.release()
                return
            place = self._waiting.popleft()
            try:
                operation = await self._dispatch(self._features[place])
                self._operations[place] = operation
                self._watch(place, operation)
            except VibeError as error:
                self.put((place, error))

    def _watch(self, place: int, operation: Operation[SnapshotT]) -> None:
        if operation.done:
            self.put((place, None))
            return
        self._watchers[place] = watcher = EndWatcher(self, place)
        self._poller.watch(_state_of(operation), watcher)

    def put(self, item: tuple[int, VibeError | None], /) -> None:
        """Hear of an end, from the poller or from a dispatch that failed."""
        place, error = item
        self._places.release()
        self._watchers.pop(place, None)
        operation = self._operations.get(place)
        result: BatchItem[SnapshotT] = BatchItem(
            self._features[place],
            ref=None if operation is None else operation.ref,
            outcome=None if operation is None else operation.outcome,
            error=error,
        )
        self._items.put((place, result))


def _state_of(operation: Operation[SnapshotT]) -> State[SnapshotT]:
    return operation._state  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
