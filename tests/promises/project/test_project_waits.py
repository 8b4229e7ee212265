"""`wait_for_run` and `wait_for_generation`: waiting by id or name, without a handle."""

import asyncio
from typing import Any

import pytest

from tests.conftest import client_of
from tests.support.shop import DRAFT, GENERATED
from tests.support.timing import now
from testvibe_async import Project, errors
from testvibe_async.testing import Emulator, Fault


async def test_wait_for_generation_waits_for_the_end(emulator: Emulator, project: Project) -> None:
    """wait_for_generation returns the outcome of the generation in flight, once it is over."""
    operation = await project.generate_feature(DRAFT)
    outcome = await project.wait_for_generation(DRAFT)
    assert outcome.is_finished
    assert outcome.request_id == operation.request_id
    assert now() >= emulator.generations[operation.request_id].finished_at
    assert emulator.count("generate_feature") == 1


async def test_a_generation_that_is_over(emulator: Emulator, project: Project) -> None:
    """wait_for_generation needs one poll for a generation that is over."""
    await project.wait_for_generation(GENERATED)
    assert emulator.count("get_generation_status") == 1
    assert now() == 0


async def test_a_feature_that_was_never_generated(project: Project) -> None:
    """wait_for_generation returns at once where there never was a generation."""
    outcome = await project.wait_for_generation(DRAFT, timeout=5)
    assert outcome.request_id is None
    assert now() == 0


async def test_a_later_generation_is_followed(emulator: Emulator, project: Project) -> None:
    """wait_for_generation waits for the latest one, also where that changes meanwhile."""
    first = await project.generate_feature(DRAFT)
    wait = asyncio.ensure_future(project.wait_for_generation(DRAFT))
    await asyncio.sleep(10)
    emulator.finish_generation(first.request_id)
    async with client_of(emulator) as rival:
        second = await rival.project().generate_feature(DRAFT)
    outcome = await wait
    assert outcome.request_id == second.request_id
    assert outcome.is_finished


async def test_one_deadline_for_all_of_them(emulator: Emulator, project: Project) -> None:
    """wait_for_generation ends when its time is over, whichever generation it waits for then."""
    first = await project.generate_feature(DRAFT)
    wait = asyncio.ensure_future(project.wait_for_generation(DRAFT, timeout=20))
    await asyncio.sleep(10)
    emulator.finish_generation(first.request_id)
    async with client_of(emulator) as rival:
        second = await rival.project().generate_feature(DRAFT)
    with pytest.raises(errors.WaitTimeoutError) as caught:
        await wait
    assert caught.value.ref is not None
    assert caught.value.ref.key[-1] == second.request_id
    assert now() == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize("times", [1, 4])
async def test_failed_polls_are_no_end(emulator: Emulator, project: Project, times: int) -> None:
    """wait_for_generation does not take failed polls for the end of the generation."""
    await project.generate_feature(DRAFT)
    emulator.fail("get_generation_status", Fault.status(500), times=times)
    try:
        outcome = await project.wait_for_generation(DRAFT)
    except errors.ServerError:
        return
    assert outcome.is_finished


async def test_a_time_out_cancels_nothing(emulator: Emulator, project: Project) -> None:
    """wait_for_generation raises WaitTimeoutError with the ref, and the generation goes on."""
    operation = await project.generate_feature(DRAFT)
    with pytest.raises(errors.WaitTimeoutError) as caught:
        await project.wait_for_generation(DRAFT, timeout=10)
    assert caught.value.ref is not None
    assert caught.value.ref.key == operation.ref.key
    assert now() == pytest.approx(10)
    assert emulator.count("cancel_generation") == 0
    assert (await project.wait_for_generation(DRAFT)).is_finished


async def test_wait_for_generation_of_an_unknown_feature_is_not_found(project: Project) -> None:
    """wait_for_generation raises NotFoundError where there is no such feature."""
    with pytest.raises(errors.NotFoundError):
        await project.wait_for_generation("none")


async def test_wait_for_run_waits_for_the_end(emulator: Emulator, project: Project) -> None:
    """wait_for_run returns the outcome once the run is over, whichever client dispatched it."""
    async with client_of(emulator) as other:
        operation = await other.project().run_feature(GENERATED)
    run = await project.wait_for_run(operation.run_id)
    assert run.is_finished
    assert run.run_id == operation.run_id
    assert now() >= emulator.runs[operation.run_id].finished_at


async def test_wait_for_run_of_an_unknown_run_is_not_found(project: Project) -> None:
    """wait_for_run raises OperationNotFoundError where the service knows no such run."""
    with pytest.raises(errors.OperationNotFoundError):
        await project.wait_for_run(999)


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), True, "1"])
async def test_waits_take_seconds(emulator: Emulator, project: Project, timeout: Any) -> None:
    """Both waits refuse a time-out that is no number of seconds, whatever they wait for."""
    operation = await project.run_feature(GENERATED)
    emulator.finish_run(operation.run_id)
    with pytest.raises(errors.ConfigError):
        await project.wait_for_run(operation.run_id, timeout=timeout)
    with pytest.raises(errors.ConfigError):
        await project.wait_for_generation(GENERATED, timeout=timeout)


@pytest.mark.parametrize("fault", [Fault.hang(), Fault.status(429, retry_after=8)])
async def test_a_wait_keeps_its_time(emulator: Emulator, project: Project, fault: Fault) -> None:
    """A service that can't be seen takes no more time than the wait has."""
    emulator.fail("get_generation_status", fault)
    with pytest.raises(errors.WaitTimeoutError, match="was not seen after 2 s") as caught:
        await project.wait_for_generation(DRAFT, timeout=2)
    assert asyncio.get_running_loop().time() == pytest.approx(2, abs=0.1)
    assert caught.value.ref is None


async def test_a_run_has_a_handle_by_its_bare_id(emulator: Emulator, project: Project) -> None:
    """A run's id alone gives a handle, without a request, equal to the one of the dispatch."""
    operation = await project.run_feature(GENERATED)
    before = len(emulator.requests)
    handle = project.run_operation(operation.run_id)
    assert handle == operation
    assert len(emulator.requests) == before
    emulator.finish_run(operation.run_id)
    assert (await handle).is_success


@pytest.mark.parametrize("run_id", [0, -1, "214", 1.5, True])
async def test_a_run_id_is_a_whole_number(project: Project, run_id: Any) -> None:
    """What can't be a run's id is refused before anything is asked."""
    with pytest.raises(errors.ConfigError, match="run_id must be a whole number"):
        project.run_operation(run_id)
