# ruff: noqa: N803 - the arguments have the service's own names, in its camelCase
"""The tools that start runs and generations, one or many.

A call that means the same as an earlier one goes on with what that began, and starts nothing twice;
`dispatches` and `generations` say when. A timeout is an ordinary answer, and cancels nothing. The
docstrings are what a model reads.
"""

from typing import Annotated

from attrs import define, field
from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Resolve
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult
from pydantic import Field

from testvibe_async import Batch, Generation, GenerationRef, Journal, Run, RunRef
from testvibe_async._wire import serialize
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
    ELSEWHERE,
    BatchOfOne,
    BegunOperation,
    dispatched_once,
    ids_of,
    keeping_run,
    keeping_runs,
    key_of,
    named,
    note_of,
    noted_as_told,
    opened,
)
from testvibe_async.mcp_server.generations import (
    Target,
    ask_to_generate,
    generation_of,
    seen_to_be_dispatched,
    target_of,
)
from testvibe_async.mcp_server.journals import GENERATION, KEPT, Key
from testvibe_async.mcp_server.session import Ctx, session_of
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
from testvibe_async.mcp_server.waits import PATIENCE, Progress, unseen, wait_for_work
from testvibe_async.mcp_server.works import Work

__all__ = ["DISPATCHING_TOOLS"]

Again = Annotated[
    bool,
    Field(
        description="Begin anew what has ended and was told; else its result is told again, for "
        "10 minutes after its end or the last answer."
    ),
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
    await check_config(ctx, home, config)
    key = key_of(ctx, "run", home, feature.casefold(), config, siteUrl)

    def begin(journal: Journal) -> Batch[Run]:
        return home.run_features(
            named(journal, feature), config=config, site_url=siteUrl, journal=journal
        )

    keeping = keeping_run(ctx, home)
    found = await dispatched_once(ctx, key, begin, again=again, keeping=keeping)
    if isinstance(found.ref, RunRef):
        session_of(ctx).remember_run(found.ref)
    return await _answer_of_dispatch(ctx, key, found, tool="run_feature", feature=feature)


@tool(REGENERATES)
async def generate_feature(  # noqa: PLR0913 - the arguments of the tool
    ctx: Ctx,
    *,
    feature: FeatureName,
    siteUrl: SiteUrl = None,
    again: Again = False,
    project: ProjectId = None,  # noqa: ARG001 - `target` has it
    target: Annotated[Target, Resolve(target_of)],
    agreed: Annotated[ElicitationResult[Consent], Resolve(ask_to_generate)],
) -> CallToolResult:
    """Start to generate a feature's tests. COSTS CREDITS: ask the user first. Takes minutes.

    Then call wait_for_generation. Where there are tests already, it needs `again: true`, such as
    after update_feature; never because a wait timed out. Refused while the feature is generating.
    """
    require_agreed(agreed)
    session = session_of(ctx)
    is_joined = session.works.has(target.key)
    work = generation_of(ctx, target, siteUrl, again=again)
    with noted_as_told(ctx, target.key):
        await seen_to_be_dispatched(ctx, work)
    ref = work.state.ref
    if isinstance(ref, GenerationRef):
        session.remember_generation(feature, ref)
    found = BegunOperation(
        ref=ref,
        begun_at=work.begun_at,
        is_new=not (is_joined or work.is_resumed),
        line=work.line,
        outcome=work.state.outcome,
    )
    return await _answer_of_dispatch(
        ctx, target.key, found, tool="generate_feature", feature=target.name
    )


async def _answer_of_dispatch(
    ctx: Ctx, key: Key, found: BegunOperation, *, tool: str, feature: str
) -> CallToolResult:
    """Say what was dispatched, or how that stands which an earlier call dispatched."""
    ref = found.ref
    if ref is None:
        note = f"{STILL_IN_FLIGHT} call {tool} again with the same arguments."
        line = f"{feature} is not dispatched by this call yet ({found.line})."
        if key[0] == GENERATION and found.line == ELSEWHERE:
            note += " wait_for_generation waits for what the other one began."
        return answer_of_wait(line, {}, note=note)
    begun_at = ref.dispatched_at or found.begun_at
    content = {**ids_of(ref), "begunAt": serialize(begun_at)}
    wait = f"wait_for_{ref.kind} waits for it."
    if found.is_new:
        session_of(ctx).journals.note_told(key)
        return answer(f"{_what(ref, feature)} was started. {wait}", content)
    seen = found.outcome or await session_of(ctx).client.attach(ref).poll()
    note = f"Nothing was started: your earlier call did at {begun_at:%H:%M:%S} UTC. "
    if seen.is_finished:
        session_of(ctx).journals.note_told(key)
        note += "To begin anew pass `again: true`."
    else:
        note += f"It goes on: {wait}"
    line = say_run(seen) if isinstance(seen, Run) else say_generation(seen)
    return answer(f"{note} {line}", {**content, "status": seen.status, "note": note})


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
        int,
        Field(
            ge=1,
            le=5,
            description="How often what failed may run in total; above 1 it shows flaky.",
        ),
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
    await check_config(ctx, home, config)
    key = key_of(ctx, "runs", home, folded, config, siteUrl, attempts)

    async def play(work: Work[_Many]) -> None:
        keeping = keeping_runs(ctx, home, is_all=all)
        async with opened(ctx, key, work, again=again, keeping=keeping) as journal:
            work.journal, work.is_resumed = journal, bool(journal.items)
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
    if work.task.done():
        session.journals.note_told(key)
    batch = work.state.batch
    told = note_of(ctx, work, again=again) if batch else work.line
    if batch is not None and not work.task.done():
        told = (await unseen(ctx, batch.in_flight)).strip() or None
    return digest(
        batch.items if batch else [],
        max_output=session.limits.max_output,
        again="run_features",
        told=told,
        begun_at=serialize(work.begun_at),
        is_over=work.task.done(),
        attempts=attempts,
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
    is_resumed: bool = False
    """Whether an earlier call began the generation."""


@tool(REGENERATES)
async def generate_and_run(  # noqa: PLR0913 - the arguments of the tool
    ctx: Ctx,
    *,
    feature: FeatureName,
    config: ConfigName = None,
    siteUrl: SiteUrl = None,
    again: Again = False,
    timeoutSeconds: TimeoutSeconds = PATIENCE,
    project: ProjectId = None,  # noqa: ARG001 - `target` has it
    target: Annotated[Target, Resolve(target_of)],
    agreed: Annotated[ElicitationResult[Consent], Resolve(ask_to_generate)],
) -> CallToolResult:
    """Generate a feature's tests, then run them. COSTS CREDITS: ask the user first. Takes minutes.

    If `inFlight`, call this again with the same arguments: it goes on and starts nothing twice. So
    it does with what generate_feature began. Other tests that are there need `again: true`.
    """
    require_agreed(agreed)
    session = session_of(ctx)
    await check_config(ctx, target.home, config)
    key = key_of(ctx, "generate_and_run", target.home, target.feature_id, config, siteUrl)

    def run(journal: Journal) -> Batch[Run]:
        return target.home.run_features(
            named(journal, target.feature_id), config=config, site_url=siteUrl, journal=journal
        )

    async def play(work: Work[_Sequence]) -> None:
        generation = generation_of(ctx, target, siteUrl, again=again)
        work.state.generation = generation.state
        await work.follow(generation)
        outcome = generation.state.outcome
        if outcome is None or not outcome.is_success:
            return
        run_key = (*key, outcome.request_id)
        async with session.journals.open(run_key, keeping=KEPT) as journal:
            work.is_resumed, work.state.is_resumed = bool(journal.items), generation.is_resumed
            await work.state.run.play(work, journal, run)

    work = session.works.join(key, _Sequence, play)
    with noted_as_told(ctx, target.key):
        await wait_for_work(work, Progress(ctx), timeoutSeconds)
    ref = work.state.generation.ref
    if isinstance(ref, GenerationRef):
        session.remember_generation(feature, ref)
    if work.task.done():
        session.journals.note_told(target.key)
    told = note_of(ctx, work, again=again)
    if not work.task.done():
        told = await unseen(ctx, [work.state.run.ref or ref])
    return _answer_of_sequence(work, target.name, told=told)


def _answer_of_sequence(work: Work[_Sequence], feature: str, *, told: str | None) -> CallToolResult:
    generation, run = work.state.generation, work.state.run
    content = {
        "generation": generation.document,
        "run": run.document,
        "begunAt": serialize(work.begun_at),
    }
    line = f"The generation of {feature} was begun, and not seen yet."
    if generation.ref is None:
        line = f"The generation of {feature} is not dispatched yet ({work.line})."
    if generation.snapshot:
        line = say_generation(generation.snapshot)
    if run.snapshot:
        line = say_run(run.snapshot)
    if not work.task.done():
        again = f"{STILL_IN_FLIGHT} call generate_and_run again with the same arguments."
        return answer_of_wait(line, content, note=f"{again}{told or ''}")
    if told is None and work.state.is_resumed:
        told = f"Its tests were generated by your call at {work.begun_at:%H:%M:%S} UTC."
    return answer_of_wait(line, content, note=told, in_flight=False)


DISPATCHING_TOOLS: list[Tool] = [generate_feature, run_feature, run_features, generate_and_run]
