"""Waiting for one operation: outcomes, timeouts, cancellation, and waits that are dropped."""

import asyncio
import gc
from typing import Any

import pytest

from tests.conftest import Received, Send, Sent, client_of, client_through
from tests.support.observing import start_wait, statuses
from tests.support.timing import now
from testvibe_async import (
    Client,
    OutcomeUnknownError,
    Project,
    RunOperation,
    ServerError,
    WaitTimeoutError,
)
from testvibe_async.testing import Emulator, Fault

RUN_SECONDS = 30.0


async def test_a_run_is_awaited_to_its_outcome(operation: RunOperation) -> None:
    """Awaiting returns the digest, soon after the run ended."""
    run = await operation

    assert run.is_success
    assert operation.done
    assert operation.outcome is run
    assert RUN_SECONDS <= now() <= RUN_SECONDS + 3


async def test_a_failed_run_is_a_result(emulator: Emulator, project: Project) -> None:
    """A run that failed is returned, not raised."""
    operation = await project.run_feature("Checkout")
    emulator.finish_run(operation.run_id, "failed")

    run = await operation

    assert run.status == "failed"
    assert run.failures
    assert run.log


async def test_awaiting_again_costs_nothing(emulator: Emulator, operation: RunOperation) -> None:
    """A terminal state is kept for good: no request, no time, the same value."""
    first = await operation
    asked, at = len(emulator.requests), now()

    assert await operation is first
    assert await operation.poll() is first
    assert await operation.wait(timeout=1) is first
    assert (len(emulator.requests), now()) == (asked, at)


async def test_a_terminal_state_outlives_the_client(emulator: Emulator) -> None:
    """What is known to be over can be read after the client is closed."""
    async with client_of(emulator) as client:
        operation = await client.project().run_feature("Checkout")
        run = await operation

    assert await operation is run


async def test_ten_waiters_and_three_iterators_cost_one_stream_of_polls(
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


async def test_a_timeout_is_not_a_failure(emulator: Emulator, operation: RunOperation) -> None:
    """The wait ends with the ref and the status; the run goes on, and so does a later wait."""
    said = r"run \d+ is still running after 10 s.*wait again"
    with pytest.raises(WaitTimeoutError, match=said) as caught:
        await operation.wait(timeout=10)

    assert isinstance(caught.value, TimeoutError)
    assert caught.value.ref == operation.ref
    assert caught.value.status == "running"
    assert caught.value.elapsed == pytest.approx(10)
    assert emulator.count("cancel_generation") == 0
    assert (await operation).is_success


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), True, "5"])
async def test_a_timeout_must_be_seconds(operation: RunOperation, timeout: Any) -> None:
    """What is no number of seconds is refused at once."""
    with pytest.raises(ValueError, match="timeout must be a number of seconds"):
        await operation.wait(timeout=timeout)


@pytest.mark.parametrize("timeout", [0, 0.0])
async def test_no_time_is_one_poll(
    emulator: Emulator, operation: RunOperation, timeout: float
) -> None:
    """With no time at all the operation is polled once, and waited for no longer."""
    with pytest.raises(WaitTimeoutError) as caught:
        await operation.wait(timeout=timeout)
    assert caught.value.status == "running"
    assert emulator.count("get_run") == 1

    emulator.finish_run(operation.run_id)
    assert (await operation.wait(timeout=timeout)).is_success
    assert emulator.count("get_run") == 2


async def test_the_last_poll_takes_a_second_at_most(
    emulator: Emulator, operation: RunOperation
) -> None:
    """A service that does not answer delays the error by a second."""
    await asyncio.sleep(1)
    emulator.fail("get_run", Fault.hang())
    with pytest.raises(WaitTimeoutError, match="1 poll has failed since") as caught:
        await operation.wait(timeout=1)
    assert now() == pytest.approx(3, abs=0.1)
    assert isinstance(caught.value.__cause__, OutcomeUnknownError)


async def test_the_error_says_how_old_the_news_is(
    emulator: Emulator, operation: RunOperation
) -> None:
    """After failed polls the error says when it was last seen, how many failed, and why."""
    await operation.poll()
    seen_at = operation.observed_at
    emulator.fail("get_run", Fault.status(500))
    with pytest.raises(WaitTimeoutError, match=r"was last seen at .* polls have failed") as caught:
        await operation.wait(timeout=20)
    assert caught.value.last_seen_at == seen_at
    assert caught.value.failures >= 2
    assert isinstance(caught.value.__cause__, ServerError)


async def test_waits_that_end_together_share_a_last_list(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """Fifty waits with one deadline cost one list call, and reads of what it leaves open."""
    operations = [await project.run_feature("Checkout") for _ in range(50)]
    for operation in operations:
        await operation.poll()
    before = len(emulator.requests)
    results = await asyncio.gather(
        *(operation.wait(timeout=0.5) for operation in operations), return_exceptions=True
    )
    assert all(isinstance(result, WaitTimeoutError) for result in results)
    assert [r.operation for r in emulator.requests[before:]] == ["list_runs", "get_run"]
    assert client.server


async def test_a_last_list_that_fails_leaves_reads_by_id(
    emulator: Emulator, project: Project
) -> None:
    """Where the last list call fails, each of them is read by id instead."""
    operations = [await project.run_feature("Checkout") for _ in range(20)]
    for operation in operations:
        await operation.poll()
    emulator.fail("list_runs", Fault.status(500))
    before = len(emulator.requests)
    results = await asyncio.gather(
        *(operation.wait(timeout=0.5) for operation in operations), return_exceptions=True
    )
    assert all(isinstance(result, WaitTimeoutError) for result in results)
    sent = [request.operation for request in emulator.requests[before:]]
    assert sent == ["list_runs", *["get_run"] * 20]


@pytest.mark.parametrize("is_closed_first", [True, False])
async def test_a_deadline_at_the_moment_of_the_close(
    emulator: Emulator, *, is_closed_first: bool
) -> None:
    """A wait whose time is over just as the client closes says so, and sends no last poll."""
    client = client_of(emulator)
    operation = await client.project().run_feature("Checkout")

    async def close() -> None:
        await asyncio.sleep(5)
        await client.aclose()

    async def wait() -> None:
        with pytest.raises(WaitTimeoutError):
            await operation.wait(timeout=5)

    await asyncio.gather(*([close(), wait()] if is_closed_first else [wait(), close()]))
    assert now() < 6
    assert emulator.count("get_run") == 1  # none at the time-out


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

        left = [task for task in asyncio.all_tasks() if "LastPoll" in repr(task)]
        assert left == []
        await asyncio.wait(waits)


async def test_a_last_poll_that_is_cancelled_ends_no_later_one(
    emulator: Emulator, operation: RunOperation
) -> None:
    """All other tasks are cancelled as a wait times out; the next wait has its last poll."""

    async def cancel_last_poll() -> None:
        while True:
            for task in asyncio.all_tasks():
                if task.get_name() == "testvibe_async last poll":
                    task.cancel()
                    return
            await asyncio.sleep(0)

    first = asyncio.ensure_future(operation.wait(timeout=0))
    await cancel_last_poll()
    with pytest.raises(WaitTimeoutError):
        await first
    before = emulator.count("get_run")
    with pytest.raises(WaitTimeoutError):
        await operation.wait(timeout=0)
    assert emulator.count("get_run") == before + 1


async def test_no_waits_mean_no_polls(emulator: Emulator, operation: RunOperation) -> None:
    """Polling ends with the last wait, and begins again with the next."""
    wait = start_wait(operation)
    await asyncio.sleep(4)
    wait.cancel()
    await asyncio.sleep(0)
    asked = emulator.count("get_run")
    await asyncio.sleep(20)

    assert emulator.count("get_run") == asked
    assert (await operation).is_success


async def test_a_dispatch_alone_costs_no_polls(emulator: Emulator, operation: RunOperation) -> None:
    """An operation without a wait is not polled."""
    await asyncio.sleep(60)

    assert emulator.count("get_run") == 0
    assert (operation.status, operation.phase) == ("running", "queued")


@pytest.mark.parametrize("way", ["iteration", "updates", "finished", "gather"])
async def test_a_kept_cancelled_task_does_not_keep_polling(
    emulator: Emulator, client: Client, operation: RunOperation, way: str
) -> None:
    """The traceback of a cancellation does not keep an iteration alive, and so no polling."""

    async def follow() -> None:
        if way == "gather":
            await client.gather(operation)
        elif way == "finished":
            async for _ in client.finished([operation]):
                pass
        else:
            async for _ in operation if way == "iteration" else operation.updates():
                pass

    task = asyncio.ensure_future(follow())
    await asyncio.sleep(4)
    task.cancel()
    (result,) = await asyncio.gather(task, return_exceptions=True)
    gc.collect()
    await asyncio.sleep(0)
    asked = emulator.count("get_run")
    await asyncio.sleep(12)

    assert isinstance(result, asyncio.CancelledError)
    assert emulator.count("get_run") == asked


async def test_an_iteration_may_be_closed_twice(
    emulator: Emulator, operation: RunOperation
) -> None:
    """The second time there is nothing left to end."""
    transitions = aiter(operation)
    await anext(transitions)
    await transitions.aclose()
    await transitions.aclose()
    await asyncio.sleep(60)

    assert emulator.count("get_run") == 0
    assert [transition async for transition in transitions] == []


async def test_an_unused_iteration_leaves_nothing(
    emulator: Emulator, client: Client, operation: RunOperation
) -> None:
    """Iterations that were never stepped leave no listener behind."""
    unasked = client.finished([operation]), aiter(operation)
    del unasked
    gc.collect()
    await asyncio.sleep(60)

    assert emulator.count("get_run") == 0
    assert (await operation).is_success
