"""What `run_feature` and `generate_feature` return: an operation that is about to be dispatched."""

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from testvibe_async import ConfigError, Project, RunOperation, WaitTimeoutError
from testvibe_async.operations import PendingOperation
from testvibe_async.testing import Emulator, Fault

DRAFT = "Checkout with gift card"


async def test_one_await_dispatches_and_another_word_waits(
    emulator: Emulator, project: Project
) -> None:
    """Awaiting it gives the operation once it is dispatched, its wait() the outcome."""
    operation = await project.run_feature("Checkout")
    assert operation.status == "running"
    run = await project.run_feature("Checkout").wait()
    assert run.is_finished
    generation = await project.generate_feature(DRAFT).wait(timeout=3600)
    assert generation.is_success
    assert (emulator.count("run_feature"), emulator.count("generate_feature")) == (2, 1)


@pytest.mark.parametrize("timeout", [-1, float("nan"), True, "x"])
async def test_a_wrong_time_out_dispatches_nothing(
    emulator: Emulator, project: Project, timeout: Any
) -> None:
    """It is refused by the call, and there is nothing to await."""
    with pytest.raises(ConfigError):
        await project.run_feature("Checkout").wait(timeout=timeout)
    assert emulator.count() == 0


async def test_a_task_of_wait_may_be_cancelled_at_once(project: Project) -> None:
    """No warning says that it was never awaited: pytest makes one an error."""
    task = asyncio.create_task(project.run_feature("Checkout").wait())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    gc.collect()


async def test_its_time_out_is_of_the_wait(emulator: Emulator, project: Project) -> None:
    """A wait() that times out names the operation, which was dispatched once and goes on."""
    emulator.fail("run_feature", Fault.delay(10))
    with pytest.raises(WaitTimeoutError) as caught:
        await project.run_feature("Checkout").wait(timeout=2)
    assert caught.value.ref is not None
    assert caught.value.elapsed == pytest.approx(2)


WAYS: dict[str, Callable[[PendingOperation[RunOperation]], object]] = {
    "a task": asyncio.create_task,
    "a future": asyncio.ensure_future,
    "gather": asyncio.gather,
    "wait_for": lambda pending: asyncio.wait_for(pending, 60),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_it_is_a_coroutine(
    emulator: Emulator, project: Project, way: Callable[..., asyncio.Future[object]]
) -> None:
    """It can be whatever a coroutine can be, and sends nothing before."""
    pending = project.run_feature("Checkout")
    await asyncio.sleep(10)
    assert emulator.count("run_feature") == 0
    await way(pending)
    assert emulator.count("run_feature") == 1


async def test_task_groups_take_it(emulator: Emulator, project: Project) -> None:
    """A group of asyncio's takes it, and one of anyio's takes the method."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(project.run_feature("Checkout"))
        outcome = group.create_task(project.run_feature("Returns").wait())
    assert task.result().status
    assert outcome.result().is_finished
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(project.run_feature, "Checkout")
    assert emulator.count("run_feature") == 3


async def test_a_task_of_it_shows_the_call(project: Project) -> None:
    """The repr of a task names what was called."""
    task = asyncio.create_task(project.run_feature("Checkout"))
    assert "run_feature('Checkout')" in repr(task)
    await task


async def test_it_is_awaited_once(project: Project) -> None:
    """A second await is refused, as a coroutine's is: it would dispatch twice."""
    pending = project.run_feature("Checkout")
    await pending
    with pytest.raises(RuntimeError, match="already awaited"):
        await pending


async def test_a_cancelled_task_dispatches_nothing(emulator: Emulator, project: Project) -> None:
    """A task that is cancelled before its first step sends nothing, and warns of nothing."""
    task = asyncio.create_task(project.run_feature("Checkout"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert emulator.count("run_feature") == 0


@pytest.mark.parametrize("call", ["run_feature", "generate_feature"])
async def test_what_is_never_awaited_warns_with_a_hint(
    emulator: Emulator, project: Project, call: str
) -> None:
    """A forgotten await warns as a coroutine does, and says what to do."""
    with pytest.warns(RuntimeWarning, match=rf"{call}\('Draft'\) was never awaited.*wait\(\)"):
        getattr(project, call)("Draft")
    getattr(project, call)("Draft").close()
    assert emulator.count(call) == 0


async def test_what_can_not_be_dispatched_is_refused_at_once(project: Project) -> None:
    """A wrong argument is refused where the call is, not where it is awaited."""
    wrong: Any = "attach"
    with pytest.raises(ConfigError, match="on_conflict"):
        await project.run_feature("Checkout", on_conflict=wrong)
    with pytest.raises(ConfigError, match="a recorder needs the method intended"):
        await project.generate_feature(DRAFT, recorder=wrong)
