"""A SQLite file that one process at a time writes, in a thread.

The caller decides what is written and why.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, TypeVar

from testvibe_async._util.group_commit import GroupCommit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")


class MissingFileError(sqlite3.OperationalError):
    """The file was deleted or replaced while it was open."""


class SqliteFile(GroupCommit[sqlite3.Connection]):
    """An open file. The process that opens it first owns it, until it closes the file or dies.

    After a failure to write a record that no caller waited for, nothing more is written: see
    `failure`.
    """

    def __init__(self, path: Path, *, application_id: int) -> None:
        """Create it; does no I/O.

        Args:
            path: The file.
            application_id: The id in the header of the caller's files. Another program's database
                is opened and left unchanged: `prepare` must refuse it.
        """
        super().__init__()
        self._path = path
        self._application_id = application_id
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    async def open(self, prepare: Callable[[sqlite3.Connection], T]) -> T:
        """Open the file and call `prepare` with its connection, in its thread.

        Raises:
            sqlite3.Error: It is not a SQLite file, is in use by another process, or can't be
                written.
        """
        self._is_closed = False
        try:
            return await self.write(prepare)
        except BaseException:
            await self.aclose()
            raise

    def _commit(self, works: list[Callable[[sqlite3.Connection], Any]]) -> list[Any]:
        if self.failure is not None:
            raise self.failure
        if self._connection is None:
            self._connection = _connected(self._path, self._application_id)
            self._identity = None
        connection = self._connection
        if self._identity is None:
            self._identity = _identity(self._path)
        elif self._identity != _identity(self._path):
            raise MissingFileError(
                "was deleted or replaced while it was in use: put it back, or take another file"
            )
        try:
            connection.execute("BEGIN IMMEDIATE")
            results = [work(connection) for work in works]
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return results

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _identity(path: Path) -> tuple[int, int] | None:
    """Return the identity that distinguishes a file from a replacement; None if it is missing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _connected(path: Path, application_id: int) -> sqlite3.Connection:
    """Open the file for this process alone, so that each commit is on the disk."""
    connection = sqlite3.connect(path, timeout=0.0, isolation_level=None)
    try:
        # Exclusive mode before WAL: the operating system's lock is then held until the end of the
        # process, and no shared memory is needed. https://www.sqlite.org/wal.html#noshm
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        ((found,),) = connection.execute("PRAGMA application_id")
        ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master")
        if found == application_id or not tables:
            connection.execute("PRAGMA journal_mode = WAL")  # It is stored in the file.
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
