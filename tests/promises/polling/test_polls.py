"""Polling an operation once, answers out of order, and ids that come again."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from attrs import evolve

from tests.conftest import client_of
from tests.promises.conftest import Events
from tests.support.observing import dispatch_runs, start_wait
from tests.support.raising import raised
from tests.support.timing import STEADY, now, shift_local_clock
from testvibe_async import Client, Phase, Project, RunOperation, RunStatus, errors
from testvibe_async.events import PollFailed
from testvibe_async.testing import Emulator, Fault


async def test_a_poll_is_one_request(emulator: Emulator, operation: RunOperation) -> None:
    """poll() asks once and returns what it saw, again where nothing has changed since."""
    await asyncio.sleep(10)
    run = await operation.poll()
    seen_at = operation.observed_at

    assert run.phase is Phase.ACTIVE
    assert operation.snapshot is run
    assert emulator.count("get_run") == 1
    assert await operation.poll() is run
    assert seen_at is not None
    assert operation.observed_at is not None
    assert operation.observed_at > seen_at


@pytest.mark.parametrize("status", [401, 404, 500])
async def test_an_error_of_a_poll_has_its_ref_and_causes(
    emulator: Emulator, operation: RunOperation, status: int
) -> None:
    """An error of poll() has the ref, and a chain of causes without a cycle."""
    emulator.fail("get_run", Fault.status(status))

    error = await raised((errors.ObservationError, errors.UnauthorizedError), operation.poll())

    assert error.ref == operation.ref
    assert status != 500 or isinstance(error.__cause__, errors.ServerError)
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__) is not None:
        assert cause not in causes
        causes.append(cause)


async def test_unknown_fields_are_updated(emulator: Emulator, operation: RunOperation) -> None:
    """A poll that differs in an unknown field alone is kept, and is no update."""
    await operation.poll()
    emulator.fail("get_run", Fault.edit(lambda run: run | {"load": 0.5}), times=1)
    changes = operation.updates()
    await anext(changes)
    following = asyncio.ensure_future(anext(changes))

    seen = await operation.poll()

    assert seen.extra == {"load": 0.5}
    assert operation.snapshot is seen
    assert not following.done()
    following.cancel()


@pytest.mark.parametrize("is_end", [False, True])
async def test_a_late_one(emulator: Emulator, operation: RunOperation, *, is_end: bool) -> None:
    """An answer that arrives after that of a later poll counts only where it shows the end."""
    end = {"status": "passed", "finishedUtc": "2026-06-10T14:32:07Z"}
    shown: dict[str, Any] = end if is_end else {"status": "old"}
    await asyncio.sleep(1)
    emulator.fail("get_run", Fault.delay(20), times=1)
    emulator.fail("get_run", Fault.edit(lambda run: run | shown), times=1)
    late = asyncio.ensure_future(operation.poll())
    await asyncio.sleep(0.1)
    wait = start_wait(operation)
    await asyncio.sleep(12)
    wait.cancel()
    newer = operation.snapshot
    assert newer is not None
    assert newer.phase is Phase.ACTIVE

    seen_late = await late

    assert (seen_late is newer, operation.done) == (not is_end, is_end)
    assert operation.status == ("passed" if is_end else "running")


async def test_nothing_follows_the_end(emulator: Emulator, operation: RunOperation) -> None:
    """A poll that began later changes nothing once the end was observed."""
    emulator.finish_run(operation.run_id)
    emulator.fail("get_run", Fault.delay(1), times=1)
    end = asyncio.ensure_future(operation.poll())
    await asyncio.sleep(0.5)
    emulator.fail("get_run", Fault.delay(5), times=1)
    emulator.fail("get_run", Fault.edit(lambda run: run | {"status": "running"}), times=1)
    later = asyncio.ensure_future(operation.poll())
    run = await end

    assert run.is_success
    assert await later is run
    assert operation.outcome is run


async def test_an_older_answer_does_not_supersede(emulator: Emulator, project: Project) -> None:
    """A late answer that shows the previous generation changes nothing."""
    before = await project.generate_feature("Draft").wait()
    operation = await project.generate_feature("Draft")
    emulator.fail("get_generation_status", Fault.delay(15), times=1)
    emulator.fail("get_generation_status", Fault.edit(lambda _: before.to_dict()), times=1)
    early = asyncio.ensure_future(operation.poll())
    await asyncio.sleep(0.1)
    wait = asyncio.ensure_future(operation.wait())
    await asyncio.sleep(4)
    assert operation.status == "generating"
    await asyncio.sleep(12)

    assert (await early).request_id == operation.request_id
    assert (await wait).request_id == operation.request_id


async def test_an_earlier_generation_never_supersedes(emulator: Emulator, project: Project) -> None:
    """A copy that is behind may show a generation that nobody knew of, again and again."""
    emulator.fail("get_generation_status", Fault.status(404), times=1)
    operation = await project.generate_feature("Draft")
    await operation.poll()
    earlier = {"requestId": "before", "updatedUtc": "2026-01-01T00:00:00Z"}
    stale = Fault.edit(lambda answer: answer | earlier)
    rule = emulator.fail("get_generation_status", stale, when=lambda _: now() < 40)

    assert (await operation).request_id == operation.request_id
    assert rule.hits > 2


async def test_a_late_failure(emulator: Emulator, events: Events, operation: RunOperation) -> None:
    """A poll that fails after the end was observed returns the outcome."""
    emulator.fail("get_run", Fault.hang(), times=2)
    early, wait = asyncio.ensure_future(operation.poll()), start_wait(operation)
    await asyncio.sleep(5)
    emulator.finish_run(operation.run_id)
    outcome = await operation.poll()

    assert await early is outcome
    assert await wait is outcome
    await asyncio.sleep(100)
    assert events.of(PollFailed) == []


async def test_an_older_list_changes_nothing(emulator: Emulator, client: Client) -> None:
    """A list that was requested before the end was observed does not move `observed_at`."""
    operations = await dispatch_runs(client.project(), 4)
    gathering = asyncio.ensure_future(client.gather(*operations))
    await asyncio.sleep(8)
    running = {"status": "running", "finishedUtc": None}
    late = emulator.fail("list_runs", Fault.delay(2), times=1)
    emulator.fail("list_runs", Fault.edit(lambda rows: [row | running for row in rows]), times=1)
    await asyncio.sleep(2)
    assert late.hits == 1
    emulator.finish_run(operations[0].run_id)
    await operations[0].poll()
    seen_at = operations[0].observed_at
    await asyncio.sleep(2.5)

    assert operations[0].observed_at == seen_at
    await gathering


async def test_polls_share_it(emulator: Emulator, client: Client, operation: RunOperation) -> None:
    """Twenty polls at once, through two handles, cost one request, and return its snapshot."""
    handles = [operation, client.attach(operation.ref)]
    runs = await asyncio.gather(*(handle.poll() for handle in handles * 10))

    assert emulator.count("get_run") == 1
    assert {id(run) for run in runs} == {id(operation.snapshot)}


async def test_a_cancelled_caller_ends_no_poll(emulator: Emulator, operation: RunOperation) -> None:
    """The poll goes on for the others when the caller that started it is cancelled."""
    emulator.fail("get_run", Fault.delay(2), times=1)
    first = asyncio.ensure_future(operation.poll())
    second = asyncio.ensure_future(operation.poll())
    await asyncio.sleep(1)
    first.cancel()

    assert (await second).run_id == operation.run_id
    assert first.cancelled()
    assert emulator.count("get_run") == 1


@pytest.mark.parametrize("use", [RunOperation.wait, RunOperation.poll])
async def test_each_caller_has_its_error(
    emulator: Emulator, operation: RunOperation, use: Callable[[RunOperation], Any]
) -> None:
    """A shared failure is raised in each wait, or to each poll, as an object of its own."""
    emulator.fail("get_run", Fault.status(403))
    results = await asyncio.gather(*(use(operation) for _ in range(3)), return_exceptions=True)

    raised = [error for error in results if isinstance(error, errors.ForbiddenError)]
    assert len({id(error) for error in raised}) == 3
    assert len({id(error.__traceback__) for error in raised}) == 3
    assert len({str(error) for error in raised}) == 1
    assert emulator.count("get_run") == (1 if use is RunOperation.poll else 2)


async def test_a_younger_snapshot_is_good_enough(emulator: Emulator, project: Project) -> None:
    """210 polls of 3 runs in 2 s with `max_age=1` cost a request a run and second."""
    operations = await dispatch_runs(project, 3)
    for _ in range(70):
        await asyncio.gather(*(operation.poll(max_age=1.0) for operation in operations))
        await asyncio.sleep(2 / 70)

    assert emulator.count("get_run") == 6


async def test_what_is_over_is_free(emulator: Emulator, client: Client, project: Project) -> None:
    """Ten attaches to a run that ended cost no request more, though no handle was kept."""
    operation = await project.run_feature("Checkout")
    ref = operation.ref
    outcome = await operation
    before = len(emulator.requests)
    del operation
    gc.collect()

    for _ in range(10):
        attached = client.attach(type(ref).from_json(ref.to_json()))
        assert attached.done
        assert (await attached) == outcome == await attached.poll()
    assert len(emulator.requests) == before


Reset = Callable[[], AbstractAsyncContextManager[Emulator]]


@pytest.fixture
def reset(emulator: Emulator) -> Reset:
    """Starts the service anew at the same address: ids begin again, and all runs fail."""

    @asynccontextmanager
    async def started() -> AsyncGenerator[Emulator]:
        await emulator.aclose()
        port, scenario = int(emulator.url.rpartition(":")[2]), evolve(STEADY, failing_runs=1)
        async with Emulator(scenario=scenario, port=port) as second:
            yield second

    return started


@pytest.mark.parametrize("lead", [0, -3600])
async def test_an_id_that_is_used_again_has_its_own_outcome(
    project: Project, reset: Reset, monkeypatch: pytest.MonkeyPatch, lead: float
) -> None:
    """Whatever the local clock says, no earlier operation's verdict is the new one's."""
    earlier = await project.run_feature("Checkout").wait()
    assert earlier.is_success
    shift_local_clock(monkeypatch, lambda: lead)
    async with reset():
        operation = await project.run_feature("Checkout")
        assert operation.run_id == earlier.run_id
        assert not operation.done
        assert (await operation).status == RunStatus.FAILED


async def test_a_wait_from_before_a_reset_claims_nothing(project: Project, reset: Reset) -> None:
    """The outcome of a later run with the same id is not that of the run that was polled before."""
    operation = await project.run_feature("Checkout")
    await operation.poll()
    async with reset() as second, client_of(second) as other:
        await asyncio.sleep(120)
        theirs = await other.project().run_feature("Checkout").wait()
        assert theirs.run_id == operation.run_id
        error = await raised(errors.ObservationError, operation.wait())
    assert "created later than this run" in str(error)


async def test_a_ref_of_the_later_operation_attaches_to_it(client: Client, reset: Reset) -> None:
    """A ref that was dispatched after an outcome was seen is not of that outcome."""
    assert (await client.project().run_feature("Checkout").wait()).is_success
    async with reset() as second, client_of(second) as other:
        ref = (await other.project().run_feature("Checkout")).ref
        assert (await client.attach(ref)).status == RunStatus.FAILED


async def test_runs_of_another_feature_are_none(operation: RunOperation, reset: Reset) -> None:
    """Where the service was reset between two processes, an id may be that of another feature."""
    async with reset() as second, client_of(second) as other, client_of(second) as resumed:
        theirs = await other.project().run_feature("Wishlist")
        assert (await theirs).run_id == operation.run_id
        attached = resumed.attach(operation.ref)
        await raised(errors.ObservationError, attached, match=r"of feature \d+, not \d+")
