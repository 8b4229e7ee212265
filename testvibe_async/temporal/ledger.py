"""A ledger whose durable write is an acknowledged heartbeat of an activity.

The engine takes a heartbeat from the present try of an activity alone, and gives the last one to
the next try. So an insertion is a claim and a fence at once. Decides how much of each row the next
try needs: it polls the last operation of each feature once more.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from attrs import evolve

from testvibe_async import MemoryLedger
from testvibe_async.ledger import Row, RowState
from testvibe_async.models import Run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from testvibe_async.models import Snapshot

STORE_SECONDS = 4.0
"""Seconds in which the engine must acknowledge a row: a request is not sent after 5 s."""

GATHER_SECONDS = 0.05
"""Seconds in which rows gather for one heartbeat, which costs as much as half a dispatch."""

KEPT_TESTS = 5
"""Number of tests that a shortened outcome keeps, failed ones first: they make its verdict."""


class ChunkLedger(MemoryLedger):
    """The rows of one try to carry a chunk, which the engine keeps."""

    is_immediate = False

    def __init__(self, send: Callable[[list[str]], Awaitable[None]]) -> None:
        """Create a ledger without rows; see `load`.

        Args:
            send: Sends the state as a heartbeat, and returns once the engine has it.
        """
        super().__init__()
        self._send = send
        self._texts: dict[Row, tuple[object, str]] = {}
        """The rows as they were sent last, with what the texts depend on."""
        self._inserted = self._acknowledged = 0
        self._lock = asyncio.Lock()
        """Held while a heartbeat is sent: an earlier state must not replace a later one."""
        self.lost: asyncio.Event = asyncio.Event()
        """Set once another try must carry the chunk, such as if a row was not acknowledged."""

    async def load(self, documents: Sequence[str]) -> None:
        """Take over the rows of an earlier try."""
        rows = [Row.from_json(document) for document in documents]
        last = {row.item: row for row in rows}
        for row in rows:
            if row is last[row.item] and row.ref is not None:  # It is polled for its whole outcome.
                row.state, row.outcome = RowState.DISPATCHED, None
            self._texts[row] = None, ""
            await super().insert(row)

    async def insert(self, row: Row) -> Row:
        """Store a row, and return once the engine has it."""
        stored = await super().insert(row)
        if stored is not row:
            return stored
        self._texts[row] = None, ""
        self._inserted += 1
        number = self._inserted
        try:
            async with asyncio.timeout(STORE_SECONDS), self._lock:
                if self._acknowledged < number:  # Else a heartbeat for another row had it.
                    await asyncio.sleep(GATHER_SECONDS)
                    await self._beat()
        except BaseException as error:
            del self._texts[row]  # Its request is not sent.
            if isinstance(error, Exception):
                self.lost.set()
            raise
        return row

    async def beat(self) -> None:
        """Send the state, so that the engine sees that the chunk is carried."""
        async with self._lock:
            await self._beat()

    async def _beat(self) -> None:
        newest = self._inserted
        await self._send(self.state())
        self._acknowledged = newest

    def state(self) -> list[str]:
        """Return the rows as the next try needs them."""
        for row, (known, _) in self._texts.items():
            if known != (present := (row.state, row.ref, row.outcome is None)):
                self._texts[row] = present, _short(row).to_json()
        return [text for _, text in self._texts.values()]


def _short(row: Row) -> Row:
    return row if row.outcome is None else evolve(row, outcome=shortened(row.outcome))


def shortened(outcome: Snapshot) -> Any:  # noqa: ANN401 - of the same kind
    """Return an outcome of the same verdict, without what takes much space."""
    if not isinstance(outcome, Run):
        return evolve(outcome, sections=(), extra={})
    tests = sorted(outcome.tests, key=lambda test: not test.is_failure)[:KEPT_TESTS]
    short = tuple(evolve(test, error=None, extra={}) for test in tests)
    return evolve(outcome, tests=short, artifacts=(), log=None, extra={})
