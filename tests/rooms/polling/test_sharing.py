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
from testvibe_async import Client, Project, RunOperation, RunRef
from testvibe_async._core.polling import Subscription
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


TURNS = {"list_polling.ROWS": 1, "polls.OPERATIONS": 1, "reader.OPERATIONS": 2}
"""How often a list is interrupted after so many, and in how many places."""


@pytest.mark.parametrize(("constant", "places"), TURNS.items())
async def test_long_lists_let_other_tasks_run(
    client: Client, project: Project, monkeypatch: pytest.MonkeyPatch, constant: str, places: int
) -> None:
    """Reading a list, publishing what it shows, and rescheduling after it pause in between."""
    monkeypatch.setattr(f"testvibe_async._core.polling.{constant}_A_TURN", 3)
    operations = await dispatch_runs(project, COUNT)
    sleep, pauses = asyncio.sleep, Counter[tuple[str, int]]()

    async def noted(seconds: float) -> None:
        caller = sys._getframe(1)
        if seconds == 0:
            pauses[caller.f_globals["__name__"].rpartition(".")[2], caller.f_lineno] += 1
        await sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", noted)
    runs = await client.gather(*operations)

    assert all(run.is_success for run in runs)
    module = constant.partition(".")[0]
    often = [count >= COUNT // 3 for (name, _), count in pauses.items() if name == module]
    assert often == [True] * places


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


def taken(subscription: Subscription) -> list[tuple[Any, str]]:
    """Take all events, each in a few words."""
    events: list[tuple[Any, str]] = []
    while (found := subscription.take()) is not None:
        events.append((found[0], str(found[1])))
    return events


async def test_an_item_in_flight_is_told_the_end_alone(
    emulator: Emulator, client: Client, operation: RunOperation
) -> None:
    """An item that is added while its operation is in flight has no event but the end."""
    subscription = Subscription(client._poller, {}, may_grow=True)
    subscription.add(operation._polled, "a")
    await asyncio.sleep(6)
    await operation.poll()
    subscription.add(operation._polled, "b")
    assert taken(subscription) == []
    emulator.finish_run(operation.run_id)
    await operation.poll()
    assert [item for item, _ in taken(subscription)] == ["a", "b"]


async def test_a_timed_end(emulator: Emulator, project: Project, operation: RunOperation) -> None:
    """A wait whose timeout coincides with the end returns the outcome."""
    emulator.finish_run(operation.run_id)
    digest = await project.get_run(operation.run_id)
    loop = asyncio.get_running_loop()
    loop.call_later(2, lambda: project._parts.poller.accept(operation.ref, digest))

    assert (await operation.wait(timeout=2)).is_success


@pytest.mark.parametrize("method", [Client.finished, Client.changes])
async def test_a_wait_for_many_yields_to_other_tasks(
    emulator: Emulator, client: Client, method: Callable[..., Any]
) -> None:
    """Beginning to wait for many yields to other tasks, and goes on after a cancellation."""
    ref = RunRef(server=emulator.url, project=emulator.project_id, run_id=1)
    refs = [evolve(ref, run_id=number) for number in range(1, 1301)]
    operations = [client.attach(ref) for ref in refs]
    waits = method(client, operations)

    def watched() -> int:
        return sum(operation._polled.has_listeners for operation in operations)

    first = asyncio.ensure_future(anext(waits))
    await asyncio.sleep(0)
    assert watched() == 500
    assert client._poller._deferrals == 1  # One list may serve them all.
    first.cancel()
    await asyncio.wait([first])
    second = asyncio.ensure_future(anext(waits))
    for _ in range(3):
        await asyncio.sleep(0)
    assert watched() == 1300
    assert client._poller._deferrals == 0
    second.cancel()
    await asyncio.wait([second])
    await waits.aclose()
    assert watched() == 0
