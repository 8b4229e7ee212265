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
    from collections.abc import Callable

__all__ = ["Throttle"]

RECOVERY_SECONDS = 30.0
"""From half the rate, at the end of a rest, to the whole."""

MEASURED_SECONDS = 10.0
"""Over how long the present rate is measured."""

LEAST_RATE = 10.0
"""Requests a second: what a rate is taken for that was less. Half of it is left at the least."""


class Throttle:
    """Lets requests through: so many at once, so many a second, and none during a rest."""

    def __init__(self, max_connections: int, *, rate_limit: float | None = None) -> None:
        """Make a gate.

        Args:
            max_connections: How many requests may be under way at once.
            rate_limit: How many may begin in a second; None for any number.
        """
        self._free = max_connections
        self._lanes: tuple[deque[asyncio.Future[None]], ...] = (deque(), deque())
        self._last_lane = 0
        self._rate_limit = rate_limit
        self._is_limited = rate_limit is not None
        self._meter = _Meter()
        self._rate_before_rest = 0.0
        self._rests_until = 0.0
        self._next_start = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_open = False

    async def enter(self, *, is_poll: bool = False) -> None:
        """Wait for a turn, and take it; `leave` gives it back.

        Args:
            is_poll: Whether it is one of the poller's looks, which have a lane of their own.
        """
        now = asyncio.get_running_loop().time()
        if self._free and not self._is_limited:  # Then nobody waits: whoever did was let through.
            self._free -= 1
            self._meter.count(now)
            return
        if self._next_lane() is None:  # What was not used of the rate is not made up for.
            self._next_start = max(self._next_start, now)
        lane = self._lanes[is_poll]
        await self._wait_for_turn(lane.append)
        while self._is_resting:  # The service asked for it after the turn was given.
            self.leave()
            await self._wait_for_turn(lane.appendleft)

    @property
    def _is_resting(self) -> bool:
        return not self._is_open and asyncio.get_running_loop().time() < self._rests_until

    async def _wait_for_turn(self, queue: Callable[[asyncio.Future[None]], None]) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue(turn)
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Give a turn back."""
        self._free += 1
        self._admit()

    def open(self) -> None:
        """Let everybody through who waits for a turn: the client closes, and they must hear it."""
        self._is_open = True
        if self._timer is not None:
            self._timer.cancel()
        for lane in self._lanes:
            for turn in lane:
                if not turn.done():
                    turn.set_result(None)
            lane.clear()

    def _admit(self) -> None:
        """Let through who may begin now, the lanes in turn; come back when the next one may."""
        while self._free and (number := self._next_lane()) is not None:
            loop = asyncio.get_running_loop()
            now, start = loop.time(), max(self._next_start, self._rests_until)
            if now < start:
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = loop.call_at(start, self._admit)
                return
            rate = self._rate(now)
            self._next_start = start + (1 / rate if rate else 0.0)
            self._free -= 1
            self._last_lane = number
            self._meter.count(now)
            self._lanes[number].popleft().set_result(None)

    def _next_lane(self) -> int | None:
        """Return the lane whose turn it is: not the last one again, if somebody waits in both."""
        for number in (1 - self._last_lane, self._last_lane):
            lane = self._lanes[number]
            while lane and lane[0].done():
                lane.popleft()
            if lane:
                return number
        return None

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
