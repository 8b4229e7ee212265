"""What proves that a dispatch started, and what proves that it did not."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from tests.conftest import client_of
from tests.support.timing import STEADY, now
from testvibe_async import Client, DispatchUnknownError, Journal, Project, Verdict
from testvibe_async.intents import Intent
from testvibe_async.testing import Emulator, Fault

SCENARIO = STEADY


@pytest.fixture
def emulator(emulator: Emulator) -> Emulator:
    """The service, with a feature that has no tests yet."""
    emulator.add_feature("Draft", status="draft")
    return emulator


def hides_queued_ids(status: dict[str, Any]) -> dict[str, Any]:
    """Leave the `requestId` out while a generation is in flight."""
    if status.get("featureStatus") == "generating":
        return {name: value for name, value in status.items() if name != "requestId"}
    return status


def hides_checkout(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave the runs of one feature out of a list."""
    return [row for row in rows if row["featureName"] != "Checkout"]


def hides_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out when runs were created."""
    return [row | {"createdUtc": None} for row in rows]


UNREADABLE = {
    "no JSON": Fault.edit(lambda _: b"started"),
    "no id": Fault.edit(lambda _: {"status": "accepted"}),
    "null": Fault.edit(lambda _: b"null"),
    "a page": Fault.edit(lambda _: b"<html><body>Accepted</body></html>"),
    "half an answer": Fault.truncated(),
}
"""Successes whose id can't be read, by what they are."""


async def test_a_missing_request_id_proves_nothing(emulator: Emulator, client: Client) -> None:
    """A status in flight that names no generation does not prove that none started."""
    emulator.fail("get_generation_status", Fault.edit(hides_queued_ids))
    emulator.fail("generate_feature", Fault.lost(), times=1)
    with pytest.raises(DispatchUnknownError) as lost:
        await client.project().generate_feature("Draft")
    assert isinstance(lost.value.intent, Intent)

    with pytest.raises(DispatchUnknownError):
        await client.reconcile(lost.value.intent)


async def test_a_resumed_journal_does_not_pay_again(emulator: Emulator, tmp_path: Path) -> None:
    """A generation that is queued without a `requestId` is paid for once."""
    emulator.fail("get_generation_status", Fault.edit(hides_queued_ids))
    emulator.fail("generate_feature", Fault.lost(), times=1)
    for _ in range(3):
        async with Journal(tmp_path / "batch.journal") as journal, client_of(emulator) as client:
            await client.project().generate_features(["Draft"], journal=journal, timeout=60)

    assert emulator.count("generate_feature") == 1


async def test_an_id_that_comes_late_is_found(emulator: Emulator, client: Client) -> None:
    """A status that names its generation only at the second poll is asked again."""
    emulator.fail("get_generation_status", Fault.edit(hides_queued_ids), skip=1, times=1)
    emulator.fail("generate_feature", Fault.lost(), times=1)

    operation = await client.project().generate_feature("Draft")

    assert operation.adopted
    assert emulator.count("generate_feature") == 1


async def test_a_queued_stranger_is_not_adopted(emulator: Emulator, client: Client) -> None:
    """A generation that was in flight without a `requestId` is not taken for a later one."""
    async with client_of(emulator) as other:
        await other.project().generate_feature("Draft")
    emulator.fail("get_generation_status", Fault.edit(hides_queued_ids), times=1)
    emulator.fail("generate_feature", Fault.reset(), times=1)

    with pytest.raises(DispatchUnknownError):
        await client.project().generate_feature("Draft")


@pytest.mark.parametrize(
    "hidden", [{"service_at": None}, {}], ids=["the service's clock", "the runs' times"]
)
async def test_a_later_run_is_not_adopted(
    emulator: Emulator, client: Client, hidden: dict[str, Any]
) -> None:
    """What is not known to have started in time may be of somebody else."""
    emulator.fail("run_feature", Fault.reset(), times=1)
    with pytest.raises(DispatchUnknownError) as lost:
        await client.project().run_feature("Checkout")
    assert isinstance(lost.value.intent, Intent)
    await asyncio.sleep(3600)
    hidden["intended_at"] = lost.value.intent.intended_at - timedelta(hours=1)
    stranger = await client.project().run_feature("Checkout")
    if "service_at" not in hidden:
        emulator.fail("list_runs", Fault.edit(hides_times))

    async with client_of(emulator) as later:
        await later.list_projects()
        with pytest.raises(DispatchUnknownError) as unknown:
            await later.reconcile(evolve(lost.value.intent, **hidden))

    assert unknown.value.candidates == (stranger.ref,)


async def test_a_draft_proves_that_nothing_started(emulator: Emulator, client: Client) -> None:
    """A feature that never had a generation, and is a draft still, shows that none started."""
    emulator.fail("generate_feature", Fault.reset(), times=1)
    with pytest.raises(DispatchUnknownError) as lost:
        await client.project().generate_feature("Draft")
    assert isinstance(lost.value.intent, Intent)

    assert await client.reconcile(lost.value.intent) is None


@pytest.mark.parametrize("answer", UNREADABLE)
async def test_a_2xx_is_never_resent(emulator: Emulator, project: Project, answer: str) -> None:
    """A 2xx proves that a run started, so that `retry_unknown` sends nothing more."""
    emulator.fail("run_feature", UNREADABLE[answer], times=1)
    emulator.fail("list_runs", Fault.status(404))

    with pytest.raises(DispatchUnknownError) as caught:
        await project.run_feature("Checkout", retry_unknown=True)

    assert caught.value.reason == "accepted"
    assert "most likely nothing" not in str(caught.value)
    assert emulator.count("run_feature") == 1


@pytest.mark.parametrize("answer", UNREADABLE)
async def test_a_journal_never_resends_it(emulator: Emulator, tmp_path: Path, answer: str) -> None:
    """A dispatch that was accepted stays unknown, though a list shows nothing of it."""
    emulator.fail("run_feature", UNREADABLE[answer], times=1)
    emulator.fail("list_runs", Fault.edit(hides_checkout))
    for _ in range(3):
        async with Journal(tmp_path / "batch.journal") as journal, client_of(emulator) as client:
            items = await client.project().run_features(["Checkout"], journal=journal)
            assert [item.verdict for item in items] == [Verdict.UNKNOWN]
            assert not journal.is_over
        async with client_of(emulator) as other:
            await asyncio.sleep(60)
            await other.project().run_feature("Returns")

    assert emulator.count("run_feature", feature="Checkout") == 1


async def test_it_is_found_by_the_list(emulator: Emulator, project: Project) -> None:
    """A run whose id could not be read is found in the list of runs."""
    emulator.fail("run_feature", UNREADABLE["no id"], times=1)

    operation = await project.run_feature("Checkout")

    assert operation.adopted
    assert (await operation).is_success


async def test_a_journal_adopts_no_strangers_run(emulator: Emulator, tmp_path: Path) -> None:
    """A run that somebody else started between two processes is not taken for a lost one."""
    path = tmp_path / "batch.journal"
    async with Journal(path) as journal, client_of(emulator) as client:
        await client.project().run_features(
            ["Checkout", "Returns"], journal=journal, max_in_flight=1, timeout=10
        )
    async with client_of(emulator) as other:
        theirs = await other.project().run_feature("Returns")
        await theirs
    await asyncio.sleep(600)
    emulator.fail("run_feature", Fault.reset(), times=1)
    async with Journal(path) as journal, client_of(emulator) as client:
        items = await client.project().run_features(journal=journal)

    assert [item.verdict for item in items] == [Verdict.SUCCEEDED, Verdict.UNKNOWN]
    assert items[1].ref is None


async def test_a_clock_that_was_ahead_delays_nobody(emulator: Emulator, client: Client) -> None:
    """An intent from an hour ahead is waited for as long as its request may take, and no longer."""
    emulator.fail("run_feature", Fault.reset(), times=1)
    with pytest.raises(DispatchUnknownError) as lost:
        await client.project().run_feature("Checkout")
    assert isinstance(lost.value.intent, Intent)
    intent = evolve(
        lost.value.intent, intended_at=lost.value.intent.intended_at + timedelta(hours=1)
    )
    began = now()

    with pytest.raises(DispatchUnknownError):
        await client.reconcile(intent)

    assert now() - began < 60
