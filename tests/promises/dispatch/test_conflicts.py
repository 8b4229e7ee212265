"""Starter (409): raised, attached to, or waited for."""

import asyncio
from typing import Literal

import pytest
from attrs import evolve

from tests.conftest import client_of
from tests.support.faults import NO_ID, NO_ID_WHILE_QUEUED
from tests.support.raising import raised
from tests.support.timing import now
from testvibe_async import GenerationFailedError, MemoryLedger, Project, errors
from testvibe_async.ledger import Row, RowState
from testvibe_async.testing import Emulator, Fault


@pytest.mark.parametrize("is_seen", [True, False])
async def test_one_in_flight(emulator: Emulator, project: Project, *, is_seen: bool) -> None:
    """A 409 of generate_feature carries the ref of the one in flight, if that can be polled."""
    running = await project.generate_feature("Draft")
    if not is_seen:
        emulator.fail("get_generation_status", Fault.status(404))

    error = await raised(errors.GenerationInProgressError, project.generate_feature("Draft"))

    assert error.ref == (running.ref if is_seen else None)
    assert error.code == "conflict"


@pytest.mark.parametrize("hidden", [NO_ID_WHILE_QUEUED, NO_ID], ids=["queued", "always"])
async def test_one_without_an_id_is_waited_for(
    emulator: Emulator, project: Project, hidden: Fault
) -> None:
    """A generation whose id is not shown yet, or never, is in flight until its status ends."""
    await project.generate_feature("Draft")
    emulator.fail("get_generation_status", hidden)

    error = await raised(errors.WaitTimeoutError, project.wait_for_generation("Draft", timeout=10))
    assert error.status == "generating"
    assert now() == pytest.approx(10, abs=1.1)
    assert (await project.wait_for_generation("Draft")).is_success


@pytest.mark.parametrize("hidden", [NO_ID_WHILE_QUEUED, NO_ID], ids=["queued", "always"])
async def test_a_conflict_with_one_without_an_id(
    emulator: Emulator, project: Project, hidden: Fault
) -> None:
    """It is joined once it shows an id, else raised; a run uses its tests, "wait" has its own."""
    running = await project.generate_feature("Draft")
    emulator.fail("get_generation_status", hidden)

    dispatch = project.generate_feature("Draft", on_conflict="attach")
    if hidden is NO_ID_WHILE_QUEUED:
        assert (await dispatch).request_id == running.request_id
    else:
        await raised(errors.GenerationInProgressError, dispatch)
    assert len(emulator.generations) == 1

    await project.run_feature("Draft", on_conflict="wait")
    assert len(emulator.generations) == 1

    await project.generate_feature("Checkout")
    await project.generate_feature("Checkout", on_conflict="wait")
    assert len(emulator.generations) == 3
    assert len(emulator.active_generations()) == 1


class Rivals(MemoryLedger):
    """A ledger in which another process has just made the attempt that would keep a joined one."""

    is_taken = False

    async def insert(self, row: Row) -> Row:
        """Store a refused attempt of the other process first, once."""
        if row.adopted and not self.is_taken:
            self.is_taken = True
            refused = evolve(row, token="another", state=RowState.NOT_STARTED, ref=None)
            await super().insert(refused)
        return await super().insert(row)


async def test_a_joined_generation_has_a_row_of_its_own(emulator: Emulator, rival: Project) -> None:
    """It is the next attempt's where another process has made this one."""
    theirs = await rival.generate_feature("Draft")
    async with client_of(emulator, ledger=Rivals()) as client:
        joined = await client.project().generate_feature("Draft", key="a", on_conflict="attach")
        *_, last = await client.ledger.rows("a")
    assert last.ref == joined.ref == theirs.ref


@pytest.mark.parametrize("policy", ["attach", "wait"])
@pytest.mark.parametrize("times", [2, 3])
async def test_a_bare_conflict(
    emulator: Emulator, project: Project, policy: Literal["attach", "wait"], times: int
) -> None:
    """A 409 with nothing in flight is dispatched again, and raised after three dispatches."""
    emulator.fail("generate_feature", Fault.status(409), times=times)

    dispatch = project.generate_feature("Draft", on_conflict=policy)
    if times == 2:
        assert [(await dispatch).request_id] == list(emulator.generations)
    else:
        await raised(errors.GenerationInProgressError, dispatch)

    assert emulator.count("generate_feature") == 3


async def test_an_ended_one_is_not_waited_for(emulator: Emulator, project: Project) -> None:
    """A finished generation that is shown as in flight costs one dispatch a second."""
    await project.generate_feature("Draft").wait()
    emulator.fail("generate_feature", Fault.status(409))
    status = {"featureStatus": "generating", "overallStatus": "in_progress"}
    lagging = status | {"overallConclusion": None}
    emulator.fail("get_generation_status", Fault.edit(lambda answer: answer | lagging))
    began, asked = now(), emulator.count("generate_feature")

    dispatch = project.generate_feature("Draft", on_conflict="wait")
    await raised(errors.GenerationInProgressError, dispatch)

    assert emulator.count("generate_feature") - asked == 3
    assert now() - began == pytest.approx(2, abs=0.1)


async def test_a_run_waits_for_each(emulator: Emulator, project: Project, rival: Project) -> None:
    """Where another generation supersedes the one in flight, its tests are run."""
    generation = await project.generate_feature("Draft")
    run = asyncio.ensure_future(project.run_feature("Draft", on_conflict="wait"))
    await asyncio.sleep(11.9)
    emulator.finish_generation(generation.request_id)
    theirs = await rival.generate_feature("Draft")
    emulator.finish_generation(theirs.request_id)

    assert (await (await run)).is_success
    assert list(emulator.generations) == [generation.request_id, theirs.request_id]


async def test_the_generation_may_fail(emulator: Emulator, project: Project) -> None:
    """Where it fails there is nothing to run, and the cause says so."""
    await project.generate_feature("Broken")

    dispatch = project.run_feature("Broken", on_conflict="wait")
    error = await raised(errors.FeatureNotGeneratedError, dispatch)

    assert isinstance(error.__cause__, GenerationFailedError)
    assert emulator.runs == {}


async def test_each_before_is_awaited(emulator: Emulator, project: Project, rival: Project) -> None:
    """Each that is seen in flight is a reason for the 409: only unseen ones are counted."""
    theirs = await rival.generate_feature("Draft")
    own = asyncio.ensure_future(project.generate_feature("Draft", on_conflict="wait"))
    for _ in range(4):
        await asyncio.sleep(10)
        emulator.finish_generation(theirs.request_id)
        theirs = await rival.generate_feature("Draft")
    assert (await own).request_id == list(emulator.generations)[-1]
    assert len(emulator.generations) == 6
