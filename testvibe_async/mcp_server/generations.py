# ruff: noqa: N803 - the arguments have the service's own names, in its camelCase
"""The tools that start generations, which cost credits.

Decides whether a generation may replace what is there, and how the user is asked: only before a
generation that a call would start. A client that can't ask decides by the tool's hints and its
description. How many there may be is the runner's limit. The
docstrings are what a model reads.
"""

from typing import Annotated

from attrs import frozen
from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Elicit, Resolve
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

from testvibe_async import Project, errors
from testvibe_async._wire import GENERATION, serialize
from testvibe_async.mcp_server import advice, digests, toolkit
from testvibe_async.mcp_server.answers import Answer, visible
from testvibe_async.mcp_server.starts import Start
from testvibe_async.mcp_server.waits import PATIENCE, Wait
from testvibe_async.models import DRAFT, Feature, FeatureStatus, Generation
from testvibe_async.operations import GenerationOperation
from testvibe_async.refs import GenerationRef
from testvibe_async.runner.generation_limit import GenerationLimitError
from testvibe_async.runner.selection import Selection
from testvibe_async.runner.spec import BatchSpec

Replace = Annotated[
    str | None,
    Field(
        description="The `requestId` (or `updatedUtc`) of the latest generation, from "
        "get_generation_status, to replace it, also if it failed; left out for a first one."
    ),
]


@frozen
class Target:
    """The feature that a call generates tests for."""

    call: toolkit.Call
    start: Start

    feature: Feature
    is_known: bool
    """True if an equal call's generation is in flight, or may be."""


async def target_of(
    ctx: toolkit.Ctx, feature: str, siteUrl: str | None, replace: str | None, project: str | None
) -> Target:
    """Read which feature is meant, and check that the call may generate it.

    Raises:
        ToolError: It may not.
        VibeError: There is no such feature, or it could not be read.
    """
    call = await toolkit.Call.of(ctx, project)
    home = call.home
    found = await home.get_feature(feature)
    key = (home.id.casefold(), "generation", found.id, replace)
    earlier = call.session.starts.find(key)
    if earlier is None:
        await _require_latest(home, found, replace)

    async def choose() -> Selection:
        if earlier is not None and not earlier.was_lost:  # Nobody was asked for another one.
            raise ToolError("Nothing was started: the earlier call was refused. Call again.")
        await _require_latest(home, found, replace)  # The user may have thought for long.
        return Selection(features=[found])

    spec = BatchSpec(kind="generation", site_url=siteUrl)
    start = Start(key, home, spec, choose, is_one=True)
    return Target(call, start, found, is_known=earlier is not None)


async def _require_latest(home: Project, feature: Feature, replace: str | None) -> None:
    """Check that a call names the generation that it replaces, as the service has it now.

    So what was decided on an old view, or is repeated blindly, replaces nothing.

    Raises:
        ToolError: The latest generation is another, or in flight.
        VibeError: It can't be read.
    """
    try:
        latest = await home.get_generation_status(feature.id)
    except errors.NotFoundError:
        latest = Generation(feature.id)
    words = (feature.status, latest.feature_status)
    found = {word.casefold() for word in words if word} - {DRAFT}
    is_first = latest.request_id is None and not found
    names = _names_of(latest, feature)
    if latest.feature_status == FeatureStatus.GENERATING:
        why = f"has a generation in flight. {advice.IN_PROGRESS}"
    elif replace in names or (replace is None and is_first):
        return
    elif not names:
        why = "has no generation that the service names, so none is replaced: tell the user."
    elif replace is not None:
        why = f"has another latest generation than {replace[:100]!r}. {_how_to_replace(names[0])}"
    elif FeatureStatus.GENERATED in found:
        why = f"has tests already, and run_feature runs them. {_how_to_replace(names[0])}"
    else:
        why = f"was generated before, without success. {_how_to_replace(names[0])}"
    name = feature.name or str(feature.id)
    raise ToolError(f"Nothing was started: {name!r} {why}")


def _names_of(latest: Generation, feature: Feature) -> list[str]:
    """Return what the latest generation may be called: its id first, or a date that it changed."""
    dates = [latest.updated_at]
    if latest.request_id is None:
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
    """The user's answer to the confirmation."""

    generate: bool = Field(description="Whether to spend the credits", title="Generate")


async def ask_to_generate(
    ctx: toolkit.Ctx, target: Annotated[Target, Resolve(target_of)]
) -> Consent | Elicit[Consent]:
    """Ask the user for credits, if the client can, and no equal call has.

    Raises:
        GenerationLimitError: The server may start no more.
    """
    if not target.is_known and toolkit.Call(ctx).session.limit.is_reached:
        raise GenerationLimitError
    capabilities = ctx.client_capabilities
    can_ask = capabilities is not None and capabilities.elicitation is not None
    if target.is_known or not can_ask:
        return Consent(generate=True)
    name = visible((target.feature.name or str(target.feature.id))[:100])
    return Elicit(f"Generate the tests of {name!r}? It costs credits of the account.", Consent)


async def agreed_target(
    target: Annotated[Target, Resolve(target_of)],
    agreed: Annotated[ElicitationResult[Consent], Resolve(ask_to_generate)],
) -> Target:
    """Return the target that the user agreed to generate tests for.

    Raises:
        ToolError: The user does not want it.
    """
    if not isinstance(agreed, AcceptedElicitation) or not agreed.data.generate:
        raise ToolError("Nothing was started: the user does not want to spend credits on it.")
    return target


@toolkit.tool(toolkit.REGENERATES)
async def generate_feature(
    call: toolkit.Call,
    *,
    feature: toolkit.FeatureName,  # noqa: ARG001 - `target` has it
    siteUrl: toolkit.SiteUrl = None,  # noqa: ARG001 - likewise
    replace: Replace = None,  # noqa: ARG001 - likewise
    target: Annotated[Target, Resolve(agreed_target)],
) -> Answer:
    """Start to generate a feature's tests. COSTS CREDITS: ask the user first. Takes minutes.

    Then call wait_for_generation. After an earlier generation, also one that failed, `replace`
    names it, such as after update_feature; never because a wait timed out. Refused while it is
    generating.
    """
    work, operation, is_new = await Wait(call, PATIENCE).dispatch(target.start)
    return digests.answer_of_start(work, operation, "wait_for_generation", is_new=is_new)


@toolkit.tool(toolkit.READS)
async def wait_for_generation(
    call: toolkit.Call,
    *,
    feature: toolkit.FeatureName,
    timeoutSeconds: toolkit.TimeoutSeconds = 120,
) -> Answer:
    """Wait until a feature's latest generation is over. If `inFlight`, call this again."""
    wait, note = Wait(call, timeoutSeconds), None
    while True:
        latest, operation = await _latest_generation(call, feature)
        if operation is not None:
            try:
                note = await wait.follow(operation, "wait_for_generation")
            except errors.OperationSupersededError:  # A newer one took its place: wait for that.
                continue
            latest = operation.snapshot or latest
        return digests.answer_of_wait(digests.say(latest), serialize(latest), note=note)


async def _latest_generation(
    call: toolkit.Call, feature: str
) -> tuple[Generation, GenerationOperation | None]:
    """Return a feature's latest generation, and its operation if it may be in flight."""
    try:
        latest = await call.home.get_generation_status(feature)
    except errors.NotFoundError:
        # For some seconds the service may not know what it has just dispatched.
        found = await call.home.get_feature(feature)
        own = call.session.starts.generation(call.home, found.id)
        operation = None if own is None else call.session.client.attach(own)
        if operation is None or operation.snapshot is not None:
            raise
        return Generation(operation.feature_id, request_id=operation.request_id), operation
    if latest.is_finished or latest.request_id is None or latest.feature_id is None:
        return latest, None
    client = call.session.client
    ref = GENERATION.ref_of(latest, server=client.server, project=call.home.id)
    assert isinstance(ref, GenerationRef)
    return latest, client.attach(ref)
