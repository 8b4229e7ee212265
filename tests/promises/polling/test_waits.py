"""Waiting for one operation, and iterating over its transitions."""

import asyncio
from typing import Any

import pytest

from tests.conftest import Received, Send, Sent, client_of, client_through
from tests.support.observing import start_wait, statuses
from tests.support.raising import raised
from tests.support.timing import now
from testvibe_async import Client, Phase, Project, RunOperation, Transition, errors
from testvibe_async.testing import Emulator, Fault, Scenario


async def test_a_run_is_awaited_to_its_outcome(emulator: Emulator, operation: RunOperation) -> None:
    """It comes soon after the end, and is kept for good: no request, no time, the same value."""
    run = await operation
    asked, at = len(emulator.requests), now()

    assert run.is_success
    assert operation.done
    assert 30 <= at <= 30 + 3
    assert await operation is await operation.poll() is operation.outcome is run
    assert await operation.wait(timeout=1) is run
    assert await statuses(operation) == [(Phase.FINISHED, "passed")]
    assert (len(emulator.requests), now()) == (asked, at)


async def test_many_waits_cost_the_polls_of_one(
    emulator: Emulator, operation: RunOperation, client: Client
) -> None:
    """Any number of waits on one operation cost as many polls as a single wait."""
    handles = [client.attach(operation.ref) for _ in range(5)]
    single = await client.project().run_feature("Returns")
    waits = [start_wait(handle) for handle in (*handles, *handles)]
    iterations = [asyncio.ensure_future(statuses(handle)) for handle in handles[:3]]
    await single
    runs = await asyncio.gather(*waits)
    histories = await asyncio.gather(*iterations)

    assert len({id(run) for run in runs}) == 1
    assert [len(history) for history in histories] == [3, 3, 3]
    polls_of_one = emulator.count("get_run", run_id=single.run_id)
    assert 10 <= polls_of_one <= 11
    assert emulator.count("get_run", run_id=operation.run_id) == polls_of_one


@pytest.mark.service(
    scenario=Scenario(
        generation_warm_up=(300, 300), run_queue=(5, 5), run_duration=(25, 25), failing_runs=0
    )
)
async def test_a_run_is_not_polled_as_rarely_as_an_old_generation(
    emulator: Emulator, project: Project
) -> None:
    """A wait that begins while the next planned poll is 10 s away has its own within 4 s."""
    generation = asyncio.ensure_future(project.generate_feature("Draft").wait())
    polled = 0
    while now() < 220 or emulator.count("get_generation_status") == polled:
        polled = emulator.count("get_generation_status")
        await asyncio.sleep(0.1)
    run = await project.run_feature("Checkout")
    wait = start_wait(run)
    await asyncio.sleep(4)
    assert emulator.count("get_run", run_id=run.run_id) == 1
    assert emulator.count("get_generation_status") == polled + 1
    await wait
    generation.cancel()


async def test_a_timeout_is_not_a_failure(emulator: Emulator, operation: RunOperation) -> None:
    """The wait ends with the ref and the status; the run goes on, and so does a later wait."""
    said = r"run \d+ is still running after 10 s.*wait again"
    error = await raised(errors.WaitTimeoutError, operation.wait(timeout=10), match=said)

    assert isinstance(error, TimeoutError)
    assert error.ref == operation.ref
    assert error.status == "running"
    assert error.elapsed == pytest.approx(10)
    assert emulator.count("cancel_generation") == 0
    assert (await operation).is_success


@pytest.mark.parametrize("timeout", [0, 0.0])
async def test_a_wait_without_time_polls_once(
    emulator: Emulator, operation: RunOperation, timeout: float
) -> None:
    """With no time at all the operation is polled once, and waited for no longer."""
    error = await raised(errors.WaitTimeoutError, operation.wait(timeout=timeout))
    assert error.status == "running"
    assert emulator.count("get_run") == 1

    emulator.finish_run(operation.run_id)
    assert (await operation.wait(timeout=timeout)).is_success
    assert emulator.count("get_run") == 2


async def test_the_last_poll_is_short(emulator: Emulator, operation: RunOperation) -> None:
    """A service that does not answer delays the error by a second."""
    await asyncio.sleep(1)
    emulator.fail("get_run", Fault.hang())
    said = "1 poll has failed since"
    error = await raised(errors.WaitTimeoutError, operation.wait(timeout=1), match=said)
    assert now() == pytest.approx(3, abs=0.1)
    assert isinstance(error.__cause__, errors.OutcomeUnknownError)


@pytest.mark.parametrize("is_closed_first", [True, False])
async def test_a_deadline_at_the_close(
    emulator: Emulator, client: Client, operation: RunOperation, *, is_closed_first: bool
) -> None:
    """A wait whose time is over just as the client closes says so, and sends no last poll."""

    async def close() -> None:
        await asyncio.sleep(5)
        await client.aclose()

    wait = raised(errors.WaitTimeoutError, operation.wait(timeout=5))
    await asyncio.gather(*([close(), wait] if is_closed_first else [wait, close()]))
    assert now() < 6
    assert emulator.count("get_run") == 1  # none at the time-out


@pytest.mark.parametrize("seconds", [0, 40])
async def test_transitions_come_in_order(operation: RunOperation, seconds: float) -> None:
    """The dispatch, each change of phase or status once, the outcome; however slow the body is."""
    transitions: list[Transition[Any]] = []
    assert operation.phase is Phase.QUEUED
    async for transition in operation:
        transitions.append(transition)
        await asyncio.sleep(seconds)

    assert [(transition.phase, transition.status) for transition in transitions] == [
        *((Phase.QUEUED, "running"), (Phase.ACTIVE, "running"), (Phase.FINISHED, "passed"))
    ]
    assert (transitions[0].snapshot, transitions[-1].snapshot) == (None, operation.outcome)
    assert transitions[0].observed_at <= transitions[-1].observed_at


@pytest.mark.parametrize("is_of_many", [False, True])
async def test_leaving_early_ends_the_polling(
    emulator: Emulator, client: Client, operation: RunOperation, *, is_of_many: bool
) -> None:
    """Dropping an iterator, of one operation or of many, ends the polling."""
    other = await client.project().run_feature("Checkout")
    asyncio.get_running_loop().call_later(5, emulator.finish_run, other.run_id)
    async for _ in client.finished([operation, other]) if is_of_many else operation.updates():
        if emulator.count("get_run"):
            break
    await asyncio.sleep(1)
    asked = emulator.count("get_run")
    await asyncio.sleep(60)

    assert 0 < emulator.count("get_run") == asked


async def test_two_tasks_on_one_iteration_are_refused(operation: RunOperation) -> None:
    """A second task on one iteration gets a RuntimeError, and the first goes on."""
    transitions = aiter(operation)
    await anext(transitions)
    first = asyncio.ensure_future(anext(transitions))
    await asyncio.sleep(0)

    await raised(RuntimeError, anext(transitions), match="give each its own")
    assert (await first).phase is Phase.ACTIVE


async def test_impatient_waits_leave_room_for_patient_ones(emulator: Emulator) -> None:
    """The last polls of many time-outs, which come first, do not keep all others waiting."""
    emulator.fail("get_run", Fault.delay(0.3))
    emulator.fail("list_runs", Fault.status(404))

    async def be_impatient(operation: RunOperation) -> None:
        while not operation.done:
            await raised(errors.WaitTimeoutError, operation.wait(timeout=0))

    async with client_of(emulator, max_connections=4, poll_interval=1.0) as client:
        project = client.project()
        awaited = await project.run_feature("Checkout")
        others = [await project.run_feature("Returns") for _ in range(20)]
        tasks = [asyncio.create_task(be_impatient(each)) for each in others]
        try:
            emulator.finish_run(awaited.run_id)
            async with asyncio.timeout(15):
                assert (await awaited).is_success
        finally:
            for task in tasks:
                task.cancel()


async def test_a_cancelled_poller_ends_the_waits(emulator: Emulator, project: Project) -> None:
    """Where other code cancels the poller's tasks, no wait hangs; a later wait polls again."""
    operation = await project.run_feature("Checkout")
    slow = emulator.fail("get_run", Fault.delay(1))
    waiting = start_wait(operation)
    await asyncio.sleep(3.5)
    for task in asyncio.all_tasks():
        if task.get_name() == "testvibe_async poller":
            task.cancel()
    await raised(errors.ObservationError, waiting, match="poller's task was cancelled")
    slow.remove()
    assert (await operation).is_success


async def test_a_close_waits_for_each_last_poll(emulator: Emulator) -> None:
    """A close during the last polls of two operations ends when the slower one has ended."""

    async def leave_late(request: Sent, send: Send) -> Received:
        try:
            return await send(request)
        except asyncio.CancelledError:
            await asyncio.sleep(1 if request.url.path.endswith("/215") else 0)
            raise

    async with client_through(leave_late, emulator) as client:
        operations = [await client.project().run_feature("Checkout") for _ in range(2)]
        emulator.fail("get_run", Fault.hang())
        waits = [asyncio.ensure_future(each.wait(timeout=0)) for each in operations]
        await asyncio.sleep(0.5)

        await client.aclose()

        left = [task for task in asyncio.all_tasks() if "poller" in task.get_name()]
        assert left == []
        await asyncio.wait(waits)
