"""The slots of a batch: how many of its operations may be in flight.

Decides that an item which the caller has not read keeps its slot, so that a slow reader holds back
further dispatches. It never decides which feature is dispatched.
"""

from __future__ import annotations

import asyncio


class Slots:
    """The slots of one batch. Each worker occupies one while it carries an entry."""

    def __init__(self, count: int, *, max_unread: int | None) -> None:
        """Create the slots, all free.

        Args:
            count: Number of slots.
            max_unread: Number of unread items that keep no slot; None if unread items keep none.
        """
        self._count = count
        self._max_unread = max_unread
        self._occupied = 0
        self.unread: int = 0
        """Number of items that the caller has not read."""
        self.has_reader: bool = False
        """True once the caller has iterated over items. Before that, nobody would free a slot."""
        self._freed = asyncio.Event()

    def try_occupy(self) -> bool:
        """Occupy a slot, if one is free; return whether one was."""
        kept = 0
        if self.has_reader and self._max_unread is not None:
            kept = max(0, self.unread - self._max_unread)
        is_free = self._occupied + kept < self._count
        self._occupied += is_free
        return is_free

    async def occupy(self) -> None:
        """Wait for a free slot, and occupy it."""
        while not self.try_occupy():
            self._freed.clear()
            await self._freed.wait()

    def leave(self) -> None:
        """Free an occupied slot."""
        self._occupied -= 1
        self._freed.set()

    def note_follower(self) -> None:
        """Note that the caller follows transitions: an iteration over items may have been left."""
        self.has_reader = False
        self._freed.set()

    def note_read(self) -> None:
        """Note that the caller has read an item."""
        self.unread -= 1
        self._freed.set()
