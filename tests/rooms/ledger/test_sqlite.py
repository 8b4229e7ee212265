"""The ledger file: several processes, one commit for many, retention, and who runs a batch."""

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from filelock import FileLock

from testvibe_async import RunRef, errors
from testvibe_async._core.ledger import SqliteLedger, sqlite
from testvibe_async.ledger import Decision, Row, RowState

SERVER = "https://testvibe.example"


def row(key: str = "pr-1", **values: Any) -> Row:
    return Row(server=SERVER, project="p", key=key, kind="run", feature="Checkout", **values)


def plan(key: str) -> Row:
    """Return the first row of a batch."""
    return row(key, state=RowState.PLANNED, plan={"jobs": None})


def ref(number: int = 214) -> RunRef:
    return RunRef(server=SERVER, project="p", run_id=number)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "testvibe.sqlite"


@pytest.fixture
async def ledgers(path: Path) -> AsyncGenerator[tuple[SqliteLedger, SqliteLedger]]:
    """The same file, as two processes have it."""
    async with SqliteLedger(path) as first, SqliteLedger(path) as second:
        yield first, second


class Clock(datetime):
    """A wall clock that is some days off."""

    days = 0

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # noqa: ARG003
        return datetime.now(UTC) + timedelta(days=cls.days)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    monkeypatch.setattr(sqlite, "datetime", Clock)
    monkeypatch.setattr(Clock, "days", 0)
    return Clock


ENDED = {
    RowState.DISPATCHED,
    RowState.FINISHED,
    RowState.NOT_STARTED,
    RowState.DROPPED,
    RowState.PLANNED,
}


def ended(key: str, **values: Any) -> Row:
    return row(key, state=RowState.FINISHED, ref=ref(), **values)


async def test_old_keys_are_forgotten(path: Path, clock: type[Clock]) -> None:
    """A key is kept for a while after its last change, as a whole; its batch's number stays."""
    clock.days = -100
    async with SqliteLedger(path) as ledger:
        for key in ("old", "used"):
            await ledger.insert(plan(key))
            await ledger.insert(ended(key, item="1"))
    clock.days = -15
    async with SqliteLedger(path) as ledger:
        await ledger.insert(ended("used", item="2"))
        assert len(await ledger.batches()) == 2
    clock.days = 0
    async with SqliteLedger(path) as ledger:
        await ledger.insert(row("now"))
    async with SqliteLedger(path) as ledger:
        assert await ledger.rows("old") == []
        assert len(await ledger.rows("used")) == 3
        await ledger.insert(plan("new"))
        assert [number for number, *_ in await ledger.batches()] == [3, 2]


@pytest.mark.parametrize("state", sorted({*RowState} - ENDED))
async def test_what_has_not_ended_is_kept(path: Path, clock: type[Clock], state: RowState) -> None:
    """A row whose operation is unknown, or not observed to finish, keeps its key's rows."""
    clock.days = -1000
    async with SqliteLedger(path) as ledger:
        await ledger.insert(ended("old", item="1"))
        await ledger.insert(row("old", item="2", state=state))
    clock.days = 0
    for _ in range(2):
        async with SqliteLedger(path) as ledger:
            assert len(await ledger.rows("old")) == 2
            await ledger.insert(row("now"))


@pytest.mark.parametrize("days", [-20_000, 400])
async def test_a_wrong_clock_deletes_nothing(path: Path, clock: type[Clock], days: int) -> None:
    """Neither a clock that is wrong now does, nor a row that was written by one."""
    async with SqliteLedger(path) as ledger:
        await ledger.insert(ended("a"))
    clock.days = days
    async with SqliteLedger(path) as ledger:
        assert len(await ledger.rows("a")) == 1
        await ledger.insert(ended("b"))
    clock.days = 0
    async with SqliteLedger(path) as ledger:
        assert len(await ledger.rows("a")) == 1


async def test_a_file_in_use_forgets_old_keys(path: Path, clock: type[Clock]) -> None:
    """A service that runs for months need not be restarted for it."""
    clock.days = -100
    async with SqliteLedger(path) as ledger:
        await ledger.insert(ended("old"))
        clock.days = 0
        await ledger.insert(row("new"))
        assert await ledger.rows("old")
        ledger._cleaned_at -= sqlite.CLEANED_EVERY
        assert not await ledger.rows("old")
        assert await ledger.rows("new")


async def test_a_killed_process_runs_nothing(path: Path) -> None:
    """Its lock ends with it, although the file is left."""
    ledger = SqliteLedger(path)
    file = ledger._lock_path(1)
    file.parent.mkdir()
    held = f"import os; from filelock import FileLock as F; F({str(file)!r}).acquire(); os._exit(9)"
    subprocess.run([sys.executable, "-c", held], check=False)  # noqa: ASYNC221, S603 - ours
    assert file.exists()
    assert not ledger.is_living(1)
    with ledger.living(1), pytest.raises(TimeoutError):
        FileLock(file, timeout=0).acquire()


async def test_a_busy_file_is_named(
    ledgers: tuple[SqliteLedger, SqliteLedger], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process that never ends its transaction is a sentence, and then no obstacle."""
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.01)
    async with SqliteLedger(path) as ledger:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(errors.ConfigError, match="in use by another process"):
                await ledger.insert(row())
        assert await ledger.insert(each := row()) is each
    assert len(await ledgers[0].rows("pr-1")) == 1


async def test_a_note_is_written_once_a_lock_has_gone(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A note that failed is logged with its operation, and disables nothing that follows."""
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.01)
    async with SqliteLedger(path) as ledger:
        first = await ledger.insert(row())
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await ledger.note(evolve(first, ref=ref(), state=RowState.DISPATCHED))
            with pytest.raises(errors.ConfigError, match="in use by another process"):
                await ledger.rows("pr-1")
        assert "run 214" in caplog.text
        assert await ledger.insert(each := row("pr-2")) is each
        assert [each.ref for each in await ledger.rows("pr-1")] == [ref()]


@pytest.mark.parametrize("decision", ["resend", "drop", ref()])
async def test_a_decision_is_stored_when_it_returns(
    path: Path, monkeypatch: pytest.MonkeyPatch, decision: Decision
) -> None:
    """Another process finds it; one that can't be stored is an error, and is not stored later."""
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.01)
    states = "SELECT state FROM rows"
    async with SqliteLedger(path) as ledger:
        await ledger.insert(row())
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN")
            assert other.execute(states).fetchall() == [("intended",)]  # It may be read until then.
            with pytest.raises(errors.ConfigError, match="in use by another process"):
                await ledger.decide("pr-1", decision)
            other.execute("ROLLBACK")
            assert [each.state for each in await ledger.rows("pr-1")] == [RowState.INTENDED]
            (decided,) = await ledger.decide("pr-1", decision)
            assert other.execute(states).fetchall() == [(decided.state,)]
            assert decided.state is not RowState.INTENDED


async def test_a_note_that_failed_is_told_at_the_close(path: Path) -> None:
    """While the file is away, each call and the close say so; the note is written after that."""
    ledger = SqliteLedger(path)
    await ledger.open()
    first = await ledger.insert(row())
    await asyncio.to_thread(path.rename, path.with_name("away"))
    await ledger.note(evolve(first, ref=ref(), state=RowState.DISPATCHED))
    for failing in (ledger.rows("pr-1"), ledger.insert(row("pr-2")), ledger.aclose()):
        with pytest.raises(errors.ConfigError, match="was deleted or replaced"):
            await failing
    await asyncio.to_thread(path.with_name("away").rename, path)
    async with ledger:
        assert [each.ref for each in await ledger.rows("pr-1")] == [ref()]


async def test_closed_before_it_was_opened(path: Path) -> None:
    """A ledger that wrote nothing has nothing to close, and no file."""
    await SqliteLedger(path).aclose()
    assert not await asyncio.to_thread(path.exists)


async def test_a_lock_that_cannot_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks can't tell who runs a batch: nobody is known to."""
    async with SqliteLedger(path) as ledger:
        await ledger.insert(plan("nightly"))
        ((number, *_),) = await ledger.batches()

        def none(*_arguments: object, **_options: object) -> None:
            raise OSError(95, "Operation not supported")

        with ledger.living(number):
            assert ledger.is_living(number)
            monkeypatch.setattr(sqlite, "FileLock", none)
            assert not ledger.is_living(number)


async def test_a_path_below_a_file(tmp_path: Path) -> None:
    """The ledger names itself, and closes although it never opened."""
    (tmp_path / "file").touch()
    ledger = SqliteLedger(tmp_path / "file" / "ledger")
    assert repr(ledger) == f"<SqliteLedger {tmp_path / 'file' / 'ledger'}>"
    with pytest.raises(errors.ConfigError, match="can't be opened"):
        await ledger.open()
    await ledger.aclose()


async def test_who_runs_a_batch(ledgers: tuple[SqliteLedger, SqliteLedger], path: Path) -> None:
    """A batch is said to run while a process does, and by none of its files after that."""
    first, second = ledgers
    assert not second.is_living(1)
    with first.living(1):
        assert second.is_living(1)
        assert not second.is_living(2)
        with second.living(1):  # A second process runs it, too.
            assert second.is_living(1)
        assert second.is_living(1)
    assert not second.is_living(1)
    assert not [*path.parent.glob("*.running/*")]
