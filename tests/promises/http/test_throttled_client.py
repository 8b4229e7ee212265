"""A whole client of a service that throttles: what refusals cost, on virtual time."""

import asyncio
from collections.abc import Callable
from itertools import count

import pytest

from tests.conftest import client_of
from tests.support.timing import now
from testvibe_async import Hooks
from testvibe_async.events import Event, Paused, Resumed
from testvibe_async.testing import Emulator, Fault, Scenario

SCENARIO = Scenario(run_queue=0, run_duration=(0.6, 2))
RUNS = 150


async def _run_all(
    scenario: Scenario, prepare: Callable[[Emulator], object], *, rate_limit: float | None = None
) -> list[Event]:
    """Run a feature many times at once; return the pauses and their ends."""
    seen: list[Event] = []
    hooks = Hooks(on_pause=seen.append, on_resume=seen.append)
    async with (
        Emulator(scenario=scenario, rate_limit=rate_limit) as emulator,
        client_of(emulator, poll_interval=0.25, hooks=hooks) as client,
    ):
        prepare(emulator)
        project = client.project()
        operations = await asyncio.gather(*(project.run_feature("Checkout") for _ in range(RUNS)))
        await client.gather(*operations)
        assert len(emulator.runs) == RUNS
    return seen


@pytest.mark.parametrize("place", [0, 20, 149])
async def test_one_refusal_costs_its_own_request_a_second(place: int) -> None:
    """Runs of at most 2 s are over a little later, and nothing pauses."""
    refusal = Fault.status(429, retry_after=1)
    seen = await _run_all(SCENARIO, lambda it: it.fail("run_feature", refusal, skip=place, times=1))
    assert now() <= 2 + 1 + 0.75
    assert seen == []


async def test_random_refusals_of_polls_cost_those_polls() -> None:
    """Every twentieth poll is refused; each comes back when it may, and nobody else waits."""
    numbers = count()
    refusal = Fault.status(503, retry_after=1)
    seen = await _run_all(
        SCENARIO, lambda it: it.fail("get_run", refusal, when=lambda _: next(numbers) % 20 == 0)
    )
    assert now() <= 6
    assert seen == []


async def test_a_limit_fails_no_dispatch() -> None:
    """150 runs at a service that takes 50 requests a second: all are dispatched, none twice."""
    seen = await _run_all(
        Scenario(run_queue=0, run_duration=(0.6, 2)), lambda _: None, rate_limit=50
    )
    assert now() <= 15
    assert {type(event) for event in seen} <= {Paused, Resumed}
    assert [type(event) for event in seen[:2]] == [Paused, Resumed]


async def test_a_refused_list_holds_up_nothing() -> None:
    """A list that is refused is suspended, and each run is read by its id."""
    refusal = Fault.status(429, retry_after=60)
    seen = await _run_all(SCENARIO, lambda it: it.fail("list_runs", refusal))
    assert now() <= 2 + 0.75
    assert seen == []


async def test_an_abandoned_probe_frees_the_next(emulator: Emulator) -> None:
    """After a pause, a first request whose caller is cancelled holds up no other."""
    paused = asyncio.Event()
    async with client_of(emulator, hooks=Hooks(on_pause=lambda _: paused.set())) as client:
        project = client.project()
        emulator.fail("get_feature", Fault.status(429, retry_after=2), times=8)
        refused = [asyncio.ensure_future(project.get_feature("Checkout")) for _ in range(8)]
        await paused.wait()
        emulator.fail("read_file", Fault.hang(), times=1)
        hanging = asyncio.ensure_future(project.read_file("Features/a.feature"))
        began = now()
        await asyncio.sleep(2.5)
        hanging.cancel()
        await asyncio.gather(*refused)
        assert now() - began < 4
