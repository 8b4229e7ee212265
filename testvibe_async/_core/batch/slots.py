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
        self._unread = 0
        self._is_read = False
        """True once the caller has iterated over the items: until then nobody would free a slot."""
        self._freed = asyncio.Event()

    @property
    def _is_free(self) -> bool:
        kept = 0
        if self._is_read and self._max_unread is not None:
            kept = max(0, self._unread - self._max_unread)
        return self._occupied + kept < self._count

    async def occupy(self) -> None:
        """Wait for a free slot, and occupy it."""
        while not self._is_free:
            self._freed.clear()
            await self._freed.wait()
        self._occupied += 1

    def leave(self) -> None:
        """Free an occupied slot."""
        self._occupied -= 1
        self._freed.set()

    def note_item(self) -> None:
        """Note that an item awaits its reader."""
        self._unread += 1

    def note_read(self) -> None:
        """Note that the caller has read an item."""
        self._unread -= 1
        self._freed.set()

    def note_reader(self) -> None:
        """Note that the caller iterates over the items."""
        self._is_read = True
