"""A ledger whose durable write is an acknowledged heartbeat of an activity.

The engine takes a heartbeat from the present try of an activity alone, and gives the last one to
the next try. So an insertion is a claim and a fence at once. The state has the rows, with as much
of an outcome as counts attempts: the next try polls each finished operation once more.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from attrs import evolve

from testvibe_async import MemoryLedger
from testvibe_async.errors import LedgerError
from testvibe_async.ledger import Ledger, Row, RowState
from testvibe_async.models import Run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from testvibe_async.refs import Ref


class HeartbeatLedger(Ledger):
    """The rows of one chunk, which the engine keeps."""

    def __init__(self, beat: Callable[[list[str]], Awaitable[None]], *, limit: int | None) -> None:
        """Create it without rows; see `load`.

        Args:
            beat: Sends the state as a heartbeat, and returns once the engine has it.
            limit: Maximum number of generations that may be dispatched; None for no limit.
        """
        self._beat = beat
        self._limit = limit
        self._memory = MemoryLedger()
        self._rows: dict[tuple[str, int], Row] = {}
        self._lock = asyncio.Lock()
        """Held while a heartbeat is sent: a later state must not be overtaken by an earlier."""

    async def load(self, documents: Sequence[str]) -> None:
        """Take over the rows of an earlier try."""
        for document in documents:
            row = Row.from_json(document)
            self._rows[row.item, row.number] = row
            await self._memory.insert(row)

    async def insert(self, row: Row) -> Row:
        """Store a row, and return once the engine has it."""
        async with self._lock:
            stored = await self._memory.insert(row)
            if stored is row:
                await self._require_within_limit(row)
                self._rows[row.item, row.number] = row
                await self._beat(self.state())
            return stored

    async def _require_within_limit(self, row: Row) -> None:
        """Refuse a generation beyond the limit; a run is none, and costs nothing."""
        if self._limit is None or row.kind != "generation" or not row.number:
            return
        paid = sum(
            each.number > 0 and each.state is not RowState.NOT_STARTED
            for each in self._rows.values()
        )
        if paid >= self._limit:
            row.state = RowState.NOT_STARTED
            await self._memory.note(row)
            what = f"the batch may generate {self._limit} of these features: raise maxGenerations"
            raise LedgerError(what, method="POST", url=row.server)

    async def note(self, row: Row) -> None:
        """Note what became known; the next heartbeat has it."""
        await self._memory.note(row)

    async def rows(self, key: str) -> list[Row]:
        """Return the rows of a key, in the order of their numbers."""
        return await self._memory.rows(key)

    async def related(self, server: str, project: str, refs: Collection[Ref]) -> list[Row]:
        """Return the rows that are open, or own one of some operations."""
        return await self._memory.related(server, project, refs)

    async def beat(self) -> None:
        """Send the state, so that the engine sees that the chunk is carried."""
        async with self._lock:
            await self._beat(self.state())

    def state(self) -> list[str]:
        """Return the rows as the next try needs them."""
        return [_short(row).to_json() for row in self._rows.values()]


def _short(row: Row) -> Row:
    """Return a row without what the service can show again."""
    if not isinstance(row.outcome, Run):
        is_over = row.outcome is not None and row.ref is not None
        state = RowState.DISPATCHED if is_over else row.state
        return evolve(row, outcome=None, state=state, error=None)
    if row.outcome.is_failure:  # It counts as an attempt.
        outcome = evolve(row.outcome, tests=(), artifacts=(), log=None)
        return evolve(row, outcome=outcome, error=None)
    return evolve(row, outcome=None, state=RowState.DISPATCHED, error=None)
