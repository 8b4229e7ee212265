"""The writer of a ledger file: no record is lost, and no caller waits for ever."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from testvibe_async._core.util.group_commit import GroupCommit


class SqliteFile(GroupCommit[sqlite3.Connection]):
    """A database that each transaction opens anew."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def _commit(self, works: list[Callable[[sqlite3.Connection], Any]]) -> list[Any]:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            return [work(connection) for work in works]

    def _disconnect(self) -> None:
        """Do nothing: no connection is open."""


@pytest.fixture
async def file(tmp_path: Path) -> SqliteFile:
    """An open file with one table."""
    file = SqliteFile(tmp_path / "file")
    await file.write(lambda connection: connection.execute("CREATE TABLE numbers (n)"))
    return file


def insert(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO numbers VALUES (1)")


def never(error: Exception) -> None:
    raise error


def cancel_all() -> None:
    """Cancel all other tasks, as a loop does that shuts down."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


async def test_a_writer_that_never_began_loses_no_record(file: SqliteFile, tmp_path: Path) -> None:
    """A record is written at the close, although its writer was cancelled before its first step."""
    file.write_soon(insert, never)
    cancel_all()
    close = asyncio.ensure_future(file.aclose())
    await asyncio.sleep(0)
    close.cancel()
    await asyncio.wait([close])
    with closing(sqlite3.connect(tmp_path / "file")) as connection:
        assert connection.execute("SELECT n FROM numbers").fetchall() == [(1,)]


async def test_a_caller_outlasts_a_writer_that_never_began(file: SqliteFile) -> None:
    """A write ends, although its writer was cancelled before its first step."""
    writing = asyncio.ensure_future(file.write(insert))
    await asyncio.sleep(0)
    (writer,) = [task for task in asyncio.all_tasks() if "writer" in task.get_name()]
    writer.cancel()
    async with asyncio.timeout(5):
        await writing
    await file.aclose()


async def test_nothing_is_written_after_the_close(file: SqliteFile, tmp_path: Path) -> None:
    """A caller that waits is told so, and for one that does not the thread starts no more."""
    await file.aclose()
    with pytest.raises(ValueError, match="it is closed"):
        await file.write(insert)
    file.write_soon(insert, never)
    await file.aclose()
    with closing(sqlite3.connect(tmp_path / "file")) as connection:
        assert connection.execute("SELECT n FROM numbers").fetchall() == []


async def test_a_record_that_nobody_waits_for_is_tried_again(file: SqliteFile) -> None:
    """Those that waited get the error; it is written with the next transaction that succeeds."""
    errors: list[Exception] = []
    problems = [RuntimeError("first"), RuntimeError("second")]

    def fail_twice(connection: sqlite3.Connection) -> None:
        if problems:
            raise problems.pop(0)
        insert(connection)

    file.write_soon(fail_twice, errors.append)
    for problem in ("first", "second"):
        with pytest.raises(RuntimeError, match=problem):
            await file.write(insert)
    (count,) = await file.write(
        lambda connection: connection.execute("SELECT count(*) FROM numbers").fetchone()
    )
    assert count == 1
    assert [str(error) for error in errors] == ["first"]
    await file.aclose()
    assert file.take_failure() is None


async def test_the_close_tries_again(file: SqliteFile) -> None:
    """A record that still can't be written is an error once, and may be written after that."""
    problems = [RuntimeError("first"), RuntimeError("second")]

    def fail_twice(connection: sqlite3.Connection) -> None:
        if problems:
            raise problems.pop(0)
        insert(connection)

    file.write_soon(fail_twice, lambda _error: None)
    await file.aclose()
    await file.aclose()
    assert not problems
    assert str(file.take_failure()) == "second"
    assert file.take_failure() is None
