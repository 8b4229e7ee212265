"""What a worker of a durable batch writes late, twice, or after its claim was lost."""

import asyncio
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from tests.rooms.adapters.conftest import Nightly
from tests.rooms.adapters.test_money import paid
from tests.rooms.adapters.test_store import worker
from testvibe_async import RecorderError
from testvibe_async._batch import Entry, EntryState
from testvibe_async.adapters import entries
from testvibe_async.adapters.database import WORKERS
from testvibe_async.adapters.entries import EntryStore
from testvibe_async.adapters.store import DurableStore
from testvibe_async.testing import Emulator, Fault

DRAFTS = ("Draft 1", "Draft 2", "Draft 3")


@pytest.fixture
def drafts(emulator: Emulator) -> tuple[str, ...]:
    for name in DRAFTS:
        emulator.add_feature(name, status="draft")
    return DRAFTS


@pytest.fixture
def lose_commit(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what has the answer to the next commit lost, once it was committed."""
    monkeypatch.setattr(entries, "ASK_AGAIN_SECONDS", 0.0)
    begin, lost = Engine.begin, list[bool]()

    @contextmanager
    def failing(engine: Engine) -> Generator[Any]:
        with begin(engine) as connection:
            yield connection
        if lost:
            lost.clear()
            raise OperationalError("COMMIT", {}, Exception("it went away"))

    monkeypatch.setattr(Engine, "begin", failing)
    return lambda: lost.append(True)


async def test_an_intent_is_counted_once(
    nightly: Nightly,
    emulator: Emulator,
    drafts: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    lose_commit: Callable[[], None],
) -> None:
    """Where the answer to its commit is lost it is committed again, and counts no second time."""
    await nightly.submit(drafts[0], kind="generation", max_generations=1)
    save_intent = DurableStore.save_intent

    async def saved(store: DurableStore, entry: Entry[Any]) -> None:
        lose_commit()
        await save_intent(store, entry)

    monkeypatch.setattr(DurableStore, "save_intent", saved)
    assert await nightly.work() == ["succeeded"]
    assert paid(emulator) == 1


async def test_a_refused_generation_is_given_back_once(
    nightly: Nightly,
    emulator: Emulator,
    drafts: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    lose_commit: Callable[[], None],
) -> None:
    """Also where the answer to that commit is lost: the limit is kept."""
    emulator.fail("generate_feature", Fault.status(400), times=1)
    await nightly.submit(*drafts, kind="generation", max_generations=1, max_in_flight=1)
    save, seen = DurableStore.save, list[Entry[Any]]()

    def saved(store: DurableStore, entry: Entry[Any]) -> None:
        if not seen and entry.state is EntryState.PLANNED and store._claims[entry].intent:
            seen.append(entry)
            lose_commit()
        save(store, entry)

    monkeypatch.setattr(DurableStore, "save", saved)
    await nightly.work()
    assert seen
    assert paid(emulator) == 1


async def test_a_worker_that_ends_at_the_limit_gives_nothing_back(
    nightly: Nightly, emulator: Emulator, drafts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An intent beyond the limit that was not stored yet is none, and was not counted."""
    await nightly.submit(*drafts, kind="generation", max_generations=1, max_in_flight=3)
    loop, save_intent, calls = asyncio.get_running_loop(), DurableStore.save_intent, list[str]()

    async def slow(store: DurableStore, entry: Entry[Any]) -> None:
        calls.append(str(entry.job.feature))
        if len(calls) == 2:
            add, held = store._add, list[Any]()

            def hold(*work: Any) -> None:
                held.append(work)

            monkeypatch.setattr(store, "_add", hold)

            def answer() -> None:
                monkeypatch.setattr(store, "_add", add)
                for work in held:
                    add(*work)

            loop.call_later(2, answer)
            loop.call_later(1, working.cancel)
        await save_intent(store, entry)

    monkeypatch.setattr(DurableStore, "save_intent", slow)
    working = asyncio.create_task(nightly.work())
    await asyncio.wait([working])
    monkeypatch.setattr(DurableStore, "save_intent", save_intent)
    await nightly.work()
    assert len(calls) > 1
    assert paid(emulator) == 1


async def test_a_late_save_is_of_the_claim_that_it_was_made_with(
    nightly: Nightly, emulator: Emulator
) -> None:
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
