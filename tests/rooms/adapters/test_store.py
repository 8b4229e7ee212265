"""Who may write what of a durable batch, also late or twice, and what a failing database does."""

import asyncio
import json
import logging
import os
import sqlite3
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import evolve
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from tests.conftest import client_of
from tests.rooms.adapters.conftest import Nightly
from tests.support.raising import raised
from tests.support.timing import now
from testvibe_async import ConfigError, RecorderError
from testvibe_async._batch import Entry, EntryState
from testvibe_async.adapters import entries, workers
from testvibe_async.adapters.database import BATCHES, ITEMS, OPERATIONS, WORKERS
from testvibe_async.adapters.entries import EntryStore
from testvibe_async.adapters.store import DurableStore
from testvibe_async.runner.stored import Worker
from testvibe_async.testing import Emulator, Fault

TAKEN = ITEMS.update().values(owner="another")
"""What a worker does that takes over."""


def worker_row(**values: Any) -> sa.Insert:
    """Return what adds another worker."""
    usual = {"id": "another", "batch": "nightly", "machine": "elsewhere", "pid": 1, "beat_at": 1e9}
    return WORKERS.insert().values(**(usual | values))


@asynccontextmanager
async def worker(nightly: Nightly) -> AsyncGenerator[DurableStore]:
    """Open the store as a worker that carries nothing by itself."""
    async with aclosing(DurableStore(nightly.database, nightly.batch.id)) as store:
        await store.read_plan()
        async with store.working(max_in_flight=10):
            yield store


async def test_a_heartbeat_that_fails_is_repeated(
    nightly: Nightly, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever fails in its transaction, the worker stays alive to the others."""
    await nightly.submit("Checkout")
    beats: list[bool] = []

    async with worker(nightly) as store:

        def fail_once(_connection: object) -> None:
            beats.append(True)
            if len(beats) == 1:
                raise LookupError("a document that can't be read")

        monkeypatch.setattr(store, "_beat", fail_once)
        await asyncio.sleep(10)
    assert len(beats) > 1
    assert "a heartbeat failed" in caplog.text


async def test_a_worker_that_was_taken_over_from_sends_nothing(
    nightly: Nightly, emulator: Emulator
) -> None:
    """The intent of one that is no longer the owner is refused; another worker dispatches."""
    await nightly.submit("Checkout")
    intents: list[Entry[Any]] = []

    async def take_over(_: DurableStore, entry: Entry[Any]) -> None:
        intents.append(entry)
        if intents == [entry]:
            await nightly.change(worker_row(beat_at=now()))  # It says nothing more, and is dead.
            await nightly.change(TAKEN)

    nightly.before_intents(take_over)
    assert await nightly.work() == ["succeeded"]
    assert len(intents) == 2
    assert emulator.count("run_feature") == 1


async def test_a_worker_that_was_taken_over_from_writes_no_end(
    nightly: Nightly, emulator: Emulator
) -> None:
    """What an earlier owner wants to note of the end is refused; the new owner notes it."""
    await nightly.submit("Checkout")
    ends: list[Entry[Any]] = []

    def take_over(store: DurableStore, entry: Entry[Any]) -> None:
        ends.extend([entry] if entry.state is EntryState.OVER else [])
        if ends == [entry]:
            store.write_soon(lambda connection: connection.execute(TAKEN))

    nightly.before_saves(take_over)
    assert await nightly.work() == ["succeeded"]
    assert len(ends) == 2
    assert emulator.count("run_feature") == 1


async def test_an_answer_that_comes_after_the_decision(
    nightly: Nightly, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged with its ref."""
    await nightly.submit("Checkout")
    emulator.fail("run_feature", Fault.delay(4))
    work = asyncio.create_task(nightly.work())
    await asyncio.sleep(2)
    gone = ITEMS.update().values(state="dropped", intent=None, is_left=0, owner=None)
    await nightly.change(gone)
    with caplog.at_level(logging.WARNING, "testvibe_async"):
        await work
    assert "it was decided before the result of" in caplog.text
    assert "run 214" in caplog.text


async def test_a_claim_is_one_workers(nightly: Nightly) -> None:
    """What is claimed is claimed once, until its owner has ended.

    The last feature is held back until all others are dispatched: a later run proves what began.
    """
    await nightly.submit("Checkout", "Returns", "Wishlist")
    async with worker(nightly) as other:
        async with worker(nightly) as one:
            claimed = [await one.claim(), await one.claim()]
            assert [entry and entry.job.feature for entry in claimed] == ["Checkout", "Returns"]
            for each in (one, other):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(10):
                        await each.claim()
        taken = await other.claim()
        assert taken is not None
        assert taken.job.feature == "Checkout"


@pytest.mark.parametrize(
    ("machine", "pid", "age", "is_dead"),
    [
        ("elsewhere", 2**22 + 1, 4.0, False),
        ("elsewhere", 1, 6.0, True),
        ("here", 2**22 + 1, 0.1, bool(workers._machine())),
        ("here", 0, 0.1, False),
    ],
)
async def test_a_worker_is_dead(
    nightly: Nightly, machine: str, pid: int, age: float, *, is_dead: bool
) -> None:
    """It is after 5 s without a heartbeat, or when its process on this machine has ended.

    A process of another machine is not judged by its id, whatever the machine is called.
    """
    await nightly.submit("Checkout")
    where = workers._machine() if machine == "here" else machine
    values = {"machine": where, "pid": pid or os.getpid(), "beat_at": now() - age}
    await nightly.change(worker_row(**values))
    await nightly.change(worker_row(**values, id="third", batch="weekly"))
    others = (await nightly.batch.status()).workers
    assert others == ([] if is_dead else [Worker(name="another", is_alive=True)])
    async with worker(nightly) as store:
        names = [each.name for each in (await store.read()).workers]
        assert (names == [store.worker]) is is_dead


async def test_what_a_worker_has_in_flight(nightly: Nightly, emulator: Emulator) -> None:
    """A status names the worker of what is in flight, also one that has ended since.

    Another worker waits for it, and does not dispatch it again; nor is it resumed.
    """
    await nightly.submit("Checkout", "Wishlist", max_in_flight=1)
    working = asyncio.create_task(nightly.work())
    await asyncio.sleep(10)
    assert await nightly.batch.resume() == ["Wishlist"]
    (alive,) = (await nightly.batch.status()).workers
    assert (alive.is_alive, alive.in_flight) == (True, 1)
    assert str(alive) == f"{alive.name} has 1 in flight"
    working.cancel()
    await asyncio.wait([working])
    (ended,) = (await nightly.batch.status()).workers
    assert ended == evolve(alive, is_alive=False)
    assert str(ended) == f"{alive.name} has ended, with 1 in flight for another to take over"
    assert await nightly.work() == ["succeeded"] * 2
    assert (await nightly.batch.status()).workers == []
    assert emulator.count("run_feature") == 2


async def test_tables_of_another_version(nightly: Nightly) -> None:
    """They are refused in one sentence."""
    await nightly.submit("Checkout")
    await nightly.change(BATCHES.update().values(version=9))
    await raised(ConfigError, nightly.work(), match="batches of version 9")


class AwayError(OperationalError):
    """The error of a database that is away."""

    def __init__(self) -> None:
        super().__init__("BEGIN", {}, Exception("it is away"))


def break_database(
    patch: pytest.MonkeyPatch, *, before: Callable[[], bool], after: Callable[[], bool]
) -> None:
    """Have transactions fail before they begin, or once they were committed."""
    begin = Engine.begin

    @contextmanager
    def failing(engine: Engine) -> Generator[sa.Connection]:
        if before():
            raise AwayError
        with begin(engine) as connection:
            yield connection
        if after():
            raise AwayError

    patch.setattr(entries, "ASK_AGAIN_SECONDS", 0.0)
    patch.setattr(Engine, "begin", failing)


@pytest.mark.parametrize("is_committed", [False, True])
async def test_a_database_that_fails_for_a_while(
    nightly: Nightly, emulator: Emulator, caplog: pytest.LogCaptureFixture, *, is_committed: bool
) -> None:
    """It is asked again until it answers, with one line at each end of the outage."""
    await nightly.submit("Checkout", "Wishlist")
    claim, calls = DurableStore.claim, count(1)

    async def claim_from_failing(store: DurableStore) -> Entry[Any] | None:
        break_database(
            patch,
            before=lambda: not is_committed and next(calls) % 5 > 0,
            after=lambda: is_committed and next(calls) % 2 > 0,
        )
        patch.setattr(DurableStore, "claim", claim)
        return await claim(store)

    with caplog.at_level(logging.WARNING, "testvibe_async"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(DurableStore, "claim", claim_from_failing)
        async with client_of(emulator) as client:
            work = asyncio.create_task(nightly.batch.work(client))
            await asyncio.sleep(50)
            patch.undo()
            await work
    assert await nightly.verdicts() == ["succeeded"] * 2
    assert emulator.count("run_feature") == 2
    away, back = (caplog.text.count(text) for text in ("is asked again until", "answers again"))
    assert 0 < back <= away <= back + 1  # The worker may end while it is away.


async def test_what_is_not_told_to_a_worker_is_given_back(nightly: Nightly) -> None:
    """Entries of a claim that was committed, and whose answer was lost, are claimed again."""
    await nightly.submit("Checkout")
    async with worker(nightly) as store:
        await nightly.change(ITEMS.update().values(owner=store.worker))
        assert await store.claim() is not None


@pytest.fixture
def lose_commit(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what has the answer to the next commit lost, once it was committed."""
    lost = list[bool]()
    break_database(monkeypatch, before=lambda: False, after=lambda: bool(lost and lost.pop()))
    return lambda *_: lost.append(True)


async def test_an_intent_is_counted_once(
    nightly: Nightly, lose_commit: Callable[..., None]
) -> None:
    """Where the answer to its commit is lost it is committed again, and counts no second time."""
    drafts = nightly.add_features(1, status="draft")
    await nightly.submit(*drafts, kind="generation", max_generations=1)
    nightly.before_intents(lose_commit)
    assert await nightly.work() == ["succeeded"]
    assert nightly.paid == 1


async def test_an_intent_of_a_batch_that_is_cancelled_meanwhile(
    nightly: Nightly, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the answer to its commit was lost, it is withdrawn: it is not unknown, but unsent."""
    await nightly.submit("Checkout")
    happened = list[str]()

    def lose() -> bool:
        if happened == ["intent"]:
            happened.append("commit")
            return True
        return False

    def cancel() -> bool:
        if happened == ["intent", "commit"]:
            happened.append("cancelled")
            with closing(sqlite3.connect(tmp_path / "batches.sqlite")) as other, other:
                other.execute("UPDATE testvibe_batches SET is_cancelled = 1")
        return False

    break_database(monkeypatch, before=cancel, after=lose)
    nightly.before_intents(lambda _store, _entry: happened.append("intent"))
    assert await nightly.work() == ["skipped"]
    assert happened == ["intent", "commit", "cancelled"]
    assert emulator.count("run_feature") == 0


async def test_a_refused_generation_is_given_back_once(
    nightly: Nightly, emulator: Emulator, lose_commit: Callable[..., None]
) -> None:
    """Also where the answer to that commit is lost: the limit is kept."""
    emulator.fail("generate_feature", Fault.status(400), times=1)
    drafts = nightly.add_features(3, status="draft")
    await nightly.submit(*drafts, kind="generation", max_generations=1, max_in_flight=1)
    seen = list[Entry[Any]]()

    def refused(store: DurableStore, entry: Entry[Any]) -> None:
        if not seen and entry.state is EntryState.PLANNED and store._claims[entry].intent:
            seen.append(entry)
            lose_commit()

    nightly.before_saves(refused)
    await nightly.work()
    assert seen
    assert nightly.paid == 1


async def test_a_worker_that_ends_at_the_limit_gives_nothing_back(
    nightly: Nightly, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An intent beyond the limit that was not stored yet is none, and was not counted."""
    drafts = nightly.add_features(3, status="draft")
    await nightly.submit(*drafts, kind="generation", max_generations=1, max_in_flight=3)
    loop, calls = asyncio.get_running_loop(), count(1)

    def slow(store: DurableStore, _: Entry[Any]) -> None:
        if next(calls) == 2:
            add, held = store._add, list[Any]()

            def answer() -> None:
                monkeypatch.setattr(store, "_add", add)
                for work in held:
                    add(*work)

            def hold(*work: Any) -> None:
                held.append(work)

            monkeypatch.setattr(store, "_add", hold)
            loop.call_later(2, answer)
            loop.call_later(1, working.cancel)

    nightly.before_intents(slow)
    working = asyncio.create_task(nightly.work())
    await asyncio.wait([working])
    await nightly.work()
    assert next(calls) > 2
    assert nightly.paid == 1


async def test_an_intent_that_came_too_late_is_not_stored(
    nightly: Nightly, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is unknown where a worker is killed just as its database is back."""
    await nightly.submit("Checkout")

    def be_away(store: DurableStore, _: Entry[Any]) -> None:
        add, held = store._add, list[Any]()

        def hold(*work: Any) -> None:
            held.append(work)

        def kill() -> None:
            add(*held[0])  # The transaction that was under way is the last one.
            working.cancel()

        monkeypatch.setattr(store, "_add", hold)
        asyncio.get_running_loop().call_later(7, kill)

    nightly.before_intents(be_away)
    working = asyncio.create_task(nightly.work())
    await asyncio.wait([working])
    assert await nightly.verdicts() == ["waiting"]
    assert emulator.count("run_feature") == 0


@pytest.mark.parametrize("turns", range(4))
async def test_a_worker_that_is_cancelled_at_an_intent(
    nightly: Nightly, emulator: Emulator, turns: int
) -> None:
    """Nothing is unknown that was not sent: its intent is withdrawn before the store closes."""
    await nightly.submit("Checkout")
    save_intent = DurableStore.save_intent

    async def cancel(store: DurableStore, entry: Entry[Any]) -> None:
        if turns % 2:
            await save_intent(store, entry)
        working.cancel()
        if turns // 2:
            await asyncio.sleep(3)
        await save_intent(store, entry)

    nightly.monkeypatch.setattr(DurableStore, "save_intent", cancel)
    working = asyncio.create_task(nightly.work())
    await asyncio.wait([working])
    assert emulator.count("run_feature") == 0
    assert await nightly.verdicts() == ["waiting"]


async def test_a_batch_that_is_deleted_while_it_is_worked_on(nightly: Nightly) -> None:
    """The worker sends nothing, and says that the batch is gone."""
    await nightly.submit("Checkout")

    async def delete(*_: object) -> None:
        for table in (ITEMS, BATCHES):
            await nightly.change(table.delete())

    nightly.before_intents(delete)
    await raised(ConfigError, nightly.work(), match="there is no batch 'nightly'")


async def test_a_file_that_is_deleted_while_it_is_worked_on(
    nightly: Nightly, emulator: Emulator, tmp_path: Path
) -> None:
    """The worker sends nothing more, since nothing would be known of it."""
    await nightly.submit("Checkout")

    def delete(*_: object) -> None:
        (tmp_path / "batches.sqlite").unlink()

    nightly.before_intents(delete)
    await raised(ConfigError, nightly.work(), match="was deleted while it was in use")
    assert emulator.count("run_feature") == 0


async def test_run_ids_that_begin_anew(
    nightly: Nightly, weekly: Nightly, emulator: Emulator
) -> None:
    """After a reset of the service, a run with the id of an older batch's run is found."""
    await weekly.submit("Checkout")
    await weekly.work()
    await asyncio.sleep(60)
    old = OPERATIONS.update().values(
        key=json.dumps([emulator.url, "run", emulator.project_id, 215])
    )
    await nightly.submit("Checkout", "Returns", max_in_flight=1)
    await nightly.change(old)
    emulator.fail("run_feature", Fault.lost(), times=1)
    await nightly.work()
    assert len(emulator.runs) == 1 + 2


async def test_operations_before_all_batches_are_forgotten(
    nightly: Nightly, weekly: Nightly
) -> None:
    """Once a batch is deleted, what it dispatched is deleted with the next submission."""
    await weekly.submit("Checkout")
    await weekly.work()
    await asyncio.sleep(60)
    await nightly.change(BATCHES.delete())
    await nightly.submit("Checkout")
    async with worker(nightly) as store:
        count = sa.select(sa.func.count()).select_from(OPERATIONS)
        assert await store.write(lambda connection: connection.execute(count).scalar_one()) == 0


async def test_a_late_save_is_of_its_own_claim(nightly: Nightly, emulator: Emulator) -> None:
    """A worker that has claimed an entry again writes nothing that it knew of it before."""
    await nightly.submit("Checkout")
    async with worker(nightly) as late:
        entry = await late.claim()
        assert entry is not None
        await nightly.change(WORKERS.delete())  # It is late, and taken over from.
        other = asyncio.create_task(nightly.work())
        await asyncio.sleep(10)
        other.cancel()
        await asyncio.wait([other])
        claiming = asyncio.create_task(late.claim())
        await asyncio.sleep(0)
        error = RecorderError("its recorder did not store the intent", method="POST", url="x")
        error.__cause__ = TimeoutError()
        entry.end(error)
        late.save(entry)
        again = await claiming
        assert again is not None
        assert again.state is EntryState.DISPATCHED
    await nightly.work()
    assert emulator.count("run_feature") == 1


@pytest.mark.parametrize("late", ["resend", "drop"])
async def test_a_decision_on_what_has_changed_since_is_none(
    nightly: Nightly, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, late: Any
) -> None:
    """Of two at once the first counts, and what a worker has made of it."""
    rules = [
        emulator.fail("list_runs", Fault.status(500)),
        emulator.fail("run_feature", Fault.status(502), times=1),
    ]
    await nightly.submit("Checkout")
    assert await nightly.work() == ["unknown"]
    for rule in rules:
        rule.remove()
    reopen = EntryStore.reopen

    async def slow(store: EntryStore, entries: Iterable[Entry[Any]]) -> list[Entry[Any]]:
        monkeypatch.setattr(EntryStore, "reopen", reopen)
        await asyncio.sleep(60)
        return await reopen(store, entries)

    monkeypatch.setattr(EntryStore, "reopen", slow)
    deciding = asyncio.create_task(nightly.batch.decide(late))
    await asyncio.sleep(1)
    await nightly.batch.decide("resend")
    assert await nightly.work() == ["succeeded"]
    assert await deciding == []
    assert await nightly.work() == ["succeeded"]
    assert len(emulator.runs) == 1
