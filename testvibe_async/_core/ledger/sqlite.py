"""A ledger in one SQLite file, which several processes may use at once.

The file is in SQLite's rollback mode: what is committed is in the file itself, and no second file
has to be kept with it. Rows that arrive while a transaction is written share the next one. Rows
have a checksum, and a file that is damaged, truncated or empty is refused: it never passes for a
new one.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar
from zlib import crc32

from filelock import FileLock, Timeout

from testvibe_async._core.ledger.memory import MemoryLedger
from testvibe_async._core.util import escape, plain
from testvibe_async._core.util.group_commit import GroupCommit
from testvibe_async.errors import ConfigError
from testvibe_async.events import logger
from testvibe_async.ledger import OPEN_STATES, Ledger, Row, RowState, ref_id

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable

    from testvibe_async.refs import Ref

T = TypeVar("T")

APPLICATION_ID = 0x54564C31
"""The application id in the file's header, so that no other program's file passes for a ledger."""

VERSION = 2
"""The version of the tables."""

KEPT_FOR = timedelta(days=90)
"""Retention of a key's rows after the last change, unless one is open."""

CLEANED_EVERY = 86_400.0
"""Seconds after which a process deletes old rows again."""

BUSY_SECONDS = 30.0
"""Maximum seconds to wait for another process's transaction."""

_OPEN = f"state IN ({', '.join(repr(str(state)) for state in sorted(OPEN_STATES))})"

_TABLES = (
    """CREATE TABLE rows (
        id TEXT NOT NULL UNIQUE, key TEXT NOT NULL, place TEXT NOT NULL, state TEXT NOT NULL,
        ref TEXT, rank INTEGER NOT NULL, token TEXT NOT NULL, changed_at TEXT NOT NULL,
        document TEXT NOT NULL, checksum INTEGER NOT NULL)""",
    "CREATE INDEX rows_by_key ON rows (key)",
    "CREATE INDEX rows_by_ref ON rows (place, ref) WHERE ref IS NOT NULL",
    f"CREATE INDEX open_rows ON rows (place) WHERE {_OPEN}",
    """CREATE TABLE batches (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, key TEXT NOT NULL,
        place TEXT NOT NULL)""",
    "CREATE INDEX batches_by_key ON batches (key)",
)

_FORGET = f"""
DELETE FROM rows WHERE key IN (SELECT key FROM rows GROUP BY key
    HAVING max(changed_at) < ? AND NOT max({_OPEN}))
"""  # noqa: S608 - our own text

_AWAITED = (RowState.NOT_STARTED, RowState.DROPPED)
"""The states that a decision, or a proof, gives a row."""

_INSERT = "INSERT OR IGNORE INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

# `Row.replaces` in SQL.
_NOTE = """
UPDATE rows SET state = ?4, ref = ?5, rank = ?6, changed_at = ?8, document = ?9, checksum = ?10
WHERE id = ?1 AND token = ?7 AND CASE WHEN ref <> ?5 THEN NOT ?11 ELSE rank <= ?6 END
"""


class SqliteLedger(GroupCommit[sqlite3.Connection], Ledger):
    """A ledger in a file: `Client(ledger="testvibe.sqlite")`, or open it with `async with`.

    Any number of processes of one machine may use the file at once. Rows are kept for 90 days after
    the last change of their key, and as long as one of them is open.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Create the ledger; does no I/O.

        Args:
            path: The file. Its folder must exist; a missing file is created.
        """
        super().__init__()
        self.path: Path = Path(path)
        """The file."""
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._cleaned_at = 0.0

    def __repr__(self) -> str:
        """Return a text with the file's path."""
        return f"<SqliteLedger {self.path}>"

    async def __aenter__(self) -> Self:
        """Open the file, and check it.

        Raises:
            ConfigError: The file is not a ledger, of another version, damaged, or not writable.
        """
        await self.open()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Write what is pending, and close the file; see `aclose`."""
        await self.aclose()

    async def open(self) -> None:
        """Open the file, unless it is open. A missing file is created.

        Raises:
            ConfigError: The file is not a ledger, of another version, damaged, or not writable.
        """
        self._is_closed = False
        await self._do(lambda _connection: None)

    async def aclose(self) -> None:
        """Write what is pending, and close the file. A second call does nothing.

        Raises:
            ConfigError: Some changes could not be written.
        """
        await super().aclose()
        if (error := self.take_failure()) is not None:
            raise self._failed(error) from error

    async def insert(self, row: Row) -> Row:
        """Store a row durably, unless one of its identity is there; return the stored one."""
        values, is_batch = _values(row), row.is_plan
        identity, key, place = values[:3]

        def work(connection: sqlite3.Connection) -> str | None:
            if connection.execute(_INSERT, values).rowcount:
                if is_batch:
                    connection.execute(
                        "INSERT OR IGNORE INTO batches (id, key, place) VALUES (?, ?, ?)",
                        (identity, key, place),
                    )
                return None
            return _document(connection, identity)

        there = await self._do(work)
        return row if there is None else Row.from_json(there)

    async def note(self, row: Row) -> None:
        """Replace a row, with the next transaction.

        A decision, an adoption and the proof that nothing started are waited for. Other notes are
        written later if they can't be written now.
        """
        values = (*_values(row), row.adopted)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_NOTE, values)

        if row.adopted or row.state in _AWAITED:
            await self._do(work)
        else:
            self.write_soon(work, lambda error: self._log(error, values))

    def _log(self, error: Exception, values: tuple[Any, ...]) -> None:
        """Log a note that could not be written: the operation must not be lost with the file."""
        what = escape(f"{values[3]} {values[4] or ''} {values[0]}")
        # The error is raised again to who reads or closes the ledger.
        reported = {"testvibe_reported": True}
        logger.error(
            "%s; a dispatch will be noted later: %s", self._failed(error), what, extra=reported
        )

    async def rows(self, key: str) -> list[Row]:
        """Return the rows of a key, in the order of their numbers, of any server and project."""
        return await self._do(lambda connection: _rows(connection, "key = ?", (key,)))

    async def related(self, server: str, project: str, refs: Collection[Ref]) -> list[Row]:
        """Return the rows of a project that are open, or own one of some operations."""
        place = _place(server, project)
        marks = ", ".join("?" * len(refs))
        ids = [ref_id(ref) for ref in refs]

        def work(connection: sqlite3.Connection) -> list[Row]:
            found = _rows(connection, f"place = ? AND {_OPEN}", (place,))
            return found + _rows(connection, f"place = ? AND ref IN ({marks})", (place, *ids))

        return await self._do(work)

    async def batches(
        self, name: int | str | None = None, *, with_rows: bool = True, limit: int = -1
    ) -> list[tuple[int, Row, list[Row]]]:
        """Return batches of the file, the latest first: number, first row, and all rows.

        Args:
            name: The number or the key of the batches; None for all.
            with_rows: False to leave out the rows.
            limit: Maximum number of batches; -1 for no limit.

        Raises:
            ConfigError: The file can't be read.
        """
        column = "TRUE" if name is None else "number = ?" if isinstance(name, int) else "b.key = ?"

        def work(connection: sqlite3.Connection) -> list[tuple[int, Row, list[Row]]]:
            found = connection.execute(
                "SELECT number, b.place, b.key, b.id, document, checksum "  # noqa: S608 - our own text
                f"FROM batches b JOIN rows USING (id) WHERE {column} "
                "ORDER BY number DESC LIMIT ?",
                (*(() if name is None else (name,)), limit),
            )
            where, batches = "place = ? AND key = ?", found.fetchall()
            return [
                (
                    number,
                    Row.from_json(_checked(*row)),
                    _rows(connection, where, (place, key)) if with_rows else [],
                )
                for number, place, key, *row in batches
            ]

        return await self._do(work)

    @contextmanager
    def living(self, number: int) -> Generator[None]:
        """Mark a batch as running, for other processes, until the block or the process ends."""
        lock = FileLock(self._lock_path(number), mode=0o600)
        try:
            self._lock_path(number).parent.mkdir(mode=0o700, exist_ok=True)
            lock.acquire(timeout=0)
        except (OSError, Timeout):  # Another process runs it too, or the folder is read-only.
            yield
            return
        try:
            yield
        finally:
            lock.release()
            with suppress(OSError):
                self._lock_path(number).unlink()

    def is_living(self, number: int) -> bool:
        """Return whether a process runs a batch now. Only words depend on it."""
        path = self._lock_path(number)
        if not path.exists():
            return False
        try:
            with FileLock(path, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:
            return False

    def _lock_path(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.running") / f"{number}.lock"

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self.write(work)
        except (sqlite3.Error, OSError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> ConfigError:
        return ConfigError(f"the ledger {self.path} {_problem(error)}")

    def _commit(self, works: list[Callable[[sqlite3.Connection], Any]]) -> list[Any]:
        if self._connection is not None and self._identity != _identity(self.path):
            raise _RefusedError(_GONE)
        if self._connection is None:
            self._connection, self._identity = _connected(self.path)
            self._cleaned_at = -inf
        connection = self._connection
        if time.monotonic() >= self._cleaned_at + CLEANED_EVERY:
            _forget_old(connection)
            self._cleaned_at = time.monotonic()
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


class _RefusedError(sqlite3.DatabaseError):
    """The file is no ledger that can be used, for the reason in the text."""


def ledger_of(ledger: Ledger | str | os.PathLike[str] | None) -> Ledger:
    """Return the ledger that a client was given: a ledger, a file's path, or None for memory.

    Raises:
        ConfigError: It is none of these.
    """
    if ledger is None:
        return MemoryLedger()
    if isinstance(ledger, Ledger):
        return ledger
    if isinstance(ledger, str | os.PathLike) and os.fspath(ledger):
        return SqliteLedger(ledger)
    raise ConfigError(f"ledger must be a path or a testvibe_async.ledger.Ledger, not {ledger!r}")


def _place(server: str, project: str) -> str:
    return f"{server} {project}"


def _values(row: Row) -> tuple[Any, ...]:
    document, identity = row.to_json(), row.id
    changed_at = datetime.now(UTC).isoformat(timespec="seconds")
    place, own = _place(row.server, row.project), (row.state, row.ref_id, row.rank, row.token)
    return identity, row.key, place, *own, changed_at, document, _checksum(identity, document)


def _checksum(identity: str, document: str) -> int:
    """Return the checksum by which a changed or exchanged row is detected."""
    return crc32(f"{identity} {document}".encode())


def _document(connection: sqlite3.Connection, identity: str) -> str:
    ((text, checksum),) = connection.execute(
        "SELECT document, checksum FROM rows WHERE id = ?", (identity,)
    )
    return _checked(identity, text, checksum)


def _rows(connection: sqlite3.Connection, where: str, values: Iterable[object]) -> list[Row]:
    found = connection.execute(
        f"SELECT id, document, checksum FROM rows WHERE {where}",  # noqa: S608 - our own text
        tuple(values),
    )
    rows = [Row.from_json(_checked(*each)) for each in found]
    return sorted(rows, key=lambda row: row.number)


def _checked(identity: str, text: str, checksum: int) -> str:
    if _checksum(identity, text) != checksum:
        raise _RefusedError(f"is damaged (row {identity}): restore a copy, or take another file")
    return text


def _connected(path: Path) -> tuple[sqlite3.Connection, tuple[int, int] | None]:
    """Open the file; create it, whole or not at all, if it is missing."""
    if not path.exists():
        _create(path)
    elif path.stat().st_size == 0:
        raise _RefusedError("is empty, so it was truncated: restore it, or delete it to begin anew")
    connection = _open(path)
    try:
        _check(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection, _identity(path)


def _forget_old(connection: sqlite3.Connection) -> None:
    """Delete old keys: by the last change that is not in the future, as a clock may be wrong."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    newest = "SELECT max(changed_at) FROM rows WHERE changed_at <= ?"
    ((last,),) = connection.execute(newest, (now,))
    if last is not None:
        oldest = datetime.fromisoformat(last) - KEPT_FOR
        connection.execute(_FORGET, (oldest.isoformat(timespec="seconds"),))


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    connection.execute("PRAGMA journal_mode = TRUNCATE")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _create(path: Path) -> None:
    """Create the file under another name, and link it to its place, unless one is there by then."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    connection = _open(temporary)
    try:
        connection.execute("BEGIN")
        for table in _TABLES:
            connection.execute(table)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    finally:
        connection.close()
        with suppress(FileExistsError):  # Another process was faster.
            os.link(temporary, path)
        temporary.unlink(missing_ok=True)
        temporary.with_name(f"{temporary.name}-journal").unlink(missing_ok=True)


def _check(connection: sqlite3.Connection) -> None:
    """Refuse a file that is no ledger of this version, or damaged."""
    ((application,),) = connection.execute("PRAGMA application_id")
    ((version,),) = connection.execute("PRAGMA user_version")
    if application != APPLICATION_ID:
        raise _RefusedError("is another program's database: take another file")
    if version != VERSION:
        raise _RefusedError(
            f"is of version {version}, and this release reads version {VERSION}: use the release "
            "that wrote it, or take another file"
        )
    ((result,),) = connection.execute("PRAGMA integrity_check(1)")
    if result != "ok":
        raise _RefusedError(f"is damaged ({plain(result)}): restore a copy, or take another file")


def _identity(path: Path) -> tuple[int, int] | None:
    """Return the identity that distinguishes a file from a replacement; None if it is missing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


_GONE = "was deleted or replaced while it was in use: put it back, or take another file"

_PROBLEMS = {
    "SQLITE_READONLY_DBMOVED": _GONE,  # The replacement may have the same inode.
    "SQLITE_BUSY": "is in use by another process for too long: wait for its end",
    "SQLITE_LOCKED": "is in use: wait for its end",
    "SQLITE_CANTOPEN": "can't be opened: check that its folder exists and may be written",
    "SQLITE_READONLY": "can't be written: make it writable, or take another file",
    "SQLITE_FULL": "could not be written: make room on its disk, and make the same call again",
    "SQLITE_IOERR": "could not be written: check its disk, and make the same call again",
    "SQLITE_NOTADB": "is not a ledger: take another file",
}
"""The problem with a file and its remedy, by the beginning of SQLite's error name."""


def _problem(error: Exception) -> str:
    """Describe the problem with a file."""
    if isinstance(error, _RefusedError):
        return str(error)
    if isinstance(error, OSError):
        return f"can't be opened: {error.strerror}"
    name = getattr(error, "sqlite_errorname", None) or ""
    found = [text for start, text in _PROBLEMS.items() if name.startswith(start)]
    return (
        found[0]
        if found
        else f"is damaged ({plain(str(error))}): restore a copy, or take another file"
    )
