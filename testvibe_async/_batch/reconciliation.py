"""What a crash left open, in a batch that goes on with its journal.

Decides when it is asked for what became of such a dispatch, and asked once more. It dispatches
nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from attrs import frozen

from testvibe_async.errors import DispatchUnknownError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from testvibe_async._journal import Rows
    from testvibe_async.intents import Intent
    from testvibe_async.operations import Operation

__all__ = ["Reconciliation", "Resumption"]


@frozen
class Resumption:
    """How a batch goes on with what its journal has."""

    rows: Rows
    reconcile: Callable[[Intent], Awaitable[Operation[Any] | None]]
    """Finds out what became of a dispatch; see `Client.reconcile`."""


class Reconciliation:
    """The dispatches that a crash left open.

    That nothing began is proved by a run of later alone. So where nothing of a dispatch is found,
    it is asked for once more when another feature was dispatched, for which the batch holds its
    last one back.
    """

    def __init__(self, resumption: Resumption | None, *, may_dispatch: Callable[[], bool]) -> None:
        """Make it; nothing is asked for yet.

        Args:
            resumption: How the batch goes on; None where it has no journal.
            may_dispatch: Says whether another feature may still be dispatched.
        """
        self._resumption = resumption
        self._may_dispatch = may_dispatch
        self._open: set[int] = set()
        """The dispatches that are not reconciled yet."""
        self._dispatched = 0
        """How many were dispatched since."""
        self._progress = asyncio.Event()
        """Set, and replaced, whenever something was dispatched or reconciled."""

    @property
    def is_open(self) -> bool:
        """Whether any dispatch is not reconciled yet."""
        return bool(self._open)

    def begin(self, place: int) -> None:
        """Note that one is to be reconciled."""
        self._open.add(place)

    async def operation(self, place: int, intent: Intent) -> Operation[Any] | None:
        """Return what a dispatch started, or None where it is proved that nothing began.

        Raises:
            DispatchUnknownError: Nobody can say.
        """
        assert self._resumption is not None
        try:
            try:
                return await self._resumption.reconcile(intent)
            except DispatchUnknownError as error:
                if error.reason != "absent" or intent.kind != "run":
                    raise
                self._end(place)
                if not await self._sees_another_dispatched():
                    raise
            return await self._resumption.reconcile(intent)
        finally:
            self._end(place)

    async def _sees_another_dispatched(self) -> bool:
        """Wait until one more was dispatched; False where none will be."""
        before = self._dispatched
        while self._dispatched == before:
            if not self._may_dispatch():
                return False
            await self.progress()
        return True

    def _end(self, place: int) -> None:
        self._open.discard(place)
        self.note_progress()

    def note_dispatched(self) -> None:
        """Note that one more was dispatched."""
        self._dispatched += 1

    async def progress(self) -> None:
        """Wait until something was dispatched or reconciled, or the batch was stopped."""
        await self._progress.wait()

    def note_progress(self) -> None:
        """Wake what waits for progress."""
        progress, self._progress = self._progress, asyncio.Event()
        progress.set()
