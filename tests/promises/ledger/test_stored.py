"""`StoredBatch`: what a ledger file says of its batches, without the service."""

import asyncio
import json
from pathlib import Path

from attrs import evolve

from tests.conftest import client_of
from tests.promises.ledger.conftest import KEY, ran
from tests.support.batches import verdicts
from tests.support.raising import raised
from tests.support.timing import STEADY
from testvibe_async import BatchItem, Client, Run, SqliteLedger, StoredBatch, Verdict, errors
from testvibe_async.batch import item_from_dict
from testvibe_async.testing import Emulator, Fault, Outcome

SCENARIO = evolve(STEADY, outcomes={"Returns": Outcome(run_status="failed")})

FEATURES = ["Checkout", "Returns"]


async def stored(path: Path, name: int | str = KEY) -> StoredBatch:
    """Read a batch of a file."""
    async with SqliteLedger(path) as ledger:
        return await StoredBatch.read(ledger, name)


async def test_a_batch_that_has_finished(path: Path, emulator: Emulator) -> None:
    """It has its number, what was requested, and the items that its caller had."""
    items = await ran(path, emulator, FEATURES, attempts=2, options={"ticket": 7})
    batch = await stored(path, 1)
    assert (batch.number, batch.key, batch.kind, batch.attempts) == (1, KEY, "run", 2)
    assert (batch.server, batch.project) == (emulator.url, emulator.project_id)
    assert (batch.on_conflict, batch.options, batch.site_url) == ("raise", {"ticket": 7}, None)
    assert (batch.is_over, batch.is_running) == (True, False)
    assert [item.to_dict() for item in batch.items] == [item.to_dict() for item in items]
    assert (await stored(path)).items == batch.items or verdicts(batch.items) == verdicts(items)


async def test_a_batch_that_was_interrupted(path: Path, emulator: Emulator) -> None:
    """What is in flight is named, what was not dispatched is waited for by nobody."""
    await ran(path, emulator, FEATURES, timeout=5, max_in_flight=1)
    batch = await stored(path)
    assert verdicts(batch.items) == ["in flight", "skipped"]
    assert not batch.is_over


async def test_a_batch_with_a_lost_answer(path: Path, emulator: Emulator) -> None:
    """An answer that never came is unknown, with what to do; a refusal is its error."""
    emulator.fail("run_feature", Fault.hang(), times=1)
    emulator.fail("run_feature", Fault.status(400))
    await ran(path, emulator, FEATURES, timeout=2, max_in_flight=1)
    async with SqliteLedger(path) as ledger:
        for row in await ledger.rows(KEY):
            if row.is_open:
                row.error = None
                await ledger.note(row)
    lost, _ = (await stored(path)).items
    assert isinstance(lost.error, errors.DispatchUnknownError)
    assert "resume the batch" in str(lost.error)


async def test_a_batch_that_runs(path: Path, emulator: Emulator) -> None:
    """Another process sees that it runs, and a dispatch under way as waiting."""
    emulator.fail("run_feature", Fault.delay(5), times=1)
    async with client_of(emulator, ledger=path) as client:
        running = asyncio.ensure_future(_awaited(client, key=KEY))
        await asyncio.sleep(2)
        async with SqliteLedger(path) as ledger:
            with ledger.living(1):
                batch = await StoredBatch.read(ledger, KEY)
        assert batch.is_running
        assert Verdict.UNKNOWN not in {item.verdict for item in batch.items}
        await running


async def _awaited(client: Client, *, key: str) -> list[BatchItem[Run]]:
    return await client.project().run_features(FEATURES, key=key)


async def test_all_of_a_file(path: Path, emulator: Emulator) -> None:
    """The latest comes first; without items, nothing is said of them."""
    async with client_of(emulator, ledger=path) as client:
        for key in ("a", "b"):
            await client.project().run_features(FEATURES, key=key, timeout=1)
    async with SqliteLedger(path) as ledger:
        assert [each.key for each in await StoredBatch.all(ledger)] == ["b", "a"]
        (last,) = await StoredBatch.all(ledger, with_items=False, limit=1)
        assert (last.key, last.items, last.is_over) == ("b", [], False)
        await raised(errors.ConfigError, StoredBatch.read(ledger, "c"), match="no batch 'c'")


async def test_a_key_of_two_projects(path: Path, emulator: Emulator) -> None:
    """It is that of two batches: a number, or the project, names one."""
    other = emulator.add_project("Other")
    async with client_of(emulator, ledger=path) as client:
        await client.project().run_features(FEATURES, key=KEY, timeout=1)
        await client.project(other.id).run_features(["none"], key=KEY)
    async with SqliteLedger(path) as ledger:
        await raised(errors.ConfigError, StoredBatch.read(ledger, KEY), match="2 and 1")
        batch = await StoredBatch.read(ledger, KEY, project=other.id)
        assert batch.project == other.id


async def test_an_item_is_read_back(path: Path, emulator: Emulator) -> None:
    """From its JSON document, as a report of another machine has it."""
    emulator.fail("run_feature", Fault.status(400), skip=2, times=1)
    items = await ran(path, emulator, [*FEATURES, "Wishlist"], attempts=2, max_in_flight=1)
    for item in items:
        document = json.loads(json.dumps(item.to_dict()))
        assert item_from_dict("run", document).to_dict() == document
