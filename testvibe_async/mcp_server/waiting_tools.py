# ruff: noqa: N803 - the arguments have the service's own names, in its camelCase
"""The tools that wait for what was dispatched before: the service's own two, and one for many runs.

Each returns after its `timeoutSeconds`, and 2 s later where nothing can be seen. A timeout is an
ordinary answer, which says how the operation stands and which call goes on from there. It never
cancels anything, and no tool repeats what costs credits. The docstrings are what a model reads.
"""

from typing import Annotated, TypeVar

from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult
from pydantic import Field

from testvibe_async import (
    Generation,
    Run,
    RunOperation,
    Verdict,
)
from testvibe_async._wire import serialize
from testvibe_async.mcp_server.answers import (
    answer_of_wait,
    digest,
    say_generation,
    say_run,
)
from testvibe_async.mcp_server.budget import Document
from testvibe_async.mcp_server.session import Ctx, session_of
from testvibe_async.mcp_server.toolkit import (
    READS,
    FeatureName,
    ProjectId,
    RunId,
    TimeoutSeconds,
    tool,
)
from testvibe_async.mcp_server.waits import (
    PATIENCE,
    Progress,
    follow,
    latest_generation,
    note_of_wait,
    unseen_of,
    wait_for_all,
)

__all__ = ["WAITING_TOOLS"]

MAX_RUNS = 1_000
"""How many runs one call may wait for."""

SnapshotT = TypeVar("SnapshotT", Run, Generation)


@tool(READS)
async def wait_for_run(
    ctx: Ctx, *, runId: RunId, timeoutSeconds: TimeoutSeconds = 120, project: ProjectId = None
) -> CallToolResult:
    """Wait until a run is over and return its tests. If `inFlight`, call this again."""
    session = session_of(ctx)
    operation = session.run(session.project(project), runId)
    await follow(operation, Progress(ctx), timeoutSeconds)
    note = await note_of_wait(operation, f"call wait_for_run again with runId {runId}.")
    return answer_of_wait(_say(operation), _document_of(operation), note=note)


def _say(operation: RunOperation) -> str:
    return say_run(operation.snapshot) if operation.snapshot else f"{operation.ref}: not seen yet."


def _document_of(operation: RunOperation) -> Document:
    return serialize(operation.snapshot) if operation.snapshot else {"runId": operation.run_id}


@tool(READS)
async def wait_for_generation(
    ctx: Ctx,
    *,
    feature: FeatureName,
    timeoutSeconds: TimeoutSeconds = 120,
    project: ProjectId = None,
) -> CallToolResult:
    """Wait until a feature's latest generation is over. If `inFlight`, call this again."""
    home = session_of(ctx).project(project)
    latest, running = await latest_generation(ctx, home, feature, seconds=timeoutSeconds)
    note = None
    if running is not None:
        step = f"call wait_for_generation again with feature {feature!r}."
        note = await note_of_wait(running, step)
        latest = running.snapshot or latest
    return answer_of_wait(say_generation(latest), serialize(latest), note=note)


@tool(READS)
async def wait_for_runs(
    ctx: Ctx,
    *,
    runIds: Annotated[
        list[RunId], Field(min_length=1, max_length=MAX_RUNS, description="The ids.")
    ],
    timeoutSeconds: TimeoutSeconds = PATIENCE,
    project: ProjectId = None,
) -> CallToolResult:
    """Wait until many runs are over. Lists what did not succeed. If `inFlight`, call this again."""
    session = session_of(ctx)
    home = session.project(project)
    operations = [session.run(home, run_id) for run_id in dict.fromkeys(runIds)]
    items = await wait_for_all(ctx, operations, seconds=timeoutSeconds)
    in_flight = [
        item.latest_ref for item in items if item.verdict is Verdict.IN_FLIGHT and item.latest_ref
    ]
    told = await unseen_of(session.client.attach(in_flight[0])) if in_flight else ""
    return digest(items, max_output=session.limits.max_output, told=told.strip() or None)


WAITING_TOOLS: list[Tool] = [wait_for_generation, wait_for_run, wait_for_runs]
