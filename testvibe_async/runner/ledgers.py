"""The ledger of the surfaces, which limits generations.

Generations cost credits, so none is sent without permission, also of a resumed batch. The limit is
enforced where each is sent; who may grant permission is decided elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from testvibe_async.ledger import Ledger, Row, RowState
from testvibe_async.runner.limit import GenerationLimitError

if TYPE_CHECKING:
    from collections.abc import Collection

    from testvibe_async.refs import Ref


class LimitedLedger(Ledger):
    """A ledger that stores no intent of a generation beyond the limit, so that it is not sent.

    A generation whose answer was lost counts, as it may have started. One that was refused does
    not.
    """

    def __init__(self, ledger: Ledger) -> None:
        """Allow none.

        Args:
            ledger: Keeps the rows.
        """
        self.ledger: Ledger = ledger
        """The ledger that keeps the rows."""
        self.allowed: int = 0
        """Total number of generations that may be dispatched."""
        self.unanswered: dict[str, Row] = {}
        """The dispatches of this process without an answer, by their items."""
        self._counted: set[str] = set()
        """The ids of the rows that count."""

    @property
    def is_reached(self) -> bool:
        """True if no other generation may be dispatched."""
        return len(self._counted) >= self.allowed

    async def insert(self, row: Row) -> Row:
        """Store a row, and count a generation that is about to be sent.

        Raises:
            GenerationLimitError: It is one more than are allowed.
        """
        is_intent = row.state is RowState.INTENDED
        if is_intent:
            self.unanswered[row.item] = row
        if not is_intent or row.kind == "run":  # It is free; whatever else there is may cost.
            return await self.ledger.insert(row)
        if self.is_reached:
            raise GenerationLimitError
        self._counted.add(row.id)  # Before the wait: others must not pass meanwhile.
        stored = None
        try:
            stored = await self.ledger.insert(row)
            return stored
        finally:
            if stored is not row:
                self._counted.discard(row.id)

    async def note(self, row: Row) -> None:
        """Replace a row, and count a generation no more that provably did not start."""
        if not row.is_open:
            self.unanswered.pop(row.item, None)
        if row.state is RowState.NOT_STARTED:
            self._counted.discard(row.id)
        await self.ledger.note(row)

    async def rows(self, key: str) -> list[Row]:
        """Return the rows of a key."""
        return await self.ledger.rows(key)

    async def related(self, server: str, project: str, refs: Collection[Ref]) -> list[Row]:
        """Return the rows of a project that are open, or own one of some operations."""
        return await self.ledger.related(server, project, refs)
