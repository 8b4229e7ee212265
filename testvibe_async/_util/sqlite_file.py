"""A SQLite file that one process at a time writes, in a thread.

All that waits while one transaction is written goes into the next, so that many records at once
cost one commit. What is written and why is for the caller to decide.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SqliteFile"]

T = TypeVar("T")
Work: TypeAlias = Callable[[sqlite3.Connection], Any]


class SqliteFile:
    """An open file. The process that opens it first has it, until it closes it or dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._executor: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None
        self._waiting: list[tuple[Work, asyncio.Future[Any] | None]] = []
        self._writing: asyncio.Task[None] | None = None
        self.failure: sqlite3.Error | None = None
        """What went wrong with a record that nobody waited for; nothing is written after it."""
        self.commits: int = 0
        """How many transactions were committed."""

    async def open(self, prepare: Callable[[sqlite3.Connection], T]) -> T:
        """Open the file and call `prepare` with its connection, in its thread.

        Raises:
            sqlite3.Error: It is no SQLite file, in use by another process, or can't be written.
        """
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="testvibe_async journal")
        try:
            return await self.write(prepare)
        except BaseException:
            await self.aclose()
            raise

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Call a function with the connection, and wait until what it wrote is on the disk.

        Raises:
            sqlite3.Error: It was not written.
        """
        written: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._add(work, written)
        return await written

    def write_soon(self, work: Work) -> None:
        """Have a function called with the connection, after all others; see `failure`."""
        self._add(work, None)

    async def aclose(self) -> None:
        """Write what waits, and close the file. A second time does nothing."""
        if self._writing is not None:
            await asyncio.wait([self._writing])
        executor, self._executor = self._executor, None
        if executor is not None:
            await asyncio.get_running_loop().run_in_executor(executor, self._disconnect)
            executor.shutdown()

    def _add(self, work: Work, written: asyncio.Future[Any] | None) -> None:
        self._waiting.append((work, written))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all(), name="testvibe_async journal")

    async def _write_all(self) -> None:
        """Write all that waits, one transaction after the other."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            jobs, self._waiting = self._waiting, []
            try:
                works = [work for work, _ in jobs]
                results = await loop.run_in_executor(self._executor, self._commit, works)
            except sqlite3.Error as error:
                self._fail(jobs, error)
                continue
            self.commits += 1
            for (_, written), result in zip(jobs, results, strict=True):
                if written is not None and not written.done():  # else it was cancelled
                    written.set_result(result)

    def _fail(
        self, jobs: list[tuple[Work, asyncio.Future[Any] | None]], error: sqlite3.Error
    ) -> None:
        if any(written is None for _, written in jobs):
            self.failure = error
        for _, written in jobs:
            if written is not None and not written.done():
                written.set_exception(error)

    def _commit(self, works: list[Work]) -> list[Any]:
        """Write all in one transaction; runs in the thread."""
        if self.failure is not None:
            raise self.failure
        if self._connection is None:
            self._connection = _connected(self._path)
        connection = self._connection
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


def _connected(path: Path) -> sqlite3.Connection:
    """Open the file for this process alone, so that each commit is on the disk."""
    connection = sqlite3.connect(path, timeout=0.0, isolation_level=None)
    try:
        # Exclusive before WAL: then the operating system's lock is held until the end of the
        # process, and no shared memory is needed. https://www.sqlite.org/wal.html#noshm
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
