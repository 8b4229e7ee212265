"""List polling, and what many tasks that wait are given: one list call serves many operations."""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from tests.support.observing import COUNT, ROUNDS, dispatch_runs
from tests.support.timing import now
from testvibe_async import Client, Project, RunRef
from testvibe_async.testing import Emulator, Fault


async def test_each_project_has_its_own_list(emulator: Emulator, client: Client) -> None:
    """Two runs each of two projects are not one group of four."""
    other = emulator.add_project("Other")
    emulator.add_feature("Checkout", project=other)
    operations = [
        await client.project(project).run_feature("Checkout")
        for project in (emulator.project_id, other.id)
        for _ in range(2)
    ]

    await client.gather(*operations)

    assert emulator.count("list_runs") == 0


async def test_no_outcome_is_a_row(emulator: Emulator, client: Client, project: Project) -> None:
    """A run that the list shows as finished is read by id; the row is never the outcome."""
    emulator.fail(
        "list_runs",
        Fault.edit(lambda rows: [row | {"status": "failed", "config": "List"} for row in rows]),
    )
    operations = await dispatch_runs(project, 3)

    runs = await client.gather(*operations)

    assert [(run.status, run.config) for run in runs] == [("passed", "Default")] * 3
    assert emulator.count("get_run") <= 3 * ROUNDS


async def test_long_lists_let_other_tasks_run(
    client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a list, publishing what it shows, and rescheduling after it pause in between."""
    for constant in ("list_polling.ROWS", "polls.OPERATIONS", "reader.OPERATIONS"):
        monkeypatch.setattr(f"testvibe_async._core.polling.{constant}_A_TURN", 3)
    operations = await dispatch_runs(project, COUNT)
    sleep, pauses = asyncio.sleep, Counter[str]()

    async def noted(seconds: float) -> None:
        pauses[sys._getframe(1).f_globals["__name__"].rpartition(".")[2]] += seconds == 0
        await sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", noted)
    runs = await client.gather(*operations)

    assert all(run.is_success for run in runs)
    assert min(pauses[name] for name in ("list_polling", "polls", "reader")) >= COUNT // 3


async def test_rows_are_the_latest(emulator: Emulator, client: Client, project: Project) -> None:
    """Of two generations of one feature, the row counts for the later one; the other is read."""
    for number in range(3):
        emulator.add_feature(f"Draft {number}", status="draft")
    earlier = [await project.generate_feature(f"Draft {number}") for number in range(3)]
    waits = [asyncio.ensure_future(operation.wait()) for operation in earlier]
    await asyncio.sleep(8)
    for operation in earlier:
        emulator.finish_generation(operation.request_id)
    later = [await project.generate_feature(f"Draft {number}") for number in range(3)]
    began = now()
    gathering = asyncio.ensure_future(client.gather(*later))

    results = await asyncio.gather(*waits, return_exceptions=True)

    assert {type(result).__name__ for result in results} == {"OperationSupersededError"}
    assert now() - began < 9
    assert all(generation.is_finished for generation in await gathering)


@pytest.mark.parametrize("method", [Client.finished, Client.changes])
async def test_a_wait_for_many_yields_to_other_tasks(
    emulator: Emulator, client: Client, method: Callable[..., Any]
) -> None:
    """Beginning to wait for many yields to other tasks, and can be cancelled."""
    ref = RunRef(server=emulator.url, project=emulator.project_id, run_id=1)
    operations = [client.attach(evolve(ref, run_id=number)) for number in range(1, 1301)]
    waits = method(client, operations)

    first = asyncio.ensure_future(anext(waits))
    await asyncio.sleep(0)
    assert sum(operation._polled.has_listeners for operation in operations) == 500
    first.cancel()
    await asyncio.wait([first])
    await waits.aclose()
    assert not any(operation._polled.has_listeners for operation in operations)
