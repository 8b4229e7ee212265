# ruff: noqa: N803 - the arguments have the service's own names, in its camelCase
"""The tools that start runs and generations, one or many.

Each call starts runs, unless an earlier call of the same meaning did whose result was not
delivered. A generation is started once for what it replaces. A timeout is an ordinary answer, and
cancels nothing. The docstrings are what a model reads.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import anyio
from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Resolve
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult
from pydantic import Field

from testvibe_async import (
    Batch,
    DispatchUnknownError,
    Feature,
    Generation,
    GenerationRef,
    Journal,
    Operation,
    Project,
    Run,
    RunRef,
    VibeError,
)
from testvibe_async._dispatch import select_features
from testvibe_async._wire import serialize
from testvibe_async.mcp_server.answers import (
    STILL_IN_FLIGHT,
    answer,
    answer_of_wait,
    digest,
    say_generation,
    say_run,
)
from testvibe_async.mcp_server.budget import Document
from testvibe_async.mcp_server.consent import Consent, require_agreed
from testvibe_async.mcp_server.memory import Place, deliver, pause
from testvibe_async.mcp_server.runs import Begin, Choose, Chosen, Runs
from testvibe_async.mcp_server.session import Ctx, Session, session_of
from testvibe_async.mcp_server.starts import (
    ELSEWHERE,
    Started,
    Target,
    ask_to_generate,
    generated_once,
    how_to_replace,
    ids_of,
    key_of,
    named,
    started_once,
    target_of,
)
from testvibe_async.mcp_server.toolkit import (
    ADDS,
    REGENERATES,
    ConfigName,
    FeatureName,
    ProjectId,
    SiteUrl,
    TimeoutSeconds,
    check_config,
    tool,
)
from testvibe_async.mcp_server.waits import PATIENCE, Progress, follow, note_of_wait, unseen_of

__all__ = ["DISPATCHING_TOOLS"]

Replace = Annotated[
    str | None,
    Field(
        description="The `requestId` (or `updatedUtc`) of the latest generation, from "
        "get_generation_status, to replace its tests; left out where there are none."
    ),
]


@tool(ADDS)
async def run_feature(
    ctx: Ctx,
    *,
    feature: FeatureName,
    config: ConfigName = None,
    siteUrl: SiteUrl = None,
    project: ProjectId = None,
) -> CallToolResult:
    """Start a run of one feature's tests (half a minute), then call wait_for_run.

    For several, call run_features. Refused where the feature's status is not `generated`.
    """
    home = session_of(ctx).project(project)
    await check_config(ctx, home, config)
    key = key_of(ctx, "run", home, feature.casefold(), config, siteUrl)
    place = session_of(ctx).memory.place(key)
    started = await _run_once(
        ctx, place, home, feature, config=config, site_url=siteUrl, seconds=PATIENCE
    )
    if isinstance(started, str):
        return _not_started("run_feature", feature, started)
    deliver(place)
    return await _answer_of_start(ctx, started, feature)


async def _run_once(  # noqa: PLR0913 - what a run is of
    ctx: Ctx,
    place: Place,
    home: Project,
    feature: str | int,
    *,
    config: str | None,
    site_url: str | None,
    seconds: float,
) -> Started | str:
    def begin(journal: Journal) -> Batch[Run]:
        return home.run_features(
            named(journal, feature), config=config, site_url=site_url, journal=journal
        )

    try:
        started = await started_once(ctx, place, begin, seconds=seconds)
    except DispatchUnknownError:
        deliver(place)  # The error is the result, and says what to check before another call.
        raise
    if isinstance(started, Started) and isinstance(started.ref, RunRef):
        session_of(ctx).remember_run(started.ref)
    return started


@tool(REGENERATES)
async def generate_feature(  # noqa: PLR0913 - the arguments of the tool
    ctx: Ctx,
    *,
    feature: FeatureName,
    siteUrl: SiteUrl = None,
    replace: Replace = None,  # noqa: ARG001 - `target` has it
    project: ProjectId = None,  # noqa: ARG001 - likewise
    target: Annotated[Target, Resolve(target_of)],
    agreed: Annotated[ElicitationResult[Consent], Resolve(ask_to_generate)],
) -> CallToolResult:
    """Start to generate a feature's tests. COSTS CREDITS: ask the user first. Takes minutes.

    Then call wait_for_generation. Where there are tests already, `replace` names what is replaced,
    such as after update_feature; never because a wait timed out. Refused while it is generating.
    """
    require_agreed(agreed)
    started = await generated_once(ctx, target, siteUrl, seconds=PATIENCE)
    if isinstance(started, str):
        return _not_started("generate_feature", target.name, started)
    _remember_generation(ctx, feature, started)
    try:
        return await _answer_of_start(ctx, started, target.name)
    except VibeError:
        await target.require_latest()  # If another took its place, this says which.
        raise


def _remember_generation(ctx: Ctx, feature: str, started: Started) -> None:
    assert isinstance(started.ref, GenerationRef)
    session_of(ctx).remember_generation(feature, started.ref)


def _not_started(tool: str, feature: str, why: str) -> CallToolResult:
    """Say that a call has started nothing yet."""
    note = f"{STILL_IN_FLIGHT} call {tool} again with the same arguments."
    return answer_of_wait(f"{feature} is not started by this call ({why}).", {}, note=note)


async def _answer_of_start(ctx: Ctx, started: Started, feature: str) -> CallToolResult:
    """Say what was started, or how that stands which an earlier call started."""
    ref = started.ref
    wait = f"wait_for_{ref.kind} waits for it."
    if started.is_new:
        kind = f"Run {ref.run_id}" if isinstance(ref, RunRef) else "The generation"
        return answer(f"{kind} of {feature} was started. {wait}", started.document)
    seen: Run | Generation = await session_of(ctx).client.attach(ref).poll()
    note = f"Nothing was started: your call at {_time(started)} did. "
    if isinstance(seen, Run):
        note += f"Its answer was not delivered; the next call starts another run. {wait}"
        line = say_run(seen)
    else:
        assert isinstance(ref, GenerationRef)
        note += how_to_replace(ref.request_id) if seen.is_finished else f"It is in flight: {wait}"
        line = say_generation(seen)
    content = {**started.document, "status": seen.status, "note": note}
    return answer(f"{note} {line}", content)


def _time(started: Started | Runs) -> str:
    return f"{started.started_at:%Y-%m-%d %H:%M:%S} UTC"


@tool(ADDS)
async def run_features(  # noqa: PLR0913 - the arguments of the tool
    ctx: Ctx,
    *,
    features: Annotated[
        list[FeatureName] | None, Field(min_length=1, description="Names or ids.")
    ] = None,
    all: Annotated[  # noqa: A002 - the argument's name
        bool, Field(description="Run every generated feature of the project.")
    ] = False,
    config: ConfigName = None,
    siteUrl: SiteUrl = None,
    attempts: Annotated[
        int,
        Field(
            ge=1,
            le=5,
            description="How often what failed may run in total; above 1 it shows flaky.",
        ),
    ] = 1,
    timeoutSeconds: TimeoutSeconds = PATIENCE,
    project: ProjectId = None,
) -> CallToolResult:
    """Run `features` at once, or `all: true`, and wait. Lists what failed and what was not run.

    If `inFlight`, call this again with the same arguments: it continues. After that, a call starts
    new runs. Of `all`, features that are not `generated` are in `notRun`.
    """
    if (features is None) is not all:
        raise ToolError(
            "Nothing was started: name the `features` (list_features shows them), or pass "
            "`all: true` for every generated feature of the project, not both."
        )
    session = session_of(ctx)
    home = session.project(project)
    await check_config(ctx, home, config)
    names = None
    if features is not None:
        names = sorted({each.casefold(): each for each in features}.values(), key=str.casefold)
    folded = names and [each.casefold() for each in names]
    place = session.memory.place(key_of(ctx, "runs", home, folded, config, siteUrl, attempts))

    async def choose() -> Chosen:
        return await _all_of(home) if names is None else Chosen(names, [])

    def begin(chosen: Sequence[Feature | str | int] | None, journal: Journal) -> Batch[Run]:
        return home.run_features(
            chosen, config=config, site_url=siteUrl, attempts=attempts, journal=journal
        )

    progress, deadline = Progress(ctx), anyio.current_time() + timeoutSeconds
    async with progress.repeated():
        runs = await _joined(session, place, choose, begin, deadline=deadline)
        if runs is None:
            return _not_started("run_features", "The batch", ELSEWHERE)
        await runs.wait(progress, deadline - anyio.current_time())
    is_over = runs.task.done()
    if is_over:
        runs.task.result()
        deliver(place)
    batch, note = runs.batch, None
    if is_over and runs.is_resumed:
        note = (
            f"This is the result of your call at {_time(runs)}, which was not delivered; this call "
            "started nothing. The next one starts new runs."
        )
    elif not is_over and batch is not None and batch.in_flight:
        note = (await unseen_of(session.client.attach(batch.in_flight[0]))).strip()
    return digest(
        batch.items if batch else [],
        not_run=runs.not_run,
        max_output=session.limits.max_output,
        again="run_features",
        told=note,
        started_at=serialize(runs.started_at),
        is_over=is_over,
        attempts=attempts,
    )


async def _joined(
    session: Session, place: Place, choose: Choose, begin: Begin, *, deadline: float
) -> Runs | None:
    """Return the batch that is in flight, else start it; None where another server has it."""
    while (runs := session.runs.get(place)) is None and anyio.current_time() < deadline:
        if (lock := place.lock()) is None:
            await pause()
            continue
        runs = session.runs[place] = Runs()
        runs.task = session.memory.work(lock, runs.play(place, choose, begin))
        runs.task.add_done_callback(lambda _: session.runs.pop(place))
    return runs


async def _all_of(home: Project) -> Chosen:
    """Choose the features of a project that can be run.

    Raises:
        IncompleteListError: Features are missing.
        ConfigError: It is unknown which features have tests.
    """
    listed = await home.list_features()
    features = select_features(listed, lambda feature: feature.has_tests)
    ids = {feature.id for feature in features}
    not_run: list[dict[str, Any]] = [
        {
            "feature": row.name or str(row.id),
            "status": "suggestion" if row.is_suggestion else str(row.status or "draft"),
        }
        for row in listed
        if row.id not in ids
    ]
    return Chosen(features, not_run)


@tool(REGENERATES)
async def generate_and_run(  # noqa: PLR0913 - the arguments of the tool
    ctx: Ctx,
    *,
    feature: FeatureName,
    config: ConfigName = None,
    siteUrl: SiteUrl = None,
    replace: Replace = None,  # noqa: ARG001 - `target` has it
    timeoutSeconds: TimeoutSeconds = PATIENCE,
    project: ProjectId = None,  # noqa: ARG001 - `target` has it
    target: Annotated[Target, Resolve(target_of)],
    agreed: Annotated[ElicitationResult[Consent], Resolve(ask_to_generate)],
) -> CallToolResult:
    """Generate a feature's tests, then run them. COSTS CREDITS: ask the user first. Takes minutes.

    If `inFlight`, call this again with the same arguments: it continues, also what
    generate_feature started. Where there are tests already, `replace` names what is replaced.
    """
    require_agreed(agreed)
    session, progress = session_of(ctx), Progress(ctx)
    await check_config(ctx, target.home, config)
    deadline = anyio.current_time() + timeoutSeconds

    def left() -> float:
        return deadline - anyio.current_time()

    generation = await generated_once(ctx, target, siteUrl, seconds=timeoutSeconds)
    if isinstance(generation, str):
        return _not_started("generate_and_run", target.name, generation)
    _remember_generation(ctx, feature, generation)
    content: Document = {"startedAt": serialize(generation.started_at), "generation": None}
    assert isinstance(generation.ref, GenerationRef)
    made = session.client.attach(generation.ref)
    await follow(made, progress, left())
    note = await note_of_wait(made, AGAIN)
    content |= {"generation": _document_of(made), "run": None}
    if note is not None or made.outcome is None or not made.outcome.is_success:
        return answer_of_wait(_say(made, target.name), content, note=note)
    key = key_of(ctx, "run of", target.home, made.request_id, config, siteUrl)
    place = session.memory.place(key)
    run = await _run_once(
        ctx, place, target.home, target.feature.id, config=config, site_url=siteUrl, seconds=left()
    )
    if isinstance(run, str):
        line = f"The tests of {target.name} were generated, and are not run yet ({run})."
        return answer_of_wait(line, content, note=f"{STILL_IN_FLIGHT} {AGAIN}")
    played = session.client.attach(run.ref)
    await follow(played, progress, left())
    note = await note_of_wait(played, AGAIN)
    content["run"] = _document_of(played)
    is_over = note is None
    if is_over:
        deliver(place)
        if not generation.is_new:
            note = f"Its tests were generated by your call at {_time(generation)}."
    return answer_of_wait(_say(played, target.name), content, note=note, in_flight=not is_over)


AGAIN = "call generate_and_run again with the same arguments."


def _document_of(operation: Operation[Any]) -> Document:
    seen = operation.snapshot
    return ids_of(operation.ref) if seen is None else serialize(seen)


def _say(operation: Operation[Any], feature: str) -> str:
    seen = operation.snapshot
    if seen is None:
        return f"{operation.ref} of {feature} was started, and not seen yet."
    return say_run(seen) if isinstance(seen, Run) else say_generation(seen)


DISPATCHING_TOOLS: list[Tool] = [generate_feature, run_feature, run_features, generate_and_run]
