"""Fixtures of the tests of durable batches: one in SQLite, whose workers are in this process."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import evolve, frozen

from tests.conftest import client_of
from tests.support.durable import put_on_virtual_time
from tests.support.timing import STEADY
from testvibe_async import BatchItem
from testvibe_async._batch import Entry
from testvibe_async.adapters.database import Database
from testvibe_async.adapters.durable import DurableBatch
from testvibe_async.adapters.store import DurableStore
from testvibe_async.testing import Emulator, Outcome, Scenario


@pytest.fixture(autouse=True)
async def _database_on_virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the database the clock of the event loop, and have it asked less often."""
    put_on_virtual_time(monkeypatch)


@pytest.fixture
def scenario() -> Scenario:
    """Every run takes 30 s, and those of one feature fail."""
    return evolve(STEADY, outcomes={"Returns": Outcome(run_status="failed")})


@frozen
class Nightly:
    """A durable batch, and the service that it is for."""

    batch: DurableBatch
    database: Database
    emulator: Emulator
    monkeypatch: pytest.MonkeyPatch

    async def submit(self, *features: str, **options: Any) -> bool:
        """Store the batch."""
        async with client_of(self.emulator) as client:
            return await self.batch.submit(client, features or None, **options)

    async def work(self, **options: Any) -> list[str]:
        """Be a worker to the end, with a client of its own; return the verdicts."""
        async with client_of(self.emulator, **options) as client:
            return [str(item.verdict) for item in await self.batch.work(client)]

    async def interrupted(self, seconds: float, **options: Any) -> None:
        """Be a worker for some seconds, and leave what is in flight to others."""
        task = asyncio.create_task(self.work(**options))
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    async def killed(self) -> None:
        """Be a worker that dies right before it stores the first operation."""
        save, is_dead = DurableStore.save, False

        def save_until_dead(into: DurableStore, entry: Entry[Any]) -> None:
            nonlocal is_dead
            is_dead = is_dead or entry.ref is not None or entry.generation is not None
            if not is_dead:
                save(into, entry)

        with self.monkeypatch.context() as patch:
            patch.setattr(DurableStore, "save", save_until_dead)
            await self.interrupted(1, timeout=2.0)

    def before_intents(self, act: Callable[[DurableStore, Entry[Any]], object]) -> None:
        """Do something before each intent is stored."""
        save_intent = DurableStore.save_intent

        async def saved(store: DurableStore, entry: Entry[Any]) -> None:
            if isinstance(acting := act(store, entry), Awaitable):
                await acting
            await save_intent(store, entry)

        self.monkeypatch.setattr(DurableStore, "save_intent", saved)

    def before_saves(self, act: Callable[[DurableStore, Entry[Any]], object]) -> None:
        """Do something before each other change of an entry is stored."""
        save = DurableStore.save

        def saved(store: DurableStore, entry: Entry[Any]) -> None:
            act(store, entry)
            save(store, entry)

        self.monkeypatch.setattr(DurableStore, "save", saved)

    def add_features(self, count: int, **options: Any) -> list[str]:
        """Add features to the service, and return their names."""
        add = self.emulator.add_feature
        return [add(f"Feature {number}", **options).name for number in range(count)]

    @property
    def paid(self) -> int:
        """The number of generations that were dispatched and accepted."""
        return sum(made.created_at >= 0 for made in self.emulator.generations.values())

    async def items(self) -> list[BatchItem[Any]]:
        """Return what is known of each feature."""
        return [*(await self.batch.status()).items]

    async def verdicts(self) -> list[str]:
        """Return the verdict of each feature."""
        return [str(item.verdict) for item in await self.items()]

    async def change(self, statement: sa.UpdateBase) -> None:
        """Change something in the database, as another process does."""
        async with aclosing(DurableStore(self.database, self.batch.id)) as other:
            await other.write(lambda connection: connection.execute(statement))


@pytest.fixture
def nightly(tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Nightly:
    """A batch that is not submitted yet."""
    path = tmp_path / "batches.sqlite"
    return Nightly(DurableBatch(path, id="nightly"), Database(path), emulator, monkeypatch)


@pytest.fixture
def weekly(nightly: Nightly, tmp_path: Path) -> Nightly:
    """Another batch in the same database."""
    return evolve(nightly, batch=DurableBatch(tmp_path / "batches.sqlite", id="weekly"))
