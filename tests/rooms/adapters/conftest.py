"""Fixtures of the tests of durable batches: a store that nothing is handed out from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from attrs import define, evolve, field

from tests.support.timing import STEADY
from testvibe_async._batch import Plan
from testvibe_async._dispatch import Job
from testvibe_async.adapters.store import Store
from testvibe_async.adapters.turns import Turns
from testvibe_async.adapters.worker import BatchWorker
from testvibe_async.testing import Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from testvibe_async import BatchItem, Client, Run
    from testvibe_async.testing import Emulator, Scenario


@pytest.fixture
def scenario() -> Scenario:
    """Every run takes 30 s, and those of one feature fail."""
    return evolve(STEADY, outcomes={"Returns": Outcome(run_status="failed")})


@define
class Stored:
    """A batch in a store, and what was enqueued of it."""

    store: Store
    plan: Plan
    queue: list[tuple[int, int]] = field(factory=list[tuple[int, int]])

    def enqueue(self, _connection: sa.Connection, place: int, turn: int) -> None:
        """Take what is to be handed out."""
        self.queue.append((place, turn))

    @property
    def turns(self) -> Turns:
        """Return what hands out features again."""
        return Turns(self.store, self.enqueue)

    async def submit(self, *features: str, **options: object) -> None:
        """Store the batch."""
        self.plan = Plan(
            kind="run", server=self.plan.server, project=self.plan.project, options=options
        )
        jobs = [Job(name, name) for name in features]
        assert await self.store.submit(self.plan, jobs, self.enqueue)

    def worker(self, client: Client) -> BatchWorker:
        """Return a worker, as another process would have one."""
        return BatchWorker(client, self.store, self.plan)

    async def verdicts(self) -> list[str]:
        """Return the verdict of each item."""
        return [str(item.verdict) for item in await self.items()]

    async def items(self) -> list[BatchItem[Run]]:
        """Return the items, as `DurableBatch.status` has them."""
        rows, _ = await self.store.rows()
        return [row.found.stored_item() for row in rows]


@pytest.fixture
async def stored(tmp_path: Path, emulator: Emulator) -> AsyncGenerator[Stored]:
    """A store without a batch."""
    store = Store(sa.URL.create("sqlite", database=str(tmp_path / "batches.sqlite")), "nightly")
    await store.create_tables()
    yield Stored(store, Plan(kind="run", server=emulator.url, project=emulator.project_id))
    await store.aclose()
