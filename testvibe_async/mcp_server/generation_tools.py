# ruff: noqa: N803 - the arguments have the service's own names, in its camelCase
"""The tools that start generations, which cost credits.

Decides whether a generation may replace what is there, and how the user is asked: only before a
generation that a call would start. It is started once for what it replaces; a client that can't ask
decides by the tool's hints and its description. How many there may be is the runner's limit. The
docstrings are what a model reads.
"""

import asyncio
from functools import partial
from typing import Annotated, Any

import anyio
from attrs import evolve, frozen
from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Elicit, Resolve
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult
from pydantic import BaseModel, Field

from testvibe_async import (
    Feature,
    FeatureStatus,
    Generation,
    NotFoundError,
    Operation,
    Project,
    VibeError,
)
from testvibe_async._wire import serialize
from testvibe_async.mcp_server.answers import (
    STILL_IN_FLIGHT,
    answer,
    answer_of_wait,
    document_of,
    say,
)
from testvibe_async.mcp_server.budget import Document, visible
from testvibe_async.mcp_server.memory import deliver
from testvibe_async.mcp_server.run_tools import run_once, run_spec, run_start
from testvibe_async.mcp_server.session import Ctx
from testvibe_async.mcp_server.starts import Start, Started, not_started, started_once, time_of
from testvibe_async.mcp_server.toolkit import (
    REGENERATES,
    Call,
    ConfigName,
    FeatureName,
    SiteUrl,
    TimeoutSeconds,
    explained,
    tool,
)
from testvibe_async.mcp_server.waits import PATIENCE, Progress, note_of_wait
from testvibe_async.runner.selection import Selection
from testvibe_async.runner.spec import BatchSpec

READ_SECONDS = 10.0
"""How long a feature may take to be read."""

AGAIN = "call generate_and_run again with the same arguments."

Replace = Annotated[
    str | None,
    Field(
        description="The `requestId` (or `updatedUtc`) of the latest generation, from "
        "get_generation_status, to replace its tests; left out where there are none."
    ),
]


@frozen
class Target:
    """What a call wants to have generated."""

    start: Start
    """Its place is the same for each call of the same feature and `replace`."""

    feature: Feature
    replace: str | None
    """Which generation it replaces, as the call names it."""

    is_known: bool
    """Whether an earlier call started it."""

    @property
    def name(self) -> str:
        """The feature's name."""
        return self.feature.name or str(self.feature.id)


async def target_of(ctx: Ctx, feature: str, replace: str | None, project: str | None) -> Target:
    """Read which feature is meant, and check that the call may generate it.

    Raises:
        ToolError: It may not, there is no such feature, or it could not be read.
    """
    call = Call(ctx, project)
    home, session = call.home, call.session
    try:
        async with asyncio.timeout(READ_SECONDS):
            found = await home.get_feature(feature)
            place = session.memory.place(
                "generation", session.client.server, home.id, found.id, replace
            )
            is_known = await place.is_known()
            if not is_known:
                await _require_latest(home, found, replace)
    except TimeoutError as error:
        raise ToolError(
            f"Nothing was started: the service did not say within {READ_SECONDS:g} s how the "
            "feature stands. Call again."
        ) from error
    except VibeError as error:
        told = await explained(call, error, "generate_feature", {"feature": feature})
        raise ToolError(told) from error
    spec = BatchSpec(kind="generation")
    choose = partial(_choose, home, found, replace, is_known=is_known)
    return Target(Start(place, home, spec, choose), found, replace, is_known)


async def _choose(
    home: Project, feature: Feature, replace: str | None, *, is_known: bool
) -> Selection:
    """Check once more that a generation may be started: the user may have thought for long.

    Raises:
        ToolError: It may not, or the user was not asked.
    """
    if is_known:
        raise ToolError("Nothing was started: the earlier call was refused. Call again.")
    await _require_latest(home, feature, replace)
    return Selection(features=[feature])


async def _require_latest(home: Project, feature: Feature, replace: str | None) -> None:
    """Check that a call names the generation that it replaces, as the service has it now.

    So what was decided on an old view, or is repeated blindly, replaces nothing.

    Raises:
        ToolError: The latest generation is another, or in flight.
        VibeError: It can't be read.
    """
    try:
        latest = await home.get_generation_status(feature.id)
    except NotFoundError:
        latest = Generation(feature.id)
    name = repr(feature.name or str(feature.id))
    if latest.feature_status == FeatureStatus.GENERATING:
        raise ToolError(
            f"Nothing was started: a generation of {name} is in flight. Wait for it with "
            "wait_for_generation, then run_feature runs its tests; or stop it with "
            "cancel_generation."
        )
    has_tests = feature.has_tests or latest.feature_status == FeatureStatus.GENERATED
    names = _names_of(latest, feature if has_tests else None)
    if replace in names or (replace is None and not has_tests):
        return
    if not names:
        raise ToolError(
            f"Nothing was started: the service names no generation of {name} that could be "
            "replaced. Without tests it is generated without `replace`; with tests, tell the user."
        )
    what = "has tests already, and run_feature runs them"
    if replace is not None:
        what = f"has another latest generation than {replace[:100]!r}"
    raise ToolError(f"Nothing was started: {name} {what}. {_how_to_replace(names[0])}")


def _names_of(latest: Generation, feature: Feature | None) -> list[str]:
    """Return what the latest generation may be called: its id first, or a date that it changed."""
    dates = [latest.updated_at]
    if latest.request_id is None and feature is not None:
        dates.append(feature.updated_at)
    names = [latest.request_id, *(serialize(date) for date in dates if date is not None)]
    return [name for name in names if name]


def _how_to_replace(name: str) -> str:
    """Say how to have a generation replaced, such as after `update_feature`."""
    return (
        "To replace that generation, such as after update_feature, pass "
        f'`replace: "{name}"`: it costs credits.'
    )


class Consent(BaseModel):
    """What the user is asked."""

    generate: bool = Field(description="Whether to spend the credits", title="Generate")


async def ask_to_generate(
    ctx: Ctx, target: Annotated[Target, Resolve(target_of)]
) -> Consent | Elicit[Consent]:
    """Ask the user for credits, where the client can, and no earlier call started it."""
    capabilities = ctx.client_capabilities
    can_ask = capabilities is not None and capabilities.elicitation is not None
    if target.is_known or not can_ask:
        return Consent(generate=True)
    name = visible(target.name[:100])
    return Elicit(f"Generate the tests of {name!r}? It costs credits of the account.", Consent)


async def _generated_once(
    call: Call,
    target: Target,
    agreed: ElicitationResult[Consent],
    site_url: str | None,
    *,
    seconds: float,
) -> Started | str:
    """Start a generation that the user has agreed to, unless a call of the same meaning did.

    Raises:
        ToolError: The user does not want it, or it may not be started any more.
        VibeError: As `started_once` raises.
    """
    if not isinstance(agreed, AcceptedElicitation) or not agreed.data.generate:
        raise ToolError("Nothing was started: the user does not want to spend credits on it.")
    start = evolve(target.start, spec=evolve(target.start.spec, site_url=site_url))
    return await started_once(call, start, seconds=seconds)


@tool(REGENERATES)
async def generate_feature(  # noqa: PLR0913 - the arguments of the tool
    call: Call,
    *,
    feature: FeatureName,  # noqa: ARG001 - `target` has it
    siteUrl: SiteUrl = None,
    replace: Replace = None,  # noqa: ARG001 - likewise
    target: Annotated[Target, Resolve(target_of)],
    agreed: Annotated[ElicitationResult[Consent], Resolve(ask_to_generate)],
) -> CallToolResult:
    """Start to generate a feature's tests. COSTS CREDITS: ask the user first. Takes minutes.

    Then call wait_for_generation. Where there are tests already, `replace` names what is replaced,
    such as after update_feature; never because a wait timed out. Refused while it is generating.
    """
    started = await _generated_once(call, target, agreed, siteUrl, seconds=PATIENCE)
    if isinstance(started, str):
        return not_started("generate_feature", target.name, started)
    content = started.document
    if started.is_new:
        line = f"The generation of {target.name} was started. wait_for_generation waits for it."
        return answer(line, content)
    try:
        seen = await call.session.client.attach(started.ref).poll()
    except VibeError:  # If another took its place, this says which.
        await _require_latest(target.start.home, target.feature, target.replace)
        raise
    note = f"Nothing was started: your call at {time_of(started.started_at)} did. "
    if seen.is_finished:
        note += _how_to_replace(content["requestId"])
    else:
        note += "It is in flight: wait_for_generation waits for it."
    return answer(f"{note} {say(seen)}", {**content, "status": seen.status, "note": note})


@tool(REGENERATES)
async def generate_and_run(  # noqa: PLR0913 - the arguments of the tool
    call: Call,
    *,
    feature: FeatureName,  # noqa: ARG001 - `target` has it
    config: ConfigName = None,
    siteUrl: SiteUrl = None,
    replace: Replace = None,  # noqa: ARG001 - likewise
    timeoutSeconds: TimeoutSeconds = PATIENCE,
    target: Annotated[Target, Resolve(target_of)],
    agreed: Annotated[ElicitationResult[Consent], Resolve(ask_to_generate)],
) -> CallToolResult:
    """Generate a feature's tests, then run them. COSTS CREDITS: ask the user first. Takes minutes.

    If `inFlight`, call this again with the same arguments: it continues, also what
    generate_feature started. Where there are tests already, `replace` names what is replaced.
    """
    progress, deadline = Progress(call.ctx), anyio.current_time() + timeoutSeconds
    spec = run_spec([str(target.feature.id)], config, siteUrl)
    if config is not None:  # What can't be run need not be paid for.
        await run_start(call, "run of", spec).choose()
    generation = await _generated_once(call, target, agreed, siteUrl, seconds=timeoutSeconds)
    if isinstance(generation, str):
        return not_started("generate_and_run", target.name, generation)
    operation = call.session.client.attach(generation.ref)
    note = await _followed(progress, operation, deadline)
    content: Document = {
        "startedAt": serialize(generation.started_at),
        "generation": document_of(operation),
        "run": None,
    }
    if note is not None or operation.outcome is None or not operation.outcome.is_success:
        return answer_of_wait(_say(operation, target.name), content, note=note)
    start = run_start(call, f"run of {content['generation']['requestId']}", spec)
    run = await run_once(call, start, seconds=deadline - anyio.current_time())
    if isinstance(run, str):
        line = f"The tests of {target.name} were generated, and are not run yet ({run})."
        return answer_of_wait(line, content, note=f"{STILL_IN_FLIGHT} {AGAIN}")
    operation = call.session.client.attach(run.ref)
    note = await _followed(progress, operation, deadline)
    content["run"] = document_of(operation)
    is_over = note is None
    if is_over:
        deliver(start.place)
        if not generation.is_new:
            note = f"Its tests were generated by your call at {time_of(generation.started_at)}."
    return answer_of_wait(_say(operation, target.name), content, note=note, in_flight=not is_over)


async def _followed(progress: Progress, operation: Operation[Any], deadline: float) -> str | None:
    """Wait for a part of generate_and_run; return how to continue, None where it is over."""
    await progress.follow(operation, deadline - anyio.current_time())
    return await note_of_wait(operation, AGAIN)


def _say(operation: Operation[Any], feature: str) -> str:
    if operation.snapshot is None:
        return f"{operation.ref} of {feature} was started, and not seen yet."
    return say(operation.snapshot)


GENERATING_TOOLS: list[Tool] = [generate_feature, generate_and_run]
