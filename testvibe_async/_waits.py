"""The ways to wait: for one operation, for each of its changes, for the ends of many.

Each is a watcher in the states it waits on, and a future that it alone holds: cancelling one takes
away nobody else. None of them starts a task.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from testvibe_async.errors import VibeError, WaitTimeoutError
from testvibe_async.models import Generation, Phase, Run, Transition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testvibe_async._poller import Poller
    from testvibe_async._state import State

__all__ = ["Changes", "Ends", "until_finished"]

SnapshotT = TypeVar("SnapshotT", bound=Run | Generation)


async def until_finished(state: State[Any], poller: Poller, *, timeout: float | None) -> None:
    """Wait until an operation is over; see `Operation.wait` for what it raises."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    waiter = _Waiter(loop)
    poller.watch(state, waiter)
    try:
        async with asyncio.timeout(timeout):
            error = await waiter.settled
    except TimeoutError:
        if state.is_finished:
            return
        elapsed = loop.time() - started
        raise WaitTimeoutError(ref=state.ref, status=state.status, elapsed=elapsed) from None
    finally:
        state.unwatch(waiter)
    if error is not None:
        raise error


class _Waiter:
    """One wait: settled by the end of the operation, or by what the wait must raise."""

    __slots__ = ("settled",)
    is_following = False

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.settled: asyncio.Future[VibeError | None] = loop.create_future()

    def observed(self, change: Transition[Any], *, is_transition: bool) -> None:  # noqa: ARG002
        if change.phase is Phase.FINISHED and not self.settled.done():
            self.settled.set_result(None)

    def failed(self, error: VibeError) -> None:
        if not self.settled.done():
            self.settled.set_result(_own(error))


def _own(error: VibeError) -> VibeError:
    """Return the same error for one more caller, so that no two share a traceback."""
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    return own


class Changes(Generic[SnapshotT]):
    """An iteration over an operation's changes. Dropped, it no longer asks for looks."""

    __slots__ = (
        "__weakref__",
        "_error",
        "_has_begun",
        "_news",
        "_poller",
        "_seen",
        "_state",
        "_transitions_only",
    )
    is_following = True

    def __init__(self, state: State[SnapshotT], poller: Poller, *, transitions_only: bool) -> None:
        self._state = state
        self._poller = poller
        self._transitions_only = transitions_only
        self._has_begun = False
        self._seen: deque[Transition[SnapshotT]] = deque()
        self._news: asyncio.Future[None] | None = None
        self._error: VibeError | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Transition[SnapshotT]:
        if self._news is not None:
            message = "two tasks wait for the next of one iteration; give each its own"
            raise RuntimeError(message)
        if not self._has_begun:
            self._begin()
        while not self._seen:
            if self._error is not None:
                error, self._error = self._error, None
                self._state.unwatch(self)
                raise error
            if self not in (self._state.listeners or ()):
                raise StopAsyncIteration
            self._news = asyncio.get_running_loop().create_future()
            try:
                await self._news
            finally:
                self._news = None
        return self._seen.popleft()

    def _begin(self) -> None:
        if not self._state.is_finished:
            self._poller.watch(self._state, self, weakly=True)
        if self._state.phase is not None:
            self._seen.append(self._state.present)
        self._has_begun = True

    async def aclose(self) -> None:
        """Ask for no more looks; for `contextlib.aclosing`."""
        self._has_begun = True
        self._seen.clear()
        self._state.unwatch(self)

    def observed(self, change: Transition[Any], *, is_transition: bool) -> None:
        if is_transition or not self._transitions_only:
            self._seen.append(change)
            self._wake()

    def failed(self, error: VibeError) -> None:
        self._error = _own(error)
        self._wake()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


class Ends(Generic[SnapshotT]):
    """The ends of many operations, in the order in which they come."""

    def __init__(self, states: Sequence[State[SnapshotT]], poller: Poller) -> None:
        self._states = states
        self._poller = poller
        self._basket = _Basket()
        self._left = len(states)
        self._watchers: list[_End] | None = None

    async def next(self) -> tuple[int, VibeError | None] | None:
        """Return the place of the next operation that is over, and why if it can't be observed.

        None after the last. Cancelling it loses nothing.
        """
        if self._watchers is None:
            self._watchers = [self._watch(place) for place in range(len(self._states))]
        if self._left == 0:
            return None
        basket = self._basket
        while not basket.ends:
            basket.news = asyncio.get_running_loop().create_future()
            await basket.news
        self._left -= 1
        return basket.ends.popleft()

    def _watch(self, place: int) -> _End:
        state = self._states[place]
        watcher = _End(place, self._basket)
        if state.is_finished:
            self._basket.put(place, None)
        else:
            self._poller.watch(state, watcher, weakly=True)
        return watcher


class _Basket:
    """Where the ends are put until somebody takes them."""

    __slots__ = ("ends", "news")

    def __init__(self) -> None:
        self.ends: deque[tuple[int, VibeError | None]] = deque()
        self.news: asyncio.Future[None] | None = None

    def put(self, place: int, error: VibeError | None) -> None:
        self.ends.append((place, error))
        if self.news is not None and not self.news.done():
            self.news.set_result(None)


class _End:
    """What watches one of many operations. It refers to the basket alone: no cycle keeps it."""

    __slots__ = ("__weakref__", "_basket", "_place")
    is_following = False

    def __init__(self, place: int, basket: _Basket) -> None:
        self._place = place
        self._basket = basket

    def observed(self, change: Transition[Any], *, is_transition: bool) -> None:  # noqa: ARG002
        if change.phase is Phase.FINISHED:
            self._basket.put(self._place, None)

    def failed(self, error: VibeError) -> None:
        self._basket.put(self._place, _own(error))
