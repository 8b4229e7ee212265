"""The ways to wait: for one operation, for each of its transitions, for many completions.

Each adds a listener to the operations that it waits for, and awaits a future of its own: cancelling
one ends no other, and none of them starts a task. The operations hold their listeners weakly, so an
iteration that is dropped ends by itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from testvibe_async._polling.polled import own_copy
from testvibe_async.errors import VibeError
from testvibe_async.models import Generation, Run, Transition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from testvibe_async._polling.polled import PolledOperation
    from testvibe_async._polling.poller import Poller

__all__ = [
    "CompletionListener",
    "Completions",
    "Mailbox",
    "ManyTransitions",
    "Transitions",
    "wait_until_finished",
]

OPERATIONS_A_TURN = 500
"""How many operations get their listener before other tasks get to run."""

SnapshotT_co = TypeVar("SnapshotT_co", bound=Run | Generation, covariant=True)
SnapshotT = TypeVar("SnapshotT", bound=Run | Generation)
ItemT = TypeVar("ItemT")
ItemT_co = TypeVar("ItemT_co", covariant=True)


async def wait_until_finished(
    polled: PolledOperation[Any], poller: Poller, *, timeout: float | None
) -> None:
    """Wait until an operation is over; see `Operation.wait` for what it raises."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    if timeout is not None and timeout <= 0:
        timeout = 0.0
    completion: asyncio.Future[VibeError | None] = loop.create_future()

    def complete(_: PolledOperation[Any], error: VibeError | None) -> None:
        if not completion.done():
            completion.set_result(error)

    listener = CompletionListener(complete)
    poller.listen(polled, listener)
    try:
        async with asyncio.timeout(timeout):
            error = await completion
    except TimeoutError:
        await poller.poll_last([polled])
        is_over = polled.state.is_finished
        error = None if is_over else polled.state.timed_out(elapsed=loop.time() - started)
    finally:
        polled.discard(listener)
    if error is not None:
        raise error


class Mailbox(Generic[ItemT]):
    """A queue for one task that waits. Unlike `asyncio.Queue` it can wake it without an item."""

    __slots__ = ("_arrival", "_items")

    def __init__(self) -> None:
        self._items: deque[ItemT] = deque()
        self._arrival: asyncio.Future[None] | None = None

    def put(self, item: ItemT, /) -> None:
        """Add an item."""
        self._items.append(item)
        self.wake()

    def wake(self) -> None:
        """Have the task that waits check again."""
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def take(self) -> ItemT | None:
        """Take the oldest item; None where there is none."""
        return self._items.popleft() if self._items else None

    async def arrival(self) -> None:
        """Wait until an item is put in, or `wake` is called."""
        if self._arrival is not None:
            raise RuntimeError("two tasks wait for the next of one iteration; give each its own")
        self._arrival = asyncio.get_running_loop().create_future()
        try:
            await self._arrival
        finally:
            self._arrival = None


class Transitions(Generic[SnapshotT_co]):
    """An iteration over an operation's transitions, for one task. `aclose` ends it early."""

    __slots__ = ("_is_listening", "_listener", "_mailbox", "_polled", "_poller")

    def __init__(
        self, polled: PolledOperation[SnapshotT_co], poller: Poller, *, includes_updates: bool
    ) -> None:
        self._polled = polled
        self._poller = poller
        self._mailbox: Mailbox[Transition[SnapshotT_co] | VibeError] = Mailbox()
        self._listener: _TransitionListener | None = _TransitionListener(
            self._mailbox, includes_updates=includes_updates
        )
        self._is_listening = False

    def __aiter__(self) -> Self:
        """Iterate."""
        return self

    async def __anext__(self) -> Transition[SnapshotT_co]:
        """Wait for the next transition."""
        if self._listener is not None and not self._is_listening:
            self._listen(self._listener)
        while True:
            transition = self._mailbox.take()
            if isinstance(transition, VibeError):
                self._stop_listening()
                raise transition
            if transition is not None:
                return transition
            if self._listener is None or self._polled.state.is_finished:
                raise StopAsyncIteration
            try:
                await self._mailbox.arrival()
            except BaseException:
                # The traceback of a cancellation keeps this frame, and with it the iteration and
                # its polling, for as long as somebody keeps the exception.
                del self
                raise

    def _listen(self, listener: _TransitionListener) -> None:
        if not self._polled.state.is_finished:
            self._poller.listen(self._polled, listener)
        self._is_listening = True
        if self._polled.state.is_known:
            self._mailbox.put(self._polled.state.latest)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._polled.discard(self._listener)
            self._listener = None

    async def aclose(self) -> None:
        """End it, and ask for no more polls; for `contextlib.aclosing`."""
        self._stop_listening()
        while self._mailbox.take() is not None:
            pass
        self._mailbox.wake()


class _TransitionListener:
    """Puts each change into the mailbox of an iteration."""

    __slots__ = ("__weakref__", "_includes_updates", "_mailbox")
    is_following = True

    def __init__(self, mailbox: Mailbox[Any], *, includes_updates: bool) -> None:
        self._mailbox = mailbox
        self._includes_updates = includes_updates

    def observed(self, polled: PolledOperation[Any], *, is_transition: bool) -> None:
        if is_transition or self._includes_updates:
            self._mailbox.put(polled.state.latest)

    def failed(self, polled: PolledOperation[Any], error: VibeError) -> None:  # noqa: ARG002
        self._mailbox.put(own_copy(error))


class CompletionListener:
    """Passes on the end of each of many operations: one listener serves all of them."""

    __slots__ = ("__weakref__", "_notify")
    is_following = False

    def __init__(self, notify: Callable[[PolledOperation[Any], VibeError | None], object]) -> None:
        """Make it.

        Args:
            notify: Called with each operation that is over, and why if it can't be observed.
        """
        self._notify = notify

    def observed(self, polled: PolledOperation[Any], *, is_transition: bool) -> None:  # noqa: ARG002
        """Take note of a change; only the last one counts."""
        if polled.state.is_finished:
            self._notify(polled, None)

    def failed(self, polled: PolledOperation[Any], error: VibeError) -> None:
        """Take note that it can't be observed."""
        self._notify(polled, own_copy(error))


class Completions(Generic[ItemT]):
    """The completions of many operations, in the order in which they come, for one task.

    What is over is let go, so that it costs no memory here if nobody else needs it.
    """

    __slots__ = ("_listener", "_mailbox", "_new", "_poller", "_waited")

    def __init__(self, waited: dict[PolledOperation[Any], ItemT], poller: Poller) -> None:
        """Make it; nothing is polled yet.

        Args:
            waited: The operations, and what to return for each; taken out as they complete.
            poller: Polls them.
        """
        self._waited = waited
        self._poller = poller
        mailbox: Mailbox[tuple[PolledOperation[Any], VibeError | None]] = Mailbox()
        self._mailbox = mailbox
        self._listener = CompletionListener(lambda polled, error: mailbox.put((polled, error)))
        self._new = iter(waited)

    async def next(self) -> tuple[ItemT, VibeError | None] | None:
        """Return the item of the next operation that is over, and why if it can't be observed.

        None after the last. Cancelling it loses nothing.
        """
        try:
            with self._poller.hold_ticks():
                while self._listen_to_some():  # noqa: ASYNC110 - nothing is waited for
                    await asyncio.sleep(0)
            while self._waited:
                if (completion := self._mailbox.take()) is not None:
                    polled, error = completion
                    return self._waited.pop(polled), error
                await self._mailbox.arrival()
        except BaseException:
            del self  # See `Transitions.__anext__`.
            raise
        return None

    def _listen_to_some(self) -> bool:
        """Listen to some of the operations that are new; False after the last.

        Other tasks run in between, and may close this.
        """
        some = list(islice(self._new, OPERATIONS_A_TURN))
        for polled in some:
            if polled.state.is_finished:
                self._mailbox.put((polled, None))
            else:
                try:
                    self._poller.listen(polled, self._listener)
                except VibeError as error:
                    self._mailbox.put((polled, error))
        return len(some) == OPERATIONS_A_TURN

    def close(self) -> None:
        """Ask for no more polls."""
        waited, self._waited = self._waited, {}
        for polled in waited:
            polled.discard(self._listener)
        self._new = iter(())
        self._mailbox.wake()


class ManyTransitions(Generic[ItemT_co, SnapshotT_co]):
    """The transitions of many operations, each with its item, for one task.

    See `Client.changes` and `Batch.changes`. Operations may be added meanwhile.
    """

    __slots__ = ("__weakref__", "_followed", "_is_complete", "_new", "_poller", "_raises")

    def __init__(
        self,
        poller: Poller,
        waited: Iterable[tuple[PolledOperation[Any], ItemT_co]] = (),
        *,
        raises: bool = True,
    ) -> None:
        """Make it; nothing is polled yet.

        Args:
            poller: Polls the operations.
            waited: Operations to begin with, and what to return with each of their transitions.
            raises: Whether to raise, at the end, why operations could not be observed.
        """
        self._raises = raises
        self._poller = poller
        self._new = iter(waited)
        self._followed: _Followed[ItemT_co, SnapshotT_co] | None = _Followed()
        self._is_complete = False

    def add(self, polled: PolledOperation[Any], item: ItemT_co) -> None:  # type: ignore[misc]
        """Add an operation: its present state, if there is one, is its first transition.

        Nothing is done once it is closed.

        Args:
            polled: The operation.
            item: What to return with each of its transitions.
        """
        followed = self._followed
        if followed is None:
            return
        followed.items.setdefault(polled, []).append(item)
        if polled.state.is_known:
            followed.mailbox.put((item, polled.state.latest))
        if not polled.state.is_finished:
            followed.open.add(polled)
            try:
                self._poller.listen(polled, followed)
            except VibeError as error:
                followed.failed(polled, error)

    def finish(self) -> None:
        """Note that no more operations are added: it ends with the last of them."""
        self._is_complete = True
        if self._followed is not None:
            self._followed.mailbox.wake()

    def __aiter__(self) -> Self:
        """Iterate."""
        return self

    async def __anext__(self) -> tuple[ItemT_co, Transition[SnapshotT_co]]:
        """Wait for the next transition of any of them."""
        try:
            with self._poller.hold_ticks():
                while self._add_some():  # noqa: ASYNC110 - nothing is waited for
                    await asyncio.sleep(0)
            while (followed := self._followed) is not None:
                if (found := followed.mailbox.take()) is not None:
                    return found
                if self._is_complete and not followed.open:
                    break
                await followed.mailbox.arrival()
        except BaseException:
            del self  # See `Transitions.__anext__`.
            raise
        if self._raises and followed is not None and followed.errors:
            raise followed.errors.popleft()
        raise StopAsyncIteration

    def _add_some(self) -> bool:
        """Add some of those to begin with; False after the last. Other tasks run in between."""
        some = list(islice(self._new, OPERATIONS_A_TURN))
        for polled, item in some:
            self.add(polled, item)
        return len(some) == OPERATIONS_A_TURN

    async def aclose(self) -> None:
        """Ask for no more polls; for `contextlib.aclosing`."""
        followed, self._followed = self._followed, None
        self._new = iter(())
        if followed is not None:
            for polled in followed.open:
                polled.discard(followed)
            followed.mailbox.wake()


class _Followed(Generic[ItemT, SnapshotT]):
    """What an iteration over the transitions of many operations listens to, and has received.

    It knows nothing of the iteration: where that is dropped, this goes with it, and the polls end.
    """

    __slots__ = ("__weakref__", "errors", "items", "mailbox", "open")
    is_following = True

    def __init__(self) -> None:
        self.mailbox: Mailbox[tuple[ItemT, Transition[SnapshotT]]] = Mailbox()
        self.errors: deque[VibeError] = deque()
        """Why operations can't be observed any more."""
        self.items: dict[PolledOperation[Any], list[ItemT]] = {}
        self.open: set[PolledOperation[Any]] = set()
        """Those that go on."""

    def observed(self, polled: PolledOperation[Any], *, is_transition: bool) -> None:
        if not is_transition:
            return
        for item in self.items[polled]:
            self.mailbox.put((item, polled.state.latest))
        if polled.state.is_finished:
            self.open.discard(polled)

    def failed(self, polled: PolledOperation[Any], error: VibeError) -> None:
        self.open.discard(polled)
        self.errors.append(own_copy(error))
        self.mailbox.wake()
