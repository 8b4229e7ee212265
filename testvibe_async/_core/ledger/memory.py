"""A ledger in memory: what one client dispatched, for as long as it lives.

It keeps every open row, and the latest of the others up to a limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import fields

from testvibe_async.ledger import Ledger, Row

if TYPE_CHECKING:
    from collections.abc import Collection

    from testvibe_async.refs import Ref

KEPT_ROWS = 10_000
"""Maximum number of rows that are not open: a lost answer belongs to none of their operations."""


class MemoryLedger(Ledger):
    """Rows in memory, without a limit while they are open."""

    is_immediate = True

    def __init__(self) -> None:
        self._rows: dict[str, Row | dict[tuple[str, int], Row]] = {}
        """The rows of each key: nearly always one of a single dispatch, or those of a batch."""
        self._open: dict[int, Row] = {}
        """The open rows, by the identity of the object."""
        self._owners: dict[tuple[str, str, str, object], Row] = {}
        """The last row that had each operation, by server, project and id."""
        self._closed: dict[int, Row] = {}
        """The other rows, in the order in which they were closed."""

    async def insert(self, row: Row) -> Row:
        """Store a row, unless one of its identity is there; return the stored one."""
        there = self._rows.get(row.key)
        if there is None:
            self._rows[row.key] = row
        else:
            if isinstance(there, Row):
                there = self._rows[row.key] = {_place(there): there}
            if (stored := there.setdefault(_place(row), row)) is not row:
                return stored
        self._note(row)
        return row

    async def note(self, row: Row) -> None:
        """Take over what became known of a row, into the stored object: its callers share it."""
        there = self._rows.get(row.key)
        stored = there.get(_place(row)) if isinstance(there, dict) else there
        if stored is None:
            return
        if stored is not row:
            if stored.identity != row.identity or not row.replaces(stored):
                return
            for each in fields(Row):
                setattr(stored, each.name, getattr(row, each.name))
        self._note(stored)

    def _note(self, row: Row) -> None:
        number = id(row)
        if row.is_open:
            self._open[number] = row
            self._closed.pop(number, None)  # The operation that was found is another's.
            return
        self._open.pop(number, None)
        self._closed[number] = row
        if row.ref is not None:
            self._owners[row.server, row.project, row.ref.kind, row.ref.key[-1]] = row
        if len(self._closed) > KEPT_ROWS:
            self._forget(self._closed.pop(next(iter(self._closed))))

    def _forget(self, row: Row) -> None:
        rows = self._rows.get(row.key)
        if isinstance(rows, dict):
            rows.pop(_place(row), None)
        if not isinstance(rows, dict) or not rows:
            self._rows.pop(row.key, None)
        if row.ref is not None:
            owner = row.server, row.project, row.ref.kind, row.ref.key[-1]
            if self._owners.get(owner) is row:
                del self._owners[owner]

    async def rows(self, key: str) -> list[Row]:
        """Return the rows of a key, in the order of their numbers."""
        there = self._rows.get(key, {})
        rows = [there] if isinstance(there, Row) else there.values()
        return sorted(rows, key=lambda row: row.number)

    async def related(self, server: str, project: str, refs: Collection[Ref]) -> list[Row]:
        """Return the rows of a project that are open, or own one of some operations."""
        found = [
            row for row in self._open.values() if (row.server, row.project) == (server, project)
        ]
        owners = (self._owners.get((server, project, ref.kind, ref.key[-1])) for ref in refs)
        return [*found, *(row for row in owners if row is not None and not row.is_open)]


def _place(row: Row) -> tuple[str, int]:
    """Return what identifies a row among those of its key, which nearly all have one project."""
    return f"{row.server} {row.project} {row.item}", row.number
