"""A ledger whose durable write is an acknowledged heartbeat of an activity.

The engine takes a heartbeat from the present try of an activity alone, and gives the last one to
the next try. So an insertion is a claim and a fence at once. Decides how much of each row the next
try needs: it polls each finished operation once more.
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

STORE_SECONDS = 4.0
"""Seconds in which the engine must acknowledge a row: a request is not sent after 5 s."""

KEPT_TESTS = 5
"""Number of tests that a shortened outcome keeps, failed ones first: they make its verdict."""


class HeartbeatLedger(MemoryLedger):
    """The rows of one chunk, which the engine keeps."""

    is_immediate = False

    def __init__(self, send: Callable[[list[str]], Awaitable[None]]) -> None:
        """Create it without rows; see `load`.

        Args:
            send: Sends the state as a heartbeat, and returns once the engine has it.
        """
        super().__init__()
        self._send = send
        self._kept: list[Row] = []
        self._texts: dict[Row, tuple[object, str]] = {}
        """The rows as they were sent last, with what the texts depend on."""
        self._inserted = self._acknowledged = 0
        self._lock = asyncio.Lock()
        """Held while a heartbeat is sent: an earlier state must not replace a later one."""
        self.is_broken: bool = False
        """True once the engine did not acknowledge a row: another try must dispatch its feature."""

    async def load(self, documents: Sequence[str]) -> None:
        """Take over the rows of an earlier try."""
        self._kept = [Row.from_json(document) for document in documents]
        for row in self._kept:
            await super().insert(row)

    async def insert(self, row: Row) -> Row:
        """Store a row, and return once the engine has it."""
        stored = await super().insert(row)
        if stored is not row:
            return stored
        self._kept.append(row)
        self._inserted += 1
        number = self._inserted
        try:
            async with asyncio.timeout(STORE_SECONDS), self._lock:
                if self._acknowledged < number:  # Else a heartbeat for another row had it.
                    await self._beat()
        except BaseException as error:
            self._kept.remove(row)  # Its request is not sent.
            self.is_broken |= isinstance(error, Exception)
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
        last = {row.item: row for row in self._kept}
        return [self._text(row, is_last=last[row.item] is row) for row in self._kept]

    def _text(self, row: Row, *, is_last: bool) -> str:
        known = row.state, row.ref, row.outcome is None, is_last
        if row not in self._texts or self._texts[row][0] != known:
            self._texts[row] = known, _short(row, is_last=is_last).to_json()
        return self._texts[row][1]


def _short(row: Row, *, is_last: bool) -> Row:
    """Return a row without what the service can show again, or what only people read."""
    if row.outcome is None or row.ref is None:
        return evolve(row, error=None)
    if is_last or not isinstance(row.outcome, Run):
        return evolve(row, outcome=None, state=RowState.DISPATCHED, error=None)
    return evolve(row, outcome=shortened(row.outcome), error=None)  # It counts as an attempt.


def shortened(outcome: Any) -> Any:  # noqa: ANN401 - of the batch's kind
    """Return an outcome of the same verdict, without what takes much space."""
    if not isinstance(outcome, Run):
        return outcome
    tests = sorted(outcome.tests, key=lambda test: not test.is_failure)[:KEPT_TESTS]
    short = tuple(evolve(test, error=None, extra={}) for test in tests)
    return evolve(outcome, tests=short, artifacts=(), log=None, extra={})
