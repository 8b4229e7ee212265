"""Waiting for many operations at once: `gather`, `finished` with a time-out, and `changes`."""

import asyncio
from typing import Any

import pytest

from tests.support.raising import raised
from tests.support.timing import now
from testvibe_async import Client, Project, Run, RunOperation, errors
from testvibe_async.testing import Emulator, Fault, Scenario

SCENARIO = Scenario(run_queue=2, run_duration=(10, 60))
"""Runs that start after 2 s and take 10 s to 60 s."""


async def dispatch(project: Project, count: int) -> list[RunOperation]:
    """Dispatch some runs."""
    return [await project.run_feature("Checkout") for _ in range(count)]


async def test_errors_among_outcomes(emulator: Emulator, client: Client, project: Project) -> None:
    """With `return_exceptions` each place holds the outcome or the error of its operation."""
    bad, *good = await dispatch(project, 3)
    emulator.fail("get_run", Fault.status(403), when=lambda r: r.run_id == bad.run_id)

    error, *runs = await client.gather(bad, *good, return_exceptions=True)

    assert isinstance(error, errors.ForbiddenError)
    assert error.ref == bad.ref
    assert [run.run_id for run in runs if isinstance(run, Run)] == [op.run_id for op in good]


async def test_what_is_left_comes_last_as_errors(client: Client, project: Project) -> None:
    """First all that ended in time, then a WaitTimeoutError for each of the others."""
    operations = await dispatch(project, 6)
    ended: list[RunOperation] = []
    late: list[object] = []
    waited: set[int] = set()
    finished = client.finished(operations, timeout=40)
    async with asyncio.timeout(45):
        while len(ended) + len(late) < len(operations):
            try:
                ended.append(await anext(finished))
            except errors.WaitTimeoutError as error:
                late.append(error.ref)
                waited.add(round(error.elapsed))

    assert ended
    assert late
    assert waited == {40}
    assert {operation.ref for operation in ended} | {*late} == {op.ref for op in operations}
    assert all(operation.done for operation in ended)
    await raised(StopAsyncIteration, anext(finished))


async def test_the_time_counts_from_the_first_step(client: Client, project: Project) -> None:
    """Time that passes before or between the steps counts from the first one on."""
    finished = client.finished(await dispatch(project, 1), timeout=5)
    await asyncio.sleep(3)
    began = now()
    await raised(errors.WaitTimeoutError, anext(finished))
    assert now() - began == pytest.approx(5)


async def test_the_last_poll_counts(emulator: Emulator, client: Client, project: Project) -> None:
    """At the time-out what is left is polled once more: what has ended is no error."""
    ended, late = await dispatch(project, 2)
    finished = client.finished([ended, late], timeout=5)
    first = asyncio.ensure_future(anext(finished))
    await asyncio.sleep(4.9)
    emulator.finish_run(ended.run_id)

    assert await first is ended
    error = await raised(errors.WaitTimeoutError, anext(finished))
    assert error.ref == late.ref


async def test_no_time_is_one_poll(client: Client, project: Project, emulator: Emulator) -> None:
    """A time-out of 0 polls each once; the error's note names the others that are left."""
    ended, late, later = await dispatch(project, 3)
    emulator.finish_run(ended.run_id)
    finished = client.finished([ended, late, later], timeout=0)
    assert await anext(finished) is ended
    error = await raised(errors.WaitTimeoutError, anext(finished))
    assert error.ref == late.ref
    (note,) = error.__notes__
    assert str(later.ref) in note
    assert now() == 0


async def test_refs_are_to_be_attached(client: Client, project: Project) -> None:
    """A ref in the place of an operation is refused, with what to call."""
    refs: Any = [operation.ref for operation in await dispatch(project, 2)]
    with pytest.raises(
        errors.ConfigError, match=r"run \d+ is a ref here: pass client.attach\(ref\)"
    ):
        await client.gather(*refs)


async def test_every_transition_comes_with_its_operation(client: Client, project: Project) -> None:
    """Each operation has its present state first, then each transition up to the last."""
    operations = await dispatch(project, 4)
    seen: dict[RunOperation, list[str]] = {operation: [] for operation in operations}
    async for operation, transition in client.changes(operations):
        seen[operation].append(str(transition))
        assert transition.snapshot is None or transition.snapshot.run_id == operation.run_id

    for words in seen.values():
        assert words[0] == "queued running"
        assert words[1:-1] in ([], ["active running"])
        assert words[-1] in {"finished passed", "finished failed"}


async def test_one_that_is_passed_twice_comes_twice(client: Client, project: Project) -> None:
    """Each place has all transitions, for one set of polls."""
    (operation,) = await dispatch(project, 1)
    words = [str(change) async for _, change in client.changes([operation, operation])]
    assert words[::2] == words[1::2]
    assert len(words) == 2 * len(set(words))
    assert words[0] == "queued running"
