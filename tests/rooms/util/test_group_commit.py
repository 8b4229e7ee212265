"""The writer of journals and stores: no record is lost, and no caller waits for ever."""

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from testvibe_async._util.sqlite_file import SqliteFile


@pytest.fixture
async def file(tmp_path: Path) -> SqliteFile:
    """An open file with one table."""
    file = SqliteFile(tmp_path / "file", application_id=1)
    await file.open(lambda connection: connection.execute("CREATE TABLE numbers (n)"))
    return file


def insert(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO numbers VALUES (1)")


def cancel_all() -> None:
    """Cancel all other tasks, as a loop does that shuts down."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


async def test_a_writer_that_never_began_loses_no_record(file: SqliteFile, tmp_path: Path) -> None:
    """A record is written at the close, although its writer was cancelled before its first step."""
    file.write_soon(insert)
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


async def test_a_machine_without_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file can't be opened, rather than never, if no thread can start."""

    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    opening = asyncio.ensure_future(SqliteFile(tmp_path / "file", application_id=1).open(insert))
    done, _ = await asyncio.wait([opening], timeout=5)
    assert done
    assert isinstance(opening.exception(), RuntimeError)
