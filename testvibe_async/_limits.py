"""How much goes over the wire at once, how fast, and when nothing does.

One gate for all traffic of a client. Looks and other calls queue in two lanes that take turns, so
that neither starves the other. After the service asked for a rest the traffic comes back at half
the rate that it had, and recovers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Gate"]

RECOVERY_SECONDS = 30.0
"""From half the rate, at the end of a rest, to the whole."""

MEASURED_SECONDS = 10.0
"""Over how long the present rate is measured."""

LEAST_RATE = 10.0
"""Requests a second: what a rate is taken for that was less. Half of it is left at the least."""


class Gate:
    """Lets requests through: so many at once, so many a second, and none during a rest."""

    def __init__(
        self,
        max_connections: int,
        *,
        rate_limit: float | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Make a gate.

        Args:
            max_connections: How many requests may be under way at once.
            rate_limit: How many may begin in a second; None for any number.
            sleep: Lets seconds pass, or raises where nobody should wait any more.
        """
        self._sleep = sleep
        self._free = max_connections
        self._lanes: tuple[deque[asyncio.Future[None]], ...] = (deque(), deque())
        self._last_lane = 0
        self._rate_limit = rate_limit
        self._is_limited = rate_limit is not None
        self._meter = _Meter()
        self._rate_before_rest = 0.0
        self._rests_until = 0.0
        self._line = asyncio.Lock()
        self._next_start = 0.0

    async def enter(self, *, is_look: bool = False) -> None:
        """Wait for a turn, and take it; `leave` gives it back.

        Args:
            is_look: Whether it is one of the poller's looks, which have a lane of their own.
        """
        if self._free:
            self._free -= 1
        else:
            await self._wait_for_turn(self._lanes[is_look])
        if self._is_limited:
            try:
                await self._wait_for_start()
            except BaseException:
                self.leave()
                raise
        self._meter.count(asyncio.get_running_loop().time())

    async def _wait_for_turn(self, lane: deque[asyncio.Future[None]]) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lane.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Hand the turn to the other lane's next, else to the same lane's, else keep it free."""
        for number in (1 - self._last_lane, self._last_lane):
            lane = self._lanes[number]
            while lane:
                turn = lane.popleft()
                if not turn.done():
                    self._last_lane = number
                    turn.set_result(None)
                    return
        self._free += 1

    def open(self) -> None:
        """Let everybody through who waits for a turn: the client closes, and they must hear it."""
        for lane in self._lanes:
            for turn in lane:
                if not turn.done():
                    turn.set_result(None)

    async def _wait_for_start(self) -> None:
        """Wait until the next request may begin, one after the other.

        Only who begins moves that on: who is cancelled in the line took nothing from the others.
        """
        loop = asyncio.get_running_loop()
        async with self._line:
            start = max(loop.time(), self._next_start)
            while (now := loop.time()) < (start := max(start, self._rests_until)):
                await self._sleep(start - now)
            rate = self._rate(now)
            self._next_start = start + (1 / rate if rate else 0.0)

    def _rate(self, now: float) -> float | None:
        """Return the requests a second that are allowed now; None for any number."""
        recovered = 0.5 + 0.5 * (now - self._rests_until) / RECOVERY_SECONDS
        if not self._rate_before_rest or recovered >= 1:
            self._is_limited = self._rate_limit is not None
            return self._rate_limit
        rate = self._rate_before_rest * recovered
        return min(rate, self._rate_limit) if self._rate_limit else rate

    def rest(self, seconds: float) -> None:
        """Let nothing through for so many seconds from now, and less than before thereafter."""
        now = asyncio.get_running_loop().time()
        if now >= self._rests_until:
            self._rate_before_rest = max(LEAST_RATE, self._meter.rate(now))
            self._is_limited = True
        self._rests_until = max(self._rests_until, now + seconds)


class _Meter:
    """How many requests a second there were lately."""

    __slots__ = ("_before", "_began", "_count")

    def __init__(self) -> None:
        self._began = 0.0
        self._count = 0
        self._before = 0

    def count(self, now: float) -> None:
        """Take down that a request begins."""
        self._turn_over(now)
        self._count += 1

    def rate(self, now: float) -> float:
        """Return the mean of the busier of this period and the one before."""
        self._turn_over(now)
        return max(self._count, self._before) / MEASURED_SECONDS

    def _turn_over(self, now: float) -> None:
        periods = (now - self._began) // MEASURED_SECONDS
        if periods >= 1:
            self._before = self._count if periods == 1 else 0
            self._count = 0
            self._began += periods * MEASURED_SECONDS
