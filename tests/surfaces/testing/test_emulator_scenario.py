"""The scenario: determinism, fixed outcomes, believable texts; and the clock."""

import asyncio
from typing import Any

import pytest

from tests.surfaces.testing.conftest import Caller, Emulate
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

REALISTIC = Scenario(seed="story", failing_runs=0.5, failing_generations=0.5)


async def story(call: Caller, *, often: bool) -> dict[str, Any]:
    """Dispatch some work, poll it often or once, and return all results."""
    for _ in range(4):
        await call.run("Checkout")
        await call.run("Wishlist")
    await call.generate("Returns")
    for _ in range(20 if often else 1):
        await asyncio.sleep(50 if often else 1000)
        if often:
            await call.get("/runs")
            await call.get("/features")
            await call.get("/features/Returns/generation")
    return {
        "runs": [await call.get(f"/runs/{run_id}") for run_id in call.emulator.runs],
        "generation": await call.get("/features/Returns/generation"),
        "log": await call.get("/features/Returns/generation/log"),
        "past": await call.get("/features/Wishlist/generation"),
    }


async def test_one_seed_gives_one_story(emulate: Emulate) -> None:
    """Verdicts, errors, times and ids depend on the seed, and not on the number of polls."""
    first = await story(await emulate(scenario=REALISTIC), often=True)
    assert first == await story(await emulate(scenario=REALISTIC), often=False)
    assert {run["status"] for run in first["runs"]} == {"passed", "failed"}
    other = await story(await emulate(scenario=Scenario(seed=1)), often=False)
    assert other["generation"]["requestId"] != first["generation"]["requestId"]
    assert other["runs"] != first["runs"]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Outcome, {"run_status": "fialed"}),
        (Outcome, {"generation_status": "passed"}),
        (Outcome, {"run_status": "passed", "failing": ("Wishlist works",)}),
        (Outcome, {"run_status": "passed", "error": "Error: no button"}),
        (Outcome, {"run_duration": -1}),
        (Scenario, {"run_queue": -1}),
        (Scenario, {"run_duration": (2, 1)}),
        (Scenario, {"verification": float("nan")}),
        (Scenario, {"failing_runs": 1.1}),
        (Scenario, {"failing_generations": -0.1}),
        *((Emulator, {"speed": number}) for number in (0, -1, float("nan"), float("inf"))),
        (Emulator, {"rate_limit": 0}),
        (Fault.slow, {"bytes_per_second": 0}),
        (Emulator().fail, {"operation": "run_featur", "fault": Fault.reset()}),
        (Emulator().fail, {"operation": "*", "fault": Fault.reset(), "times": 0}),
        (Emulator().fail, {"operation": "*", "fault": Fault.reset(), "skip": -1}),
        (Emulator().count, {"operation": "run_features"}),
        (Emulator().count, {"operation": "run_feature", "feature": "Chekout"}),
        (Emulator().count, {"operation": "get_run", "run_id": 1}),
        (Emulator().add_feature, {"name": "checkout"}),
    ],
)
def test_what_is_impossible_is_refused(kind: Any, options: dict[str, Any]) -> None:
    """Undocumented statuses, contradictions and numbers out of range are, and misspelt names.

    A fault that could never apply is refused too, and so is a count that could only be zero.
    """
    with pytest.raises(ValueError, match=r"must be|needs|No (operation|feature|run)|already has"):
        kind(**options)


async def test_a_failing_test_is_one_of_the_feature() -> None:
    """A misspelt name in `failing` is refused with the names that there are."""
    outcomes = {"Checkout": Outcome(failing=("No such scenario",)), "New": Outcome(failing=("x",))}
    with pytest.raises(ValueError, match="'Checkout' has no scenario 'No such scenario'"):
        Emulator(scenario=Scenario(outcomes=outcomes))
    emulator = Emulator(shop=False, scenario=Scenario(outcomes=outcomes))
    with pytest.raises(ValueError, match="New works"):
        emulator.add_feature("New")


async def test_speed_multiplies_time(emulate: Emulate) -> None:
    """At tenfold speed a run of 35 s is finished after 3.5 s, by its own timestamps after 35 s."""
    call = await emulate(speed=10)
    await call.run()
    await asyncio.sleep(3.4)
    assert (await call.get("/runs/214"))["status"] == "running"
    await asyncio.sleep(0.1)
    assert call.emulator.now() == 35
    assert (await call.get("/runs/214"))["finishedUtc"] == "2026-06-10T14:42:46Z"
