# ruff: noqa: N803 - the arguments have the service's own names, in its camelCase
"""The service's operations as tools, under its own names; those that wait are in `waiting_tools`.

Each tool is one call of the client: it declares the arguments, and returns a line and a document.
It never polls, and decides nothing about retries. The docstrings are what a model reads.
"""

from typing import Annotated, Any

from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult
from pydantic import Field

from testvibe_async import Listing
from testvibe_async._wire import serialize
from testvibe_async.mcp_server.answers import (
    answer,
    document_of_run,
    missing_of,
    rows,
    say_generation,
    say_run,
)
from testvibe_async.mcp_server.budget import ROOM, Document, lines_of, page, start_of
from testvibe_async.mcp_server.session import Ctx, session_of
from testvibe_async.mcp_server.toolkit import (
    ADDS,
    READS,
    REGENERATES,
    REPLACES,
    Cursor,
    FeatureName,
    Lines,
    NamePart,
    Offset,
    PageSize,
    ProjectId,
    RunId,
    StatusName,
    tool,
)
from testvibe_async.reports import counted

__all__ = ["TOOLS"]

SEARCHED_RUNS = 1_000
"""How many runs are gone through where some are looked for."""

Gherkin = Annotated[str, Field(description="The whole text, from `Feature:` on.")]
FilePath = Annotated[str, Field(min_length=1, description="Such as Features/login.feature.")]


@tool(READS)
async def list_projects(
    ctx: Ctx, *, name: NamePart = None, limit: PageSize = None, cursor: Cursor = None
) -> CallToolResult:
    """List the projects that the API key may see, with their ids."""
    projects = await session_of(ctx).client.list_projects()
    found = [row for row in rows(projects) if _has(row, name)]
    return _page(ctx, projects, "project", found, limit=limit, cursor=cursor)


@tool(READS)
async def get_project(ctx: Ctx, *, project: ProjectId = None) -> CallToolResult:
    """Read one project: its name, and the address of the site under test."""
    project_id = session_of(ctx).project(project).id
    found = await session_of(ctx).client.get_project(project_id)
    return answer(f"Project {found.name or found.id}.", serialize(found))


@tool(READS)
async def list_features(  # noqa: PLR0913 - the arguments of the tool
    ctx: Ctx,
    *,
    status: StatusName = None,
    name: NamePart = None,
    limit: PageSize = None,
    cursor: Cursor = None,
    project: ProjectId = None,
) -> CallToolResult:
    """List features with their ids and statuses; only those that are `generated` can be run."""
    features = await session_of(ctx).project(project).list_features()
    found = [row for row in rows(features) if _has(row, name) and _is(row, status)]
    if status and not found:
        return _none_is(status, features, "feature")
    return _page(ctx, features, "feature", found, limit=limit, cursor=cursor)


@tool(READS)
async def get_feature(
    ctx: Ctx,
    *,
    feature: FeatureName,
    offset: Offset = 0,
    lines: Lines = None,
    project: ProjectId = None,
) -> CallToolResult:
    """Read one feature: its Gherkin and its status. If long, go on at `nextOffset`."""
    found = await session_of(ctx).project(project).get_feature(feature)
    room = session_of(ctx).limits.max_output
    part = lines_of(found.gherkin or "", offset=offset, lines=lines, max_output=room)
    is_whole = part["content"] == (found.gherkin or "")
    shown = {} if is_whole else {"gherkin": part.pop("content"), **part}
    line = f"Feature {found.id}, {found.name}: {found.status}."
    return answer(line, serialize(found) | shown)


@tool(ADDS)
async def create_feature(
    ctx: Ctx,
    *,
    name: Annotated[str, Field(min_length=1, description="A new name.")],
    gherkin: Gherkin,
    project: ProjectId = None,
) -> CallToolResult:
    """Add a feature, without tests: generate_feature makes them."""
    made = await session_of(ctx).project(project).create_feature(name, gherkin)
    return answer(f"Feature {made.id}, {made.name}, was created.", serialize(made))


@tool(REPLACES)
async def update_feature(
    ctx: Ctx,
    *,
    feature: FeatureName,
    gherkin: Annotated[str | None, Field(description="The whole new text.")] = None,
    name: Annotated[str | None, Field(description="The new name.")] = None,
    project: ProjectId = None,
) -> CallToolResult:
    """Change a feature's Gherkin, name or both. Its tests stay as they are until you generate anew.

    Refused while it is generating.
    """
    home = session_of(ctx).project(project)
    await home.update_feature(feature, name=name, gherkin=gherkin)
    return answer(f"Feature {feature} was updated.", {"ok": True})


@tool(REPLACES)
async def delete_feature(
    ctx: Ctx, *, feature: FeatureName, project: ProjectId = None
) -> CallToolResult:
    """Delete a feature for good. Refused while it is generating."""
    await session_of(ctx).project(project).delete_feature(feature)
    return answer(f"Feature {feature} was deleted.", {"ok": True})


@tool(READS)
async def get_generation_status(
    ctx: Ctx, *, feature: FeatureName, project: ProjectId = None
) -> CallToolResult:
    """Read how a feature's latest generation stands now, section by section."""
    latest = await session_of(ctx).project(project).get_generation_status(feature)
    return answer(say_generation(latest), serialize(latest))


@tool(READS)
async def get_generation_log(
    ctx: Ctx,
    *,
    feature: FeatureName,
    offset: Offset = 0,
    lines: Lines = None,
    project: ProjectId = None,
) -> CallToolResult:
    """Read the log of a feature's latest generation: of each section the last lines that fit.

    Read `statusReason` first. `offset` and `lines` choose others.
    """
    log = await session_of(ctx).project(project).get_generation_log(feature)
    document = serialize(log)
    room = (session_of(ctx).limits.max_output - ROOM) // max(1, len(log.sections))
    for section in document["sections"]:
        _cut_log(section, offset=offset, lines=lines, room=room)
    return answer(f"The log of {counted(len(log.sections), 'section')}.", document)


@tool(REGENERATES)
async def cancel_generation(
    ctx: Ctx, *, feature: FeatureName, project: ProjectId = None
) -> CallToolResult:
    """Cancel a feature's generation in flight, of anyone. Runs can't be cancelled."""
    await session_of(ctx).project(project).cancel_generation(feature)
    return answer(f"The generation of {feature} was cancelled.", {"ok": True})


@tool(READS)
async def list_runs(  # noqa: PLR0913 - the arguments of the tool
    ctx: Ctx,
    *,
    feature: Annotated[FeatureName | None, Field(description="Only of this feature.")] = None,
    status: Annotated[
        str | None, Field(description="Only with this status, such as passed, failed, running.")
    ] = None,
    limit: PageSize = 50,
    cursor: Cursor = None,
    project: ProjectId = None,
) -> CallToolResult:
    """List runs, the newest first, without their tests. With `status`, of the newest 1,000."""
    home, start = session_of(ctx).project(project), start_of(cursor)
    # One more than asked for shows that there is a next page.
    number = SEARCHED_RUNS if status else start + (limit or SEARCHED_RUNS) + 1
    runs = await home.list_runs(feature=feature, limit=number)
    found = [row for row in rows(runs) if _is(row, status)]
    if status and not found:
        return _none_is(status, runs, "run")
    return _page(ctx, runs, "run", found, limit=limit, cursor=cursor, is_total=len(runs) < number)


@tool(READS)
async def get_run(
    ctx: Ctx,
    *,
    runId: RunId,
    cursor: Annotated[
        str | None, Field(description="Only tests: `0`, then the `nextCursor` of each page.")
    ] = None,
    project: ProjectId = None,
) -> CallToolResult:
    """Read a run: its status, and once it is over the result of each test."""
    run = await session_of(ctx).project(project).get_run(runId)
    room = session_of(ctx).limits.max_output
    if cursor is None:
        return answer(say_run(run), document_of_run(run, room))
    tests = page("tests", rows(run.tests), cursor=cursor, limit=None, max_output=room)
    return answer(f"{len(tests['tests'])} of {counted(len(run.tests), 'test')}.", tests)


@tool(READS)
async def diagnose_run(ctx: Ctx, *, runId: RunId, project: ProjectId = None) -> CallToolResult:
    """Ask why a run failed: the failures with the Gherkin, the executed specs and the log."""
    diagnosis = await session_of(ctx).project(project).diagnose_run(runId)
    failed = counted(len(diagnosis.failures), "test")
    line = f"Run {diagnosis.run_id} {diagnosis.status}: {failed} failed."
    return answer(line, serialize(diagnosis))


@tool(READS)
async def get_run_artifacts(
    ctx: Ctx,
    *,
    runId: RunId,
    limit: PageSize = None,
    cursor: Cursor = None,
    project: ProjectId = None,
) -> CallToolResult:
    """List a run's artifacts, with links that expire within minutes.

    A trace opens with `npx playwright show-trace trace.zip`.
    """
    artifacts = await session_of(ctx).project(project).get_run_artifacts(runId)
    return _page(ctx, artifacts, "artifact", rows(artifacts), limit=limit, cursor=cursor)


@tool(READS)
async def list_files(
    ctx: Ctx,
    *,
    name: NamePart = None,
    limit: PageSize = None,
    cursor: Cursor = None,
    project: ProjectId = None,
) -> CallToolResult:
    """List the project's files, without their content."""
    files = await session_of(ctx).project(project).list_files()
    found = [row for row in rows(files) if _has(row, name, "path")]
    return _page(ctx, files, "file", found, limit=limit, cursor=cursor)


@tool(READS)
async def read_file(
    ctx: Ctx,
    *,
    path: FilePath,
    offset: Offset = 0,
    lines: Lines = None,
    project: ProjectId = None,
) -> CallToolResult:
    """Read a file, or a template in its place. If long, go on at `nextOffset`."""
    found = await session_of(ctx).project(project).read_file(path)
    room = session_of(ctx).limits.max_output
    part = lines_of(found.content or "", offset=offset, lines=lines, max_output=room)
    line = f"{found.path}, {counted(len(found.content or ''), 'character')}."
    return answer(line, serialize(found) | part)


@tool(REPLACES)
async def write_file(
    ctx: Ctx,
    *,
    path: FilePath,
    content: Annotated[str, Field(description="The whole new text, at most 256 KB.")],
    project: ProjectId = None,
) -> CallToolResult:
    """Write one whole file below `Features/` or `Configurations/`; others can't be written.

    A configuration is `Configurations/NAME.config.js`: read `Default` before you write another.
    """
    await session_of(ctx).project(project).write_file(path, content)
    return answer(f"{path} was written.", {"ok": True})


@tool(READS)
async def list_configs(
    ctx: Ctx, *, limit: PageSize = None, cursor: Cursor = None, project: ProjectId = None
) -> CallToolResult:
    """List the run configurations that run_feature and run_features take as `config`."""
    home = session_of(ctx).project(project)
    configs = await home.list_configs()
    if configs.is_complete:
        session_of(ctx).configs[home.id] = [each.name for each in configs]
    return _page(ctx, configs, "config", rows(configs), limit=limit, cursor=cursor)


def _has(row: Document, part: str | None, member: str = "name") -> bool:
    return part is None or part.casefold() in str(row.get(member, "")).casefold()


def _is(row: Document, status: str | None) -> bool:
    return status is None or str(row.get("status", "")).casefold() == status.casefold()


def _none_is(status: str, listing: Listing[Any], noun: str) -> CallToolResult:
    """Answer that no row of a list has a status, with the statuses that there are."""
    known = sorted({str(row.status) for row in listing})
    return answer(
        f"None of {counted(len(listing), noun)} is {status!r}.",
        {f"{noun}s": [], "total": 0, "statuses": known},
    )


def _page(  # noqa: PLR0913 - what a list tool knows
    ctx: Ctx,
    listing: Listing[Any],
    noun: str,
    found: list[Document],
    *,
    limit: int | None,
    cursor: str | None,
    is_total: bool = True,
) -> CallToolResult:
    """Answer with a page of a list.

    Args:
        ctx: The call.
        listing: What the service answered.
        noun: What a row is.
        found: The rows that were asked for.
        limit: How many at most.
        cursor: Where the page starts.
        is_total: Whether there are no more rows than were found.
    """
    room = session_of(ctx).limits.max_output
    content = page(f"{noun}s", found, cursor=cursor, limit=limit, max_output=room)
    if not is_total:
        del content["total"]
    return answer(_line_of(listing, noun, found, content), content)


def _line_of(listing: Listing[Any], noun: str, found: list[Document], content: Document) -> str:
    """Say how many rows there are, how many of them are shown, and where there are more."""
    shown = len(content[f"{noun}s"])
    every = counted(len(found), noun)
    if "total" not in content:
        every = f"the newest {noun}s"
    elif len(found) < len(listing):
        every += f" that match, of {len(listing):,}"
    line = every if shown == len(found) and "total" in content else f"{shown:,} of {every}"
    if "nextCursor" in content:
        line += "; more: nextCursor"
    return f"{line}.{missing_of(listing)}"


def _cut_log(section: Document, *, offset: int, lines: int | None, room: int) -> None:
    """Leave as many lines of a section's log as fit: the last ones, or those from an offset on."""
    log: list[str] = section.get("log") or []
    chosen = log[offset : None if lines is None else offset + lines]
    if offset or lines:
        kept = _fitting(chosen, room)
    else:
        kept = _fitting(chosen[::-1], room)[::-1]
        offset = len(log) - len(kept)
    if len(kept) < len(log):
        section |= {"log": kept, "offset": offset, "totalLines": len(log)}


def _fitting(lines: list[str], room: int) -> list[str]:
    for number, line in enumerate(lines):
        room -= len(line) + 4
        if room < 0:
            return lines[:number]
    return lines


TOOLS: list[Tool] = [
    list_projects,
    get_project,
    list_features,
    get_feature,
    create_feature,
    update_feature,
    delete_feature,
    get_generation_status,
    get_generation_log,
    cancel_generation,
    list_runs,
    get_run,
    diagnose_run,
    get_run_artifacts,
    list_files,
    read_file,
    write_file,
    list_configs,
]
