"""Which runs or generations are going on now, and how many were at once at most.

Items end by the clock, nobody reports it: whatever is over is put away at the next look. Each look
costs as much as has ended since the last one.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import Generic, Protocol, TypeVar

__all__ = ["InFlight"]


class _Ending(Protocol):
    finished_at: float


T = TypeVar("T", bound=_Ending)


class InFlight(Generic[T]):
    """The items that are not over."""

    def __init__(self) -> None:
        """Begin with none."""
        self.peak = 0
        """The most that were going on at once."""
        self._items: dict[T, None] = {}
        self._ends: list[tuple[float, int, T]] = []
        self._tie_breaks = count()

    def add(self, item: T, now: float) -> None:
        """Take in an item that was dispatched just now."""
        self._put_away(now)
        self._items[item] = None
        heapq.heappush(self._ends, (item.finished_at, next(self._tie_breaks), item))
        self.peak = max(self.peak, len(self._items))

    def discard(self, item: T) -> None:
        """Take out an item that was ended before its time."""
        self._items.pop(item, None)

    def at(self, now: float) -> list[T]:
        """Return the items that are going on, the oldest first."""
        self._put_away(now)
        return list(self._items)

    def _put_away(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            self.discard(heapq.heappop(self._ends)[2])
