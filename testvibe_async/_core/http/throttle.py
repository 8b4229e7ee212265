"""The number of requests under way at once, and the time when each may start.

One throttle serves all traffic of a client. `pace` decides how fast the service allows requests,
and the user may set a lower limit. The throttle never decides which requests are sent, nor whether
one is retried.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from testvibe_async._core.http.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable


class Throttle:
    """Hands out slots: limited in number and in rate, and none during a pause.

    Polls and other calls wait in two queues that are served alternately, so that neither starves
    the other. Otherwise, thousands of due polls would precede every dispatch.
    """

    def __init__(self, max_connections: int, *, rate_limit: float | None = None) -> None:
        """Create a throttle.

        Args:
            max_connections: Maximum number of requests under way at once.
            rate_limit: Maximum number of requests started per second; None for no limit.
        """
        self._slots = self._free = max_connections
        self.busy_since: float = 0.0
        """The loop's clock when the first of the requests under way, or of the last ones, began."""
        self._queues: tuple[deque[asyncio.Future[int]], ...] = (deque(), deque())
        self._last_served = 0
        self._rate_limit = rate_limit
        self._pace = Pace()
        self.accept: Callable[[float], bool] = self._pace.accept
        """Notes an answer that is not a refusal; see `Pace`. Then `release`."""
        self._pauses = 0
        """Number of pauses so far."""
        self._prober: asyncio.Future[Any] | None = None
        """The slot, and then the task, of the last probe after a pause."""
        self._next_start = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def is_idle(self) -> bool:
        """True if no request is under way."""
        return self._free >= self._slots

    async def acquire(self, *, is_poll: bool = False) -> None:
        """Wait for a slot and take it; `release` returns it.

        Args:
            is_poll: True for one of the poller's requests, which queue separately.
        """
        now = asyncio.get_running_loop().time()
        # With a free slot and no limit on the rate, nothing waits: a waiter would have been served.
        if self._free and self._rate_limit is None and self._pace.is_free:
            if self._free == self._slots:
                self.busy_since = now
            self._free -= 1
            return
        if self._next_queue() is None:
            # An unused rate is not made up for by a burst.
            self._next_start = max(self._next_start, now)
        queue = self._queues[is_poll]
        pauses = await self._wait_for_slot(queue.append)
        while pauses != self._pauses and not self._is_closed:
            # A pause began after the slot was handed out.
            self.release()
            pauses = await self._wait_for_slot(queue.appendleft)

    async def _wait_for_slot(self, enqueue: Callable[[asyncio.Future[int]], None]) -> int:
        """Wait for a slot; return the number of pauses at the time when it was handed out."""
        slot: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        enqueue(slot)
        self._serve()
        try:
            pauses = await slot
        except asyncio.CancelledError:
            # Cancelled after it was served but before it ran: the slot would be lost.
            if slot.done() and not slot.cancelled():
                self._abandon(slot)
                self.release()
            raise
        if self._prober is slot:
            self._prober = asyncio.current_task()
        return pauses

    def release(self) -> None:
        """Return a slot."""
        self._free += 1
        if self._queues[0] or self._queues[1]:
            self._serve()

    def abandon(self) -> None:
        """Note that the running task's request failed: if it was the probe, another may be sent."""
        self._abandon(asyncio.current_task())

    def _abandon(self, holder: asyncio.Future[Any] | None) -> None:
        if self._prober is holder is not None:
            self._prober = None
            self._pace.abandon_probe()

    def let_all_through(self) -> None:
        """Serve all waiters at once: the client closes, and each waiter must notice."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for queue in self._queues:
            for slot in queue:  # A cancelled one is done already.
                if not slot.done():
                    slot.set_result(self._pauses)
            queue.clear()

    def refuse(self, retry_after: float | None) -> float | None:
        """Note a refusal; return the seconds for which nothing is sent, if a pause begins.

        Args:
            retry_after: The seconds that the refusal asks for; None if it does not say.
        """
        now = asyncio.get_running_loop().time()
        seconds = self._pace.refuse(now, retry_after=retry_after)
        if seconds is not None:
            self._pauses += 1
        return seconds

    def _serve(self) -> None:
        """Hand out the slots that are available now, and set a timer for the next."""
        # Slot and start come together: holding a slot while waiting for the rate would starve
        # others.
        while self._free and (number := self._next_queue()) is not None:
            loop = asyncio.get_running_loop()
            now = loop.time()
            start = max(self._next_start, self._pace.earliest_start(now))
            if now < start:
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = loop.call_at(start, self._serve)
                return
            if self._rate_limit is not None:
                # A start that the timer delayed does not delay the next; a pause does.
                began = self._next_start if self._pace.is_free else now
                self._next_start = max(self._next_start, began) + 1 / self._rate_limit
            if self._free == self._slots:
                self.busy_since = now
            self._free -= 1
            self._last_served = number
            slot = self._queues[number].popleft()
            if self._pace.start(now):
                self._prober = slot
            slot.set_result(self._pauses)

    def _next_queue(self) -> int | None:
        """Return the queue to serve next: the other one, if both have waiters."""
        for number in (1 - self._last_served, self._last_served):
            queue = self._queues[number]
            while queue and queue[0].done():  # cancelled
                queue.popleft()
            if queue:
                return number
        return None
