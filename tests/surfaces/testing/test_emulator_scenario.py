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


async def test_the_order_of_other_features_does_not_matter(emulate: Emulate) -> None:
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
    assert 25 < sum(queue + duration for queue, duration, _ in runs) / len(runs) < 40
    assert all(2 <= queue <= 8 and 15 <= duration <= 40 for queue, duration, _ in runs)
    _, stages, _ = Scenario().plan_generation("x", 1, 3)
    assert 115 <= sum(stages) <= 195


def test_shares_decide_how_many_fail() -> None:
    """Over many draws the share of failures is about the given one."""
    scenario = Scenario(failing_runs=0.3, failing_generations=0.7)
    runs = [scenario.plan_run("x", ordinal)[-1] for ordinal in range(1000)]
    assert 250 < runs.count("failed") < 350
    plans = [scenario.plan_generation("x", ordinal, 3) for ordinal in range(1000)]
    failing = [section for _, _, section in plans if section is not None]
    assert 650 < len(failing) < 750
    assert set(failing) == {0, 1, 2}


@pytest.mark.parametrize(
    ("share", "outcome", "errors"),
    [
        (
            0,
            Outcome(run_duration=1, failing=("product MOVES to the cart",), error="Error: no"),
            [None, "Error: no"],
        ),
        (0, Outcome(run_duration=1, error="Error: no"), [None, "Error: no"]),
        (1, Outcome(run_duration=1, run_status="passed"), [None, None]),
    ],
    ids=["failing tests", "an error alone", "success"],
)
async def test_a_feature_can_have_a_fixed_outcome(
    emulate: Emulate, share: float, outcome: Outcome, errors: list[str | None]
) -> None:
    """An outcome fixes times, verdict, failing tests and error of one feature, by its name."""
    scenario = {"failing_runs": share, "run_queue": 1, "outcomes": {"wishLIST": outcome}}
    call = await emulate(scenario=scenario)
    await call.run("Checkout")
    run_id = await call.run("Wishlist")
    await asyncio.sleep(2)
    run = await call.get(f"/runs/{run_id}")
    assert sorted((test["error"] for test in run["tests"]), key=str) == sorted(errors, key=str)
    assert run["status"] == ("failed" if any(errors) else "passed")
    if outcome.failing:
        assert [test["error"] for test in run["tests"]] == errors
    assert (await call.get("/runs/214"))["status"] == "running"
    await asyncio.sleep(60)
    assert (await call.get("/runs/214"))["status"] == ("failed" if share else "passed")


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
        *[
            (kind, {option: number})
            for kind, option in (
                *((Emulator, "speed"), (Emulator, "rate_limit")),
                (Fault.slow, "bytes_per_second"),
            )
            for number in (0, -1, float("nan"), float("inf"))
        ],
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


@pytest.mark.parametrize(
    ("drawn", "status", "expected"),
    [((20, 40, 20), "failed", ([2, 4, 2], 0)), ((0, 0, 0), "generated", ([0, 0, 0], None))],
)
def test_a_generation_can_be_stretched(drawn: Any, status: Any, expected: object) -> None:
    """A fixed duration keeps the proportions of the stages; a fixed verdict is kept."""
    outcome = Outcome(generation_duration=8, generation_status=status)
    warm_up, section, verification = drawn
    scenario = Scenario(
        generation_warm_up=warm_up,
        generation_section=section,
        verification=verification,
        failing_generations=1,
        outcomes={"x": outcome},
    )
    _, *plan = scenario.plan_generation("X", 1, 1)
    assert tuple(plan) == expected


async def test_errors_are_of_several_kinds_and_have_the_tests_name(emulate: Emulate) -> None:
    """Failing runs show timeouts, mismatches and lost networks."""
    call = await emulate(scenario={"failing_runs": 1})
    errors: set[str] = set()
    failures: set[int] = set()
    for _ in range(20):
        run = call.emulator.runs[await call.run("Wishlist")]
        failing = [case.error for case in run.cases() if case.error]
        errors.update(failing)
        failures.add(len(failing))
    assert failures == {1, 2}
    for kind in ("Expected: ", "TimeoutError: locator.click", "net::ERR_"):
        assert any(kind in error for error in errors), kind
    assert all("product" in error for error in errors)


async def test_where_all_tests_are_skipped_the_first_one_fails(emulate: Emulate) -> None:
    """A failed run has a failing test, even if all are tagged as skipped."""
    call = await emulate(scenario={"failing_runs": 1})
    text = "Feature: Idle\n  @wip\n  Scenario: One\n  @skip\n  Scenario: Two\n"
    call.emulator.add_feature("Idle", text)
    await call.run("Idle")
    await asyncio.sleep(60)
    run = await call.get("/runs/214")
    assert [test["status"] for test in run["tests"]] == ["failed", "skipped"]


async def test_speed_multiplies_time(emulate: Emulate) -> None:
    """At tenfold speed a run of 35 s is finished after 3.5 s, by its own timestamps after 35 s."""
    call = await emulate(speed=10)
    await call.run()
    await asyncio.sleep(3.4)
    assert (await call.get("/runs/214"))["status"] == "running"
    await asyncio.sleep(0.1)
    assert call.emulator.now() == 35
    assert (await call.get("/runs/214"))["finishedUtc"] == "2026-06-10T14:42:46Z"


async def test_another_clock_drives_time(emulate: Emulate) -> None:
    """Time follows a given clock; its zero does not matter."""
    seconds = [1000.0]
    call = await emulate(clock=lambda: seconds[0])
    await call.run()
    await asyncio.sleep(500)
    assert (await call.get("/runs/214"))["startedUtc"] is None
    seconds[0] += 35
    assert (await call.get("/runs/214"))["finishedUtc"] == "2026-06-10T14:42:46Z"
    assert call.emulator.requests[-1].at == 35
