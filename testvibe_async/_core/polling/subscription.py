"""Subscriptions: the way to follow operations, by iterating over their events.

A `Subscription` is the listener of its operations and the mailbox of their events, for one task. It
starts no task, and cancelling one subscription ends no other. The operations hold it weakly, so an
iteration that is dropped ends by itself; the poller holds it while its task waits. The poller
decides when operations are polled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar
from weakref import ref as weak_ref

from testvibe_async._core.polling.polled import OPERATIONS_A_TURN, Change, own_copy
from testvibe_async._core.util.waiting import NO_CONTEXT
from testvibe_async.errors import VibeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from testvibe_async._core.polling.polled import Listener, PolledOperation
    from testvibe_async._core.polling.poller import Poller

MAX_NAMED = 100
"""Maximum number of other operations that the error of an iteration names."""

ItemT = TypeVar("ItemT")
ItemT_co = TypeVar("ItemT_co", covariant=True)


class Mailbox(Generic[ItemT]):
    """A queue for one waiting task. Unlike `asyncio.Queue`, it can wake it without an item."""

    __slots__ = ("_arrival", "_mail")

    def __init__(self) -> None:
        self._mail: deque[ItemT] | None = None  # Created at first use: empty, it takes 0.6 KiB.
        self._arrival: asyncio.Future[None] | None = None

    def put(self, item: ItemT, /) -> None:
        """Add an item."""
        if self._mail is None:
            self._mail = deque()
        self._mail.append(item)
        self.wake()

    def wake(self) -> None:
        """Wake the waiting task, so that it checks again."""
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def take(self) -> ItemT | None:
        """Remove and return the oldest item; None if there is none."""
        return self._mail.popleft() if self._mail else None

    def arrival(self) -> asyncio.Future[None]:
        """Return a future that is done once an item exists, or `wake` is called."""
        if self._arrival is not None and not self._arrival.done():
            raise RuntimeError("two tasks wait for the next of one iteration; give each its own")
        self._arrival = asyncio.get_running_loop().create_future()
        if self._mail:
            self.wake()
        return self._arrival


class Subscription(Mailbox[tuple[Any, Any]]):
    """The events of operations, with an item for each, in order of arrival.

    An event is one of three: a `Transition`; the `VibeError` that ends the observation of an
    operation; or None for an end, if only ends are wanted. After its last event an operation is
    released.
    """

    __slots__ = (
        "__weakref__",
        "_items",
        "_may_grow",
        "_new",
        "is_open",
        "is_passive",
        "poller",
        "wants",
        "weakly",
    )

    def __init__(
        self,
        poller: Poller,
        items: dict[PolledOperation[Any], tuple[Any, ...]],
        *,
        wants: Change = Change.END,
        may_grow: bool = False,
    ) -> None:
        """Create the subscription; nothing is polled yet.

        Args:
            poller: Polls the operations.
            items: Operations, and for each the items that accompany its events; an operation's
                items are removed with its last event.
            wants: The changes that are events: the end alone, each transition, or updates too.
            may_grow: True to stay open until `finish` is called, so that operations can be added.
        """
        self._mail = None
        self._arrival = None
        self.poller: Poller = poller
        """Polls the operations."""
        self._items: dict[PolledOperation[Any], tuple[Any, ...]] | None = items
        """The operations whose last event has not come yet; None once closed."""
        self._new: Iterator[PolledOperation[Any]] | None = iter([*items]) if items else None
        self._may_grow = may_grow
        self.wants: Change = wants
        """The changes that are events."""
        self.is_open: bool = bool(items) or may_grow
        """True while more events may come."""
        self.is_passive: bool = False
        """True to have nothing polled: the one poll of a wait without time follows."""
        self.weakly: tuple[weak_ref[Listener], ...] = (weak_ref(self),)
        """A reference to this: thousands of operations without another listener share the tuple."""

    def add(self, polled: PolledOperation[Any], item: object) -> None:
        """Add an operation, or a further item to one. A closed subscription ignores the call.

        If each transition is an event, the operation's present state is the item's first event.

        Args:
            polled: The operation.
            item: The item that accompanies each of the operation's events.
        """
        if self._items is None:
            return
        self.is_open = True
        present = self._items.get(polled, ())
        self._items[polled] = (*present, item)
        if not present:
            self.listen(polled)
        elif self.wants is not Change.END and polled.is_known:
            self.put((item, polled.latest))

    def listen(self, polled: PolledOperation[Any]) -> None:
        """Have an operation polled, unless it has finished."""
        if not polled.is_finished:
            try:
                self.poller.listen(polled, self, is_passive=self.is_passive)
            except VibeError as error:
                self.notify(polled, error)
                return
        if polled.is_finished or (self.wants is not Change.END and polled.is_known):
            self.notify(polled)

    def notify(self, polled: PolledOperation[Any], error: VibeError | None = None) -> None:
        """Queue an event of an operation.

        Args:
            polled: The operation.
            error: The error that ends the observation; None if the operation's state has changed.
        """
        if not self.is_open or self._items is None or polled not in self._items:
            return
        if error is None and not polled.is_finished:
            items = self._items[polled]
        else:
            items = self._items.pop(polled)
            self.is_open = self._may_grow or bool(self._items)
        event = None if error is not None or self.wants is Change.END else polled.latest
        for item in items:
            self.put((item, event if error is None else own_copy(error)))

    def finish(self) -> None:
        """Accept no more operations: the subscription ends with the last of its operations."""
        self._may_grow = False
        self.is_open = bool(self._items)
        self.wake()

    async def next(self) -> tuple[Any, Any] | None:
        """Return the next event with its item; None after the last. Cancelling it loses nothing.

        Raises:
            RuntimeError: Another task waits for the next event.
        """
        try:
            if self._new is not None:
                with self.poller.defer_ticks():
                    while self._listen_to_some():  # noqa: ASYNC110 - nothing is waited for
                        await asyncio.sleep(0)
            while not self._mail:
                if not self.is_open:
                    return None
                arrival = self.arrival()
                self.poller.awaited.add(self)
                try:
                    await arrival
                finally:
                    self.poller.awaited.discard(self)
            return self._mail.popleft()
        except BaseException:
            # The traceback of a cancellation retains this frame, and thereby the subscription and
            # its polling, for as long as the exception is retained.
            del self
            raise

    def _listen_to_some(self) -> bool:
        """Listen to some of the first operations; return False after the last.

        Other tasks run in between, and may close this subscription.
        """
        some = list(islice(self._new or (), OPERATIONS_A_TURN))
        for polled in some:
            self.listen(polled)
        if len(some) < OPERATIONS_A_TURN:
            self._new = None
        return self._new is not None

    async def time_out(self, *, elapsed: float) -> None:
        """Queue the last event of each operation.

        Args:
            elapsed: Seconds since the wait began.
        """
        self._new = None
        for number, polled in enumerate(self.operations, start=1):
            is_over = polled.is_finished
            self.notify(polled, None if is_over else polled.timed_out(elapsed=elapsed))
            if number % OPERATIONS_A_TURN == 0:
                await asyncio.sleep(0)

    @property
    def operations(self) -> list[PolledOperation[Any]]:
        """The operations whose last event has not come yet."""
        return list(self._items or ())

    def close(self) -> None:
        """Request no more polls, and drop untaken events. A waiting task gets the end."""
        self.is_open = False
        self._items = self._new = self._mail = None
        self.wake()


class Iteration(Generic[ItemT_co]):
    """An iteration over the events of operations, for one task. `aclose` ends it early.

    An operation that can't be observed does not end the iteration for the others. Its error is
    raised after all events, and each further step raises the next error, until there is none.
    """

    def __init__(
        self,
        subscription: Subscription,
        item: Callable[[Any], ItemT_co | VibeError],
        *,
        timeout: float | None = None,
        at_end: Callable[[], None] | None = None,
    ) -> None:
        """Create the iteration; nothing is polled before the first step.

        Args:
            subscription: Provides the events; closed with the iteration.
            item: Makes an item from an event and its operation's item, or the error in its place.
            timeout: Seconds from the first step; None to wait without limit.
            at_end: Called after all events, to raise what ended them; None to raise the errors of
                operations that could not be observed.
        """
        self._subscription = subscription
        self._item = item
        self._at_end = at_end
        self._timeout = timeout
        subscription.is_passive = timeout == 0
        self._began: float | None = None
        self._errors: deque[VibeError] = deque()
        self._is_failing = False
        """True once the first error was raised, which names the others."""

    def __aiter__(self) -> Self:
        """Return the iteration itself."""
        return self

    async def __anext__(self) -> ItemT_co:
        """Wait for the next item."""
        loop = asyncio.get_running_loop()
        if self._began is None:
            self._began = loop.time()
        deadline = None if self._timeout is None else self._began + self._timeout
        try:
            while True:
                try:
                    async with NO_CONTEXT if deadline is None else asyncio.timeout_at(deadline):
                        found = await self._subscription.next()
                except TimeoutError:
                    await self._subscription.poller.poll_last(self._subscription.operations)
                    await self._subscription.time_out(elapsed=loop.time() - self._began)
                    continue
                if found is None:
                    break
                item = found[1] if isinstance(found[1], VibeError) else self._item(found)
                if not isinstance(item, VibeError):
                    return item
                self._errors.append(item)
                del item  # Once it is raised, its traceback holds this frame.
                if len(self._errors) % OPERATIONS_A_TURN == 0:
                    await asyncio.sleep(0)
        except BaseException:
            del self  # See `Subscription.next`.
            raise
        if self._at_end is not None:
            self._at_end()
        elif self._errors:
            raise self._next_error()
        raise StopAsyncIteration

    def _next_error(self) -> VibeError:
        """Return the next error of an operation; the first one names the others."""
        error = self._errors.popleft()
        if self._errors and not self._is_failing:
            self._is_failing = True
            others = ", ".join(str(each.ref) for each in islice(self._errors, MAX_NAMED))
            more = len(self._errors) - MAX_NAMED
            error.add_note(
                f"not observed either: {others}{f' and {more} more' if more > 0 else ''}; the next "
                "steps of the iteration raise why"
            )
        return error

    async def aclose(self) -> None:
        """End the iteration, and request no more polls; for `contextlib.aclosing`."""
        self._subscription.close()
        self._errors.clear()
