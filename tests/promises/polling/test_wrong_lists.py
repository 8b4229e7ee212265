"""Lists that fail, lag, are wrong or are cut: what they cost, and when they are suspended."""

import asyncio
from typing import Any

import pytest
from attrs import evolve

from tests.conftest import client_of
from tests.support.amounts import some
from tests.support.observing import COUNT, ROUNDS, dispatch_runs
from tests.support.timing import STEADY, now
from testvibe_async import Client, Hooks, Project
from testvibe_async.testing import Emulator, Fault

ALL = ROUNDS * COUNT
"""How often all are read by id, at most."""


def is_late(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"status": "running"} if now() < 34 else row for row in rows]


RUNNING = Fault.edit(lambda rows: [r | {"status": "running", "finishedUtc": None} for r in rows])
"""A list that shows no end."""


LISTS: dict[str, tuple[Fault, int, int]] = {
    "404": (Fault.status(404), 1, ALL),
    "405": (Fault.status(405), 1, ALL),
    "400": (Fault.status(400), 1, ALL),
    "401": (Fault.status(401), 1, ALL),
    "html": (Fault.body(b"<html>", content_type="text/html"), 1, ALL),
    "not a list": (Fault.body(b'{"total": 3}'), 1, ALL),
    "500": (Fault.status(500), 2, ALL),
    "reset": (Fault.reset(), 4, ALL),
    "truncated": (Fault.truncated(), 2, ALL),
    "429": (Fault.status(429), 3, ALL),
    "429, in a minute": (Fault.status(429, retry_after=60), 1, ALL),
    "empty": (Fault.body(b"[]"), 1, ALL),
    "rows of something else": (Fault.body(b'[7, null, "x", {}, {"runId": []}]'), 1, ALL),
    "from long ago": (Fault.edit(lambda rows: [r | {"runId": 1} for r in rows]), 4, ALL),
    "no ids": (Fault.edit(lambda rows: [{"status": r["status"]} for r in rows]), 4, ALL),
    # What these do not show is read by id, and nothing else.
    "rows missing": (
        Fault.edit(lambda rows: [r for r in rows if r["runId"] % 4]),
        *(ROUNDS, COUNT + ROUNDS * (COUNT // 4 + 1)),
    ),
    "one unreadable": (
        Fault.edit(lambda rows: [{"runId": r["runId"]} if r["runId"] == 220 else r for r in rows]),
        *(ROUNDS, COUNT + 2 * ROUNDS),
    ),
    "capped": (Fault.edit(lambda rows: rows[:9]), ROUNDS, COUNT + ROUNDS * 4),
    "in an object": (Fault.edit(lambda rows: {"runs": rows, "next": None}), ROUNDS, COUNT + ROUNDS),
    "late": (Fault.edit(is_late), ROUNDS + 2, ALL),
}
"""What a list is like, how often it is asked for, and how many runs are read by id."""


@pytest.mark.parametrize("name", some(LISTS, few=2))
async def test_a_list_delays_no_run_and_costs_as_much_as_it_serves(
    emulator: Emulator, client: Client, project: Project, name: str
) -> None:
    """A list that is of no use makes no wait longer, and is soon suspended."""
    fault, lists, reads = LISTS[name]
    emulator.fail("list_runs", fault)
    operations = await dispatch_runs(project, COUNT)
    assert 220 in emulator.runs

    runs = await client.gather(*operations)

    assert all(run.is_success for run in runs)
    assert now() <= (37 if name == "late" else 33)
    assert emulator.count("list_runs") <= lists
    assert emulator.count("get_run") <= reads


@pytest.mark.service(scenario=evolve(STEADY, run_duration=(500, 500)))
async def test_a_wrong_list_is_caught_by_any_read(emulator: Emulator) -> None:
    """Each of many reads by id at once can show that the list was wrong."""
    suspended_at: list[float] = []
    hooks = Hooks(on_list_polling_suspended=lambda _: suspended_at.append(now()))
    emulator.fail("list_runs", RUNNING)
    async with client_of(emulator, hooks=hooks) as client:
        operations = await dispatch_runs(client.project(), 30)
        for place, run_id in enumerate(emulator.runs):
            asyncio.get_running_loop().call_at(20 + place, emulator.finish_run, run_id)

        await client.gather(*operations)

    assert suspended_at[0] <= 63  # the first time that all are read by id, and not the second


async def test_thousands_in_front(emulator: Emulator, client: Client, project: Project) -> None:
    """Three runs below 5,000 of others are read by id, after a few calls that did not reach."""
    operations = await dispatch_runs(project, 3)
    others = [{"runId": -number, "status": "running"} for number in range(5000)]
    limits: list[int] = []

    def page(_: Any) -> list[dict[str, Any]]:
        limits.append(int(emulator.requests[-1].query["limit"]))
        return others[: limits[-1]]

    emulator.fail("list_runs", Fault.edit(page))

    await client.gather(*operations)

    assert now() <= 33
    assert len(limits) <= 5
    assert max(limits) < 600
    assert emulator.count("get_run") <= 3 * ROUNDS


async def test_another_route_of_the_list_is_used(emulator: Emulator) -> None:
    """endpoints= applies to list polling as to calls."""
    route = {"list_runs": "GET /projects/{project}/history"}
    async with client_of(emulator, endpoints=route) as client:
        await client.gather(*await dispatch_runs(client.project(), 3))

    assert any(request.path.endswith("/history") for request in emulator.requests)


async def test_a_list_that_was_off_is_tried_again(emulator: Emulator, client: Client) -> None:
    """After ten minutes a list that was not there is asked for once more."""
    rule = emulator.fail("list_runs", Fault.status(404))
    await client.gather(*await dispatch_runs(client.project(), COUNT))
    rule.remove()
    await asyncio.sleep(600)
    before = emulator.count("list_runs")
    await client.gather(*await dispatch_runs(client.project(), COUNT))

    assert rule.hits == 1
    assert emulator.count("list_runs") > before


async def test_a_list_that_lies(emulator: Emulator, client: Client, project: Project) -> None:
    """A list that hides completions is caught by the read that checks it, and suspended."""
    emulator.fail("list_runs", RUNNING)
    operations = await dispatch_runs(project, COUNT)
    for run_id in emulator.runs:
        emulator.finish_run(run_id)

    await client.gather(*operations)

    assert now() <= 15
    assert emulator.count("list_runs") <= 4
    assert emulator.count("get_run") <= 2 * COUNT
