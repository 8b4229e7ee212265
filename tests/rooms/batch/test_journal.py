"""A batch with a defect, and the file of a journal: full, closed, or cut off by a crash."""

import asyncio
import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from testvibe_async._batch import Entry, EntryState
from testvibe_async._dispatch import Job
from testvibe_async.journal import files_of, is_in_use

from tests.conftest import client_of
from tests.promises.journal import test_journal
from tests.promises.journal.conftest import leave_unknown, opened
from tests.support.batches import verdicts
from tests.support.raising import raised
from testvibe_async import Client, Journal, Project, RunRef, errors
from testvibe_async.testing import Emulator, Fault

FEATURES, SCENARIO = test_journal.FEATURES, test_journal.SCENARIO


async def test_a_defect_is_not_swallowed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unforeseen error is raised by the batch as it is, which hangs no task."""

    async def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(project._starter, "start", broken)
    await raised(ZeroDivisionError, project.run_features(["Checkout"]))


async def test_a_batch_that_outlives_it(path: Path, emulator: Emulator) -> None:
    """What a batch notes after its journal was closed is dropped, and the file is free."""
    async with client_of(emulator) as client:
        journal = await Journal(path).__aenter__()
        async with client.project().run_features(FEATURES, journal=journal) as batch:
            await asyncio.sleep(10)
            await journal.aclose()
            await client.aclose()
            await raised(errors.ClientClosedError, anext(batch))
            await raised(ValueError, journal.commit(), match="it is closed")
    async with Journal(path) as journal:
        assert verdicts(journal.items) == ["in flight"] * 3


async def test_one_that_was_never_opened_may_be_closed(path: Path) -> None:
    """There is nothing to write, and it can be opened later."""
    journal = Journal(path)
    await journal.aclose()
    await journal.aclose()
    async with journal:
        assert journal.plan is None


async def test_a_late_close(path: Path, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same process can open it again."""
    journal = await Journal(path).__aenter__()
    await project.run_features(["Checkout"], journal=journal)
    commit = journal._file._commit

    def commit_slowly(works: list[Any]) -> list[Any]:
        time.sleep(0.05)
        return commit(works)

    monkeypatch.setattr(journal._file, "_commit", commit_slowly)
    journal.save(journal.entries[0])
    closing = asyncio.ensure_future(journal.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await raised(asyncio.CancelledError, closing)
    async with Journal(path) as journal:
        assert journal.is_over


async def test_what_a_crash_cut_off_is_said(path: Path, emulator: Emulator, client: Client) -> None:
    """An open intent without an error is an unknown dispatch, with its intent and what to do."""
    emulator.fail("run_feature", Fault.hang())
    async with Journal(path) as journal:
        save = journal.save

        def save_no_end(entry: Any) -> None:
            if entry.final is None:
                save(entry)

        with patch.object(journal, "save", save_no_end):
            await client.project().run_features(["Checkout"], journal=journal, timeout=1)
    async with Journal(path) as journal:
        (intent,) = journal.open_intents
        error = journal.items[0].error
    assert isinstance(error, errors.DispatchUnknownError)
    assert error.intent == intent
    assert "the process ended before the answer came" in str(error)
    assert "resume the batch, which looks for it" in str(error)


async def test_a_shutdown_leaves_them_open(path: Path, emulator: Emulator, client: Client) -> None:
    """Tasks that are cancelled from outside end the batch, and the intents stay open."""
    await leave_unknown(path, emulator, FEATURES, fault=Fault.reset())
    async with Journal(path) as journal:
        batch = client.project().run_features(journal=journal)
        async with batch:
            await asyncio.sleep(1)
            for task in asyncio.all_tasks():
                if task.get_name() == "testvibe_async batch":
                    task.cancel()
            await raised(asyncio.CancelledError, anext(batch))
        assert len(journal.open_intents) == 3


async def test_a_full_disk(path: Path, project: Project, emulator: Emulator) -> None:
    """A disk that fills up dispatches nothing more, and says so in each item and at the end."""
    journal = await Journal(path).__aenter__()
    await journal._file.write(lambda each: each.execute("PRAGMA max_page_count = 1"))
    items = await project.run_features(["x" * 20_000], journal=journal)
    assert isinstance(items[0].error, errors.RecorderError)
    assert emulator.count("run_feature") == 0
    await raised(errors.ConfigError, journal.aclose(), match="make room on its disk")
    await journal.aclose()


async def test_a_decision_on_a_full_disk(path: Path, emulator: Emulator, project: Project) -> None:
    """It is refused in a sentence."""
    emulator.fail("run_feature", Fault.reset(), times=1)
    emulator.fail("list_runs", Fault.status(404))
    journal = await Journal(path).__aenter__()
    await project.run_features(["Checkout"], journal=journal)
    await journal._file.write(lambda each: each.execute("PRAGMA query_only = 1"))
    await raised(errors.ConfigError, journal.decide("drop"), match="can't be written")
    with suppress(errors.ConfigError):
        await journal.aclose()


def test_a_withdrawal_of_what_was_not_intended_changes_nothing() -> None:
    """A dispatch that ends without effect after its answer came leaves the answer alone."""
    ref = RunRef(server="https://testvibe.example", project="p", run_id=214)
    entry: Entry[Any] = Entry(index=0, job=Job("Checkout"), kind="run")
    entry.start(ref)
    entry.withdraw()
    assert (entry.state, entry.ref) == (EntryState.DISPATCHED, ref)


async def test_a_file_in_use_is_told_from_a_damaged_one(path: Path) -> None:
    """Only what another holds is worth another attempt; its files are named together."""
    async with Journal(path):
        assert is_in_use(await raised(errors.ConfigError, opened(path)))
    path.write_bytes(b"x" * 100)  # noqa: ASYNC240 - a small file
    assert not is_in_use(await raised(errors.ConfigError, opened(path)))
    ends = [each.name.removeprefix(path.name) for each in files_of(path)]
    assert ends == ["", "-journal", "-wal", "-shm"]


async def test_a_cancelled_writer_writes_what_is_pending(path: Path) -> None:
    """Code that cancels all tasks of a loop may cancel the one that writes."""
    begun, going_on = threading.Event(), threading.Event()

    def slow(_connection: sqlite3.Connection) -> None:
        begun.set()
        going_on.wait(5)

    async with Journal(path) as journal:
        writing = asyncio.create_task(journal._file.write(slow))
        await asyncio.to_thread(begun.wait, 5)
        (writer,) = [task for task in asyncio.all_tasks() if "writer" in task.get_name()]
        journal._file.write_soon(slow)
        writer.cancel()
        going_on.set()
        await writing
    assert journal._file.commits == 3
