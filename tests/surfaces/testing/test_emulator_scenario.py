"""The scenario: determinism, overrides, believable texts; and the clock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from testvibe_async.testing import Emulator, Outcome, Scenario

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .conftest import Caller

REALISTIC = Scenario(seed="story", failing_runs=0.5, failing_generations=0.5)


async def story(call: Caller, *, often: bool) -> dict[str, Any]:
    """Dispatch some work, poll it often or once, and return all results."""
    for _ in range(4):
        await call.run("Checkout")
        await call.run("Wishlist")
    await call.generate("Returns")
    for _ in range(100 if often else 1):
        await asyncio.sleep(10 if often else 1000)
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


async def test_one_seed_gives_one_story(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """Verdicts, errors, times and ids do not depend on the number of polls."""
    first = await story(await emulate(scenario=REALISTIC), often=True)
    second = await story(await emulate(scenario=REALISTIC), often=False)
    assert first == second
    assert {run["status"] for run in first["runs"]} == {"passed", "failed"}


async def test_another_seed_gives_another_story(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """Ids and durations differ with the seed."""
    first, second = [
        await story(await emulate(scenario=Scenario(seed=seed)), often=False) for seed in (1, 2)
    ]
    assert first["generation"]["requestId"] != second["generation"]["requestId"]
    assert first["runs"] != second["runs"]


async def test_the_order_of_other_features_does_not_matter(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """A feature's second run does not depend on other features' runs."""
    first, second = [await emulate(scenario=REALISTIC) for _ in range(2)]
    await first.run("Checkout")
    await first.run("Wishlist")
    one = first.emulator.runs[await first.run("Checkout")]
    await second.run("Checkout")
    other = second.emulator.runs[await second.run("Checkout")]
    assert one.finished_at - one.created_at == other.finished_at - other.created_at
    assert one.cases() == other.cases()


def test_the_default_durations_are_those_of_the_service() -> None:
    """A run takes about half a minute, a generation minutes."""
    runs = [Scenario().plan_run("x", ordinal) for ordinal in range(200)]
    seconds = sum(run.queue + run.duration for run in runs) / len(runs)
    assert 25 < seconds < 40
    assert all(2 <= run.queue <= 8 and 15 <= run.duration <= 40 for run in runs)
    generation = Scenario().plan_generation("x", 1, 3)
    assert 115 <= generation.duration <= 195


def test_shares_decide_how_many_fail() -> None:
    """Over many draws the share of failures is about the given one."""
    scenario = Scenario(failing_runs=0.3, failing_generations=0.7)
    runs = [scenario.plan_run("x", ordinal).status for ordinal in range(1000)]
    assert 250 < runs.count("failed") < 350
    plans = [scenario.plan_generation("x", ordinal, 3) for ordinal in range(1000)]
    failing = [plan.failing_section for plan in plans if plan.failing_section is not None]
    assert 650 < len(failing) < 750
    assert set(failing) == {0, 1, 2}


async def test_a_feature_can_have_a_fixed_outcome(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """An outcome fixes times, verdict, failing tests and error of one feature, by its name."""
    outcome = Outcome(
        run_queue=1, run_duration=2, failing=("product MOVES to the cart",), error="Error: no"
    )
    call = await emulate(scenario={"outcomes": {"wishLIST": outcome}})
    await call.run("Checkout")
    await call.run("Wishlist")
    await asyncio.sleep(3)
    one, other = await call.get("/runs/215"), await call.get("/runs/214")
    assert (one["status"], other["status"]) == ("failed", "running")
    assert [test["error"] for test in one["tests"]] == [None, "Error: no"]


async def test_a_fixed_verdict_wins_over_the_share(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """A feature with a fixed verdict passes among failing ones."""
    outcomes = {"Wishlist": Outcome(run_status="passed")}
    call = await emulate(scenario={"failing_runs": 1, "outcomes": outcomes})
    await call.run("Wishlist")
    await call.run("Checkout")
    await asyncio.sleep(60)
    assert (await call.get("/runs/214"))["summary"]["failed"] == 0
    assert (await call.get("/runs/215"))["summary"]["failed"] > 0


async def test_an_error_alone_fails_the_run(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """The tests that fail are drawn."""
    call = await emulate(scenario={"outcomes": {"Checkout": Outcome(error="Error: no button")}})
    run_id = await call.run("Checkout")
    await asyncio.sleep(60)
    assert "Error: no button" in [
        test["error"] for test in (await call.get(f"/runs/{run_id}"))["tests"]
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"run_status": "fialed"},
        {"generation_status": "passed"},
        {"run_status": "passed", "failing": ("Wishlist works",)},
        {"run_status": "passed", "error": "Error: no button"},
        {"run_duration": -1},
    ],
)
def test_an_impossible_outcome_is_refused(options: dict[str, Any]) -> None:
    """Undocumented statuses, contradictions and negative durations are refused."""
    with pytest.raises(ValueError, match=r"must be|needs"):
        Outcome(**options)


async def test_a_run_ends_with_a_documented_status(call: Caller) -> None:
    """A misspelt status of a run or a generation that a test finishes is refused."""
    status: Any = "fialed"
    with pytest.raises(ValueError, match="fialed"):
        call.emulator.finish_run(await call.run("Checkout"), status)
    with pytest.raises(ValueError, match="fialed"):
        call.emulator.finish_generation(await call.generate("Wishlist"), status)


async def test_a_failing_test_is_one_of_the_feature() -> None:
    """A misspelt name in `failing` is refused with the names that there are."""
    outcomes = {"Checkout": Outcome(failing=("No such scenario",)), "New": Outcome(failing=("x",))}
    with pytest.raises(ValueError, match="'Checkout' has no scenario 'No such scenario'"):
        Emulator(scenario=Scenario(outcomes=outcomes))
    emulator = Emulator(shop=False, scenario=Scenario(outcomes=outcomes))
    with pytest.raises(ValueError, match="New works"):
        emulator.add_feature("New")


async def test_a_misspelt_outcome_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An outcome for a feature that never was has no effect: the log of a failed test names it."""
    outcomes = {name: Outcome(run_status="passed") for name in ("Chekout", "Wishlist", "New")}
    async with Emulator(scenario=Scenario(outcomes=outcomes)) as emulator:
        emulator.add_feature("New")
    (record,) = caplog.records
    assert record.getMessage().endswith("['chekout']")


def test_a_generation_can_be_stretched() -> None:
    """A fixed duration keeps the proportions of the stages; a fixed verdict is kept."""
    plain: dict[str, Any] = {"generation_warm_up": 20, "generation_section": 40, "verification": 20}
    outcome = Outcome(generation_duration=8, generation_status="failed")
    scenario = Scenario(**plain, outcomes={"x": outcome})
    plan = scenario.plan_generation("X", 1, 1)
    assert (plan.warm_up, plan.sections, plan.verification) == (2, (4,), 2)
    assert plan.failing_section == 0
    outcome = Outcome(generation_duration=8, generation_status="generated")
    instant: dict[str, Any] = {"generation_warm_up": 0, "generation_section": 0, "verification": 0}
    scenario = Scenario(**instant, failing_generations=1, outcomes={"x": outcome})
    plan = scenario.plan_generation("x", 1, 1)
    assert (plan.duration, plan.failing_section) == (0, None)


@pytest.mark.parametrize(
    "options",
    [
        {"run_queue": -1},
        {"run_duration": (2, 1)},
        {"verification": float("nan")},
        {"failing_runs": 1.1},
        {"failing_generations": -0.1},
    ],
)
def test_an_impossible_scenario_is_refused(options: dict[str, Any]) -> None:
    """Negative or reversed durations and shares outside of 0 to 1 are refused."""
    with pytest.raises(ValueError, match="needs"):
        Scenario(**options)


async def test_errors_are_of_several_kinds_and_have_the_tests_name(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """Failing runs show timeouts, mismatches, missing and ambiguous elements, and lost networks."""
    call = await emulate(scenario={"failing_runs": 1})
    errors: set[str] = set()
    failures: set[int] = set()
    for _ in range(40):
        await call.run("Wishlist")
    await asyncio.sleep(60)
    for run_id in call.emulator.runs:
        tests = (await call.get(f"/runs/{run_id}"))["tests"]
        errors |= {test["error"] for test in tests if test["error"]}
        failures.add(sum(test["status"] == "failed" for test in tests))
    assert failures == {1, 2}
    for kind in (
        "toBeVisible() failed",
        "TimeoutError: locator.click",
        "Expected: ",
        "Received: ",
        "net::ERR_",
    ):
        assert any(kind in error for error in errors), kind
    assert all("product" in error for error in errors)


async def test_where_all_tests_are_skipped_the_first_one_fails(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """A failed run has a failing test, even if all are tagged as skipped."""
    call = await emulate(scenario={"failing_runs": 1})
    text = "Feature: Idle\n  @wip\n  Scenario: One\n  @skip\n  Scenario: Two\n"
    call.emulator.add_feature("Idle", text)
    await call.run("Idle")
    await asyncio.sleep(60)
    run = await call.get("/runs/214")
    assert [test["status"] for test in run["tests"]] == ["failed", "skipped"]


async def test_speed_multiplies_time(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """At tenfold speed a run of 35 s is finished after 3.5 s, by its own timestamps after 35 s."""
    call = await emulate(speed=10)
    await call.run()
    await asyncio.sleep(3.4)
    assert (await call.get("/runs/214"))["status"] == "running"
    await asyncio.sleep(0.1)
    assert call.emulator.now() == 35
    assert (await call.get("/runs/214"))["finishedUtc"] == "2026-06-10T14:42:46Z"


async def test_another_clock_drives_time(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """Time follows a given clock; its zero does not matter."""
    seconds = [1000.0]
    call = await emulate(clock=lambda: seconds[0])
    await call.run()
    await asyncio.sleep(500)
    assert (await call.get("/runs/214"))["startedUtc"] is None
    seconds[0] += 35
    assert (await call.get("/runs/214"))["finishedUtc"] == "2026-06-10T14:42:46Z"
    assert call.emulator.requests[-1].at == 35


@pytest.mark.parametrize("speed", [0, -1, float("nan"), float("inf")])
async def test_time_does_not_stand_still(
    emulate: Callable[..., Awaitable[Caller]], speed: float
) -> None:
    """A speed has to be a number above zero."""
    with pytest.raises(ValueError, match="speed"):
        await emulate(speed=speed)
