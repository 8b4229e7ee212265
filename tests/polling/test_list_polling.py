"""Sweeps: many statuses from one list call, and every way in which a list can be wrong."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import client_of
from testvibe_async import Hooks, ListPollingSuspended, Operation, Run, RunRef, StatusChanged
from testvibe_async._polling import list_polling as _sweep
from testvibe_async._polling import poller as _poller
from testvibe_async._polling.list_polling import ListAnswer, ListPolling
from testvibe_async._wire.json import read_rows
from testvibe_async.testing import Emulator, Fault, Scenario

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    from testvibe_async import Client, Project
    from testvibe_async._wire.endpoints import Request
    from testvibe_async._wire.protocol import Response

COUNT = 20
ROUNDS = 11
"""How often a run of 30 s is looked at where one looks every 3 s, from 3 s on, at most."""


@pytest.fixture
async def emulator() -> AsyncGenerator[Emulator]:
    """Every run takes 30 s and passes, every generation 65 s."""
    scenario = Scenario(
        run_queue=(5, 5),
        run_duration=(25, 25),
        failing_runs=0,
        generation_warm_up=(20, 20),
        generation_section=(35, 35),
        verification=(10, 10),
        failing_generations=0,
    )
    async with Emulator(scenario=scenario) as emulator:
        yield emulator


def now() -> float:
    return asyncio.get_running_loop().time()


async def dispatched(project: Project, count: int = COUNT) -> list[Operation[Run]]:
    return [await project.run_feature("Checkout") for _ in range(count)]


def counts(emulator: Emulator) -> tuple[int, int]:
    """How many list calls and how many reads by id there were."""
    return emulator.count("list_runs"), emulator.count("get_run")


async def test_many_runs_cost_one_list_a_round(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """Each round is one list call and one read that checks it; each end is one read by id."""
    operations = await dispatched(project)

    runs = await client.gather(*operations)

    lists, reads = counts(emulator)
    assert all(run.is_success and run.tests for run in runs)
    assert now() <= 33
    assert lists <= ROUNDS
    assert COUNT <= reads <= COUNT + ROUNDS


async def test_a_list_that_hangs_makes_nothing_late(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """A list that gives no answer for an interval rests, and the runs are read by id meanwhile."""
    emulator.fail("list_runs", Fault.hang())
    operations = await dispatched(project, 5)
    for run_id in emulator.runs:
        asyncio.get_running_loop().call_later(8, emulator.finish_run, run_id)

    await client.gather(*operations)

    assert now() <= 8 + 2 * 3.3
    assert emulator.count("list_runs") == 1


async def test_a_list_of_many_may_take_as_long_as_their_reads(
    emulator: Emulator, client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow list is waited for where reading all of them by id would take longer still."""
    monkeypatch.setattr(_sweep, "SECONDS_A_READ", 0.25)
    emulator.fail("list_runs", Fault.delay(4))

    await client.gather(*await dispatched(project))

    lists, reads = counts(emulator)
    assert lists > 1
    assert reads <= COUNT + ROUNDS


@pytest.mark.parametrize(("seconds", "is_read"), [(3.8, True), (4.2, False)])
async def test_a_list_is_given_2_ms_for_each_of_many(
    emulator: Emulator, client: Client, seconds: float, *, is_read: bool
) -> None:
    """A list of 2,000 may take 4 s to answer, though they are looked at every second."""
    refs = [
        RunRef(server=emulator.url, project=emulator.project_id, run_id=number)
        for number in range(1, 2001)
    ]
    operations = [client.attach(ref) for ref in refs]
    sweep = ListPolling(client._transport, refs[0], interval=1.0, hooks=Hooks())
    emulator.fail("list_runs", Fault.delay(seconds))

    glance = await sweep.look([operation._state for operation in operations])

    assert (glance is not None) == is_read
    assert now() == pytest.approx(min(seconds, 4), abs=0.1)


async def test_an_answer_older_than_the_list_does_not_take_its_news_back(
    client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a list told of a run stays, where an answer that was given before it comes after it."""
    operations = await dispatched(project, 4)
    send = client._transport._http.send
    late: list[asyncio.Task[Any]] = []

    async def held(request: Request[Any]) -> Response:
        response = await send(request)
        if asyncio.current_task() in late:
            await asyncio.sleep(4)
        return response

    monkeypatch.setattr(client._transport._http, "send", held)
    ends = asyncio.ensure_future(client.gather(*operations))
    await asyncio.sleep(4.5)
    late += [asyncio.create_task(operation.poll()) for operation in operations]
    await asyncio.sleep(3.9)
    before = [operation.phase for operation in operations]
    await asyncio.gather(*late)

    assert before == ["active"] * 4
    assert [operation.phase for operation in operations] == ["active"] * 4
    await ends


async def test_two_are_read_by_id(emulator: Emulator, client: Client, project: Project) -> None:
    """Below three operations no list is asked for."""
    await client.gather(*await dispatched(project, 2))

    assert emulator.count("list_runs") == 0


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


async def test_the_outcome_is_never_a_rows(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """What a list calls over is read by id; the list's word for the outcome counts for nothing."""
    emulator.fail(
        "list_runs",
        Fault.edit(lambda rows: [row | {"status": "failed", "config": "List"} for row in rows]),
    )
    operations = await dispatched(project, 3)

    runs = await client.gather(*operations)

    assert [(run.status, run.config) for run in runs] == [("passed", "Default")] * 3
    assert counts(emulator)[1] <= 3 * ROUNDS


async def test_transitions_are_seen(emulator: Emulator, project: Project) -> None:
    """Whoever iterates gets each transition with its full snapshot, beside others who wait."""
    operations = await dispatched(project, 5)

    async def history(operation: Operation[Run]) -> list[tuple[str, bool]]:
        return [(change.phase, change.snapshot is not None) async for change in operation]

    waits = [asyncio.ensure_future(operation.wait()) for operation in operations]
    histories = await asyncio.gather(*map(history, operations))

    await asyncio.gather(*waits)
    assert histories == [[("queued", False), ("active", True), ("finished", True)]] * 5
    assert emulator.count("list_runs") > 0


async def test_the_phase_of_one_that_is_only_awaited_is_taken_from_the_list(
    emulator: Emulator,
) -> None:
    """That a run executes is seen in the list, told to the hook, and costs no read."""
    heard: list[StatusChanged] = []
    async with client_of(emulator, hooks=Hooks(on_transition=heard.append)) as client:
        operations = await dispatched(client.project(), 5)
        wait = asyncio.ensure_future(client.gather(*operations))
        await asyncio.sleep(10)

        assert [operation.phase for operation in operations] == ["active"] * 5
        assert emulator.count("get_run") <= 3
        await wait

    assert len(heard) == 10


async def test_what_the_list_shows_as_going_on_is_observed(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """`observed_at` is the time of the list, where that stands in for a reading by id."""
    operations = await dispatched(project, 5)
    wait = asyncio.ensure_future(client.gather(*operations))
    await asyncio.sleep(12)
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    for operation in operations:
        operation._state.observed_at = long_ago
    reads = emulator.count("get_run")
    await asyncio.sleep(4)

    assert emulator.count("get_run") < reads + len(operations)
    assert long_ago not in [operation.observed_at for operation in operations]
    await wait


async def test_what_was_never_seen_is_read_by_id_first(
    emulator: Emulator, project: Project
) -> None:
    """Of an operation that was attached a list tells too little: it is not asked."""
    refs = [operation.ref for operation in await dispatched(project, 5)]
    async with client_of(emulator) as other:
        operations = [other.attach(ref) for ref in refs]
        wait = asyncio.ensure_future(other.gather(*operations))
        await asyncio.sleep(2)

        assert emulator.count("list_runs") == 0
        assert [operation.phase for operation in operations] == ["queued"] * 5
        assert None not in [operation.snapshot for operation in operations]
        await wait


async def test_no_operation_goes_unread_for_longer_than_a_minute() -> None:
    """Each of many long runs is read by id at least every 60 s."""
    scenario = Scenario(run_queue=(0, 0), run_duration=(300, 300), failing_runs=0)
    async with Emulator(scenario=scenario) as emulator, client_of(emulator) as client:
        operations = await dispatched(client.project(), 50)
        await client.gather(*operations)
        for operation in operations:
            at = [
                request.at
                for request in emulator.requests
                if request.operation == "get_run" and request.run_id == operation.ref.key[-1]
            ]
            gaps = [later - earlier for earlier, later in zip([0, *at], at, strict=False)]
            assert max(gaps) <= 64
        assert emulator.count("get_run") <= 50 * 7 + 110


@pytest.mark.parametrize(("seconds", "share"), [(3, 5), (10, 17)])
async def test_many_that_went_unread_are_read_within_another_minute(
    seconds: float, share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where very many are due for a reading by id at once, each round reads its share of them."""
    monkeypatch.setattr(_sweep, "CHECKS_AT_ONCE", 2)

    def plan(*_: object) -> float:
        return seconds

    scenario = Scenario(run_queue=(0, 0), run_duration=(300, 300), failing_runs=0)
    async with (
        Emulator(scenario=scenario) as emulator,
        client_of(emulator, poll_plan=plan) as client,
    ):
        operations = await dispatched(client.project(), 100)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.gather(*operations), 150)

        lists = [request.at for request in emulator.requests if request.operation == "list_runs"]
        reads = [request.at for request in emulator.requests if request.operation == "get_run"]
        rounds = [
            sum(begin <= at < end for at in reads)
            for begin, end in zip(lists, [*lists[1:], 151], strict=True)
        ]
        seen = {r.run_id for r in emulator.requests if r.operation == "get_run" and r.at < 135}
        assert len(seen) == 100
        # As many of 100 as there are such rounds in a minute; one may be a tick longer.
        assert share <= max(rounds) <= share + 1


async def test_nothing_is_kept_of_a_reading_where_the_list_stands_in(
    client: Client, project: Project
) -> None:
    """What the next reading by id would save is not kept for operations that a list shows."""
    operations = await dispatched(project)
    wait = asyncio.create_task(client.gather(*operations))
    await asyncio.sleep(10)
    read = [operation for operation in operations if operation.snapshot is not None]
    assert len(read) >= 2
    kept = [operation for operation in read if operation._state._parsed is not None]
    assert len(kept) <= 1  # the one that checked the last list
    await wait


async def test_generations_are_swept_by_their_features(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """Generations that are only awaited share calls of list_features."""
    for number in range(COUNT):
        emulator.add_feature(f"Draft {number}", status="draft")
    operations = [await project.generate_feature(f"Draft {number}") for number in range(COUNT)]
    before = emulator.count("get_generation_status")

    generations = await client.gather(*operations)

    reads = emulator.count("get_generation_status") - before
    assert all(generation.is_success for generation in generations)
    assert emulator.count("list_features") <= 23
    assert reads <= 3 * COUNT + 23


async def test_followed_generations_are_read_by_id(emulator: Emulator, project: Project) -> None:
    """Where somebody follows the sections, the list of features is no help."""
    for number in range(4):
        emulator.add_feature(f"Draft {number}", status="draft")
    operations = [await project.generate_feature(f"Draft {number}") for number in range(4)]

    async def follow(operation: Operation[Any]) -> int:
        return len([change async for change in operation.updates()])

    assert min(await asyncio.gather(*map(follow, operations))) >= 5
    assert emulator.count("list_features") == 0


async def test_a_followed_generation_keeps_its_own_pace(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """One that is followed stays out of the list that its awaited neighbours share."""
    for number in range(4):
        emulator.add_feature(f"Draft {number}", status="draft")
    awaited = [await project.generate_feature(f"Draft {number}") for number in range(3)]
    await asyncio.sleep(1)
    followed = await project.generate_feature("Draft 3")

    async def follow() -> int:
        return len([change async for change in followed.updates()])

    changes, _ = await asyncio.gather(follow(), client.gather(*awaited))

    assert changes >= 5
    assert emulator.count("list_features") >= 10
    before_it, first, *_ = [
        request.at
        for request in emulator.requests
        if request.operation == "get_generation_status" and request.feature == "Draft 3"
    ]
    assert before_it == pytest.approx(1, abs=0.1)
    assert first <= 1 + 3.3


async def test_a_list_that_fails_delays_nobody_who_was_not_due_yet(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """Those of which the list was asked before their time are read when that has come."""
    emulator.fail("list_runs", Fault.status(404))
    operations: list[Operation[Run]] = []
    for _ in range(6):
        operations += await dispatched(project, 3)
        await asyncio.sleep(0.4)

    runs = await client.gather(*operations)

    assert all(run.is_success for run in runs)
    assert emulator.count("list_runs") == 1
    assert emulator.count("get_run") <= ROUNDS * len(operations)
    for place, operation in enumerate(operations):
        first = next(r.at for r in emulator.requests if r.run_id == operation.ref.key[-1])
        assert first <= place // 3 * 0.4 + 3.3


async def test_a_wait_that_ends_while_its_list_is_under_way_is_not_put_back(
    emulator: Emulator, project: Project
) -> None:
    """Whoever left during a list call is looked at no more, until somebody waits again."""
    operations = await dispatched(project, 5)
    left = operations[2]
    emulator.fail("list_runs", Fault.delay(1), times=1)
    waits = [asyncio.ensure_future(operation.wait()) for operation in operations]
    await asyncio.sleep(3.5)
    waits[2].cancel()
    del waits[2]
    await asyncio.gather(*waits)
    run_id = int(str(left.ref.key[-1]))

    assert emulator.count("list_runs") > 1
    assert emulator.count("get_run", run_id=run_id) == 0
    assert (await left).is_success


async def test_a_long_list_is_read_in_turns(
    client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others have their turn of the event loop before all rows of a list are read."""
    monkeypatch.setattr(_sweep, "ROWS_A_TURN", 3)
    read_by_then: list[int] = []

    def counted(body: bytes) -> Iterator[object]:
        seen: list[object] = []
        asyncio.get_running_loop().call_soon(lambda: read_by_then.append(len(seen)))
        for row in read_rows(body):
            seen.append(row)
            yield row

    monkeypatch.setattr(_sweep, "read_rows", counted)
    runs = await client.gather(*await dispatched(project))

    assert all(run.is_success for run in runs)
    assert read_by_then[0] == 3


async def test_many_are_put_back_in_turns(
    client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a long list others have their turn of the event loop before all are put back."""
    monkeypatch.setattr(_poller, "STATES_A_TURN", 3)
    operations = await dispatched(project)
    busy: list[int] = []
    look = ListPolling.look

    def note() -> None:
        busy.append(sum(operation._state.is_looking for operation in operations))

    async def noted(sweep: ListPolling, states: Sequence[Any]) -> ListAnswer | None:
        glance = await look(sweep, states)
        asyncio.get_running_loop().call_soon(note)
        return glance

    monkeypatch.setattr(ListPolling, "look", noted)
    runs = await client.gather(*operations)

    assert all(run.is_success for run in runs)
    assert busy[0] == COUNT - 3


async def test_two_generations_of_one_feature_are_told_apart(
    emulator: Emulator, project: Project
) -> None:
    """A row of a feature stands for one generation alone; another is read by id."""
    for number in range(3):
        emulator.add_feature(f"Draft {number}", status="draft")
    old = await project.generate_feature("Draft 0")
    await old.poll()
    emulator.finish_generation(old.request_id)
    newer = [await project.generate_feature(f"Draft {number}") for number in range(3)]

    results = await asyncio.gather(old, *newer, return_exceptions=True)

    assert type(results[0]).__name__ == "OperationSupersededError"
    assert [type(result).__name__ for result in results[1:]] == ["Generation"] * 3


async def test_a_row_of_a_feature_tells_of_its_later_generation(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """Of two generations that are due together the row is the later one's; the other is read."""
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

    ends = await asyncio.gather(*waits, return_exceptions=True)

    assert {type(end).__name__ for end in ends} == {"OperationSupersededError"}
    assert now() - began < 5
    assert all(generation.is_finished for generation in await gathering)


WRONG_LISTS: list[tuple[str, Fault, int]] = [
    ("404", Fault.status(404), 1),
    ("405", Fault.status(405), 1),
    ("400", Fault.status(400), 1),
    ("401", Fault.status(401), 1),
    ("html", Fault.body(b"<html>", content_type="text/html"), 1),
    ("not a list", Fault.body(b'{"total": 3}'), 1),
    ("500", Fault.status(500), 2),
    ("reset", Fault.reset(), 4),
    ("truncated", Fault.truncated(), 2),
    ("429", Fault.status(429), 2),
    ("empty", Fault.body(b"[]"), 1),
    ("rows of something else", Fault.body(b'[7, null, "x", {}, {"runId": []}]'), 1),
    ("a page from long ago", Fault.edit(lambda rows: [row | {"runId": 1} for row in rows]), 4),
    ("no ids", Fault.edit(lambda rows: [{"status": row["status"]} for row in rows]), 4),
]


@pytest.mark.parametrize(
    ("fault", "lists"),
    [pytest.param(fault, lists, id=name) for name, fault, lists in WRONG_LISTS],
)
async def test_a_list_that_is_of_no_use_costs_a_few_requests(
    fault: Fault, lists: int, emulator: Emulator, client: Client, project: Project
) -> None:
    """Whatever comes in place of the list, nobody waits longer, and it is soon left alone."""
    emulator.fail("list_runs", fault)
    operations = await dispatched(project)

    runs = await client.gather(*operations)

    assert all(run.is_success for run in runs)
    assert now() <= 33
    assert emulator.count("list_runs") <= lists
    assert emulator.count("get_run") <= ROUNDS * COUNT


async def test_missing_rows_are_asked_by_id(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """Absent from the list is neither finished nor failed: those are read, the others are not."""
    emulator.fail("list_runs", Fault.edit(lambda rows: [r for r in rows if r["runId"] % 4]))
    operations = await dispatched(project)

    await client.gather(*operations)

    assert now() <= 33
    lists, reads = counts(emulator)
    assert lists <= ROUNDS
    assert reads <= COUNT + ROUNDS * (COUNT // 4 + 1)


async def test_one_undecodable_row_harms_no_other(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """A row that makes no sense costs one read by id each round."""
    operations = await dispatched(project)
    bad = operations[7].ref.key[-1]
    emulator.fail(
        "list_runs",
        Fault.edit(lambda rows: [{"runId": r["runId"]} if r["runId"] == bad else r for r in rows]),
    )

    await client.gather(*operations)

    assert now() <= 33
    assert counts(emulator)[1] <= COUNT + 2 * ROUNDS


async def test_a_list_that_always_says_running_is_caught(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """A list that hides ends is caught by the read that checks it, and no longer trusted."""
    emulator.fail(
        "list_runs",
        Fault.edit(lambda rows: [row | {"status": "running"} for row in rows]),
    )
    operations = await dispatched(project)
    for operation in operations:
        emulator.finish_run(int(str(operation.ref.key[-1])))

    await client.gather(*operations)

    assert now() <= 15
    assert emulator.count("list_runs") <= 4
    assert emulator.count("get_run") <= 2 * COUNT


async def test_a_list_is_caught_by_whichever_read_finds_it_lying() -> None:
    """When many are read by id at once, each of them shows whether the list lied."""
    scenario = Scenario(run_queue=(5, 5), run_duration=(500, 500), failing_runs=0)
    rests: list[float] = []
    hooks = Hooks(on_list_polling_suspended=lambda _: rests.append(now()))
    async with Emulator(scenario=scenario) as emulator, client_of(emulator, hooks=hooks) as client:
        emulator.fail(
            "list_runs",
            Fault.edit(
                lambda rows: [{**row, "status": "running", "finishedUtc": None} for row in rows]
            ),
        )
        operations = await dispatched(client.project(), 100)
        for place, operation in enumerate(operations):
            run_id = int(str(operation.ref.key[-1]))
            asyncio.get_running_loop().call_at(20 + place, emulator.finish_run, run_id)

        await client.gather(*operations)

    assert rests[0] <= 63  # the first time that all are read by id, and not the second


async def test_a_list_that_lags_a_little_is_trusted(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """A list that is a moment late makes the news that late, and is used on."""

    def late(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row | {"status": "running"} if now() < 34 else row for row in rows]

    emulator.fail("list_runs", Fault.edit(late))
    operations = await dispatched(project)

    await client.gather(*operations)

    assert now() <= 37
    assert emulator.count("list_runs") <= ROUNDS + 2


async def test_a_row_that_falls_back_to_running_changes_nothing(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """A terminal state that was read stays, whatever the list says later."""
    operations = await dispatched(project)
    first = operations[0]
    emulator.finish_run(int(str(first.ref.key[-1])))
    emulator.fail(
        "list_runs", Fault.edit(lambda rows: [r | {"status": "running"} for r in rows]), skip=1
    )
    wait = asyncio.ensure_future(client.gather(*operations))
    await first
    await asyncio.sleep(10)

    assert first.status == "passed"
    assert emulator.count("get_run", run_id=int(str(first.ref.key[-1]))) == 1
    await wait


async def test_thousands_of_strangers_runs_in_front(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """Three runs below 5,000 of others are read by id, after a few calls that did not reach."""
    operations = await dispatched(project, 3)
    strangers = [{"runId": -number, "status": "running"} for number in range(5000)]
    limits: list[int] = []

    def page(_: Any) -> list[dict[str, Any]]:
        limits.append(int(emulator.requests[-1].query["limit"]))
        return strangers[: limits[-1]]

    emulator.fail("list_runs", Fault.edit(page))

    await client.gather(*operations)

    assert now() <= 33
    assert len(limits) <= 5
    assert max(limits) < 600
    assert emulator.count("get_run") <= 3 * ROUNDS


async def test_a_busy_project_is_read_as_deep_as_it_takes(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """Where there are enough of ours, the list is read past the strangers in front of them."""
    operations = await dispatched(project, 100)
    for _ in range(600):
        emulator._service.dispatch_run(
            emulator._project, emulator.features["Returns"], config="Default", site_url="https://x"
        )

    await client.gather(*operations)

    limits = [int(r.query["limit"]) for r in emulator.requests if r.operation == "list_runs"]
    assert max(limits) >= 700
    assert len(limits) <= ROUNDS
    assert emulator.count("get_run") <= 100 + 4 * 100 + ROUNDS


async def test_a_server_that_caps_the_page(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """What a shorter page does not show is read by id; the rest still comes from the list."""
    emulator.fail("list_runs", Fault.edit(lambda rows: rows[:15]))
    operations = await dispatched(project)

    await client.gather(*operations)

    assert now() <= 33
    assert emulator.count("list_runs") <= ROUNDS
    assert emulator.count("get_run") <= COUNT + ROUNDS * 6


async def test_an_envelope_is_a_list(emulator: Emulator, client: Client, project: Project) -> None:
    """Rows inside an object count as well."""
    emulator.fail("list_runs", Fault.edit(lambda rows: {"runs": rows, "next": None}))

    await client.gather(*await dispatched(project))

    assert emulator.count("get_run") <= COUNT + ROUNDS


async def test_another_route_of_the_list_is_used(emulator: Emulator) -> None:
    """endpoints= applies to sweeps as to calls."""
    route = {"list_runs": "GET /projects/{project}/history"}
    async with client_of(emulator, endpoints=route) as client:
        await client.gather(*await dispatched(client.project(), 3))

    assert [r.path for r in emulator.requests if r.path.endswith("/history")]


async def test_the_event_tells_of_a_list_that_rests(emulator: Emulator) -> None:
    """on_list_polling_suspended hears why a list is left alone, and for how long."""
    heard: list[ListPollingSuspended] = []
    emulator.fail("list_runs", Fault.status(404))
    async with client_of(emulator, hooks=Hooks(on_list_polling_suspended=heard.append)) as client:
        await client.gather(*await dispatched(client.project()))

    assert [(event.operation, event.seconds) for event in heard] == [("list_runs", 600.0)]
    assert heard[0].error is not None


async def test_a_list_that_does_not_earn_its_price_is_tried_again_each_minute() -> None:
    """A list that shows less than it costs rests for 60 s, again and again."""
    heard: list[ListPollingSuspended] = []
    scenario = Scenario(run_queue=(0, 0), run_duration=(200, 200), failing_runs=0)
    async with (
        Emulator(scenario=scenario) as emulator,
        client_of(emulator, hooks=Hooks(on_list_polling_suspended=heard.append)) as client,
    ):
        emulator.fail("list_runs", Fault.body(b"[]"))
        await client.gather(*await dispatched(client.project(), 5))

    at = [request.at for request in emulator.requests if request.operation == "list_runs"]
    assert [(event.seconds, event.error) for event in heard] == [(60.0, None)] * 4
    assert len(at) == 4
    assert [later - earlier for earlier, later in pairwise(at)] == pytest.approx([63] * 3, abs=3.5)


async def test_a_list_that_was_off_is_tried_again(emulator: Emulator, client: Client) -> None:
    """After ten minutes a list that was not there is asked for once more."""
    rule = emulator.fail("list_runs", Fault.status(404))
    await client.gather(*await dispatched(client.project()))
    rule.remove()
    await asyncio.sleep(600)
    before = emulator.count("list_runs")
    await client.gather(*await dispatched(client.project()))

    assert rule.hits == 1
    assert emulator.count("list_runs") > before
