"""The recorder of one feature of a journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testvibe_async._journal.rows import Rows
    from testvibe_async.errors import VibeError
    from testvibe_async.intents import Intent
    from testvibe_async.refs import Ref

__all__ = ["RowRecorder"]


class RowRecorder:
    """Stores the intents of one feature, and what came of them."""

    def __init__(self, rows: Rows, place: int) -> None:
        self._rows = rows
        self._place = place

    async def intended(self, intent: Intent) -> None:
        """Store an intent, and return once it is on the disk."""
        await self._rows.note_intent(self._place, intent)

    async def dispatched(self, intent: Intent, ref: Ref) -> None:
        """Note the operation, on the disk with the next commit.

        Waiting for that would gain nothing: a crash before it finds the intent, and reconciles it.
        """
        self._rows.note_result(self._place, intent, ref)

    async def not_dispatched(self, intent: Intent, error: VibeError) -> None:
        """Note that nothing began."""
        self._rows.note_result(self._place, intent, error)
