"""Batches whose next attempt can't be sent, and those that end while an answer is on its way."""

import asyncio
from datetime import date, timedelta
from typing import Any

import pytest
from attrs import evolve

from tests.conftest import client_of
from tests.promises.ledger.conftest import ref_of
from tests.support.batches import verdicts
from tests.support.ledgers import Notes
from tests.support.raising import raised
from tests.support.timing import STEADY
from testvibe_async import BatchItem, Client, MemoryLedger, Project, Verdict, errors
from testvibe_async.ledger import Row, RowState
from testvibe_async.outcomes import Quarantined
from testvibe_async.testing import Emulator, Fault, Outcome

KNOWN = Quarantined(
    reason="slow", owner="Ann", until=date(2026, 12, 24), verdict=Verdict.QUARANTINED
)

SCENARIO = evolve(STEADY, outcomes={"Returns": Outcome(run_status="failed")})


async def test_marks_of_the_caller(project: Project) -> None:
    """A function of the caller may judge each item, before it counts as a failure."""

    def excuse(item: BatchItem[Any]) -> BatchItem[Any]:
        return evolve(item, quarantine=KNOWN) if item.feature == "Returns" else item

    batch = project.run_features(["Returns", "Checkout"], stop_on_failure=True, max_in_flight=1)
    batch.mark_with(excuse)
    assert verdicts(await batch)[1] == "succeeded"


class Slow(MemoryLedger):
    """A ledger whose rows are stored long after they were made, which the loop did not notice."""

    is_immediate = False

    async def insert(self, row: Row) -> Row:
        """Store a row: the machine sleeps meanwhile."""
        row.intended_at -= timedelta(minutes=1)
        return await super().insert(row)


async def test_a_row_that_was_stored_while_the_machine_slept(emulator: Emulator) -> None:
    """Nothing is sent: another process may have decided on the row meanwhile."""
    async with client_of(emulator, ledger=Slow()) as client:
        call = client.project().run_feature("Checkout", key="k")
        await raised(errors.LedgerError, call, match="its row was stored after 60 s")
    assert not emulator.runs


@pytest.mark.parametrize("seconds", [2.0, 4.0])
async def test_a_time_out_while_the_ledger_stores(emulator: Emulator, seconds: float) -> None:
    """What was not sent is withdrawn; what was accepted has its operation."""
    ledger = Notes()
    if seconds == 2.0:
        ledger.seconds[RowState.INTENDED] = seconds
    else:
        ledger.seconds[RowState.DISPATCHED] = seconds
        emulator.fail("run_feature", Fault.delay(9.5))
    async with client_of(emulator, ledger=ledger) as client:
        (item,) = await client.project().run_features(["Checkout"], timeout=1, key="k")
    assert (len(emulator.runs), item.verdict) == (
        (0, Verdict.SKIPPED) if seconds == 2.0 else (1, Verdict.IN_FLIGHT)
    )


async def test_reading_items_changes_no_error(emulator: Emulator, project: Project) -> None:
    """What the error of a lost dispatch says is the same, whether or not items were read before."""
    emulator.fail("run_feature", Fault.lost())
    emulator.fail("list_runs", Fault.hang(), skip=1)
    said: list[str] = []
    for is_read in (False, True):
        async with project.run_features(["Checkout"], stop_on_failure=1) as batch:
            await asyncio.sleep(60)
            assert not is_read or verdicts(batch.items) == ["unknown"]
            (item,) = [item async for item in batch]
        assert isinstance(item.error, errors.DispatchUnknownError)
        said.append(item.error.what)
    assert said[0] == said[1]


@pytest.mark.parametrize("key", [None, "nightly"])
async def test_an_attempt_that_was_never_sent(emulator: Emulator, key: str | None) -> None:
    """The attempt before it has its outcome, and the item says why none followed."""
    async with client_of(emulator, max_outage=5) as client:
        batch = client.project().run_features(["Returns"], attempts=2, key=key)
        between = None
        async with batch:
            async for _, change in batch.changes():
                if change.phase == "finished":
                    emulator.fail("*", Fault.status(503))
                    await asyncio.sleep(1)
                    (between,) = batch.items
        (item,) = batch.items
    assert isinstance(item.error, errors.NotSentError)
    assert between is not None
    assert (between.verdict, between.ref) == (Verdict.WAITING, None)
    assert (item.verdict, item.ref) == (Verdict.ERROR, ref_of(emulator, "Returns"))


async def test_another_operation_under_the_id(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """Where the id of a run shows that of another configuration, that is no outcome of this one."""
    operation = await project.run_feature("Checkout", config="Mobile")

    def swap(answer: Any) -> Any:
        is_run = "config" in answer
        return answer | {"config": "Default"} if is_run else [swap(row) for row in answer]

    for name in ("get_run", "list_runs"):
        emulator.fail(name, Fault.edit(swap))
    await raised(errors.ContradictionError, operation.wait())
    await raised(errors.ContradictionError, operation.poll(max_age=0))
    for iteration in (aiter(operation), client.finished([operation]), client.changes([operation])):
        await raised(errors.ContradictionError, anext(iteration))
