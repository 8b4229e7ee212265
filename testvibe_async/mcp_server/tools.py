# ruff: noqa: N803 - the arguments have the service's own names, in its camelCase
"""The service's operations as tools, under its own names; those that wait are in `waiting_tools`.

Each tool is one call of the client: it declares the arguments, and returns a line and a document.
It never polls, and decides nothing about retries. The docstrings are what a model reads.
"""

from typing import Annotated

from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult
from pydantic import Field

from testvibe_async import (
    Artifact,
    Config,
    Diagnosis,
    Feature,
    Generation,
    GenerationLog,
    ProjectFile,
    ProjectInfo,
    Run,
)
from testvibe_async._wire import json_schema, serialize
from testvibe_async.mcp_server.answers import (
    OK,
    answer,
    rows,
    say_generation,
    say_rows,
    say_run,
    schema_of_rows,
)
from testvibe_async.mcp_server.session import Ctx, session_of
from testvibe_async.mcp_server.toolkit import (
    ADDS,
    READS,
    REGENERATES,
    REPLACES,
    ConfigName,
    FeatureName,
    ProjectId,
    RunId,
    SiteUrl,
    tool,
)
from testvibe_async.models import DispatchedGeneration, DispatchedRun
from testvibe_async.reports import counted

__all__ = ["TOOLS"]

_ADOPTED = {"adopted": {"type": "boolean", "description": "found in flight, and joined"}}

Gherkin = Annotated[str, Field(description="The whole Gherkin text, from `Feature:` on.")]
FilePath = Annotated[str, Field(min_length=1, description="A path such as Features/login.feature.")]


@tool(schema_of_rows("projects", ProjectInfo), READS)
async def list_projects(ctx: Ctx) -> CallToolResult:
    """List the projects that the API key may see, with their ids."""
    projects = await session_of(ctx).client.list_projects()
    return answer(say_rows(projects, "project"), rows("projects", projects))


@tool(json_schema(ProjectInfo), READS)
async def get_project(ctx: Ctx, *, project: ProjectId = None) -> CallToolResult:
    """Read one project: its name, and the address of the site under test."""
    project_id = session_of(ctx).project(project).id
    found = await session_of(ctx).client.get_project(project_id)
    return answer(f"Project {found.name or found.id}.", serialize(found))


@tool(schema_of_rows("features", Feature), READS)
async def list_features(ctx: Ctx, *, project: ProjectId = None) -> CallToolResult:
    """List the project's features with their ids and statuses, without their Gherkin.

    Only a feature whose status is `generated` can be run.
    """
    features = await session_of(ctx).project(project).list_features()
    return answer(say_rows(features, "feature"), rows("features", features))


@tool(json_schema(Feature), READS)
async def get_feature(
    ctx: Ctx, *, feature: FeatureName, project: ProjectId = None
) -> CallToolResult:
    """Read one feature: its Gherkin and its status."""
    found = await session_of(ctx).project(project).get_feature(feature)
    return answer(f"Feature {found.id}, {found.name}: {found.status}.", serialize(found))


@tool(json_schema(Feature), ADDS)
async def create_feature(
    ctx: Ctx,
    *,
    name: Annotated[str, Field(min_length=1, description="A name that no feature has yet.")],
    gherkin: Gherkin,
    project: ProjectId = None,
) -> CallToolResult:
    """Add a feature. This does not generate its tests: generate_feature does."""
    made = await session_of(ctx).project(project).create_feature(name, gherkin)
    return answer(f"Feature {made.id}, {made.name}, was created.", serialize(made))


@tool(OK, REPLACES)
async def update_feature(
    ctx: Ctx,
    *,
    feature: FeatureName,
    gherkin: Annotated[
        str | None, Field(description="The whole new Gherkin text; the old one if left out.")
    ] = None,
    name: Annotated[str | None, Field(description="The new name; the old one if left out.")] = None,
    project: ProjectId = None,
) -> CallToolResult:
    """Change a feature's Gherkin, its name or both. This does not generate its tests again.

    Refused while the feature is generating.
    """
    home = session_of(ctx).project(project)
    await home.update_feature(feature, name=name, gherkin=gherkin)
    return answer(f"Feature {feature} was updated.", {"ok": True})


@tool(OK, REPLACES)
async def delete_feature(
    ctx: Ctx, *, feature: FeatureName, project: ProjectId = None
) -> CallToolResult:
    """Delete a feature for good. Refused while it is generating."""
    await session_of(ctx).project(project).delete_feature(feature)
    return answer(f"Feature {feature} was deleted.", {"ok": True})


@tool(
    json_schema(DispatchedGeneration, also=_ADOPTED),
    REGENERATES,
)
async def generate_feature(
    ctx: Ctx, *, feature: FeatureName, siteUrl: SiteUrl = None, project: ProjectId = None
) -> CallToolResult:
    """Start to generate a feature's tests. COSTS CREDITS of the account, and takes minutes.

    It returns at once with the requestId; then call wait_for_generation. It is refused while the
    feature is generating. Never repeat it because a wait timed out: that would cost credits again.
    """
    home = session_of(ctx).project(project)
    started = await home.generate_feature(feature, site_url=siteUrl)
    session_of(ctx).remember_generation(feature, started.ref)
    return answer(
        f"The generation of {feature} was started. wait_for_generation waits for it.",
        {
            "requestId": started.request_id,
            "featureId": started.feature_id,
            "adopted": started.adopted,
        },
    )


@tool(json_schema(Generation), READS)
async def get_generation_status(
    ctx: Ctx, *, feature: FeatureName, project: ProjectId = None
) -> CallToolResult:
    """Read how a feature's latest generation stands now, section by section."""
    latest = await session_of(ctx).project(project).get_generation_status(feature)
    return answer(say_generation(latest), serialize(latest))


@tool(json_schema(GenerationLog), READS)
async def get_generation_log(
    ctx: Ctx, *, feature: FeatureName, project: ProjectId = None
) -> CallToolResult:
    """Read the log of a feature's latest generation.

    `statusReason` and the last lines of a section say why it failed: read them first.
    """
    log = await session_of(ctx).project(project).get_generation_log(feature)
    return answer(f"The log of {counted(len(log.sections), 'section')}.", serialize(log))


@tool(OK, REGENERATES)
async def cancel_generation(
    ctx: Ctx, *, feature: FeatureName, project: ProjectId = None
) -> CallToolResult:
    """Cancel a feature's generation in flight, no matter who started it."""
    await session_of(ctx).project(project).cancel_generation(feature)
    return answer(f"The generation of {feature} was cancelled.", {"ok": True})


@tool(json_schema(DispatchedRun, also=_ADOPTED), ADDS)
async def run_feature(
    ctx: Ctx,
    *,
    feature: FeatureName,
    config: ConfigName = None,
    siteUrl: SiteUrl = None,
    project: ProjectId = None,
) -> CallToolResult:
    """Start a run of a feature's tests. It takes about half a minute.

    It returns at once with the runId; then call wait_for_run. It is refused where the feature's
    status is not `generated`. To run many at once, call run_features.
    """
    home = session_of(ctx).project(project)
    started = await home.run_feature(feature, config=config, site_url=siteUrl)
    session_of(ctx).remember_run(started.ref)
    return answer(
        f"Run {started.run_id} of {feature} was started. wait_for_run waits for it.",
        {
            "runId": started.run_id,
            "featureId": started.feature_id,
            "adopted": started.adopted,
        },
    )


@tool(schema_of_rows("runs", Run), READS)
async def list_runs(
    ctx: Ctx,
    *,
    feature: Annotated[
        FeatureName | None, Field(description="Only runs of this feature, by name or id.")
    ] = None,
    limit: Annotated[int | None, Field(ge=1, description="How many at most.")] = None,
    project: ProjectId = None,
) -> CallToolResult:
    """List runs, the newest first, without their tests, artifacts and logs."""
    runs = await session_of(ctx).project(project).list_runs(feature=feature, limit=limit)
    return answer(say_rows(runs, "run"), rows("runs", runs))


@tool(json_schema(Run), READS)
async def get_run(ctx: Ctx, *, runId: RunId, project: ProjectId = None) -> CallToolResult:
    """Read a run: its status, and once it is over the result of each test."""
    run = await session_of(ctx).project(project).get_run(runId)
    return answer(say_run(run), serialize(run))


@tool(json_schema(Diagnosis), READS)
async def diagnose_run(ctx: Ctx, *, runId: RunId, project: ProjectId = None) -> CallToolResult:
    """Ask why a run failed: the failures with the Gherkin, the executed specs and the log."""
    diagnosis = await session_of(ctx).project(project).diagnose_run(runId)
    failed = counted(len(diagnosis.failures), "test")
    line = f"Run {diagnosis.run_id} {diagnosis.status}: {failed} failed."
    return answer(line, serialize(diagnosis))


@tool(schema_of_rows("artifacts", Artifact), READS)
async def get_run_artifacts(ctx: Ctx, *, runId: RunId, project: ProjectId = None) -> CallToolResult:
    """List a run's artifacts, with links to download them.

    The links expire within minutes: ask right before each download. A trace opens with
    `npx playwright show-trace trace.zip`.
    """
    artifacts = await session_of(ctx).project(project).get_run_artifacts(runId)
    return answer(say_rows(artifacts, "artifact"), rows("artifacts", artifacts))


@tool(schema_of_rows("files", ProjectFile), READS)
async def list_files(ctx: Ctx, *, project: ProjectId = None) -> CallToolResult:
    """List the project's files, without their content."""
    files = await session_of(ctx).project(project).list_files()
    return answer(say_rows(files, "file"), rows("files", files))


@tool(json_schema(ProjectFile), READS)
async def read_file(ctx: Ctx, *, path: FilePath, project: ProjectId = None) -> CallToolResult:
    """Read one file; a template where the project has no content of its own at this path."""
    found = await session_of(ctx).project(project).read_file(path)
    return answer(
        f"{found.path}, {counted(len(found.content or ''), 'character')}.", serialize(found)
    )


@tool(OK, REPLACES)
async def write_file(
    ctx: Ctx,
    *,
    path: FilePath,
    content: Annotated[str, Field(description="The whole new text, at most 256 KB.")],
    project: ProjectId = None,
) -> CallToolResult:
    """Write one whole file below `Features/` or `Configurations/`; others can't be written."""
    await session_of(ctx).project(project).write_file(path, content)
    return answer(f"{path} was written.", {"ok": True})


@tool(schema_of_rows("configs", Config), READS)
async def list_configs(ctx: Ctx, *, project: ProjectId = None) -> CallToolResult:
    """List the run configurations that run_feature takes as `config`."""
    configs = await session_of(ctx).project(project).list_configs()
    return answer(say_rows(configs, "configuration"), rows("configs", configs))


TOOLS: list[Tool] = [
    list_projects,
    get_project,
    list_features,
    get_feature,
    create_feature,
    update_feature,
    delete_feature,
    generate_feature,
    get_generation_status,
    get_generation_log,
    cancel_generation,
    run_feature,
    list_runs,
    get_run,
    diagnose_run,
    get_run_artifacts,
    list_files,
    read_file,
    write_file,
    list_configs,
]
