"""Waiting for many operations: `Client.gather` and `Client.finished`."""

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import client_of
from tests.support.amounts import amount
from tests.support.raising import raised
from testvibe_async import Client, Operation, Ref, Run, RunOperation, RunRef, errors
from testvibe_async.testing import Emulator, Fault


async def test_they_come_as_they_finish(emulator: Emulator, client: Client) -> None:
    """finished() yields operations in the order in which they finish."""
    operations = [await client.project().run_feature("Checkout") for _ in range(3)]
    await operations[1].poll()
    emulator.finish_run(operations[2].run_id)
    await operations[2]

    order: list[Operation[Run]] = []
    async for operation in client.finished(operations):
        order.append(operation)
        if len(order) == 1:
            emulator.finish_run(operations[1].run_id)

    assert order == [operations[2], operations[1], operations[0]]


@pytest.mark.parametrize("method", [Client.finished, Client.changes])
async def test_closing_early(
    emulator: Emulator, client: Client, method: Callable[..., Any]
) -> None:
    """Closing finished() or changes() before it listens to all leaves no listener."""
    refs = [
        RunRef(server=emulator.url, project=emulator.project_id, run_id=number)
        for number in range(1, 1301)
    ]
    operations = [client.attach(ref) for ref in refs]
    waits = method(client, operations)
    first = asyncio.ensure_future(anext(waits))
    await asyncio.sleep(0)
    await waits.aclose()

    await raised(StopAsyncIteration, first)
    await asyncio.sleep(60)
    assert emulator.requests == []


async def test_no_operations(client: Client) -> None:
    """Waiting for no operations ends at once."""
    none: list[RunOperation] = []

    assert await client.gather(*none) == []
    assert [operation async for operation in client.finished(none)] == []


async def test_one_that_can_not_be_observed_comes_last(emulator: Emulator, client: Client) -> None:
    """finished() yields all others before it raises for one that can't be observed."""
    bad, good = [await client.project().run_feature("Checkout") for _ in range(2)]
    emulator.fail("get_run", Fault.status(403), when=lambda r: r.run_id == bad.run_id)
    completions = client.finished([bad, good])

    assert await anext(completions) is good
    error = await raised(errors.ForbiddenError, anext(completions))
    assert error.ref == bad.ref
    assert [operation async for operation in completions] == []


async def test_a_closed_client_is_raised_once_for_each(emulator: Emulator) -> None:
    """finished() of a closed client raises once for each operation, and then ends."""
    async with client_of(emulator) as client:
        operations = [await client.project().run_feature("Checkout") for _ in range(3)]
    completions = client.finished(operations)
    refs: list[Ref | None] = []
    async with asyncio.timeout(60):
        for _ in operations:
            error = await raised(errors.ClientClosedError, anext(completions))
            refs.append(error.ref)

        assert [operation async for operation in completions] == []

    assert refs == [operation.ref for operation in operations]


async def test_leaving_early_ends_the_polling_of_many(emulator: Emulator, client: Client) -> None:
    """Dropping finished() ends the polling."""
    operations = [await client.project().run_feature("Checkout") for _ in range(3)]
    emulator.finish_run(operations[0].run_id)
    async for _ in client.finished(operations):
        break
    await asyncio.sleep(1)
    asked = emulator.count("get_run")
    await asyncio.sleep(60)

    assert emulator.count("get_run") == asked <= len(operations)


async def test_a_closed_one_raises_nothing(emulator: Emulator, client: Client) -> None:
    """After aclose() an error that was to come last does not come."""
    bad, good = [await client.project().run_feature("Checkout") for _ in range(2)]
    emulator.fail("get_run", Fault.status(403), when=lambda r: r.run_id == bad.run_id)
    completions = client.finished([bad, good])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(20):  # The key was refused by then.
            await anext(completions)

    await completions.aclose()

    assert [operation async for operation in completions] == []


async def test_a_kept_error_does_not_keep_polling(emulator: Emulator, client: Client) -> None:
    """Keeping what gather() raised, with its traceback, does not keep the polling."""
    bad, good = [await client.project().run_feature("Checkout") for _ in range(2)]
    emulator.fail("get_run", Fault.status(403), when=lambda r: r.run_id == bad.run_id)
    error = await raised(errors.ForbiddenError, client.gather(bad, good))
    await asyncio.sleep(1)
    asked = emulator.count("get_run")
    await asyncio.sleep(60)

    assert emulator.count("get_run") == asked
    assert error.__traceback__ is not None


async def test_a_cancelled_step_loses_no_completion(client: Client) -> None:
    """The wait for the next completion can be cancelled and begun again."""
    operations = [await client.project().run_feature("Checkout") for _ in range(2)]
    completions = client.finished(operations)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10):
            await anext(completions)

    assert {id(operation) async for operation in completions} == set(map(id, operations))


async def test_many_at_once(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    """A hundred runs awaited at once all finish, and leave no task and no warning."""
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    before = asyncio.all_tasks()
    async with client_of(emulator) as client:
        project = client.project()
        operations = await asyncio.gather(
            *(project.run_feature("Checkout") for _ in range(amount(1000, few=100)))
        )
        runs = await asyncio.gather(*operations)
    await asyncio.sleep(0)
    gc.collect()

    assert [run.run_id for run in runs] == [operation.run_id for operation in operations]
    assert all(run.is_success for run in runs)
    assert asyncio.all_tasks() - before == server_tasks(before)
    assert problems == []
    assert caplog.records == []


def server_tasks(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """The emulator's own tasks, one for each connection that is not closed yet."""
    return {
        task
        for task in asyncio.all_tasks() - before
        if "aiohttp/web" in task.get_coro().cr_code.co_filename  # type: ignore[union-attr]
    }
