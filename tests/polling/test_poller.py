"""The poller: by demand, together, and never hung."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import weakref
from contextvars import ContextVar
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.conftest import client_of
from tests.timing import now
from testvibe_async import (
    ClientClosedError,
    ConfigError,
    Generation,
    ObservationError,
    Operation,
    Phase,
    PollFailed,
    PollPlan,
    Ref,
    Run,
    StatusChanged,
    WaitTimeoutError,
)
from testvibe_async.events import Hooks
from testvibe_async.testing import Emulator, Fault, Scenario

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from testvibe_async import Client, Project


SCENARIO = Scenario(run_queue=(5, 5), run_duration=(25, 25), failing_runs=0)


@pytest.fixture
async def emulator() -> AsyncGenerator[Emulator]:
    """Every run takes 30 s and passes; nothing can be read from a list."""
    async with Emulator(scenario=SCENARIO, lists=False) as emulator:
        yield emulator


def looks(emulator: Emulator) -> list[float]:
    return [request.at for request in emulator.requests if request.operation == "get_run"]


def our_tasks() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "testvibe_async poller"]


async def test_what_is_due_within_a_tick_is_looked_at_together(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """Runs dispatched at about the same time share their ticks."""
    operations: list[Operation[Run]] = []
    for _ in range(20):
        operations.append(await project.run_feature("Checkout"))
        await asyncio.sleep(0.05)
    await client.gather(*operations)

    moments = {round(at, 6) for at in looks(emulator)}
    rounds = len(looks(emulator)) / len(operations)
    assert len(moments) <= rounds * 6


async def test_the_interval_is_kept(emulator: Emulator, project: Project) -> None:
    """From the first look on, one look each interval, exactly."""
    await (await project.run_feature("Checkout"))

    at = looks(emulator)
    assert 3.0 <= at[0] <= 3.31
    assert [later - earlier for earlier, later in pairwise(at)] == pytest.approx(
        [3.0] * (len(at) - 1)
    )


async def test_the_interval_can_be_chosen(emulator: Emulator) -> None:
    """poll_interval= sets the pace, and the delay stays within it."""
    async with client_of(emulator, poll_interval=0.25) as client:
        await (await client.project().run_feature("Checkout"))

    assert now() == pytest.approx(30, abs=0.25)
    assert len(looks(emulator)) == pytest.approx(120, abs=2)


async def test_a_plan_of_ones_own_sets_the_pace(emulator: Emulator) -> None:
    """poll_plan= hears kind, age and what was seen last, and says how long until the next look."""
    heard: list[tuple[str, float, Phase | None]] = []

    def plan(kind: str, age: float, seen: Run | Generation | None) -> float:
        heard.append((kind, age, None if seen is None else seen.phase))
        return 4.0 if seen is None else 12.0

    async with client_of(emulator, poll_plan=plan) as client:
        await (await client.project().run_feature("Checkout"))

    at = looks(emulator)
    assert [at[0], *(later - earlier for earlier, later in pairwise(at))] == pytest.approx(
        [4, 12, 12, 12], abs=0.31
    )
    assert [kind for kind, *_ in heard] == ["run"] * 4
    assert [age for _, age, _ in heard] == pytest.approx([0, *at[:-1]], abs=0.01)
    assert [phase for *_, phase in heard] == [None, "queued", "active", "active"]


async def test_the_phase_differs_between_clients(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients started at the same moment do not look at the same moment."""
    first_looks: list[float] = []
    for chance in (0.0, 0.5):
        monkeypatch.setattr(random, "random", lambda chance=chance: chance)
        start, before = now(), len(looks(emulator))
        async with client_of(emulator) as client:
            await (await client.project().run_feature("Checkout"))
        first_looks.append((looks(emulator)[before] - start) % 3)

    assert first_looks[0] != pytest.approx(first_looks[1], abs=0.05)


async def test_looks_are_bounded_by_the_connections(emulator: Emulator) -> None:
    """Never more looks under way than max_connections, however many are due."""
    emulator.fail("get_run", Fault.delay(0.1))
    busiest = 0
    async with client_of(emulator, max_connections=4) as client:
        project = client.project()
        operations = [await project.run_feature("Checkout") for _ in range(30)]
        wait = asyncio.ensure_future(client.gather(*operations))
        while not wait.done():
            await asyncio.sleep(0.03)
            busiest = max(busiest, len(our_tasks()))
        await wait

    assert busiest == 4


async def test_a_slow_look_delays_no_neighbour(emulator: Emulator, project: Project) -> None:
    """A look that hangs holds up nobody else."""
    stuck, fine = [await project.run_feature("Checkout") for _ in range(2)]
    emulator.fail("get_run", Fault.hang(), times=1, when=lambda r: r.run_id == stuck.run_id)
    slow = asyncio.ensure_future(stuck.wait())
    await fine

    assert now() <= 33
    assert (await slow).is_success
    assert now() <= 36 + 6


async def test_an_operation_added_during_a_tick_is_served(
    emulator: Emulator, project: Project
) -> None:
    """Whoever begins to wait while looks are under way is served like everybody else."""
    early, late = [await project.run_feature("Checkout") for _ in range(2)]
    emulator.fail("get_run", Fault.delay(1), times=1)
    first = asyncio.ensure_future(early.wait())
    await asyncio.sleep(3.2)
    second = asyncio.ensure_future(late.wait())

    await asyncio.gather(first, second)

    assert now() <= 34


async def test_a_wait_that_begins_while_its_look_is_under_way(
    emulator: Emulator, project: Project
) -> None:
    """A wait that joins an operation in the middle of a look needs no second one."""
    operation = await project.run_feature("Checkout")
    emulator.fail("get_run", Fault.delay(1), skip=1, times=1)
    first = asyncio.ensure_future(operation.wait())
    await asyncio.sleep(6.2)
    first.cancel()
    second = asyncio.ensure_future(operation.wait())
    await second

    assert len(looks(emulator)) in {10, 11}


async def test_a_wait_that_ends_before_its_turn_is_not_served(emulator: Emulator) -> None:
    """An operation whose last wait ends while it queues for a look is not looked at."""
    async with client_of(emulator, max_connections=1) as client:
        project = client.project()
        busy, idle = [await project.run_feature("Checkout") for _ in range(2)]
        emulator.fail("get_run", Fault.delay(2), times=1)
        waits = [asyncio.ensure_future(operation.wait()) for operation in (busy, idle)]
        await asyncio.sleep(3.5)
        waits[1].cancel()
        await waits[0]

    assert emulator.count("get_run", run_id=idle.run_id) == 0


@pytest.mark.parametrize("turns", range(10))
async def test_a_wait_that_begins_as_the_only_worker_ends(emulator: Emulator, turns: int) -> None:
    """In whichever turn of the event loop a wait begins, there is a worker for its look."""
    loop = asyncio.get_running_loop()
    begun: asyncio.Future[asyncio.Task[Run]] = loop.create_future()

    def begin(left: int, operation: Operation[Run]) -> None:
        if left:
            loop.call_soon(begin, left - 1, operation)
        else:
            begun.set_result(asyncio.ensure_future(operation.wait()))

    async with client_of(emulator, max_connections=1) as client, client_of(emulator) as other:
        last = await client.project().run_feature("Checkout")
        late = client.attach((await other.project().run_feature("Checkout")).ref)
        await asyncio.sleep(40)

        def answer(run: object) -> object:
            begin(turns, late)
            return run

        emulator.fail("get_run", Fault.edit(answer), times=1)
        async with asyncio.timeout(60):
            assert (await last).is_success
            assert (await (await begun)).is_success


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks begin eagerly from Python 3.12 on")
async def test_waits_that_begin_inside_a_hook_cost_no_looks(emulator: Emulator) -> None:
    """A task that begins at once, in the middle of the poller's work, schedules nothing twice."""
    eager: Any = getattr(asyncio, "eager_task_factory", None)
    asyncio.get_running_loop().set_task_factory(eager)
    waits: list[asyncio.Task[Run]] = []
    operations: dict[Ref, Operation[Run]] = {}
    entries: set[int] = set()

    def count() -> None:
        entries.add(sum(map(len, client._poller._buckets.values())))

    def wait(event: PollFailed | StatusChanged) -> None:
        waits.append(asyncio.create_task(operations[event.ref].wait()))
        asyncio.get_running_loop().call_soon(count)

    emulator.fail("get_run", Fault.status(500), times=2)
    hooks = Hooks(on_poll_failed=wait, on_transition=wait)
    async with client_of(emulator, hooks=hooks) as client:
        operation = await client.project().run_feature("Checkout")
        operations[operation.ref] = operation
        first = asyncio.create_task(operation.wait())
        run = await first

        assert [await wait for wait in waits] == [run] * 4
    assert entries == {0, 1}
    gaps = [later - earlier for earlier, later in pairwise(looks(emulator))]
    assert gaps == pytest.approx([6, 12, *[3] * (len(gaps) - 2)], abs=0.3)


async def test_an_earlier_wait_hastens_the_timer(emulator: Emulator, project: Project) -> None:
    """A look that is due earlier than the one the poller sleeps for comes first."""
    late = await project.run_feature("Checkout")
    await asyncio.sleep(2)
    early = await project.run_feature("Checkout")
    waits = [asyncio.ensure_future(early.wait())]
    await asyncio.sleep(0)
    waits.append(asyncio.ensure_future(late.wait()))
    await asyncio.sleep(1.5)

    assert emulator.count("get_run", run_id=late.run_id) == 1
    assert emulator.count("get_run", run_id=early.run_id) == 0
    await asyncio.gather(*waits)


async def test_a_defect_is_told_and_the_next_wait_goes_on(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where looking fails in a way nobody foresaw, the wait ends, and a later one starts anew."""
    operation = await project.run_feature("Checkout")
    neighbour = await project.run_feature("Checkout")
    broken = operation._state
    take = type(broken).is_told_by

    def is_told_by(state: Any, *args: Any) -> Any:
        if state is broken:
            raise ZeroDivisionError
        return take(state, *args)

    monkeypatch.setattr(type(broken), "is_told_by", is_told_by)
    kept = asyncio.ensure_future(neighbour.wait())

    with pytest.raises(ObservationError, match="unforeseen: ZeroDivisionError") as caught:
        await operation

    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.ref == operation.ref
    monkeypatch.undo()
    assert (await operation).is_success
    assert (await kept).is_success


class Leave(BaseException):
    """What ends a program or a test, as `pytest.fail` does, and is no `Exception`."""


@pytest.mark.parametrize("lists", [True, False])
@pytest.mark.parametrize("hook", ["on_transition", "on_poll_failed", "on_list_polling_suspended"])
async def test_what_a_hook_raises_to_end_the_program_hangs_no_wait(
    hook: str, caplog: pytest.LogCaptureFixture, *, lists: bool
) -> None:
    """Whatever a hook raises, all waits hear of it, and the next ones go on."""
    is_armed = True

    def leave(_event: object) -> None:
        if is_armed:
            raise Leave

    async with (
        Emulator(scenario=SCENARIO, lists=lists) as emulator,
        client_of(emulator, hooks=Hooks(**{hook: leave})) as client,
    ):
        operations = [await client.project().run_feature("Checkout") for _ in range(4)]
        if hook == "on_poll_failed":
            emulator.fail("get_run", Fault.status(500), times=4)
        if hook == "on_list_polling_suspended":
            emulator.fail("list_runs", Fault.status(500))
        waits = [operation.wait(timeout=300) for operation in operations]
        results = await asyncio.gather(*waits, return_exceptions=True)
        is_armed = False
        runs = await client.gather(*operations)

    assert {type(result) for result in results} == {ObservationError}
    assert all(run.is_success for run in runs)
    assert "in an unforeseen way" in caplog.text


async def test_an_endless_poll_plan_is_no_defect(emulator: Emulator) -> None:
    """An interval beyond what can be counted in ticks is a very long one."""
    async with client_of(emulator, poll_plan=a_plan_of(1e308)) as client:
        operation = await client.project().run_feature("Checkout")
        with pytest.raises(WaitTimeoutError):
            await operation.wait(timeout=60)


async def test_a_cancelled_poller_tells_everybody(emulator: Emulator, project: Project) -> None:
    """Where somebody cancels the poller's tasks, no wait hangs, and the next one starts anew."""
    emulator.fail("get_run", Fault.hang(), times=1)
    operation = await project.run_feature("Checkout")
    wait = asyncio.ensure_future(operation.wait())
    await asyncio.sleep(4)
    for task in our_tasks():
        task.cancel()

    with pytest.raises(ObservationError, match="task was cancelled"):
        await wait
    assert (await operation).is_success


async def test_a_cancelled_poller_tells_those_in_the_queue(emulator: Emulator) -> None:
    """Operations that only queue for a look are told too."""
    emulator.fail("get_run", Fault.hang(), times=1)
    async with client_of(emulator, max_connections=1) as client:
        project = client.project()
        operations = [await project.run_feature("Checkout") for _ in range(3)]
        waits = [asyncio.ensure_future(operation.wait()) for operation in operations]
        await asyncio.sleep(4)
        for task in our_tasks():
            task.cancel()
        results = await asyncio.gather(*waits, return_exceptions=True)

        assert [type(result) for result in results] == [ObservationError] * 3
        assert [run.is_success for run in await client.gather(*operations)] == [True] * 3


async def test_transitions_are_told_to_the_hook(emulator: Emulator) -> None:
    """on_transition hears of each change of phase or status, once."""
    heard: list[StatusChanged] = []
    async with client_of(emulator, hooks=Hooks(on_transition=heard.append)) as client:
        operation = await client.project().run_feature("Checkout")
        await asyncio.gather(operation, operation, operation)

    assert [event.transition.phase for event in heard] == ["active", "finished"]
    assert {event.ref for event in heard} == {operation.ref}


async def test_a_dropped_operation_is_forgotten(client: Client, project: Project) -> None:
    """A state lives no longer than the handles and waits on it."""
    for _ in range(50):
        await (await project.run_feature("Checkout"))

    assert len(client._poller._states) <= 1


async def test_a_closed_client_leaves_no_timer(emulator: Emulator) -> None:
    """Nothing in the event loop keeps a client that was closed in the middle of a wait."""
    async with client_of(emulator, poll_interval=100.0) as client:
        wait = asyncio.ensure_future((await client.project().run_feature("Checkout")).wait())
        await asyncio.sleep(1)
    with pytest.raises(ClientClosedError):
        await wait
    poller = weakref.ref(client._poller)
    del client, wait
    gc.collect()

    assert poller() is None


def a_plan_of(seconds: Any) -> PollPlan:
    """Return a plan that always says the same."""

    def plan(kind: str, age: float, seen: Run | Generation | None) -> float:  # noqa: ARG001
        wait: float = seconds
        return wait

    return plan


@pytest.mark.parametrize("answer", [0, -1, float("nan"), float("inf"), None])
async def test_a_plan_that_gives_no_seconds_is_refused(emulator: Emulator, answer: Any) -> None:
    """What a poll_plan returns must be seconds above 0, and the wait says so."""
    async with client_of(emulator, poll_plan=a_plan_of(answer)) as client:
        operation = await client.project().run_feature("Checkout")
        with pytest.raises(ConfigError, match="what poll_plan returns must be a number of seconds"):
            await operation


async def test_a_plan_can_not_make_the_poller_spin(emulator: Emulator) -> None:
    """However short the plan's seconds, there is no more than one look a tick."""
    async with client_of(emulator, poll_plan=a_plan_of(1e-9)) as client:
        await (await client.project().run_feature("Checkout"))

    assert emulator.count("get_run") <= 101


async def test_no_tick_while_many_begin_to_be_watched(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """Looks are put off until all of many are there, and none is forgotten."""
    operation = await project.run_feature("Checkout")
    with client._poller.gathering():
        wait = asyncio.ensure_future(operation.wait())
        await asyncio.sleep(20)
        assert emulator.count("get_run") == 0

    assert (await wait).is_finished


async def test_a_look_is_in_nobodys_context(emulator: Emulator) -> None:
    """What a hook hears of a look is in the context of who made the client, not of a waiter."""
    request_id: ContextVar[str] = ContextVar("request_id", default="the client's")
    heard: list[str] = []
    hooks = Hooks(on_transition=lambda _: heard.append(request_id.get()))
    async with client_of(emulator, hooks=hooks) as client:
        first, second = [await client.project().run_feature("Checkout") for _ in range(2)]
        heard.clear()

        async def wait(operation: Operation[Run], name: str) -> None:
            request_id.set(name)
            await operation

        await asyncio.gather(wait(first, "a"), wait(second, "b"))

    assert set(heard) == {"the client's"}


async def test_a_plan_that_fails_harms_one_wait_alone() -> None:
    """Of several runs in one list, the one whose plan fails says so, and the others go on."""

    def plan(_kind: str, _age: float, seen: Run | Generation | None) -> float:
        if now() > 5 and isinstance(seen, Run) and seen.run_id == victim.run_id:
            raise ZeroDivisionError
        return 3.0

    async with Emulator() as emulator, client_of(emulator, poll_plan=plan) as client:
        victim, *others = [await client.project().run_feature("Checkout") for _ in range(5)]
        waits = [asyncio.ensure_future(each.wait()) for each in (victim, *others)]
        ends = await asyncio.gather(*waits, return_exceptions=True)

    assert isinstance(ends[0], ConfigError)
    assert str(ends[0]) == "poll_plan failed: ZeroDivisionError()"
    assert all(isinstance(end, Run) for end in ends[1:])


async def test_a_plan_that_fails_at_once_leaves_nothing_behind(emulator: Emulator) -> None:
    """An iteration goes on to the end after an operation whose first look can't be planned."""
    answers = iter([float("nan")])

    def plan(*_: object) -> float:
        return next(answers, 3.0)

    async with client_of(emulator, poll_plan=plan) as client:
        first = await client.project().run_feature("Checkout")
        await asyncio.sleep(10)
        second = await client.project().run_feature("Checkout")
        ends = client.finished([first, second])
        with pytest.raises(ConfigError, match="what poll_plan returns"):
            await anext(ends)
        await first
        assert [operation async for operation in ends] == [second]


async def test_a_time_out_of_a_plan_is_none_of_the_wait(emulator: Emulator) -> None:
    """A plan that raises a TimeoutError is a wrong plan, not a wait that is over."""

    def plan(*_: object) -> float:
        raise TimeoutError

    async with client_of(emulator, poll_plan=plan) as client:
        operation = await client.project().run_feature("Checkout")
        with pytest.raises(ConfigError, match=r"poll_plan failed: TimeoutError\(\)"):
            await operation


async def test_a_session_that_was_closed_is_told_to_each_wait() -> None:
    """All who wait for operations of one list hear what is wrong with the session."""
    async with (
        Emulator() as emulator,
        aiohttp.ClientSession() as session,
        client_of(emulator, session=session) as client,
    ):
        operations = [await client.project().run_feature("Checkout") for _ in range(5)]
        waits = [asyncio.ensure_future(each.wait()) for each in operations]
        await asyncio.sleep(1)
        await session.close()
        ends = await asyncio.gather(*waits, return_exceptions=True)

    assert [type(end) for end in ends] == [ConfigError] * 5
    assert "session that this Client was given is closed" in str(ends[0])
