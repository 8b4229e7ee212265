"""What is kept of a durable batch, and what is refused."""

from __future__ import annotations

import sqlite3
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, event

from testvibe_async import ConfigError, DispatchUnknownError, RunRef
from testvibe_async._batch import Plan
from testvibe_async._dispatch import Job
from testvibe_async.adapters.store import Store
from testvibe_async.intents import Intent

if TYPE_CHECKING:
    from tests.rooms.adapters.conftest import Stored

FEATURES = ("Checkout", "Returns", "Wishlist")


async def test_another_batch_of_that_id(stored: Stored) -> None:
    """The same batch again changes nothing, and another one is refused."""
    await stored.submit(*FEATURES)
    jobs = [row.job for row in (await stored.store.rows())[0]]
    assert not await stored.store.submit(stored.plan, jobs, stored.enqueue)
    assert len(stored.queue) == 3
    with pytest.raises(ConfigError, match="other features or options"):
        await stored.store.submit(stored.plan, jobs[:2], stored.enqueue)


async def test_another_version(stored: Stored) -> None:
    """Tables of a later release are refused in one sentence."""
    await stored.submit("Checkout")
    with sqlite3.connect(str(stored.store.url.database)) as connection:
        connection.execute("UPDATE testvibe_batches SET version = 9")
    connection.close()
    with pytest.raises(ConfigError, match="is of version 9, and this release reads version 1"):
        await stored.store.plan()


async def test_a_closed_store(stored: Stored) -> None:
    """Nothing is written once it is closed."""
    await stored.store.aclose()
    with pytest.raises(ValueError, match="closed"):
        await stored.store.plan()


async def test_it_disconnects_once(stored: Stored) -> None:
    """Closed twice, it has ended its connections once."""
    disposed: list[Engine] = []
    event.listen(stored.store.engine, "engine_disposed", disposed.append)
    await stored.store.aclose()
    await stored.store.aclose()
    assert disposed == [stored.store.engine]


async def test_refs_of_its_server_and_project(stored: Stored) -> None:
    """They are those of any batch of the same service and project: others have the same ids."""
    await stored.submit("Checkout")
    server, project = stored.plan.server, stored.plan.project
    expected: list[RunRef] = []
    places = [(server, project), ("https://other.example", project), (server, "other")]
    for run_id, (at, of) in enumerate(places, start=1):
        ref = RunRef(server=at, project=of, run_id=run_id)
        plan = Plan(kind="run", server=at, project=of)
        async with aclosing(Store(stored.store.url, f"batch {run_id}")) as other:
            await other.submit(plan, [Job("Checkout")], stored.enqueue)
            intent = Intent(
                id=f"intent {run_id}",
                kind="run",
                server=at,
                project=of,
                feature="Checkout",
                intended_at=datetime.now(UTC),
                timeout=2.0,
            )
            await other.claim(0, turn=0, holder="one", is_first=True)
            assert await other.note_intent(0, "one", intent)
            assert await other.note_result(intent, ref)
        expected.append(ref)
    assert await stored.store.refs() == expected[:1]


async def test_what_a_stopped_worker_knows_better(stored: Stored) -> None:
    """Nothing becomes unknown of which it was noted meanwhile that nothing began."""
    await stored.submit("Checkout")
    store, plan = stored.store, stored.plan
    intent = Intent(
        id="one",
        kind="run",
        server=plan.server,
        project=plan.project,
        feature="Checkout",
        intended_at=datetime.now(UTC),
        timeout=2.0,
    )
    await store.claim(0, turn=0, holder="stopped", is_first=True)
    assert await store.note_intent(0, "stopped", intent)
    await store.claim(0, turn=0, holder="other", is_first=True)
    unknown = DispatchUnknownError(
        "nobody saw its answer", method="POST", url=plan.server, project="p", feature="Checkout"
    )
    assert await store.note_result(intent, None)
    assert not await store.note_end(0, "other", error=unknown)
    assert await stored.verdicts() == ["waiting"]
    assert await store.left() == 1
