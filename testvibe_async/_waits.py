"""The ways to wait: for one operation, for each of its changes, for the ends of many.

Each puts a small watcher into the states it waits on, and a future that it alone holds: cancelling
one takes away nobody else, and none of them starts a task. An iteration that is dropped takes its
watchers away when it is deleted.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from testvibe_async.errors import VibeError, WaitTimeoutError
from testvibe_async.models import Generation, Run, Transition

if TYPE_CHECKING:
    from collections.abc import Iterable

    from testvibe_async._poller import Poller
    from testvibe_async._state import State

__all__ = ["Basket", "Changes", "EndWatcher", "Ends", "until_finished"]

STATES_A_TURN = 500
"""How many operations are watched before others get their turn of the event loop."""

SnapshotT_co = TypeVar("SnapshotT_co", bound=Run | Generation, covariant=True)
ItemT = TypeVar("ItemT")


async def until_finished(state: State[Any], poller: Poller, *, timeout: float | None) -> None:
    """Wait until an operation is over; see `Operation.wait` for what it raises."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    ends = Ends([state], poller)
    try:
        async with asyncio.timeout(timeout):
            end = await ends.next()
    except TimeoutError:
        if state.is_finished:
            return
        elapsed = loop.time() - started
        raise WaitTimeoutError(ref=state.ref, status=state.status, elapsed=elapsed) from None
    finally:
        ends.close()
    if end is not None and end[1] is not None:
        raise end[1]


class Basket(Generic[ItemT]):
    """Where news is put until the one task that waits for it takes it."""

    __slots__ = ("_arrival", "_items")

    def __init__(self) -> None:
        self._items: deque[ItemT] = deque()
        self._arrival: asyncio.Future[None] | None = None

    def put(self, item: ItemT, /) -> None:
        """Add an item."""
        self._items.append(item)
        self.wake()

    def wake(self) -> None:
        """Have the task that waits look again."""
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def take(self) -> ItemT | None:
        """Take the oldest item; None where there is none."""
        return self._items.popleft() if self._items else None

    async def arrival(self) -> None:
        """Wait until something is put in, or somebody calls `wake`."""
        if self._arrival is not None:
            raise RuntimeError("two tasks wait for the next of one iteration; give each its own")
        self._arrival = asyncio.get_running_loop().create_future()
        try:
            await self._arrival
        finally:
            self._arrival = None


def _own(error: VibeError) -> VibeError:
    """Return the same error for one more caller, so that no two share a traceback."""
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    return own


class Changes(Generic[SnapshotT_co]):
    """An iteration over an operation's changes, for one task. `aclose` ends it early."""

    __slots__ = ("_basket", "_poller", "_state", "_watcher")

    def __init__(
        self, state: State[SnapshotT_co], poller: Poller, *, transitions_only: bool
    ) -> None:
        self._state = state
        self._poller = poller
        self._basket: Basket[Transition[SnapshotT_co] | VibeError] = Basket()
        self._watcher: _Follower | None = _Follower(self._basket, transitions_only=transitions_only)

    def __aiter__(self) -> Self:
        """Iterate."""
        return self

    async def __anext__(self) -> Transition[SnapshotT_co]:
        """Wait for the next change."""
        if self._watcher is not None and not self._watcher.is_watching:
            self._begin(self._watcher)
        while True:
            change = self._basket.take()
            if isinstance(change, VibeError):
                self._end()
                raise change
            if change is not None:
                return change
            if self._watcher is None or self._state.is_finished:
                raise StopAsyncIteration
            await self._basket.arrival()

    def _begin(self, watcher: _Follower) -> None:
        if not self._state.is_finished:
            self._poller.watch(self._state, watcher)
        watcher.is_watching = True
        if self._state.phase is not None:
            self._basket.put(self._state.present)

    def _end(self) -> None:
        if self._watcher is not None:
            self._state.unwatch(self._watcher)
            self._watcher = None

    async def aclose(self) -> None:
        """End it, and ask for no more looks; for `contextlib.aclosing`."""
        self._end()
        while self._basket.take() is not None:
            pass
        self._basket.wake()

    def __del__(self) -> None:
        """Ask for no more looks."""
        self._end()


class _Follower:
    """What watches an operation for `Changes`."""

    __slots__ = ("_basket", "_transitions_only", "is_watching")
    is_following = True

    def __init__(self, basket: Basket[Any], *, transitions_only: bool) -> None:
        self._basket = basket
        self._transitions_only = transitions_only
        self.is_watching = False

    def observed(self, state: State[Any], *, is_transition: bool) -> None:
        if is_transition or not self._transitions_only:
            self._basket.put(state.present)

    def failed(self, error: VibeError) -> None:
        self._basket.put(_own(error))


class Ends:
    """The ends of many operations, in the order in which they come, for one task.

    What has ended is let go, so that it costs no memory here if it is of no use to anybody else.
    """

    __slots__ = ("_basket", "_left", "_poller", "_states", "_unwatched", "_watchers")

    def __init__(self, states: Iterable[State[Any]], poller: Poller) -> None:
        """Begin nothing yet.

        Args:
            states: The operations; each is let go once it has ended.
            poller: Looks at them.
        """
        self._states: list[State[Any] | None] = [*states]
        self._poller = poller
        self._basket: Basket[tuple[int, VibeError | None]] = Basket()
        self._left = len(self._states)
        self._unwatched = enumerate(self._states)
        self._watchers: list[EndWatcher | None] = []

    async def next(self) -> tuple[int, VibeError | None] | None:
        """Return the place of the next operation that is over, and why if it can't be observed.

        None after the last. Cancelling it loses nothing.
        """
        await self._watch_all()
        if self._left == 0:
            return None
        while (end := self._basket.take()) is None:
            await self._basket.arrival()
            if self._left == 0:
                return None
        self._left -= 1
        self._states[end[0]] = self._watchers[end[0]] = None
        return end

    async def _watch_all(self) -> None:
        """Begin to watch, letting others have their turn of the event loop.

        Where it is cancelled the next call goes on.
        """
        with self._poller.gathering():
            for place, state in self._unwatched:
                assert state is not None
                watcher = EndWatcher(self._basket, place)
                self._watchers.append(watcher)
                if state.is_finished:
                    self._basket.put((place, None))
                else:
                    try:
                        self._poller.watch(state, watcher)
                    except VibeError as error:
                        self._basket.put((place, error))
                if (place + 1) % STATES_A_TURN == 0:
                    await asyncio.sleep(0)
                    if self._left == 0:  # closed meanwhile
                        return

    def close(self) -> None:
        """Ask for no more looks."""
        self._unwatched = enumerate(())
        for state, watcher in zip(self._states, self._watchers, strict=False):
            if state is not None and watcher is not None:
                state.unwatch(watcher)
        self._states = []
        self._watchers = []
        self._left = 0
        self._basket.wake()

    def __del__(self) -> None:
        """Ask for no more looks."""
        self.close()


class EndReceiver(Protocol):
    """Where ends are put: the place of an operation, and why it can't be observed."""

    def put(self, item: tuple[int, VibeError | None], /) -> None:
        """Take one down."""


class EndWatcher:
    """What watches one of many operations for its end alone."""

    __slots__ = ("_basket", "_place")
    is_following = False

    def __init__(self, basket: EndReceiver, place: int) -> None:
        self._basket = basket
        self._place = place

    def observed(self, state: State[Any], *, is_transition: bool) -> None:  # noqa: ARG002
        """Hear of a change; only the last counts."""
        if state.is_finished:
            self._basket.put((self._place, None))

    def failed(self, error: VibeError) -> None:
        """Hear that it can't be observed."""
        self._basket.put((self._place, _own(error)))
