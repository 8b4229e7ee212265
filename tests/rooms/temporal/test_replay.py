"""The commands of the workflow are a stored format: a batch of an earlier release continues.

`history.json` is the history of a batch with three chunks, which lists its features, has failures
reported, and waits twice for decisions. `python -m tests.rooms.temporal.test_replay ADDRESS`
records it anew, on a development server; do so only with a change that earlier batches survive.
"""

import ast
import asyncio
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="batches on Temporal need the extra `temporal`")

from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from testvibe_async.temporal import TemporalBatch, workflow
from testvibe_async.temporal.workflow import BatchWorkflow

STORED = Path(__file__).with_name("history.json")


async def test_a_stored_history() -> None:
    """It has the three commands, and this release makes the same ones."""
    history = WorkflowHistory.from_json("recorded", STORED.read_text(encoding="utf-8"))
    kinds = Counter(EventType.Name(each.event_type) for each in history.events)
    assert kinds["EVENT_TYPE_ACTIVITY_TASK_SCHEDULED"] == 1 + 3 + 2 + 1
    assert kinds["EVENT_TYPE_TIMER_STARTED"] == 2
    runner = UnsandboxedWorkflowRunner()
    replayer = Replayer(workflows=[BatchWorkflow], workflow_runner=runner)
    await replayer.replay_workflow(history)


def test_what_the_workflow_imports() -> None:
    """The rest of the package may change, and no replay differs for it."""
    tree = ast.parse(Path(workflow.__file__).read_text(encoding="utf-8"))
    modules = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [a.name for a in node.names]
        )
    }
    assert modules - sys.stdlib_module_names == {"temporalio"}


@activity.defn(name="testvibe.features")
async def _features(request: dict[str, Any]) -> list[int]:
    assert request
    return list(range(250))


@activity.defn(name="testvibe.chunk")
async def _chunk(job: dict[str, Any]) -> dict[str, Any]:
    first = job["features"][0]
    is_decided = any(each["feature"] == first for each in job.get("decisions", []))
    undecided = [] if is_decided or job["index"] == 0 else [[first, None, None]]
    count = len(job["features"]) - len(undecided)
    summary = {"succeeded": count, "unknown": len(undecided)}
    return {"summary": summary, "items": [], "undecided": undecided, "rows": []}


async def _record(address: str) -> None:
    """Record the history."""
    engine = await Client.connect(address)
    worker = Worker(
        engine,
        task_queue="recorded",
        workflows=[BatchWorkflow],
        activities=[_features, _chunk],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    async with worker:
        request = {"maxFailures": 100, "decideSeconds": 600}
        batch = await TemporalBatch.start(engine, request, key="recorded", task_queue="recorded")
        handle = engine.get_workflow_handle("recorded")
        await handle.signal("failures", args=[0, 1])
        while "unknown" not in await batch.summary():  # noqa: ASYNC110 - of the engine
            await asyncio.sleep(0.1)
        for feature in (83, 166):
            await batch.decide("resend", feature=feature)
            await asyncio.sleep(1)
        await batch.result()
        history = (await handle.fetch_history()).to_json()
    STORED.write_text(history + "\n", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(_record(sys.argv[1]))
