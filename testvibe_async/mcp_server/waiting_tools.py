# ruff: noqa: N803 - the arguments have the service's own names, in its camelCase
"""The tools that wait: the service's own two, and three that combine its operations.

Each returns within its `timeoutSeconds`. A timeout is an ordinary answer, which says how the
operation stands and which call goes on from there. It never cancels anything, and no tool repeats
what costs credits. The docstrings are what a model reads.
"""

from typing import Annotated

import anyio
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult
from pydantic import Field

from testvibe_async import BatchItem, Generation, GenerationOperation, Project, Run, RunOperation
from testvibe_async._wire import serialize
from testvibe_async.mcp_server.answers import (
    DIGEST,
    RUN_OF_GENERATED,
    Document,
    answer_of_wait,
    digest,
    say_generation,
    say_run,
    schema_of_wait,
)
from testvibe_async.mcp_server.session import Ctx, session_of
from testvibe_async.mcp_server.toolkit import (
    ADDS,
    READS,
    REGENERATES,
    ConfigName,
    FeatureName,
    ProjectId,
    RunId,
    SiteUrl,
    TimeoutSeconds,
    tool,
)
from testvibe_async.mcp_server.waits import Progress, follow, latest_generation, wait_for_all

__all__ = ["WAITING_TOOLS"]

_IN_FLIGHT = "Still in flight, nothing was cancelled:"


@tool(schema_of_wait(Run), READS)
async def wait_for_run(
    ctx: Ctx, *, runId: RunId, timeoutSeconds: TimeoutSeconds = 120, project: ProjectId = None
) -> CallToolResult:
    """Wait until a run is over, no matter who started it, and return the result of each test.

    If it is not over in time, `inFlight` is true: nothing was cancelled, call this again.
    """
    session = session_of(ctx)
    operation = session.run(session.project(project), runId)
    is_finished = await follow(operation, Progress(ctx), timeoutSeconds)
    note = None if is_finished else f"{_IN_FLIGHT} call wait_for_run again with runId {runId}."
    return answer_of_wait(_say(operation), _document_of(operation), note=note)


def _say(operation: RunOperation) -> str:
    return say_run(operation.snapshot) if operation.snapshot else f"{operation.ref}: not seen yet."


def _document_of(operation: RunOperation) -> Document:
    return serialize(operation.snapshot) if operation.snapshot else {"runId": operation.run_id}


@tool(schema_of_wait(Generation), READS)
async def wait_for_generation(
    ctx: Ctx,
    *,
    feature: FeatureName,
    timeoutSeconds: TimeoutSeconds = 120,
    project: ProjectId = None,
) -> CallToolResult:
    """Wait until a feature's latest generation is over, no matter who started it.

    If it is not over in time, `inFlight` is true: nothing was cancelled, call this again.
    """
    home = session_of(ctx).project(project)
    latest, running = await latest_generation(ctx, home, feature, seconds=timeoutSeconds)
    again = f"{_IN_FLIGHT} call wait_for_generation again with feature {feature!r}."
    note = None if running is None else again
    return answer_of_wait(say_generation(latest), serialize(latest), note=note)


@tool(DIGEST, READS)
async def wait_for_runs(
    ctx: Ctx,
    *,
    runIds: Annotated[list[RunId], Field(min_length=1, description="The runs' ids.")],
    timeoutSeconds: TimeoutSeconds = 120,
    project: ProjectId = None,
) -> CallToolResult:
    """Wait until many runs are over, no matter who started them, and return each one's result.

    It costs the service no more than a wait for one. If not all are over in time, `inFlight` is
    true and `note` says how to go on; nothing was cancelled.
    """
    session = session_of(ctx)
    home = session.project(project)
    operations = [session.run(home, run_id) for run_id in dict.fromkeys(runIds)]
    return digest(await wait_for_all(ctx, operations, seconds=timeoutSeconds))


@tool(DIGEST, ADDS)
async def run_features(  # noqa: PLR0913 - the arguments of the tool
    ctx: Ctx,
    *,
    features: Annotated[
        list[FeatureName] | None,
        Field(min_length=1, description="Names or ids; all generated features if left out."),
    ] = None,
    config: ConfigName = None,
    siteUrl: SiteUrl = None,
    attempts: Annotated[
        int,
        Field(
            ge=1,
            le=5,
            description="How often a feature may run in total: one that failed runs again.",
        ),
    ] = 1,
    timeoutSeconds: TimeoutSeconds = 120,
    project: ProjectId = None,
) -> CallToolResult:
    """Run many features at once, wait until all runs are over, and return each one's result.

    One that can't start is listed with its error; the others go on. With `attempts`, one that
    passes after a run that failed succeeded and is `flaky`. If not all are over in time, `inFlight`
    is true and `note` says how to go on; nothing was cancelled.
    """
    home = session_of(ctx).project(project)
    progress, items = Progress(ctx), list[BatchItem[Run]]()
    batch = home.run_features(
        features, config=config, site_url=siteUrl, timeout=timeoutSeconds, attempts=attempts
    )
    async with batch:
        async for item in batch:
            items.append(item)
            word = f"{item.verdict}, flaky" if item.is_flaky else item.verdict
            await progress.report(f"{item.feature_name}: {word}", total=batch.summary.total)
    places = {feature: place for place, feature in enumerate(features or ())}
    return digest(sorted(items, key=lambda item: places.get(str(item.feature), 0)))


@tool(RUN_OF_GENERATED, REGENERATES)
async def generate_and_run(  # noqa: PLR0913 - the arguments of the tool
    ctx: Ctx,
    *,
    feature: FeatureName,
    config: ConfigName = None,
    siteUrl: SiteUrl = None,
    requestId: Annotated[
        str | None,
        Field(
            description=(
                "The generation to go on with, from an earlier answer of this tool. With it no "
                "other generation is started, and no credits are spent."
            )
        ),
    ] = None,
    timeoutSeconds: TimeoutSeconds = 120,
    project: ProjectId = None,
) -> CallToolResult:
    """Generate a feature's tests, then run them, and return both results. COSTS CREDITS.

    It joins a generation in flight. As that takes minutes, it often is not over in time: then
    `inFlight` is true, nothing was cancelled, and `note` names the call that goes on from there.
    """
    deadline = anyio.current_time() + timeoutSeconds
    home, progress = session_of(ctx).project(project), Progress(ctx)
    operation = await _generation(ctx, home, feature, requestId, siteUrl)
    if not await follow(operation, progress, timeoutSeconds):
        return _still_generating(operation, feature)
    assert operation.outcome is not None
    if not operation.outcome.is_success:
        return _after_generation(operation.outcome, None)
    run = await home.run_feature(feature, config=config, site_url=siteUrl)
    await follow(run, progress, deadline - anyio.current_time())
    return _after_generation(operation.outcome, run)


async def _generation(
    ctx: Ctx, home: Project, feature: str, request_id: str | None, site_url: str | None
) -> GenerationOperation:
    """Start a generation or join the one in flight; with an id, find that one alone."""
    if request_id is None:
        return await home.generate_feature(feature, site_url=site_url, on_conflict="attach")
    latest = await home.get_generation_status(feature)
    if latest.request_id != request_id or latest.feature_id is None:
        raise ToolError(
            f"The latest generation of {feature!r} is {latest.request_id}, not {request_id}; "
            "nothing was started. Call wait_for_generation, then run_feature."
        )
    return session_of(ctx).generation(home, request_id, latest.feature_id)


def _still_generating(operation: GenerationOperation, feature: str) -> CallToolResult:
    snapshot = operation.snapshot
    ids = {"requestId": operation.request_id, "featureId": operation.feature_id}
    note = (
        f"{_IN_FLIGHT} call generate_and_run again with feature {feature!r} and requestId "
        f"{operation.request_id!r}, which starts no other generation."
    )
    line = say_generation(snapshot) if snapshot else f"{operation.ref}: not seen yet."
    content = {"generation": serialize(snapshot) if snapshot else ids, "run": None}
    return answer_of_wait(line, content, note=note)


def _after_generation(generation: Generation, run: RunOperation | None) -> CallToolResult:
    content = {
        "generation": serialize(generation),
        "run": None if run is None else _document_of(run),
    }
    if run is None:
        return answer_of_wait(say_generation(generation), content, note=None)
    note = None if run.done else f"{_IN_FLIGHT} call wait_for_run with runId {run.run_id}."
    return answer_of_wait(_say(run), content, note=note)


WAITING_TOOLS: list[Tool] = [
    wait_for_generation,
    wait_for_run,
    wait_for_runs,
    run_features,
    generate_and_run,
]
