"""The poller: when it polls, how many at once, and how it survives defects and cancellation."""

import asyncio
import gc
from collections.abc import AsyncGenerator
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from attrs import evolve

from tests.conftest import client_of
from tests.support.timing import now
from testvibe_async import Client, Generation, Phase, Project, Ref, Run, errors
from testvibe_async._core.polling import PollPlan
from testvibe_async.events import Hooks
from testvibe_async.testing import (
    Answer,
    Emulator,
    Fault,
    Middleware,
    RecordedRequest,
    Scenario,
)

SCENARIO = Scenario(run_queue=(5, 5), run_duration=(25, 25), failing_runs=0)


@pytest.fixture
async def emulator() -> AsyncGenerator[Emulator]:
    """Every run takes 30 s and passes; nothing can be read from a list."""
    async with Emulator(scenario=SCENARIO, lists=False) as emulator:
        yield emulator


def poll_times(emulator: Emulator) -> list[float]:
    return [request.at for request in emulator.requests if request.operation == "get_run"]


@pytest.mark.parametrize("interval", [3.0, 0.25])
async def test_the_interval_is_kept(emulator: Emulator, interval: float) -> None:
    """From the first poll on there is one each `poll_interval`, and the delay stays within it."""
    async with client_of(emulator, poll_interval=interval) as client:
        await (await client.project().run_feature("Checkout"))

    at = poll_times(emulator)
    assert interval <= at[0] <= 1.1 * interval + 0.01
    gaps = [later - earlier for earlier, later in pairwise(at)]
    assert gaps == pytest.approx([interval] * len(gaps))
    assert now() == pytest.approx(30, abs=interval)


async def test_a_poll_plan_sets_the_pace(emulator: Emulator) -> None:
    """poll_plan= gets kind, age and last snapshot, and returns the seconds until the next poll."""
    asked: list[tuple[str, float, Phase | None]] = []

    def plan(kind: str, age: float, seen: Run | Generation | None) -> float:
        asked.append((kind, age, None if seen is None else seen.phase))
        return 4.0 if seen is None else 12.0

    async with client_of(emulator, poll_plan=plan) as client:
        await (await client.project().run_feature("Checkout"))

    at = poll_times(emulator)
    assert [at[0], *(later - earlier for earlier, later in pairwise(at))] == pytest.approx(
        [4, 12, 12, 12], abs=0.31
    )
    assert [kind for kind, *_ in asked] == ["run"] * 4
    assert [age for _, age, _ in asked] == pytest.approx([0, *at[:-1]], abs=0.01)
    assert [phase for *_, phase in asked] == [None, "queued", "active", "active"]


class Asking(Middleware):
    """A service that asks for the next poll by `Retry-After`."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds

    def after(self, request: RecordedRequest, answer: Answer) -> Answer:  # noqa: ARG002
        """Ask for it in each answer."""
        return evolve(answer, headers={**answer.headers, "Retry-After": str(self.seconds)})


@pytest.mark.parametrize(("asked", "interval"), [(6, 6), (0, 3), (3600, 10)])
async def test_a_service_may_ask_for_later_polls(asked: int, interval: float) -> None:
    """`Retry-After` of a dispatch or a poll is followed, from one interval to ten thirds of it."""
    async with (
        Emulator(middleware=Asking(asked)) as emulator,
        client_of(emulator, poll_interval=3) as client,
    ):
        await (await client.project().run_feature("Checkout"))
        at = poll_times(emulator)
    gaps = [at[0], *(later - earlier for earlier, later in pairwise(at))]
    assert gaps == pytest.approx([interval] * len(gaps), abs=0.31)


async def test_a_defect_ends_one_wait(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unforeseen error in a poll ends the wait, and a later wait starts anew."""
    operation = await project.run_feature("Checkout")
    neighbour = await project.run_feature("Checkout")
    broken = operation._polled
    take = type(broken).belongs

    def belongs(state: Any, *args: Any) -> Any:
        if state is broken:
            raise ZeroDivisionError
        return take(state, *args)

    monkeypatch.setattr(type(broken), "belongs", belongs)
    kept = asyncio.ensure_future(neighbour.wait())

    with pytest.raises(errors.ObservationError, match="unforeseen: ZeroDivisionError") as caught:
        await operation

    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.ref == operation.ref
    monkeypatch.undo()
    assert (await operation).is_success
    assert (await kept).is_success


class Leave(BaseException):
    """An exception that ends a program or a test, as `pytest.fail` does, and is no `Exception`."""


@pytest.mark.parametrize("lists", [True, False])
@pytest.mark.parametrize("hook", ["on_transition", "on_poll_failed", "on_list_polling_suspended"])
async def test_a_leaving_hook(hook: str, caplog: pytest.LogCaptureFixture, *, lists: bool) -> None:
    """A BaseException of a hook ends all waits with an error, and the next ones go on."""
    is_armed = True

    def leave(_event: object) -> None:
        if is_armed:
            raise Leave

    service, hooks = Emulator(scenario=SCENARIO, lists=lists), Hooks(**{hook: leave})
    async with service as emulator, client_of(emulator, hooks=hooks) as client:
        operations = [await client.project().run_feature("Checkout") for _ in range(4)]
        if hook == "on_poll_failed":
            emulator.fail("get_run", Fault.status(500), times=4)
        if hook == "on_list_polling_suspended":
            emulator.fail("list_runs", Fault.status(500))
        waits = [operation.wait(timeout=300) for operation in operations]
        results = await asyncio.gather(*waits, return_exceptions=True)
        is_armed = False
        runs = await client.gather(*operations)

    assert {type(result) for result in results} == {errors.ObservationError}
    assert all(run.is_success for run in runs)
    assert "in an unforeseen way" in caplog.text


def a_plan_of(answer: Any) -> PollPlan:
    """Return a plan that always says the same, or raises it."""

    def plan(*_: object) -> float:
        if isinstance(answer, Exception):
            raise answer
        wait: float = answer
        return wait

    return plan


@pytest.mark.parametrize("answer", [0, -1, float("nan"), 1e999, None, TimeoutError()], ids=repr)
async def test_a_plan_that_gives_no_seconds_is_refused(emulator: Emulator, answer: Any) -> None:
    """What a poll_plan returns must be seconds above 0, and the wait says so; or what it raised."""
    async with client_of(emulator, poll_plan=a_plan_of(answer)) as client:
        operation = await client.project().run_feature("Checkout")
        with pytest.raises(errors.ConfigError, match=r"must be a number|failed: TimeoutError\(\)"):
            await operation


async def test_a_closed_session_is_raised_in_each_wait() -> None:
    """All waits for operations of one list raise that the session is closed."""
    session = aiohttp.ClientSession()
    async with Emulator() as emulator, session, client_of(emulator, session=session) as client:
        operations = [await client.project().run_feature("Checkout") for _ in range(5)]
        waits = [asyncio.ensure_future(each.wait()) for each in operations]
        await asyncio.sleep(1)
        await session.close()
        results = await asyncio.gather(*waits, return_exceptions=True)

    assert [type(result) for result in results] == [errors.ConfigError] * 5
    assert "session that this Client was given is closed" in str(results[0])


async def ended(project: Project) -> Ref:
    """Run a feature to its end, and keep no handle on it."""
    operation = await project.run_feature("Checkout")
    await operation
    return operation.ref


async def test_so_many_outcomes_are_kept(
    emulator: Emulator, client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the number and the bytes that are kept, the oldest outcomes are read again."""
    monkeypatch.setattr("testvibe_async._core.polling.known.MAX_OPERATIONS", 2)
    monkeypatch.setattr("testvibe_async._core.polling.known.MAX_BYTES", 10_000)
    refs = [await ended(project) for _ in range(3)]
    gc.collect()
    assert [client.attach(ref).done for ref in refs] == [False, True, True]

    emulator.fail("get_run", Fault.edit(lambda run: run | {"log": "x" * 20_000}))
    refs.append(await ended(project))
    gc.collect()
    assert not any(client.attach(ref).done for ref in refs)
