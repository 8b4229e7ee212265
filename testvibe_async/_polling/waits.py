"""The ways to wait: for one operation, for each of its changes, for the ends of many.

Each puts a small watcher into the states it waits on, and a future that it alone holds: cancelling
one takes away nobody else, and none of them starts a task. An iteration that is dropped takes its
watcher away when it is deleted; so where one is cancelled its frames let go of it, which the
traceback of the cancellation would else keep for as long as somebody keeps that.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from testvibe_async.errors import VibeError, WaitTimeoutError
from testvibe_async.models import Generation, Run, Transition

if TYPE_CHECKING:
    from testvibe_async._polling.poller import Poller
    from testvibe_async._polling.state import State

__all__ = ["Changes", "CompletionListener", "Completions", "Mailbox", "until_finished"]

STATES_A_TURN = 500
"""How many operations are watched before others get their turn of the event loop."""

SnapshotT_co = TypeVar("SnapshotT_co", bound=Run | Generation, covariant=True)
ItemT = TypeVar("ItemT")


async def until_finished(state: State[Any], poller: Poller, *, timeout: float | None) -> None:
    """Wait until an operation is over; see `Operation.wait` for what it raises."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    ends = Completions({state: None}, poller)
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


class Mailbox(Generic[ItemT]):
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
        self._basket: Mailbox[Transition[SnapshotT_co] | VibeError] = Mailbox()
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
            try:
                await self._basket.arrival()
            except BaseException:
                del self
                raise

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
        if self._watcher is not None and self._watcher.is_watching:
            self._poller.forget(self._watcher, [self._state])


class _Follower:
    """What watches an operation for `Changes`."""

    __slots__ = ("_basket", "_transitions_only", "is_watching")
    is_following = True

    def __init__(self, basket: Mailbox[Any], *, transitions_only: bool) -> None:
        self._basket = basket
        self._transitions_only = transitions_only
        self.is_watching = False

    def observed(self, state: State[Any], *, is_transition: bool) -> None:
        if is_transition or not self._transitions_only:
            self._basket.put(state.present)

    def failed(self, state: State[Any], error: VibeError) -> None:  # noqa: ARG002
        self._basket.put(_own(error))


class Completions(Generic[ItemT]):
    """The ends of many operations, in the order in which they come, for one task.

    What has ended is let go, so that it costs no memory here if it is of no use to anybody else.
    """

    __slots__ = ("_basket", "_poller", "_unwatched", "_waited", "_watcher")

    def __init__(self, waited: dict[State[Any], ItemT], poller: Poller) -> None:
        """Begin nothing yet.

        Args:
            waited: The operations, and what to return for each; taken out as they end.
            poller: Looks at them.
        """
        self._waited = waited
        self._poller = poller
        self._basket: Mailbox[tuple[State[Any], VibeError | None]] = Mailbox()
        self._watcher = CompletionListener(self._basket)
        self._unwatched = iter(waited)

    async def next(self) -> tuple[ItemT, VibeError | None] | None:
        """Return what stands for the next operation that is over, and why if it can't be observed.

        None after the last. Cancelling it loses nothing.
        """
        try:
            with self._poller.gathering():
                while self._watch_some():  # noqa: ASYNC110 - nothing is waited for
                    await asyncio.sleep(0)
            while self._waited:
                if (end := self._basket.take()) is not None:
                    state, error = end
                    return self._waited.pop(state), error
                await self._basket.arrival()
        except BaseException:
            del self
            raise
        return None

    def _watch_some(self) -> bool:
        """Begin to watch some of those that are not watched yet; False after the last.

        Others have their turn of the event loop in between, and may close this.
        """
        some = list(islice(self._unwatched, STATES_A_TURN))
        for state in some:
            if state.is_finished:
                self._basket.put((state, None))
            else:
                try:
                    self._poller.watch(state, self._watcher)
                except VibeError as error:
                    self._basket.put((state, error))
        return len(some) == STATES_A_TURN

    def close(self) -> None:
        """Ask for no more looks."""
        waited, self._waited = self._waited, {}
        for state in waited:
            state.unwatch(self._watcher)
        self._unwatched = iter(())
        self._basket.wake()

    def __del__(self) -> None:
        """Ask for no more looks."""
        if self._waited:
            self._poller.forget(self._watcher, self._waited)


class EndReceiver(Protocol):
    """Where ends are put: an operation, and why it can't be observed."""

    def put(self, item: tuple[State[Any], VibeError | None], /) -> None:
        """Take one down."""


class CompletionListener:
    """What watches many operations for their ends alone: one object for all of them.

    It does not hold them, nor what waits for them: that is to be deleted when it is dropped.
    """

    __slots__ = ("_receiver",)
    is_following = False

    def __init__(self, receiver: EndReceiver) -> None:
        self._receiver = receiver

    def observed(self, state: State[Any], *, is_transition: bool) -> None:  # noqa: ARG002
        """Hear of a change; only the last counts."""
        if state.is_finished:
            self._receiver.put((state, None))

    def failed(self, state: State[Any], error: VibeError) -> None:
        """Hear that it can't be observed."""
        self._receiver.put((state, _own(error)))
