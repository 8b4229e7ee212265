"""The calls that dispatch, given to what awaits functions: task groups, schedulers, servers."""

import asyncio
import inspect
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import create_autospec

import pytest

from testvibe_async import Project, errors
from testvibe_async.testing import Emulator

DISPATCHING = ["run_feature", "generate_feature", "run_features", "generate_features"]


@pytest.mark.parametrize("name", DISPATCHING)
async def test_a_background_task_dispatches(
    emulator: Emulator, project: Project, name: str
) -> None:
    """What awaits coroutine functions alone, as Starlette's background tasks, awaits these."""
    method: Callable[..., Any] = getattr(project, name)
    if sys.version_info >= (3, 12):
        assert inspect.iscoroutinefunction(method)
    else:
        assert asyncio.iscoroutinefunction(method)  # pyright: ignore[reportDeprecated]
    draft = emulator.add_feature("New", status="draft" if "generate" in name else "generated")
    await method([draft.id] if name.endswith("s") else draft.id)
    assert emulator.count(name.removesuffix("s")) == 1


async def test_a_task_group_dispatches(emulator: Emulator, project: Project) -> None:
    """A dispatch is a coroutine, for task groups and `create_task`."""
    async with asyncio.TaskGroup() as group:
        run = group.create_task(project.run_feature("Checkout"))
        outcome = group.create_task(project.run_feature("Returns").wait())
    assert {run.result().run_id, outcome.result().run_id} == {*emulator.runs}


async def test_a_wrong_argument_is_raised_later(emulator: Emulator, project: Project) -> None:
    """One wrong call among several does not abandon the others."""
    wrong: Any = "never"
    results = await asyncio.gather(
        project.run_feature("Checkout"),
        project.run_feature("Returns", on_conflict=wrong),
        project.run_feature("Returns", site_url="shop"),
        project.run_feature("Returns").wait(timeout=-1),
        project.generate_feature("Returns", key=" "),
        return_exceptions=True,
    )
    assert [isinstance(result, errors.ConfigError) for result in results] == [False] + [True] * 4
    assert emulator.count("run_feature") == 1


async def test_a_stand_in_is_awaited(project: Project) -> None:
    """A mock of a project is awaited as the project is."""
    stand_in = create_autospec(project, instance=True)
    stand_in.run_feature.return_value.run_id = 7
    assert (await stand_in.run_feature("Checkout")).run_id == 7
