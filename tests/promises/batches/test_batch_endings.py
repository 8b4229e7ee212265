"""Batches that end early: left, cancelled, timed out, or stopped by a failure."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import client_of
from tests.support.batches import MIXED, verdicts
from tests.support.raising import raised
from tests.support.shop import DRAFT
from tests.support.timing import now
from testvibe_async import GenerationRef, Project, Verdict, errors
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

SCENARIO = MIXED


async def test_the_time_ends_a_generation_too(emulator: Emulator, project: Project) -> None:
    """What waits for a generation in flight then comes with the generation's ref."""
    await project.generate_feature(DRAFT)
    (item,) = await project.run_features([DRAFT], on_conflict="wait", timeout=5)

    assert now() == pytest.approx(5, abs=0.1)
    assert item.verdict is Verdict.IN_FLIGHT
    assert isinstance(item.error, errors.WaitTimeoutError)
    assert isinstance(item.error.ref, GenerationRef)
    assert emulator.runs == {}
    (later,) = await project.generate_features([DRAFT], on_conflict="wait", timeout=5)
    assert later.verdict is Verdict.IN_FLIGHT
    assert len(emulator.generations) == 1


BAD = Outcome(generation_duration=5, generation_status="failed")


@pytest.mark.parametrize("scenario", [Scenario(outcomes={"Bad": BAD})])
@pytest.mark.parametrize("is_left", [True, False], ids=["left", "failed"])
async def test_an_end_of_waits(emulator: Emulator, project: Project, *, is_left: bool) -> None:
    """Once a batch was left, or stops on a failure, nothing that waited for another is paid for."""
    emulator.add_feature("Bad", status="draft")
    await project.generate_feature(DRAFT)
    features = [DRAFT] if is_left else [DRAFT, "Bad"]
    batch = project.generate_features(features, on_conflict="wait", stop_on_failure=True)
    async with batch:
        await asyncio.sleep(1)
        items = [] if is_left else [item async for item in batch]
    await asyncio.sleep(1000)

    assert {item.verdict for item in items} == (set() if is_left else {"failed", "skipped"})
    assert len(emulator.generations) == (1 if is_left else 2)
    assert not any(item.ref for item in batch.items if item.feature == DRAFT)


async def test_the_time_bounds_the_list_too(emulator: Emulator, project: Project) -> None:
    """A batch whose features can't be listed in time says so, in time."""
    emulator.fail("list_features", Fault.hang())

    said = "features were not listed after 3 s"
    await raised(errors.WaitTimeoutError, project.run_features(timeout=3), match=said)
    assert now() == pytest.approx(3, abs=0.1)


async def test_cancelling_twice_keeps_the_refs(emulator: Emulator, project: Project) -> None:
    """A second cancellation does not cut short the wait for dispatches under way."""
    emulator.fail("run_feature", Fault.delay(2.2))
    batch = project.run_features(["Checkout"])
    waiting = asyncio.ensure_future(batch)
    for _ in range(2):
        await asyncio.sleep(1)
        waiting.cancel()

    await raised(asyncio.CancelledError, waiting)
    assert [ref.key[-1] for ref in batch.refs] == list(emulator.runs)
    assert len(emulator.runs) == 1


async def test_a_failing_poll_plan(emulator: Emulator, tmp_path: Path) -> None:
    """Where a poll plan fails, an operation is in flight, also one that is resumed."""

    def fails(*_: object) -> float:
        raise ZeroDivisionError

    async with client_of(emulator, ledger=tmp_path / "a") as client:
        await client.project().run_features(["Checkout"], key="nightly", timeout=1)
    async with client_of(emulator, ledger=tmp_path / "a", poll_plan=fails) as client:
        (item,) = await client.project().run_features(key="nightly")
    assert isinstance(item.error, errors.ConfigError)
    assert item.ref is not None


@pytest.mark.parametrize("scenario", [Scenario(failing_runs=1.0)])
@pytest.mark.parametrize(("most", "failed"), [(True, 1), (1, 1), (3, 3)])
async def test_stop_on_failure(project: Project, most: int, failed: int) -> None:
    """One that could not start counts as well as a failed run; a number says how many may."""
    names = [*["Checkout", "Returns"][: failed - 1], "No such", "Wishlist", "Product search"]
    batch = project.run_features(names, max_in_flight=1, stop_on_failure=most)
    expected = ["failed"] * (failed - 1) + ["error", "skipped", "skipped"]
    assert verdicts(await batch) == expected
    assert batch.summary.skipped == 2


@pytest.mark.parametrize(("most", "verdict"), [(1, "unknown"), (5, "succeeded")])
async def test_a_lost_answer_is_settled_unless_it_stops_the_batch(
    emulator: Emulator, project: Project, most: int, verdict: str
) -> None:
    """A batch that several failures stop waits until what was lost has expired, and resends it."""
    emulator.fail("run_feature", Fault.reset(), times=1)
    items = await project.run_features(["Checkout"], stop_on_failure=most)
    assert verdicts(items) == [verdict]


async def test_many_features_end_in_turns(emulator: Emulator, project: Project) -> None:
    """Other tasks run while the features end that a time-out leaves without a dispatch."""
    emulator.fail("run_feature", Fault.hang())
    features = [f"Feature {number}" for number in range(1_000)]
    waiting = [len(features)]
    async with project.run_features(features, timeout=5.0, max_in_flight=2) as batch:
        await asyncio.sleep(5.0)
        while waiting[-1]:
            waiting.append(batch.summary.waiting)
            await asyncio.sleep(0)
    assert max(before - after for before, after in pairwise(waiting)) <= 150


async def test_leaving_ends_the_iteration_of_another_task(project: Project) -> None:
    """Leaving a batch ends the iteration of a task that waits for the next item."""
    async with project.run_features(["Checkout"]) as batch:
        other = asyncio.ensure_future(anext(batch))
        await asyncio.sleep(1)

    await raised(StopAsyncIteration, asyncio.wait_for(other, 60))
