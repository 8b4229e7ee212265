"""One scheduler for every wait of a client.

Decides when each operation is looked at, and by how many at once. Time is cut into ticks, and what
is due within one is looked at together. It polls by demand: without anybody who waits there is no
timer, no task and no request. What an answer means is `_state`'s to say.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from datetime import UTC, datetime
from math import floor
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from testvibe_async._policy import look_interval, outage_interval
from testvibe_async._state import State, Watcher, new_state
from testvibe_async.errors import ClientClosedError, ObservationError, VibeError
from testvibe_async.events import Hooks, LookFailed, StatusChanged, logger

if TYPE_CHECKING:
    from testvibe_async._transport import Transport
    from testvibe_async.refs import Ref

__all__ = ["Poller"]

TICKS_AN_INTERVAL = 10
ROUNDING = 1e-6
"""What a sum of floats may be short of the tick that it means."""


class Poller:
    """Looks at operations for as long as somebody waits for them."""

    def __init__(
        self,
        transport: Transport,
        *,
        interval: float,
        max_outage: float,
        max_looks: int,
        hooks: Hooks,
    ) -> None:
        self._transport = transport
        self._interval = interval
        self._max_outage = max_outage
        self._max_looks = max_looks
        self._hooks = hooks
        self._tick_length = interval / TICKS_AN_INTERVAL
        self._phase = random.random() * self._tick_length  # noqa: S311 - spreads load, guards nothing
        self._states: WeakValueDictionary[tuple[object, ...], State[Any]] = WeakValueDictionary()
        self._buckets: dict[int, list[State[Any]]] = {}
        self._ticks: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_tick = 0
        self._queue: deque[State[Any]] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._ticket = 0

    def state(self, ref: Ref, *, is_dispatched: bool = False) -> State[Any]:
        """Return the one state of an operation in this client, made at first use."""
        state = self._states.get(ref.key)
        if state is None:
            age = 0.0
            if ref.dispatched_at is not None and not is_dispatched:
                age = max(0.0, (datetime.now(UTC) - ref.dispatched_at).total_seconds())
            began = asyncio.get_running_loop().time() - age
            state = self._states[ref.key] = new_state(ref, began=began, is_dispatched=is_dispatched)
        return state

    def knows(self, ref: Ref) -> bool:
        """Say whether somebody holds a handle on the operation."""
        return ref.key in self._states

    def watch(self, state: State[Any], watcher: Watcher, *, weakly: bool = False) -> None:
        """Poll an operation that is not over, until the watcher is taken away or told of the end.

        Raises:
            ClientClosedError: The client is closed.
            ConfigError: The client belongs to another event loop.
        """
        self._check_usable(state)
        state.watch(watcher, weakly=weakly)
        if state.tick is None and not state.is_looking:
            self._schedule(state)

    def _check_usable(self, state: State[Any]) -> None:
        try:
            self._transport.check_usable()
        except ClientClosedError:
            raise ClientClosedError(ref=state.ref) from None

    async def look(self, state: State[Any]) -> None:
        """Look at an operation now, whatever is due.

        Raises:
            UnauthorizedError, ForbiddenError: The key may not see it.
            ObservationError: It could not be seen.
            ClientClosedError: The client is closed.
        """
        self._check_usable(state)
        error = await self._observe(state, attempts=None)
        if error is not None:
            raise state.failure(error) from error

    def _schedule(self, state: State[Any]) -> None:
        """Put an operation down for its next look."""
        state.tick = floor((self._due(state) - self._phase) / self._tick_length + ROUNDING)
        bucket = self._buckets.get(state.tick)
        if bucket is not None:
            bucket.append(state)
            return
        self._buckets[state.tick] = [state]
        heapq.heappush(self._ticks, state.tick)
        self._set_timer()

    def _due(self, state: State[Any]) -> float:
        now = asyncio.get_running_loop().time()
        interval = look_interval(state.ref, now - state.began, base=self._interval)
        if state.looked is None:
            return max(now, state.began + interval) if state.is_known else now
        return max(now, state.looked + outage_interval(interval, state.failures))

    def _set_timer(self) -> None:
        """Have `_tick` called at the earliest tick that holds anything."""
        if self._timer is not None:
            if not self._ticks or self._ticks[0] < self._timer_tick:
                self._timer.cancel()
            else:
                return
        self._timer = None
        if self._ticks:
            self._timer_tick = self._ticks[0]
            at = self._phase + self._timer_tick * self._tick_length
            self._timer = asyncio.get_running_loop().call_at(at, self._tick)

    def _tick(self) -> None:
        """Hand what is due to the workers."""
        self._timer = None
        due = self._timer_tick
        while self._ticks and self._ticks[0] <= due:
            for state in self._buckets.pop(heapq.heappop(self._ticks)):
                state.tick = None
                if state.is_watched:
                    state.is_looking = True
                    self._queue.append(state)
        self._set_timer()
        for _ in range(min(len(self._queue), self._max_looks - len(self._workers))):
            worker = asyncio.create_task(self._work(), name="testvibe_async poller")
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        """Serve the queue until it is empty."""
        while self._queue:
            state = self._queue.popleft()
            try:
                await self._serve(state)
            except asyncio.CancelledError:
                self._die(state)
                raise
            except Exception as error:  # noqa: BLE001 - a defect must not hang a wait
                logger.exception("looking at %s failed in an unforeseen way", state.ref)
                failure = ObservationError(f"unforeseen: {error!r}", ref=state.ref)
                failure.__cause__ = error
                state.tell(failure)

    async def _serve(self, state: State[Any]) -> None:
        """Look at one operation, and put it down for its next look."""
        try:
            error = await self._observe(state, attempts=1) if state.is_watched else None
        finally:
            state.is_looking = False
        if error is not None:
            self._bear(state, error)
        if state.is_watched:
            self._schedule(state)

    async def _observe(self, state: State[Any], *, attempts: int | None) -> VibeError | None:
        """Ask, take in the answer, and return what went wrong, if anything did."""
        loop = asyncio.get_running_loop()
        self._ticket += 1
        ticket = self._ticket
        state.looked = loop.time()
        try:
            snapshot = await self._transport.call(state.request(), attempts=attempts)
        except VibeError as error:
            return error
        before = state.phase, state.status
        fault = state.accept(snapshot, ticket=ticket, now=loop.time())
        if (state.phase, state.status) != before and state.present is not None:
            self._hooks.emit(StatusChanged(state.ref, state.present))
        return fault

    def _bear(self, state: State[Any], error: VibeError) -> None:
        """Go on after a failure to observe, or tell the waits of it."""
        now = asyncio.get_running_loop().time()
        final = state.refuse(error, now=now, max_outage=self._max_outage)
        self._hooks.emit(LookFailed(state.ref, error, is_final=final is not None))
        if final is not None:
            state.tell(final)

    def _die(self, looking: State[Any]) -> None:
        """Let nobody wait for a look that will not come. At its close `aclose` tells them."""
        for state in (looking, *self._queue):
            state.is_looking = False
            if not self._transport.is_closed:
                state.tell(ObservationError("the poller's task was cancelled", ref=state.ref))
        self._queue.clear()

    async def aclose(self) -> None:
        """Stop looking, and tell all who wait that the client is closed."""
        if self._timer is not None:
            self._timer.cancel()
        for worker in self._workers:
            worker.cancel()
        try:
            await asyncio.gather(*self._workers, return_exceptions=True)
        finally:
            for state in list(self._states.values()):
                state.tell(ClientClosedError(ref=state.ref))
