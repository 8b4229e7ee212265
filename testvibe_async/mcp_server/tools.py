# ruff: noqa: N803 - the arguments have the service's own names, in its camelCase
"""The service's operations as tools, under its own names, except tools that start or wait.

Each tool is one call of the client: it declares the arguments, and returns a line and a document.
It never polls, and decides nothing about retries. The docstrings are what a model reads.
"""

from typing import Annotated, Any, TypeAlias

from pydantic import Field

from testvibe_async import Listing, RunStatus
from testvibe_async._core.wire import serialize
from testvibe_async.mcp_server import answers, toolkit
from testvibe_async.mcp_server.answers import Answer, Document, quoted
from testvibe_async.mcp_server.digests import say
from testvibe_async.mcp_server.toolkit import READS, REPLACES, Call, FeatureName, RunId, tool
from testvibe_async.reports.text import counted

Cursor: TypeAlias = Annotated[
    str | None, Field(pattern=r"^\d{1,9}$", description="`nextCursor` of the answer before.")
]
PageSize: TypeAlias = Annotated[int | None, Field(ge=1, description="Maximum number of rows.")]
NamePart: TypeAlias = Annotated[
    str | None, Field(description="Only where the name has this in it, in any case.")
]
StatusName: TypeAlias = Annotated[
    str | None, Field(description="Only with this status, such as generated, draft, suggestion.")
]
Offset: TypeAlias = Annotated[int, Field(ge=0, description="Lines to skip.")]
Lines: TypeAlias = Annotated[int | None, Field(ge=1, description="Maximum number of lines.")]
Gherkin = Annotated[str, Field(description="The whole text, from `Feature:` on.")]
FilePath = Annotated[str, Field(min_length=1, description="Such as Features/login.feature.")]


@tool(READS, has_project=False)
async def list_projects(
    call: Call, *, name: NamePart = None, limit: PageSize = None, cursor: Cursor = None
) -> Answer:
    """List the projects that the API key may see, with their ids."""
    found = await call.session.client.list_projects()
    return _listed(call, found, "project", name=name, limit=limit, cursor=cursor)


@tool(READS)
async def get_project(call: Call) -> Answer:
    """Read one project: its name, and the address of the site under test."""
    found = await call.session.client.get_project(call.home.id)
    return Answer(f"Project {quoted(found.name or found.id)}.", serialize(found))


@tool(READS)
async def list_features(
    call: Call,
    *,
    status: StatusName = None,
    name: NamePart = None,
    limit: PageSize = None,
    cursor: Cursor = None,
) -> Answer:
    """List features with their ids and statuses. Only `generated` features can be run."""
    found = await call.home.list_features()
    return _listed(call, found, "feature", name=name, status=status, limit=limit, cursor=cursor)


@tool(READS)
async def get_feature(
    call: Call, *, feature: FeatureName, offset: Offset = 0, lines: Lines = None
) -> Answer:
    """Read one feature: its Gherkin and its status. If it is long, continue at `nextOffset`."""
    found = await call.home.get_feature(feature)
    part = answers.lines_of(found.gherkin, call.session.max_output, offset=offset, lines=lines)
    line = f"Feature {found.id}, {quoted(found.name)}: {found.status}."
    return Answer(line, serialize(found) | {"gherkin": part.pop("content"), **part})


@tool(toolkit.ADDS)
async def create_feature(
    call: Call,
    *,
    name: Annotated[str, Field(min_length=1, description="A new name.")],
    gherkin: Gherkin,
) -> Answer:
    """Add a feature, without tests: generate_feature makes them."""
    made = await call.home.create_feature(name, gherkin)
    return Answer(f"Feature {made.id}, {quoted(made.name)}, was created.", serialize(made))


@tool(REPLACES)
async def update_feature(
    call: Call,
    *,
    feature: FeatureName,
    gherkin: Annotated[str | None, Field(description="The whole new text.")] = None,
    name: Annotated[str | None, Field(description="The new name.")] = None,
) -> Answer:
    """Change a feature's Gherkin, name or both. Its tests stay the same until you generate again.

    Refused while it is generating.
    """
    await call.home.update_feature(feature, name=name, gherkin=gherkin)
    return Answer(f"Feature {quoted(feature)} was updated.", {"ok": True})


@tool(REPLACES)
async def delete_feature(call: Call, *, feature: FeatureName) -> Answer:
    """Delete a feature for good. Refused while it is generating."""
    await call.home.delete_feature(feature)
    return Answer(f"Feature {quoted(feature)} was deleted.", {"ok": True})


@tool(READS)
async def get_generation_status(call: Call, *, feature: FeatureName) -> Answer:
    """Read how a feature's latest generation stands now, section by section."""
    latest = await call.home.get_generation_status(feature)
    return Answer(say(latest), serialize(latest))


@tool(READS)
async def get_generation_log(
    call: Call, *, feature: FeatureName, offset: Offset = 0, lines: Lines = None
) -> Answer:
    """Read the log of a feature's latest generation: of each section the last lines that fit.

    Read `statusReason` first. `offset` and `lines` choose others.
    """
    log = await call.home.get_generation_log(feature)
    document = serialize(log)
    room = (call.session.max_output - answers.ROOM) // max(1, len(log.sections))
    for section in document["sections"]:
        section.update(_log_of(section.get("log") or [], room, offset=offset, lines=lines))
    return Answer(f"The log of {counted(len(log.sections), 'section')}.", document)


def _log_of(log: list[str], room: int, *, offset: int, lines: int | None) -> Document:
    """Return as many lines of a section's log as fit: the last, or those from an offset on."""
    if offset or lines:
        kept = answers.fitting(log[offset : None if lines is None else offset + lines], room)
    else:
        kept = answers.fitting(log[::-1], room)[::-1]
        offset = len(log) - len(kept)
    is_whole = len(kept) == len(log)
    return {} if is_whole else {"log": kept, "offset": offset, "totalLines": len(log)}


@tool(toolkit.REGENERATES)
async def cancel_generation(call: Call, *, feature: FeatureName) -> Answer:
    """Cancel a feature's generation in flight, of anyone. Runs can't be cancelled."""
    await call.home.cancel_generation(feature)
    return Answer(f"The generation of {quoted(feature)} was cancelled.", {"ok": True})


@tool(READS)
async def list_runs(
    call: Call,
    *,
    feature: Annotated[FeatureName | None, Field(description="Only of this feature.")] = None,
    status: Annotated[
        str | None, Field(description="Only with this status, such as passed, failed, running.")
    ] = None,
    limit: PageSize = 50,
    cursor: Cursor = None,
) -> Answer:
    """List runs, the newest first, without their tests. With `status`, of the newest 1,000."""
    # One more than asked for shows that there is a next page.
    number = 1_000 if status else int(cursor or 0) + (limit or 1_000) + 1
    runs = await call.home.list_runs(feature=feature, limit=number)
    is_total = len(runs) < number
    return _listed(call, runs, "run", status=status, is_total=is_total, limit=limit, cursor=cursor)


@tool(READS)
async def get_run(
    call: Call,
    *,
    runId: RunId,
    cursor: Annotated[
        Cursor, Field(description="Only tests: `0`, then the `nextCursor` of each page.")
    ] = None,
) -> Answer:
    """Read a run: its status, and once finished the result of each test."""
    run = await call.home.get_run(runId)
    if cursor is None:
        rest = f"get_run with runId {runId} and cursor '0' lists all tests, page by page."
        return Answer(say(run), serialize(run), rest=rest)
    rows = [test.to_dict() for test in run.tests]
    tests, more = answers.page(rows, call.session.max_output, cursor=cursor)
    return Answer(f"{len(tests)} of {counted(len(rows), 'test')}.", {"tests": tests, **more})


@tool(READS)
async def diagnose_run(call: Call, *, runId: RunId) -> Answer:
    """Ask why a run failed: the failures with the Gherkin, the executed specs and the log."""
    diagnosis = await call.home.diagnose_run(runId)
    failed = counted(len(diagnosis.failures), "test")
    line = f"Run {diagnosis.run_id} {diagnosis.status}: {failed} failed."
    if diagnosis.status == RunStatus.RUNNING:
        line = f"Run {diagnosis.run_id} is running: wait_for_run waits for it."
    return Answer(line, serialize(diagnosis))


@tool(READS)
async def get_run_artifacts(
    call: Call, *, runId: RunId, limit: PageSize = None, cursor: Cursor = None
) -> Answer:
    """List a run's artifacts, with links that expire within minutes.

    A trace opens with `npx playwright show-trace trace.zip`.
    """
    found = await call.home.get_run_artifacts(runId)
    return _listed(call, found, "artifact", limit=limit, cursor=cursor)


@tool(READS)
async def list_files(
    call: Call, *, name: NamePart = None, limit: PageSize = None, cursor: Cursor = None
) -> Answer:
    """List the project's files, without their content."""
    found = await call.home.list_files()
    return _listed(call, found, "file", name=name, limit=limit, cursor=cursor)


@tool(READS)
async def read_file(
    call: Call, *, path: FilePath, offset: Offset = 0, lines: Lines = None
) -> Answer:
    """Read a file, or a template in its place. If it is long, continue at `nextOffset`."""
    found = await call.home.read_file(path)
    part = answers.lines_of(found.content, call.session.max_output, offset=offset, lines=lines)
    line = f"{quoted(found.path)}, {counted(len(found.content or ''), 'character')}."
    return Answer(line, serialize(found) | part)


@tool(REPLACES)
async def write_file(
    call: Call,
    *,
    path: FilePath,
    content: Annotated[str, Field(description="The whole new text, at most 256 KB.")],
) -> Answer:
    """Write one whole file below `Features/` or `Configurations/`; others can't be written.

    A configuration is `Configurations/NAME.config.js`: read `Default` before you write another.
    """
    await call.home.write_file(path, content)
    return Answer(f"{quoted(path)} was written.", {"ok": True})


@tool(READS)
async def list_configs(call: Call, *, limit: PageSize = None, cursor: Cursor = None) -> Answer:
    """List the run configurations that run_feature and run_features take as `config`."""
    found = await call.home.list_configs()
    return _listed(call, found, "config", limit=limit, cursor=cursor)


def _listed(  # noqa: PLR0913 - each by name
    call: Call,
    listing: Listing[Any],
    noun: str,
    *,
    limit: int | None,
    cursor: str | None,
    name: str | None = None,
    status: str | None = None,
    is_total: bool = True,
) -> Answer:
    """Return a page of a list; if no row has the status, the existing statuses.

    Args:
        call: The call.
        listing: The list of the service.
        noun: The noun for a row.
        limit: Maximum number of rows; None for all that fit.
        cursor: Start of the page.
        name: A part of the name, or of the path; None for any.
        status: The status; None for any.
        is_total: True if there are no more rows than were listed.
    """
    nouns, rows = f"{noun}s", [each.to_dict() for each in listing]
    found = [row for row in rows if status is None or _status_of(row) == status.casefold()]
    if status and not found:
        content: Document = {nouns: [], "total": 0, "statuses": sorted(set(map(_status_of, rows)))}
        return Answer(f"None of {counted(len(rows), noun)} is {status!r}.", content)
    wanted = (name or "").casefold()
    found = [row for row in found if wanted in str(row.get("name", row.get("path"))).casefold()]
    taken, rest = answers.page(found, call.session.max_output, cursor=cursor, limit=limit)
    every = counted(len(found), f"matching {noun}" if len(found) < len(rows) else noun)
    if not is_total:
        del rest["total"]
        every = nouns
    missing = f" {listing.incomplete.explained}." if listing.incomplete else ""
    return Answer(f"{len(taken):,} of {every}.{missing}", {nouns: taken, **rest})


def _status_of(row: Document) -> str:
    """Return a row's status in lower case, for filters; a suggestion is no feature yet."""
    is_suggestion = row.get("kind") == "suggestion"
    return "suggestion" if is_suggestion else str(row.get("status")).casefold()
