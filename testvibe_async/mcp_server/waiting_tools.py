# ruff: noqa: N803 - the arguments have the service's own names, in its camelCase
"""The tools that wait: the service's own two, and three that combine its operations.

Each returns within its `timeoutSeconds`. A timeout is an ordinary answer, which says how the
operation stands and which call goes on from there. It never cancels anything, and no tool repeats
what costs credits. The docstrings are what a model reads.
"""

from collections.abc import Callable
from contextlib import aclosing
from typing import Annotated, Any, Generic, TypeVar, cast

from attrs import define, field
from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Elicit, Resolve
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult
from pydantic import Field

from testvibe_async import (
    Batch,
    Generation,
    GenerationRef,
    Journal,
    Operation,
    Run,
    RunOperation,
    RunRef,
)
from testvibe_async._wire import serialize
from testvibe_async.mcp_server.answers import (
    STILL_IN_FLIGHT,
    answer_of_wait,
    digest,
    say_generation,
    say_run,
)
from testvibe_async.mcp_server.budget import Document
from testvibe_async.mcp_server.consent import Consent, ask_for_credits, require_agreed
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
from testvibe_async.mcp_server.waits import (
    Progress,
    follow,
    latest_generation,
    message_of,
    wait_for_all,
    wait_for_work,
)
from testvibe_async.mcp_server.works import Work

__all__ = ["WAITING_TOOLS"]

SnapshotT = TypeVar("SnapshotT", Run, Generation)

PATIENCE = 45
"""How long our own tools wait in seconds: many clients give up after a minute."""

Again = Annotated[bool, Field(description="Not the result of the last 10 minutes: begin anew.")]


@tool(READS)
async def wait_for_run(
    ctx: Ctx, *, runId: RunId, timeoutSeconds: TimeoutSeconds = 120, project: ProjectId = None
) -> CallToolResult:
    """Wait until a run is over and return its tests. If `inFlight`, call this again."""
    session = session_of(ctx)
    operation = session.run(session.project(project), runId)
    is_finished = await follow(operation, Progress(ctx), timeoutSeconds)
    note = None if is_finished else f"{STILL_IN_FLIGHT} call wait_for_run again with runId {runId}."
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
    again = f"{STILL_IN_FLIGHT} call wait_for_generation again with feature {feature!r}."
    note = None if running is None else again
    return answer_of_wait(say_generation(latest), serialize(latest), note=note)


@tool(READS)
async def wait_for_runs(
    ctx: Ctx,
    *,
    runIds: Annotated[list[RunId], Field(min_length=1, description="The ids.")],
    timeoutSeconds: TimeoutSeconds = PATIENCE,
    project: ProjectId = None,
) -> CallToolResult:
    """Wait until many runs are over. Lists what did not succeed. If `inFlight`, call this again."""
    session = session_of(ctx)
    home = session.project(project)
    operations = [session.run(home, run_id) for run_id in dict.fromkeys(runIds)]
    items = await wait_for_all(ctx, operations, seconds=timeoutSeconds)
    return digest(items, max_output=session.limits.max_output)


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
    """Run several features at once and wait. Lists what did not succeed and counts the rest.

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
    key = (session.client.server, "run_features", home.id, folded, config, siteUrl, attempts)

    async def play(work: Work[_Step[Run]]) -> None:
        async with session.journals.open(key, again=work.is_anew) as journal:
            work.calls += bool(journal.items)  # of an earlier call, before a restart
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

    work = session.works.join(repr(key), _Step[Run], play, again=again)
    await wait_for_work(work, Progress(ctx), timeoutSeconds)
    return digest(
        work.state.batch.items if work.state.batch else [],
        max_output=session.limits.max_output,
        again="run_features",
        told=_told_before(work),
        is_over=work.task.done(),
    )


@define
class _Step(Generic[SnapshotT]):
    """A batch, once it has begun; of one feature, its operation and its outcome too."""

    batch: Batch[SnapshotT] | None = None
    operation: Operation[SnapshotT] | None = None
    outcome: SnapshotT | None = None

    @property
    def document(self) -> Document | None:
        """What was seen last of the operation, or its ids; None before it began."""
        seen = self.outcome or (self.operation.snapshot if self.operation else None)
        if seen is not None:
            return cast("Document", serialize(seen))
        ref = next(iter(self.batch.refs), None) if self.batch else None
        if isinstance(ref, GenerationRef):
            return {"requestId": ref.request_id, "featureId": ref.feature_id}
        return {"runId": ref.run_id} if isinstance(ref, RunRef) else None


def _told_before(work: Work[Any]) -> str | None:
    """Say that what ended was begun by an earlier call, which the model may not expect."""
    if work.calls == 1 or not work.task.done():
        return None
    return "Begun by your earlier call; `again: true` begins anew."


@define
class _Sequence:
    """A generation and the run that follows it, as far as they have come."""

    generation: _Step[Generation] = field(factory=_Step[Generation])
    run: _Step[Run] = field(factory=_Step[Run])


def _key_of_sequence(
    ctx: Ctx, feature: str, config: str | None, siteUrl: str | None, project: str | None
) -> tuple[object, ...]:
    session = session_of(ctx)
    home = session.project(project)
    name = feature.casefold()
    return (session.client.server, "generate_and_run", home.id, name, config, siteUrl)


async def _ask_unless_begun(  # noqa: PLR0913, PLR0917 - the arguments of the tool
    ctx: Ctx,
    feature: str,
    config: str | None,
    siteUrl: str | None,
    again: bool,  # noqa: FBT001 - the same
    project: str | None,
) -> Consent | Elicit[Consent]:
    """Ask the user, unless the call goes on with what was begun."""
    work = session_of(ctx).works.find(
        repr(_key_of_sequence(ctx, feature, config, siteUrl, project))
    )
    if work is not None and not (again and work.task.done()):
        return Consent(generate=True)
    return await ask_for_credits(ctx, feature)


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
    agreed: Annotated[ElicitationResult[Consent], Resolve(_ask_unless_begun)],
) -> CallToolResult:
    """Generate a feature's tests, then run them. COSTS CREDITS: ask the user first. Takes minutes.

    If `inFlight`, call this again with the same arguments: it goes on and starts nothing twice.
    """
    require_agreed(agreed)
    session = session_of(ctx)
    home = session.project(project)

    key = _key_of_sequence(ctx, feature, config, siteUrl, project)

    def generate(journal: Journal) -> Batch[Generation]:
        if not journal.items:
            session.count_generation()
        return home.generate_features(
            [feature], site_url=siteUrl, on_conflict="attach", journal=journal
        )

    def run(journal: Journal) -> Batch[Run]:
        return home.run_features([feature], config=config, site_url=siteUrl, journal=journal)

    async def play(work: Work[_Sequence]) -> None:
        state = work.state
        async with session.journals.open((*key, "generation"), again=work.is_anew) as journal:
            work.calls += bool(journal.items)
            generated = await _played(work, state.generation, journal, generate, ctx)
        if generated.is_success:
            place = (*key, "run", generated.request_id)
            async with session.journals.open(place, again=work.is_anew) as journal:
                await _played(work, state.run, journal, run, ctx)

    work = session.works.join(repr(key), _Sequence, play, again=again)
    await wait_for_work(work, Progress(ctx), timeoutSeconds)
    return _answer_of_sequence(work, feature)


async def _played(
    work: Work[_Sequence],
    step: _Step[SnapshotT],
    journal: Journal,
    begin: Callable[[Journal], Batch[SnapshotT]],
    ctx: Ctx,
) -> SnapshotT:
    """Begin a batch of one feature or go on with it, and return its outcome.

    Raises:
        VibeError: It could not be dispatched or observed.
    """
    before = journal.items
    if before and before[0].ref and before[0].error:  # It could not be observed: look again.
        return await _followed(
            work, step, cast("Operation[SnapshotT]", session_of(ctx).client.attach(before[0].ref))
        )
    async with begin(journal) as step.batch:
        async for operation, transition in step.batch.changes():
            step.operation = operation
            work.tell(message_of(operation, transition))
        (item,) = step.batch.items
    if item.error is not None:
        raise item.error
    assert item.outcome is not None
    step.outcome = item.outcome
    return step.outcome


async def _followed(
    work: Work[_Sequence], step: _Step[SnapshotT], operation: Operation[SnapshotT]
) -> SnapshotT:
    step.operation = operation
    async with aclosing(operation.updates()) as transitions:
        async for transition in transitions:
            work.tell(message_of(operation, transition))
    step.outcome = await operation
    return step.outcome


def _answer_of_sequence(work: Work[_Sequence], feature: str) -> CallToolResult:
    generation, run = work.state.generation, work.state.run
    content: Document = {"generation": generation.document, "run": run.document}
    line = f"The generation of {feature} was begun, and not seen yet."
    if generated := generation.outcome or (generation.operation and generation.operation.snapshot):
        line = say_generation(generated)
    if ran := run.outcome or (run.operation and run.operation.snapshot):
        line = say_run(ran)
    if not work.task.done():
        again = f"{STILL_IN_FLIGHT} call generate_and_run again with the same arguments."
        return answer_of_wait(line, content, note=again)
    return answer_of_wait(f"{line} {_told_before(work) or ''}".rstrip(), content, note=None)


WAITING_TOOLS: list[Tool] = [
    wait_for_generation,
    wait_for_run,
    wait_for_runs,
    run_features,
    generate_and_run,
]
