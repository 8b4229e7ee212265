"""Ledgers for tests: a service's own, one that fails, and those that dead processes left."""

import asyncio
import shutil
import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import Any

from testvibe_async import Ref
from testvibe_async.ledger import Ledger, Row, RowState
from testvibe_async.testing import Emulator

TABLE = """CREATE TABLE dispatches (id TEXT PRIMARY KEY, key TEXT, place TEXT, ref TEXT,
    rank INTEGER, token TEXT, document TEXT)"""

NOTE = """UPDATE dispatches SET ref = :ref, rank = :rank, document = :document
    WHERE id = :id AND token = :token
        AND CASE WHEN ref <> :ref THEN NOT :adopted ELSE rank <= :rank END"""


class OwnLedger(Ledger):
    """A ledger over a service's own database: one table, and the four methods."""

    def __init__(self) -> None:
        self.database = sqlite3.connect(":memory:", isolation_level=None)
        self.database.execute(TABLE)

    def __del__(self) -> None:
        self.database.close()

    async def insert(self, row: Row) -> Row:
        insert = "INSERT INTO dispatches VALUES (:id, :key, :place, :ref, :rank, :token, :document)"
        cursor = self.database.execute(f"{insert} ON CONFLICT DO NOTHING", _values(row))
        return row if cursor.rowcount else self._read("id = ?", row.id)[0]

    async def note(self, row: Row) -> None:
        self.database.execute(NOTE, _values(row))

    async def rows(self, key: str) -> list[Row]:
        return sorted(self._read("key = ?", key), key=lambda row: row.number)

    async def related(self, server: str, project: str, refs: Collection[Ref]) -> list[Row]:
        rows = self._read("place = ?", f"{server} {project}")
        return [row for row in rows if row.is_open or row.ref in refs]

    def _read(self, where: str, value: str) -> list[Row]:
        found = self.database.execute(f"SELECT document FROM dispatches WHERE {where}", (value,))  # noqa: S608 - ours
        return [Row.from_json(document) for (document,) in found]


def _values(row: Row) -> dict[str, Any]:
    place = f"{row.server} {row.project}"
    own = {"id": row.id, "key": row.key, "place": place, "ref": row.ref_id, "rank": row.rank}
    return {**own, "adopted": row.adopted, "token": row.token, "document": row.to_json()}


class Notes(OwnLedger):
    """A ledger that keeps each step, and takes its time or fails where a test asks for that."""

    def __init__(
        self, emulator: Emulator | None = None, *, failing: RowState | None = None
    ) -> None:
        super().__init__()
        self.emulator = emulator
        self.told: list[Row] = []
        """The row at each step, as it was then."""
        self.posts: list[int] = []
        """The number of dispatches that the service had when each row was inserted."""
        self.seconds: dict[RowState, float] = {}
        self.failing: set[RowState | None] = {failing}
        self.error: BaseException = OSError("no space left on device")
        """The error raised there."""

    @property
    def steps(self) -> list[RowState]:
        return [row.state for row in self.told]

    async def insert(self, row: Row) -> Row:
        if self.emulator is not None:
            self.posts.append(self.emulator.count("run_feature"))
        await self._take(row)
        return await super().insert(row)

    async def note(self, row: Row) -> None:
        await self._take(row)
        await super().note(row)

    async def _take(self, row: Row) -> None:
        state = row.state
        await asyncio.sleep(self.seconds.get(state, 0.0))
        if state in self.failing:
            raise self.error
        self.told.append(Row.from_json(row.to_json()))


def copy_of_the_disk(path: Path, to: Path) -> None:
    """Copy what the next process finds of a ledger file."""
    for suffix in ("", "-journal"):
        if (file := Path(f"{path}{suffix}")).exists():
            shutil.copy(file, f"{to}{suffix}")
