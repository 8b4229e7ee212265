"""A SQLite file that one process at a time writes, from one thread of its own.

All that waits to be written goes into one transaction, so that many records at once cost one
commit. What is written and why is for the caller to decide.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Work = Callable[[sqlite3.Connection], Any]

__all__ = ["SqliteFile"]

T = TypeVar("T")

MAX_IN_TRANSACTION = 10_000
"""How many records go into one transaction at most."""


class SqliteFile:
    """An open file. Whoever opens it first has it, until it is closed or the process dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: SimpleQueue[tuple[Work, asyncio.Future[Any] | None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.failure: sqlite3.Error | None = None
        """What went wrong with a record that nobody waited for; nothing is written after it."""
        self.commits: int = 0
        """How many transactions were committed."""

    async def open(self, prepare: Callable[[sqlite3.Connection], T]) -> T:
        """Open the file and call `prepare` with its connection, in its thread.

        Raises:
            sqlite3.Error: It is no SQLite file, in use by another process, or can't be written.
        """
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(
            target=self._work, name="testvibe_async journal", daemon=True
        )
        self._thread.start()
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
        assert self._loop is not None
        written: asyncio.Future[T] = self._loop.create_future()
        self._queue.put((work, written))
        return await written

    def write_soon(self, work: Work) -> None:
        """Have a function called with the connection, after all others; see `failure`."""
        self._queue.put((work, None))

    async def aclose(self) -> None:
        """Write what waits, and close the file. A second time does nothing."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(thread.join)

    def _work(self) -> None:
        """Write all that comes, until the end; runs in the thread."""
        connection: sqlite3.Connection | None = None
        is_over = False
        while not is_over:
            batch = [self._queue.get()]
            while not self._queue.empty() and len(batch) < MAX_IN_TRANSACTION:
                batch.append(self._queue.get())
            is_over = None in batch
            jobs = [each for each in batch if each is not None]
            try:
                if connection is None and jobs:
                    connection = _connected(self._path)
                if connection is not None:
                    self._commit(connection, jobs)
            except sqlite3.Error as error:
                self._fail(jobs, error)
        if connection is not None:
            connection.close()

    def _commit(
        self, connection: sqlite3.Connection, jobs: list[tuple[Work, asyncio.Future[Any] | None]]
    ) -> None:
        """Write all in one transaction, and let those who wait go on."""
        if self.failure is not None:
            raise self.failure
        if not jobs:
            return
        try:
            connection.execute("BEGIN IMMEDIATE")
            results = [work(connection) for work, _ in jobs]
            connection.execute("COMMIT")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self.commits += 1
        for (_, written), result in zip(jobs, results, strict=True):
            self._tell(written, result, None)

    def _fail(
        self, jobs: list[tuple[Work, asyncio.Future[Any] | None]], error: sqlite3.Error
    ) -> None:
        if any(written is None for _, written in jobs):
            self.failure = error
        for _, written in jobs:
            self._tell(written, None, error)

    def _tell(
        self, written: asyncio.Future[Any] | None, result: object, error: sqlite3.Error | None
    ) -> None:
        """Give one who waits the result, in the event loop."""

        def tell() -> None:
            assert written is not None
            if written.done():  # cancelled
                return
            if error is None:
                written.set_result(result)
            else:
                written.set_exception(error)

        assert self._loop is not None
        if written is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(tell)


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
