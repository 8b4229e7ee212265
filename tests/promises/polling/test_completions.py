"""Waiting for many operations: `Client.gather`, `Client.finished` and `Client.changes`."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from tests.support.observing import dispatch_runs
from tests.support.raising import raised
from testvibe_async import Client, Operation, Project, Run, RunOperation, RunRef, errors
from testvibe_async.testing import Emulator, Fault


async def test_they_come_as_they_finish(emulator: Emulator, client: Client) -> None:
    """finished() yields operations in the order in which they finish."""
    operations = await dispatch_runs(client.project(), 3)
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
async def test_an_early_close_leaves_no_listener(
    emulator: Emulator, client: Client, method: Callable[..., Any]
) -> None:
    """Closing finished() or changes() before it listens to all leaves no listener."""
    ref = RunRef(server=emulator.url, project=emulator.project_id, run_id=1)
    waits = method(client, [client.attach(evolve(ref, run_id=n)) for n in range(1, 1301)])
    first = asyncio.ensure_future(anext(waits))
    await asyncio.sleep(0)
    await waits.aclose()

    await raised(StopAsyncIteration, first)
    await asyncio.sleep(60)
    assert emulator.requests == []


async def test_one_that_can_not_be_observed_comes_last(emulator: Emulator, client: Client) -> None:
    """finished() yields all others before it raises for one that can't be observed."""
    bad, good = await dispatch_runs(client.project(), 2)
    emulator.fail("get_run", Fault.status(403), when=lambda r: r.run_id == bad.run_id)
    completions = client.finished([bad, good])

    assert await anext(completions) is good
    error = await raised(errors.ForbiddenError, anext(completions))
    assert error.ref == bad.ref
    assert [operation async for operation in completions] == []


async def test_a_closed_client_is_raised_once_for_each(client: Client) -> None:
    """finished() of a closed client raises once for each operation, and then ends."""
    operations = await dispatch_runs(client.project(), 3)
    await client.aclose()
    completions = client.finished(operations)
    async with asyncio.timeout(60):
        for operation in operations:
            error = await raised(errors.ClientClosedError, anext(completions))
            assert error.ref == operation.ref
        assert [operation async for operation in completions] == []


async def test_errors_among_outcomes(emulator: Emulator, client: Client, project: Project) -> None:
    """With `return_exceptions` each place holds the outcome or the error of its operation."""
    bad, *good = await dispatch_runs(project, 3)
    emulator.fail("get_run", Fault.status(403), when=lambda r: r.run_id == bad.run_id)

    error, *runs = await client.gather(bad, *good, return_exceptions=True)

    assert isinstance(error, errors.ForbiddenError)
    assert error.ref == bad.ref
    assert [run.run_id for run in runs if isinstance(run, Run)] == [op.run_id for op in good]


async def test_the_last_poll_counts(emulator: Emulator, client: Client, project: Project) -> None:
    """At the time-out what is left is polled once more: what has ended is no error."""
    ended, late = await dispatch_runs(project, 2)
    finished = client.finished([ended, late], timeout=5)
    first = asyncio.ensure_future(anext(finished))
    await asyncio.sleep(4.9)
    emulator.finish_run(ended.run_id)

    assert await first is ended
    error = await raised(errors.WaitTimeoutError, anext(finished))
    assert error.ref == late.ref


async def test_every_transition_comes_with_its_operation(client: Client, project: Project) -> None:
    """Each operation has its present state first, then each transition up to the last."""
    operations = await dispatch_runs(project, 4)
    seen: dict[RunOperation, list[str]] = {operation: [] for operation in operations}
    async for operation, transition in client.changes(operations):
        seen[operation].append(str(transition))
        assert transition.snapshot is None or transition.snapshot.run_id == operation.run_id

    for words in seen.values():
        assert words[0] == "queued running"
        assert words[1:-1] in ([], ["active running"])
        assert words[-1] in {"finished passed", "finished failed"}
