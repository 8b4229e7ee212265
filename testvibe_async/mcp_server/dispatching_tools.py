# ruff: noqa: N803 - the arguments have the service's own names, in its camelCase
"""The tools that start runs and generations, one or many.

A call with the same arguments as an earlier one goes on with what that began, and starts nothing
twice; `dispatches` says when. A timeout is an ordinary answer, and cancels nothing. The docstrings
are what a model reads.
"""

from typing import Annotated, TypeVar

from attrs import define, field
from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Elicit, Resolve
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult
from pydantic import Field

from testvibe_async import Batch, Generation, GenerationRef, Journal, Run, RunRef
from testvibe_async.errors import OperationRef
from testvibe_async.mcp_server.answers import (
    STILL_IN_FLIGHT,
    answer,
    answer_of_wait,
    digest,
    say_generation,
    say_run,
)
from testvibe_async.mcp_server.consent import Consent, require_agreed
from testvibe_async.mcp_server.dispatches import (
    BatchOfOne,
    Dispatched,
    ask_unless_begun,
    dispatched_once,
    ids_of,
    key_of,
    named,
    note_of,
    opened,
    text_of,
)
from testvibe_async.mcp_server.session import Ctx, session_of
from testvibe_async.mcp_server.toolkit import (
    ADDS,
    REGENERATES,
    ConfigName,
    FeatureName,
    ProjectId,
    SiteUrl,
    TimeoutSeconds,
    tool,
)
from testvibe_async.mcp_server.waits import PATIENCE, Progress, wait_for_work
from testvibe_async.mcp_server.works import Work

__all__ = ["DISPATCHING_TOOLS"]

SnapshotT = TypeVar("SnapshotT", Run, Generation)

Again = Annotated[
    bool, Field(description="Begin anew what has ended; else its result is told again.")
]


@tool(ADDS)
async def run_feature(  # noqa: PLR0913 - the arguments of the tool
    ctx: Ctx,
    *,
    feature: FeatureName,
    config: ConfigName = None,
    siteUrl: SiteUrl = None,
    again: Again = False,
    project: ProjectId = None,
) -> CallToolResult:
    """Start a run of one feature's tests (half a minute), then call wait_for_run.

    To run it anew, such as after a fix, pass `again: true`. For several, call run_features.
    Refused where the feature's status is not `generated`.
    """
    home = session_of(ctx).project(project)
    key = key_of(ctx, "run_feature", home, feature.casefold(), config, siteUrl)

    def begin(journal: Journal) -> Batch[Run]:
        return home.run_features(
            named(journal, feature), config=config, site_url=siteUrl, journal=journal
        )

    found = await dispatched_once(ctx, key, begin, again=again)
    if isinstance(found.ref, RunRef):
        session_of(ctx).remember_run(found.ref)
    return await _answer_of_dispatch(ctx, found, "run_feature", feature)


async def _ask_to_generate(
    ctx: Ctx,
    feature: str,
    siteUrl: str | None,
    again: bool,  # noqa: FBT001 - the arguments of the tool
    project: str | None,
) -> Consent | Elicit[Consent]:
    key = _key_of_generation(ctx, feature, siteUrl, project)
    return await ask_unless_begun(ctx, key, feature, again=again)


def _key_of_generation(
    ctx: Ctx, feature: str, siteUrl: str | None, project: str | None
) -> tuple[object, ...]:
    home = session_of(ctx).project(project)
    return key_of(ctx, "generate_feature", home, feature.casefold(), siteUrl)


@tool(REGENERATES)
async def generate_feature(  # noqa: PLR0913 - the arguments of the tool
    ctx: Ctx,
    *,
    feature: FeatureName,
    siteUrl: SiteUrl = None,
    again: Again = False,
    project: ProjectId = None,
    agreed: Annotated[ElicitationResult[Consent], Resolve(_ask_to_generate)],
) -> CallToolResult:
    """Start to generate a feature's tests. COSTS CREDITS: ask the user first. Takes minutes.

    Then call wait_for_generation. To generate anew, such as after update_feature, pass
    `again: true`; never because a wait timed out. Refused while the feature is generating.
    """
    require_agreed(agreed)
    session = session_of(ctx)
    home = session.project(project)

    def begin(journal: Journal) -> Batch[Generation]:
        if not journal.items:
            session.count_generation()
        return home.generate_features(named(journal, feature), site_url=siteUrl, journal=journal)

    key = _key_of_generation(ctx, feature, siteUrl, project)
    found = await dispatched_once(ctx, key, begin, again=again)
    if isinstance(found.ref, GenerationRef):
        session.remember_generation(feature, found.ref)
    return await _answer_of_dispatch(ctx, found, "generate_feature", feature)


async def _answer_of_dispatch(
    ctx: Ctx, found: Dispatched, tool: str, feature: str
) -> CallToolResult:
    """Say what was dispatched, or how that stands which an earlier call dispatched."""
    ref = found.ref
    if ref is None:
        note = f"{STILL_IN_FLIGHT} call {tool} again with the same arguments."
        return answer_of_wait(f"{feature} is not dispatched yet.", {}, note=note)
    content = {**ids_of(ref), "begunAt": text_of(found.begun_at)}
    wait = f"wait_for_{ref.kind} waits for it."
    if found.is_new:
        return answer(f"{_what(ref, feature)} was started. {wait}", content)
    operation = session_of(ctx).client.attach(ref)
    seen = await operation.poll()
    note = f"Nothing was started: your earlier call did at {found.begun_at:%H:%M:%S} UTC. "
    note += "To begin anew pass `again: true`." if operation.done else f"It goes on: {wait}"
    line = say_run(seen) if isinstance(seen, Run) else say_generation(seen)
    return answer(f"{note} {line}", {**content, "status": operation.status, "note": note})


def _what(ref: OperationRef, feature: str) -> str:
    if isinstance(ref, RunRef):
        return f"Run {ref.run_id} of {feature}"
    return f"The generation of {feature}"


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
        int, Field(ge=1, le=5, description="How often what failed may run in total.")
    ] = 1,
    again: Again = False,
    timeoutSeconds: TimeoutSeconds = PATIENCE,
    project: ProjectId = None,
) -> CallToolResult:
    """Run `features` at once, or `all: true`, and wait. Lists what failed, counts the rest.

    If `inFlight`, call this again with the same arguments: it goes on and starts nothing twice. To
    run what has ended again, such as after a fix, pass `again: true`.
    """
    if (features is None) is not all:
        raise ToolError(
            "Nothing was started: name the `features` (list_features shows them), or pass "
            "`all: true` for every generated feature of the project, not both."
        )
    session = session_of(ctx)
    home = session.project(project)
    names = None
    if features is not None:
        names = sorted({name.casefold(): name for name in features}.values(), key=str.casefold)
    folded = names and [name.casefold() for name in names]
    key = key_of(ctx, "run_features", home, folded, config, siteUrl, attempts)

    async def play(work: Work[_Many]) -> None:
        async with opened(ctx, key, again=again) as journal:
            work.note(journal)
            work.state.batch = batch = home.run_features(
                None if journal.is_complete else names,  # What is whole has the names itself.
                config=config,
                site_url=siteUrl,
                attempts=attempts,
                journal=journal,
            )
            async with batch:
                async for item in batch:
                    word = f"{item.verdict}, flaky" if item.is_flaky else item.verdict
                    work.tell(f"{batch.summary}; {item.feature_name}: {word}")

    work = session.works.join(key, _Many, play)
    await wait_for_work(work, Progress(ctx), timeoutSeconds)
    return digest(
        work.state.batch.items if work.state.batch else [],
        max_output=session.limits.max_output,
        again="run_features",
        told=note_of(ctx, work),
        begun_at=text_of(work.begun_at),
        is_over=work.task.done(),
    )


@define
class _Many:
    """A batch, once it has begun."""

    batch: Batch[Run] | None = None


@define
class _Sequence:
    """A generation and the run that follows it, as far as they have come."""

    generation: BatchOfOne[Generation] = field(factory=BatchOfOne[Generation])
    run: BatchOfOne[Run] = field(factory=BatchOfOne[Run])


def _key_of_sequence(
    ctx: Ctx, feature: str, config: str | None, siteUrl: str | None, project: str | None
) -> tuple[object, ...]:
    home = session_of(ctx).project(project)
    return key_of(ctx, "generate_and_run", home, feature.casefold(), config, siteUrl)


async def _ask_to_generate_and_run(  # noqa: PLR0913, PLR0917 - the arguments of the tool
    ctx: Ctx,
    feature: str,
    config: str | None,
    siteUrl: str | None,
    again: bool,  # noqa: FBT001 - the same
    project: str | None,
) -> Consent | Elicit[Consent]:
    key = _key_of_sequence(ctx, feature, config, siteUrl, project)
    return await ask_unless_begun(ctx, key, feature, again=again)


@tool(REGENERATES)
async def generate_and_run(  # noqa: PLR0913 - the arguments of the tool
    ctx: Ctx,
    *,
    feature: FeatureName,
    config: ConfigName = None,
    siteUrl: SiteUrl = None,
    again: Again = False,
    timeoutSeconds: TimeoutSeconds = PATIENCE,
    project: ProjectId = None,
    agreed: Annotated[ElicitationResult[Consent], Resolve(_ask_to_generate_and_run)],
) -> CallToolResult:
    """Generate a feature's tests, then run them. COSTS CREDITS: ask the user first. Takes minutes.

    If `inFlight`, call this again with the same arguments: it goes on and starts nothing twice.
    """
    require_agreed(agreed)
    session = session_of(ctx)
    home = session.project(project)

    def generate(journal: Journal) -> Batch[Generation]:
        if not journal.items:
            session.count_generation()
        return home.generate_features(
            named(journal, feature), site_url=siteUrl, on_conflict="attach", journal=journal
        )

    def run(journal: Journal) -> Batch[Run]:
        return home.run_features(
            named(journal, feature), config=config, site_url=siteUrl, journal=journal
        )

    key = _key_of_sequence(ctx, feature, config, siteUrl, project)

    async def play(work: Work[_Sequence]) -> None:
        state = work.state
        async with opened(ctx, key, again=again) as journal:
            work.note(journal)
            generated = await state.generation.play(work, journal, generate)
        if generated.is_success:
            async with session.journals.open((*key, "run", generated.request_id)) as journal:
                await state.run.play(work, journal, run)

    work = session.works.join(key, _Sequence, play)
    await wait_for_work(work, Progress(ctx), timeoutSeconds)
    return _answer_of_sequence(work, feature, told=note_of(ctx, work))


def _answer_of_sequence(work: Work[_Sequence], feature: str, *, told: str | None) -> CallToolResult:
    generation, run = work.state.generation, work.state.run
    content = {
        "generation": generation.document,
        "run": run.document,
        "begunAt": text_of(work.begun_at),
    }
    line = f"The generation of {feature} was begun, and not seen yet."
    if generation.snapshot:
        line = say_generation(generation.snapshot)
    if run.snapshot:
        line = say_run(run.snapshot)
    if not work.task.done():
        again = f"{STILL_IN_FLIGHT} call generate_and_run again with the same arguments."
        return answer_of_wait(line, content, note=again)
    return answer_of_wait(f"{line} {told or ''}".rstrip(), content, note=None)


DISPATCHING_TOOLS: list[Tool] = [generate_feature, run_feature, run_features, generate_and_run]
