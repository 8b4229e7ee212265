"""A batch whose answers were lost, whose process was killed, or whose features can't be read."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from tests.conftest import client_of
from tests.support.timing import STEADY, now
from testvibe_async import Client, ClientClosedError, DispatchUnknownError, Journal, RunRef, Verdict
from testvibe_async.intents import Intent
from testvibe_async.testing import Emulator, Fault, Outcome

OUTCOMES = {"Broken": Outcome(run_status="failed"), "Draft": Outcome(generation_duration=400)}

SCENARIO = evolve(STEADY, outcomes=OUTCOMES)


async def leave_unknown(
    path: Path,
    emulator: Emulator,
    features: list[str] | AsyncIterator[str],
    *,
    fault: Fault | None = None,
) -> None:
    """Lose the answer to the first dispatch of a batch, find nothing, and end the batch there."""
    lost = emulator.fail("run_feature", fault or Fault.reset(), times=1)
    hidden = emulator.fail("list_runs", Fault.status(404))
    async with Journal(path) as journal, client_of(emulator) as client:
        batch = client.project().run_features(features, journal=journal, max_in_flight=1)
        async with batch:
            item = await anext(batch)
            assert item.verdict is Verdict.UNKNOWN
    lost.remove()
    hidden.remove()


async def when(is_so: Callable[[], bool], *, within: float) -> float:
    """Return when something is so, in seconds from now; fail where that takes too long."""
    began = now()
    while not is_so():
        assert now() - began < within
        await asyncio.sleep(0.5)
    return now() - began


async def test_one_that_raises_leaves_the_plan_open(path: Path, emulator: Emulator) -> None:
    """Also where another worker waits to read: the resumed batch has all its features."""

    async def features(*, fails: bool) -> AsyncIterator[str]:
        yield "Checkout"
        await asyncio.sleep(60)
        if fails:
            raise OSError("the database of features is away")
        yield "Returns"

    async with Journal(path) as journal, client_of(emulator) as client:
        with pytest.raises(OSError, match="away"):
            await client.project().run_features(features(fails=True), journal=journal)
        assert not journal.is_complete
    async with Journal(path) as journal, client_of(emulator) as client:
        batch = client.project().run_features(features(fails=False), journal=journal)
        assert [item.feature for item in await batch] == ["Checkout", "Returns"]


async def test_one_is_read_while_a_lost_answer_is_looked_for(
    path: Path, emulator: Emulator
) -> None:
    """The feature that is held back as a proof is the last one, and not the first."""

    async def features(count: int) -> AsyncIterator[str]:
        for name in ("Checkout", "Returns", "Wishlist")[:count]:
            yield name
        await asyncio.sleep(1000)

    await leave_unknown(path, emulator, features(1))
    async with (
        Journal(path) as journal,
        client_of(emulator) as client,
        client.project().run_features(features(3), journal=journal),
    ):
        await when(lambda: emulator.count("run_feature", feature="Returns") > 0, within=3)


async def test_a_generation_proves_nothing_of_a_run(path: Path, emulator: Emulator) -> None:
    """The proof is the run that follows it."""
    emulator.add_feature("Draft", status="draft")

    async def features(*names: str) -> AsyncIterator[str]:
        for name in names:
            yield name
            await asyncio.sleep(30)

    await leave_unknown(path, emulator, features("Checkout"))
    await asyncio.sleep(600)
    async with Journal(path) as journal, client_of(emulator) as client:
        batch = client.project().run_features(
            features("Checkout", "Draft", "Nothing"), journal=journal, on_conflict="generate"
        )
        items = await batch
    assert [item.verdict for item in items[:2]] == [Verdict.SUCCEEDED] * 2


async def test_generations_are_not_held_back(path: Path, emulator: Emulator) -> None:
    """No later one would prove anything."""
    for name in ("One", "Two"):
        emulator.add_feature(name, status="draft")
    lost = emulator.fail("generate_feature", Fault.reset(), times=1)
    hidden = emulator.fail("get_generation_status", Fault.status(503), skip=1)
    async with Journal(path) as journal, client_of(emulator) as client:
        batch = client.project().generate_features(["One", "Two"], journal=journal, max_in_flight=1)
        async with batch:
            await anext(batch)
    lost.remove()
    hidden.remove()
    async with (
        Journal(path) as journal,
        client_of(emulator) as client,
        client.project().generate_features(journal=journal),
    ):
        await when(lambda: emulator.count("generate_feature", feature="Two") > 0, within=3)


async def test_a_lost_answer_is_decided_while_the_journal_is_open(
    path: Path, emulator: Emulator, client: Client
) -> None:
    """Once the batch has ended nobody waits for it any more."""
    emulator.fail("run_feature", Fault.lost())
    emulator.fail("list_runs", Fault.status(404))
    async with Journal(path) as journal:
        (item,) = await client.project().run_features(["Checkout"], journal=journal)
        (stored,) = journal.items
        assert str(stored.error) == str(item.error)
        assert await journal.decide("drop") == ["Checkout"]


async def test_a_wrong_operation_is_no_decision(path: Path, emulator: Emulator) -> None:
    """After it was refused, one decision for all unknown features is one for this, too."""
    await leave_unknown(path, emulator, ["Checkout"], fault=Fault.lost())
    ref = RunRef(server=emulator.url, project=emulator.project_id, run_id=9999)
    async with Journal(path) as journal, client_of(emulator) as client:
        await journal.decide(ref, feature="Checkout")
        (item,) = await client.project().run_features(journal=journal)
        assert item.verdict is Verdict.UNKNOWN
    async with Journal(path) as journal:
        assert await journal.decide("resend") == ["Checkout"]


async def test_a_client_that_closes_leaves_it_to_be_decided(path: Path, emulator: Emulator) -> None:
    """No batch is working on it any more."""
    await leave_unknown(path, emulator, ["Checkout"])
    emulator.fail("list_runs", Fault.hang())
    async with Journal(path) as journal:
        client = client_of(emulator)
        batch = asyncio.ensure_future(_run(client, journal))
        await asyncio.sleep(1)
        await client.aclose()
        with pytest.raises(ClientClosedError):
            await batch
        assert await journal.decide("resend") == ["Checkout"]


async def _run(client: Client, journal: Journal, **options: Any) -> list[Any]:
    return [*await client.project().run_features(journal=journal, **options)]


async def test_an_accepted_dispatch_is_known_to_be_so_after_a_kill(
    path: Path, emulator: Emulator, client: Client
) -> None:
    """That its answer can't be read is stored at once: nothing sends it again."""
    emulator.fail("run_feature", Fault.edit(lambda _: {"unexpected": True}))
    emulator.fail("list_runs", Fault.status(503), skip=1)
    killed = path.with_name("killed")
    async with Journal(path) as journal:
        batch = asyncio.ensure_future(_run(client, journal, features=["Checkout"]))
        await asyncio.sleep(3)
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{killed}{suffix}")
        await batch
    async with Journal(killed) as journal:
        assert [intent.is_accepted for intent in journal.open_intents] == [True]


async def test_an_accepted_generation_of_missing_tests_is_known_after_a_kill(
    path: Path, emulator: Emulator, client: Client
) -> None:
    """It costs credits: nothing sends it again either."""
    emulator.add_feature("New", status="draft")
    emulator.fail("generate_feature", Fault.edit(lambda _: {"unexpected": True}))
    emulator.fail("get_generation_status", Fault.status(503), when=lambda _: now() > 0.5)
    emulator.fail("generate_feature", Fault.delay(1))
    killed = path.with_name("killed")
    async with Journal(path) as journal:
        options = {"features": ["New"], "on_conflict": "generate"}
        batch = asyncio.ensure_future(_run(client, journal, **options))
        await asyncio.sleep(5)
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{killed}{suffix}")
        await batch
    async with Journal(killed) as journal:
        assert [intent.is_accepted for intent in journal.open_intents] == [True]


async def test_fewer_attempts_on_resume_are_kept_to(path: Path, emulator: Emulator) -> None:
    """A run that failed is its outcome where no other attempt is left."""
    emulator.add_feature("Broken")
    refused = emulator.fail("run_feature", Fault.status(401), skip=1)
    async with Journal(path) as journal, client_of(emulator) as client:
        await _run(client, journal, features=["Broken"], attempts=2)
    refused.remove()
    async with Journal(path) as journal, client_of(emulator) as client:
        (item,) = await _run(client, journal, attempts=1)
        assert journal.is_over
    assert (item.verdict, len(item.attempts), len(emulator.runs)) == (Verdict.FAILED, 1, 1)


async def test_missing_tests_hold_no_other_dispatch_up(emulator: Emulator, client: Client) -> None:
    """However many generations are waited for."""
    drafts = [f"Draft {number}" for number in range(40)]
    for name in drafts:
        emulator.add_feature(name, status="draft")
    batch = client.project().run_features([*drafts, "Checkout"], on_conflict="generate")
    async with batch:
        await when(lambda: emulator.count("run_feature", feature="Checkout") > 0, within=5)


@pytest.mark.parametrize("second", [Fault.status(401), Fault.status(500), Fault.lost()])
async def test_a_second_try_hides_no_first_one(
    emulator: Emulator, client: Client, second: Fault
) -> None:
    """The intent in the error is of both, so that reconciling it finds what began."""
    hidden = emulator.fail("list_runs", Fault.status(503), skip=1)
    emulator.fail("run_feature", Fault.lost(), times=1)
    emulator.fail("run_feature", second, times=1)
    with pytest.raises(DispatchUnknownError) as caught:
        await client.project().run_feature("Checkout", retry_unknown=True)
    intent = caught.value.intent
    assert isinstance(intent, Intent)
    hidden.remove()
    began = {run.id for run in emulator.runs.values()}
    async with client_of(emulator) as other:
        if len(began) == 1:
            found = await other.reconcile(intent)
            assert found is not None
            assert found.ref.key[-1] in began
            return
        with pytest.raises(DispatchUnknownError) as both:
            await other.reconcile(intent)
    assert {ref.key[-1] for ref in both.value.candidates} == began
