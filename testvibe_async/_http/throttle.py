"""How many requests are under way at once, how fast they start, and when none does.

One throttle serves all traffic of a client. It never decides what is sent, nor whether again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Throttle"]

RECOVERY_SECONDS = 30.0
"""How long the rate takes from half, at the end of a pause, to the whole."""

WINDOW_SECONDS = 10.0
"""The period over which the present rate is measured."""

MIN_RATE = 10.0
"""The least that a measured rate counts for, in requests a second, before a pause halves it."""


class Throttle:
    """Hands out slots: limited in number and in rate, and none during a pause.

    Polls and other calls wait in two queues that are served alternately, so that neither starves
    the other: thousands of due polls would otherwise stand before every dispatch. After a pause
    that the service asked for, traffic restarts at half the rate that it had, and recovers.
    """

    def __init__(self, max_connections: int, *, rate_limit: float | None = None) -> None:
        """Make a throttle.

        Args:
            max_connections: How many requests may be under way at once.
            rate_limit: How many may start in a second; None for any number.
        """
        self._free = max_connections
        self._queues: tuple[deque[asyncio.Future[None]], ...] = (deque(), deque())
        self._last_served = 0
        self._rate_limit = rate_limit
        self._is_limited = rate_limit is not None
        """Whether the rate is limited now: by the user, or after a pause until it has recovered."""
        self._meter = _RateMeter()
        self._rate_before_pause = 0.0
        self._paused_until = 0.0
        self._next_start = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def acquire(self, *, is_poll: bool = False) -> None:
        """Wait for a slot and take it; `release` gives it back.

        Args:
            is_poll: Whether it is for one of the poller's requests, which queue separately.
        """
        now = asyncio.get_running_loop().time()
        # With a slot free and no limit on the rate nothing waits: a waiter would have been served.
        if self._free and not self._is_limited:
            self._free -= 1
            self._meter.count(now)
            return
        if self._next_queue() is None:
            # A rate that was not used is not made up for by a burst.
            self._next_start = max(self._next_start, now)
        queue = self._queues[is_poll]
        await self._wait_for_slot(queue.append)
        while self._is_paused:  # The pause began after the slot was handed out.
            self.release()
            await self._wait_for_slot(queue.appendleft)

    @property
    def _is_paused(self) -> bool:
        return not self._is_closed and asyncio.get_running_loop().time() < self._paused_until

    async def _wait_for_slot(self, enqueue: Callable[[asyncio.Future[None]], None]) -> None:
        slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        enqueue(slot)
        self._serve()
        try:
            await slot
        except asyncio.CancelledError:
            # Cancelled after it was served, and before it ran: the slot would be lost.
            if slot.done() and not slot.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Give a slot back."""
        self._free += 1
        self._serve()

    def let_all_through(self) -> None:
        """Serve all who wait, at once: the client closes, and each of them must notice that."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for queue in self._queues:
            for slot in queue:  # A cancelled one is done already.
                if not slot.done():
                    slot.set_result(None)
            queue.clear()

    def pause(self, seconds: float) -> None:
        """Hand out nothing for so many seconds from now, and less than before after that."""
        now = asyncio.get_running_loop().time()
        # Refusals that arrive during a pause were sent before it: they say nothing new of the rate.
        if now >= self._paused_until:
            self._rate_before_pause = max(MIN_RATE, self._meter.rate(now))
            self._is_limited = True
        self._paused_until = max(self._paused_until, now + seconds)

    def _serve(self) -> None:
        """Hand out what may be handed out now, and set a timer for the next."""
        # Slot and start come together: to hold a slot while waiting for the rate would starve
        # others.
        while self._free and (number := self._next_queue()) is not None:
            loop = asyncio.get_running_loop()
            now, start = loop.time(), max(self._next_start, self._paused_until)
            if now < start:
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = loop.call_at(start, self._serve)
                return
            rate = self._rate(now)
            self._next_start = start + (1 / rate if rate else 0.0)
            self._free -= 1
            self._last_served = number
            self._meter.count(now)
            self._queues[number].popleft().set_result(None)

    def _next_queue(self) -> int | None:
        """Return the queue to serve next: the other one, if somebody waits in both."""
        for number in (1 - self._last_served, self._last_served):
            queue = self._queues[number]
            while queue and queue[0].done():  # cancelled
                queue.popleft()
            if queue:
                return number
        return None

    def _rate(self, now: float) -> float | None:
        """Return the present limit in requests a second, and note when the rate has recovered."""
        recovered = 0.5 + 0.5 * (now - self._paused_until) / RECOVERY_SECONDS
        if not self._rate_before_pause or recovered >= 1:
            self._is_limited = self._rate_limit is not None
            return self._rate_limit
        rate = self._rate_before_pause * recovered
        return min(rate, self._rate_limit) if self._rate_limit else rate


class _RateMeter:
    """How many requests a second there were lately. Two counters: it runs for each request."""

    __slots__ = ("_before", "_began", "_count")

    def __init__(self) -> None:
        self._began = 0.0
        self._count = 0
        self._before = 0

    def count(self, now: float) -> None:
        """Note that a request starts."""
        self._turn_over(now)
        self._count += 1

    def rate(self, now: float) -> float:
        """Return the mean of the busier of this period and the one before."""
        self._turn_over(now)
        return max(self._count, self._before) / WINDOW_SECONDS

    def _turn_over(self, now: float) -> None:
        periods = (now - self._began) // WINDOW_SECONDS
        if periods >= 1:
            self._before = self._count if periods == 1 else 0
            self._count = 0
            self._began += periods * WINDOW_SECONDS
