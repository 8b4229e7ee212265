"""The runs or generations in flight, and the largest number of them at once.

Items finish by the clock, without an event, so each call first removes the finished ones. That
costs time only for those that finished since the last call.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import Generic, Protocol, TypeVar

__all__ = ["InFlight"]


class _Finishing(Protocol):
    finished_at: float


T = TypeVar("T", bound=_Finishing)


class InFlight(Generic[T]):
    """The items in flight."""

    def __init__(self) -> None:
        """Start with none."""
        self.peak: int = 0
        """The largest number that were in flight at once."""
        self._items: dict[T, None] = {}
        self._completions: list[tuple[float, int, T]] = []
        self._tie_breaks = count()

    def add(self, item: T, now: float) -> None:
        """Add an item that was dispatched now."""
        self._remove_finished(now)
        self._items[item] = None
        heapq.heappush(self._completions, (item.finished_at, next(self._tie_breaks), item))
        self.peak = max(self.peak, len(self._items))

    def discard(self, item: T) -> None:
        """Remove an item that finished early."""
        self._items.pop(item, None)

    def at(self, now: float) -> list[T]:
        """Return the items in flight, the oldest first."""
        self._remove_finished(now)
        return list(self._items)

    def _remove_finished(self, now: float) -> None:
        while self._completions and self._completions[0][0] <= now:
            self.discard(heapq.heappop(self._completions)[2])
