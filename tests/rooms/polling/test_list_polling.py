"""List polling: the statuses of many operations from one list call."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import pytest

from tests.conftest import Received, Send, Sent, client_of, client_through
from tests.support.observing import COUNT, ROUNDS, count_reads, dispatch_runs
from tests.support.timing import now
from testvibe_async import Client, Hooks, Operation, Phase, Project, Run, RunRef
from testvibe_async._polling.list_polling import Listed, ListPolling
from testvibe_async._polling.state import Change, OperationState
from testvibe_async._wire.json import read_rows
from testvibe_async.events import Emitter, StatusChanged
from testvibe_async.testing import Emulator, Fault, Scenario


async def test_many_runs_cost_one_list_a_round(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """Each round is one list call and one read that checks it; each end is one read by id."""
    operations = await dispatch_runs(project, COUNT)

    runs = await client.gather(*operations)

    lists, reads = count_reads(emulator)
    assert all(run.is_success and run.tests for run in runs)
    assert now() <= 33
    assert lists <= ROUNDS
    assert COUNT <= reads <= COUNT + ROUNDS


async def test_a_list_of_many_may_take_as_long_as_their_reads(
    emulator: Emulator, client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow list is waited for where reading all of them by id would take longer still."""
    monkeypatch.setattr("testvibe_async._polling.list_polling.SECONDS_A_READ", 0.25)
    emulator.fail("list_runs", Fault.delay(4))

    await client.gather(*await dispatch_runs(project, COUNT))

    lists, reads = count_reads(emulator)
    assert lists > 1
    assert reads <= COUNT + ROUNDS


@pytest.mark.parametrize(("seconds", "is_read"), [(3.8, True), (4.2, False)])
async def test_a_list_is_given_2_ms_for_each_of_many(
    emulator: Emulator, client: Client, seconds: float, *, is_read: bool
) -> None:
    """A list of 2,000 may take 4 s to answer, though the interval is one second."""
    refs = [
        RunRef(server=emulator.url, project=emulator.project_id, run_id=number)
        for number in range(1, 2001)
    ]
    operations = [client.attach(ref) for ref in refs]
    polling = ListPolling(
        client._transport,
        (emulator.project_id, "run"),
        interval=1.0,
        hooks=Emitter(Hooks()),
        run_ids=client._parts.run_ids,
    )
    emulator.fail("list_runs", Fault.delay(seconds))

    answer = await polling.poll([operation._polled for operation in operations])

    assert (answer is not None) == is_read
    assert now() == pytest.approx(min(seconds, 4), abs=0.1)


async def test_an_answer_older_than_the_list_changes_nothing(emulator: Emulator) -> None:
    """A status from a list is not overwritten by an older answer that arrives later."""
    late: list[asyncio.Task[Any]] = []

    async def delay_late_answers(request: Sent, send: Send) -> Received:
        response = await send(request)
        await asyncio.sleep(4 if asyncio.current_task() in late else 0)
        return response

    async with client_through(delay_late_answers, emulator) as client:
        operations = await dispatch_runs(client.project(), 4)
        gathering = asyncio.ensure_future(client.gather(*operations))
        await asyncio.sleep(4.5)
        late += [asyncio.create_task(operation.poll()) for operation in operations]
        await asyncio.sleep(3.9)
        before = [operation.phase for operation in operations]
        await asyncio.gather(*late)

        assert before == ["active"] * 4
        assert [operation.phase for operation in operations] == ["active"] * 4
        await gathering


async def test_two_are_read_by_id(emulator: Emulator, client: Client, project: Project) -> None:
    """Below three operations no list is asked for."""
    await client.gather(*await dispatch_runs(project, 2))

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


async def test_the_outcome_is_never_a_row(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """A run that the list shows as finished is read by id; the row is never the outcome."""
    emulator.fail(
        "list_runs",
        Fault.edit(lambda rows: [row | {"status": "failed", "config": "List"} for row in rows]),
    )
    operations = await dispatch_runs(project, 3)

    runs = await client.gather(*operations)

    assert [(run.status, run.config) for run in runs] == [("passed", "Default")] * 3
    assert count_reads(emulator)[1] <= 3 * ROUNDS


async def test_transitions_are_seen(emulator: Emulator, project: Project) -> None:
    """An iteration gets each transition with its full snapshot, beside waits."""
    operations = await dispatch_runs(project, 5)

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
    """That a run executes is seen in the list, reported to the hook, and costs no read."""
    events: list[StatusChanged] = []
    async with client_of(emulator, hooks=Hooks(on_transition=events.append)) as client:
        operations = await dispatch_runs(client.project(), 5)
        wait = asyncio.ensure_future(client.gather(*operations))
        await asyncio.sleep(10)

        assert [operation.phase for operation in operations] == ["active"] * 5
        assert emulator.count("get_run") <= 3
        await wait

    assert len(events) == 10


async def test_a_row_of_a_list_is_an_observation(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """`observed_at` is the time of the list where that replaces a read by id."""
    operations = await dispatch_runs(project, 5)
    wait = asyncio.ensure_future(client.gather(*operations))
    await asyncio.sleep(12)
    before = [operation.observed_at for operation in operations]
    reads = emulator.count("get_run")
    await asyncio.sleep(4)

    assert emulator.count("get_run") < reads + len(operations)
    for operation, seen_at in zip(operations, before, strict=True):
        assert seen_at is not None
        assert operation.observed_at is not None
        assert operation.observed_at > seen_at
    await wait


async def test_what_was_never_seen_is_read_by_id_first(
    emulator: Emulator, project: Project
) -> None:
    """No list is asked for attached operations that were never read."""
    refs = [operation.ref for operation in await dispatch_runs(project, 5)]
    async with client_of(emulator) as other:
        operations = [other.attach(ref) for ref in refs]
        wait = asyncio.ensure_future(other.gather(*operations))
        await asyncio.sleep(2)

        assert emulator.count("list_runs") == 0
        assert [operation.phase for operation in operations] == ["queued"] * 5
        assert None not in [operation.snapshot for operation in operations]
        await wait


async def test_each_operation_is_read_at_least_once_a_minute() -> None:
    """Each of many long runs is read by id at least every 60 s."""
    scenario = Scenario(run_queue=(0, 0), run_duration=(300, 300), failing_runs=0)
    async with Emulator(scenario=scenario) as emulator, client_of(emulator) as client:
        operations = await dispatch_runs(client.project(), 50)
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
async def test_overdue_reads_are_spread_over_a_minute(
    seconds: float, share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where very many are due for a read by id at once, each round reads its share of them."""
    monkeypatch.setattr("testvibe_async._polling.list_polling.CHECKS_AT_ONCE", 2)

    def plan(*_: object) -> float:
        return seconds

    scenario = Scenario(run_queue=(0, 0), run_duration=(300, 300), failing_runs=0)
    async with (
        Emulator(scenario=scenario) as emulator,
        client_of(emulator, poll_plan=plan) as client,
    ):
        operations = await dispatch_runs(client.project(), 100)
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


async def test_no_parsed_answer_is_kept_during_list_polling(
    client: Client, project: Project
) -> None:
    """The parsed answer of a read by id is not kept for operations that a list shows."""
    operations = await dispatch_runs(project, COUNT)
    wait = asyncio.create_task(client.gather(*operations))
    await asyncio.sleep(10)
    read = [operation for operation in operations if operation.snapshot is not None]
    assert len(read) >= 2
    kept = [operation for operation in read if operation._polled._answer is not None]
    assert len(kept) <= 1  # the one that checked the last list
    await wait


async def test_generations_are_polled_by_the_list_of_features(
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
    """Generations whose sections are followed are read by id."""
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
    """A followed generation stays out of the list polling of others that are only awaited."""
    for number in range(4):
        emulator.add_feature(f"Draft {number}", status="draft")
    awaited = [await project.generate_feature(f"Draft {number}") for number in range(3)]
    await asyncio.sleep(1)
    followed = await project.generate_feature("Draft 3")

    async def follow() -> int:
        return len([change async for change in followed.updates()])

    updates, _ = await asyncio.gather(follow(), client.gather(*awaited))

    assert updates >= 5
    assert emulator.count("list_features") >= 10
    before_it, first, *_ = [
        request.at
        for request in emulator.requests
        if request.operation == "get_generation_status" and request.feature == "Draft 3"
    ]
    assert before_it == pytest.approx(1, abs=0.1)
    assert first <= 1 + 3.3


async def test_a_wait_that_ends_during_its_list_call_is_not_rescheduled(
    emulator: Emulator, project: Project
) -> None:
    """An operation whose wait ends during a list call is not polled until the next wait."""
    operations = await dispatch_runs(project, 5)
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


async def test_a_long_list_is_read_in_portions(
    client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a long list yields to other tasks in between."""
    monkeypatch.setattr("testvibe_async._polling.list_polling.ROWS_A_TURN", 3)
    read_by_then: list[int] = []

    def counted(body: bytes) -> Iterator[object]:
        seen: list[object] = []
        asyncio.get_running_loop().call_soon(lambda: read_by_then.append(len(seen)))
        for row in read_rows(body):
            seen.append(row)
            yield row

    monkeypatch.setattr("testvibe_async._polling.list_polling.read_rows", counted)
    runs = await client.gather(*await dispatch_runs(project, COUNT))

    assert all(run.is_success for run in runs)
    assert read_by_then[0] == 3


async def test_many_are_rescheduled_in_portions(
    client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rescheduling many operations after a list yields to other tasks in between."""
    monkeypatch.setattr("testvibe_async._polling.poller.OPERATIONS_A_TURN", 3)
    operations = await dispatch_runs(project, COUNT)
    busy: list[int] = []
    poll = ListPolling.poll

    def note() -> None:
        busy.append(sum(operation._polled.is_in_progress for operation in operations))

    async def noted(polling: ListPolling, operations: Sequence[Any]) -> Listed | None:
        answer = await poll(polling, operations)
        asyncio.get_running_loop().call_soon(note)
        return answer

    monkeypatch.setattr(ListPolling, "poll", noted)
    runs = await client.gather(*operations)

    assert all(run.is_success for run in runs)
    assert busy[0] == COUNT - 3


async def test_many_starts_are_published_in_portions(
    client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publishing what a list shows as started yields to other tasks in between."""
    monkeypatch.setattr("testvibe_async._polling.reader.OPERATIONS_A_TURN", 3)
    operations = await dispatch_runs(project, COUNT)
    started: list[int] = []
    see_started = OperationState[Any].see_started

    def noted(state: OperationState[Any], *, at: datetime) -> Change | None:
        if not started:
            asyncio.get_running_loop().call_soon(
                lambda: started.append(sum(each.phase is Phase.ACTIVE for each in operations))
            )
        return see_started(state, at=at)

    monkeypatch.setattr(OperationState, "see_started", noted)
    await client.gather(*operations)

    assert started[0] == 3
    assert all(operation.outcome for operation in operations)


async def test_two_generations_of_one_feature_are_distinguished(
    emulator: Emulator, project: Project
) -> None:
    """A row of a feature counts for one generation alone; another is read by id."""
    for number in range(3):
        emulator.add_feature(f"Draft {number}", status="draft")
    old = await project.generate_feature("Draft 0")
    await old.poll()
    emulator.finish_generation(old.request_id)
    newer = [await project.generate_feature(f"Draft {number}") for number in range(3)]

    results = await asyncio.gather(old, *newer, return_exceptions=True)

    assert type(results[0]).__name__ == "OperationSupersededError"
    assert [type(result).__name__ for result in results[1:]] == ["Generation"] * 3


async def test_a_row_of_a_feature_is_its_latest_generation(
    emulator: Emulator, client: Client, project: Project
) -> None:
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
