"""Batches that run again what failed: flaky is neither passed nor failed."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import client_of
from testvibe_async import BatchSummary, Project, RetryPolicy, Verdict
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

SCENARIO = Scenario(
    run_queue=0,
    run_duration=5,
    failing_runs=0.0,
    outcomes={"Returns": Outcome(run_status="failed")},
)
"""One feature fails whenever it runs; the others pass."""


@pytest.mark.parametrize("tries", [1, 4])
async def test_a_withdrawn_attempt_fails(emulator: Emulator, tmp_path: Path, tries: int) -> None:
    """Also where that attempt was about to be sent, or refused, when the time was up."""
    rule = emulator.fail("run_feature", Fault.status(429, retry_after=7), skip=1)
    retry, ledger = RetryPolicy(attempts=tries), tmp_path / "a"
    async with client_of(emulator, retry=retry, ledger=ledger) as client:
        batch = client.project().run_features(["Returns"], attempts=2, timeout=20, key="nightly")
        (item,) = await batch
        rule.remove()
        (again,) = await client.project().run_features(key="nightly")

    assert (len(again.earlier), again.verdict) == (1, Verdict.FAILED)
    assert rule.hits > 1
    assert (item.verdict, item.earlier) == (Verdict.FAILED, ())
    assert item.ref is not None


ABORTED = Fault.edit(lambda run: run | ({"status": "aborted"} if run["finishedUtc"] else {}))


@pytest.mark.parametrize(
    ("operation", "fault", "verdict", "seen"),
    [("run_feature", Fault.lost(), Verdict.UNKNOWN, 0), ("get_run", ABORTED, Verdict.ERROR, 1)],
)
async def test_only_a_failure_is_tried_again(
    emulator: Emulator, operation: str, fault: Fault, verdict: Verdict, seen: int
) -> None:
    """What is unknown, or ended with a status that is not documented, is never run again."""
    emulator.fail("list_runs", Fault.status(404))
    emulator.fail(operation, fault)
    async with client_of(emulator) as client:
        (item,) = await client.project().run_features(["Checkout"], attempts=5)

    assert (item.verdict, len(item.attempts), len(emulator.runs)) == (verdict, seen, 1)


async def test_a_later_success_is_flaky(emulator: Emulator, project: Project) -> None:
    """A feature that fails once and then passes succeeded; the summary counts it at any moment."""

    def fail(document: Any) -> Any:
        emulator.finish_run(document["runId"], "failed")
        return document

    emulator.fail("run_feature", Fault.edit(fail), times=2)
    names = ["Checkout", "Wishlist", "Returns"]
    async with project.run_features(names, attempts=2, max_in_flight=2) as batch:
        items = {item.feature: item async for item in batch}
        assert batch.summary == BatchSummary.of(batch.items)
    assert [run.status for run in items["Checkout"].attempts] == ["failed", "passed"]
    assert [items[name].is_flaky for name in names] == [True, True, False]
    assert str(batch.summary) == "2 succeeded, 2 flaky among them, 1 failed"
    assert BatchSummary(succeeded=2, flaky=1).is_success


@pytest.mark.parametrize("end", ["left", "refused"])
async def test_no_attempt_left_is_a_fail(emulator: Emulator, project: Project, end: str) -> None:
    """A feature whose next attempt was never dispatched has failed, and was not skipped."""
    emulator.fail("run_feature", Fault.status(429, retry_after=60), skip=1)
    async with project.run_features(["Returns", "Checkout"], attempts=2, max_in_flight=1) as batch:
        if end == "left":
            await asyncio.sleep(30)  # It failed, and its next attempt is refused.
        else:
            await anext(batch)  # After five minutes of refusals.
    item = batch.items[0]
    assert (item.verdict, item.earlier, item.error) == (Verdict.FAILED, (), None)
    assert item.outcome is not None
    assert [item.outcome.run_id] == [run.id for run in emulator.runs.values()][:1]
    assert item.outcome.status == "failed"
    assert item.ref == batch.refs[0]
