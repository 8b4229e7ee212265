# ruff: noqa: N803 - the arguments have the service's own names, in its camelCase
"""The tools that start generations, which cost credits.

Decides whether a generation may replace what is there, and how the user is asked: only before a
generation that a call would start. A client that can't ask decides by the tool's hints and its
description. What was dispatched once is returned to each equal call, by any process. The
docstrings are what a model reads.
"""

import asyncio
from typing import Annotated, Any

from attrs import frozen
from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Elicit, Resolve
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

from testvibe_async import Batch, GenerationOperation, GenerationRef, Project, errors
from testvibe_async._core.wire import GENERATION, serialize
from testvibe_async.mcp_server import advice, digests, toolkit
from testvibe_async.mcp_server.answers import Answer, quoted, visible
from testvibe_async.mcp_server.batches import PREFIX
from testvibe_async.mcp_server.runs import answer_of_one
from testvibe_async.mcp_server.waits import Wait
from testvibe_async.models import DRAFT, Feature, FeatureStatus, Generation
from testvibe_async.runner.history import KeptBatch
from testvibe_async.runner.limit import GenerationLimitError
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
    """The feature that a call asks to generate."""

    feature: Feature

    known: KeptBatch | None
    """The batch of a generation that is in flight, or may be: nothing else is started."""


async def target_of(
    ctx: toolkit.Ctx, feature: str, replace: str | None, project: str | None
) -> Target:
    """Read which feature is meant, and check that the call may generate it.

    Raises:
        ToolError: It may not.
        VibeError: There is no such feature, or it could not be read.
    """
    call = await toolkit.Call.of(ctx, project)
    found, batches = await call.home.get_feature(feature), call.session.batches
    known = await batches.latest(call.home, _name_of(found))
    # Also while it is unknown whether one started: what is replaced has several names.
    if known is None or known.is_over or await _has_ended(call, known):
        _require_latest(await _read_latest(call.home, found), found, replace)
        known = None
    return Target(found, known)


def _name_of(feature: Feature) -> str:
    """Return the name of all calls that generate a feature: one generation is in flight at once."""
    return f"{PREFIX}generate-{feature.id}"


async def _has_ended(call: toolkit.Call, known: KeptBatch) -> bool:
    """Poll a dispatched generation, and return whether it has ended since it was last observed."""
    active, ref = call.session.batches.resume(known), known.items[0].ref
    if ref is None:
        return False
    try:
        has_ended: bool = (await call.session.client.attach(ref).poll()).is_finished
    except errors.VibeError as error:
        has_ended = isinstance(error, errors.OperationSupersededError)
    if has_ended:
        await asyncio.wait([active.task])
    return has_ended


async def _read_latest(home: Project, feature: Feature) -> Generation:
    """Return a feature's latest generation; one without members if the service knows none."""
    try:
        return await home.get_generation_status(feature.id)
    except errors.NotFoundError:
        return Generation(feature.id)


def _require_latest(latest: Generation, feature: Feature, replace: str | None) -> None:
    """Check that a call names the generation that it replaces, as the service has it now.

    So what was decided on an old view, or is repeated blindly, replaces nothing.

    Raises:
        ToolError: The latest generation is another, or in flight.
    """
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
    else:
        why = "was generated before, without success"
        if replace is not None:
            why = f"has another latest generation than {replace[:100]!r}"
        elif FeatureStatus.GENERATED in found:
            why = "has tests already, and run_feature runs them"
        why += (
            ". To replace that generation, such as after update_feature, pass "
            f'`replace: "{names[0]}"`: it costs credits.'
        )
    name = feature.name or str(feature.id)
    raise ToolError(f"Nothing was started: {name!r} {why}")


def _names_of(latest: Generation, feature: Feature) -> list[str]:
    """Return what the latest generation may be called: its id first, or a date that it changed."""
    dates = [latest.updated_at, None if latest.request_id else feature.updated_at]
    return [name for name in (latest.request_id, *map(serialize, dates)) if name]


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
    capabilities = ctx.client_capabilities
    if target.known is None and toolkit.Call(ctx).session.ledger.is_reached:
        raise GenerationLimitError
    if target.known is not None or capabilities is None or capabilities.elicitation is None:
        return Consent(generate=True)
    name = visible((target.feature.name or str(target.feature.id))[:100])
    return Elicit(f"Generate the tests of {name!r}? It costs credits of the account.", Consent)


@toolkit.tool(toolkit.REGENERATES)
async def generate_feature(  # noqa: PLR0913 - the arguments of the tool
    call: toolkit.Call,
    *,
    feature: toolkit.FeatureName,  # noqa: ARG001 - `target` has it
    siteUrl: toolkit.SiteUrl = None,
    replace: Replace = None,
    target: Annotated[Target, Resolve(target_of)],
    agreed: Annotated[ElicitationResult[Consent], Resolve(ask_to_generate)],
) -> Answer:
    """Start to generate a feature's tests. COSTS CREDITS: ask the user first. Takes minutes.

    Then call wait_for_generation. After an earlier generation, also one that failed, `replace`
    names it, such as after update_feature; never because a wait timed out. Refused while it is
    generating.
    """
    if not isinstance(agreed, AcceptedElicitation) or not agreed.data.generate:
        raise ToolError("Nothing was started: the user does not want to spend credits on it.")
    home, batches, name = call.home, call.session.batches, _name_of(target.feature)

    async def make(key: str) -> Batch[Any]:
        latest = await _read_latest(home, target.feature)  # The user may have thought for long.
        _require_latest(latest, target.feature, replace)
        names = [target.feature.name]
        spec = BatchSpec(kind="generation", features=names, site_url=siteUrl, is_named=False)
        return spec.start(home, [target.feature], key=key)

    if target.known is None:
        started = await batches.start(home, name, make)
    else:
        started = batches.resume(target.known), False
    return await answer_of_one(call, started, tool="generate_feature")


@toolkit.tool(toolkit.READS)
async def wait_for_generation(
    call: toolkit.Call,
    *,
    feature: toolkit.FeatureName,
    timeoutSeconds: toolkit.TimeoutSeconds = 120,
) -> Answer:
    """Wait until a feature's latest generation has finished. If `inFlight`, call this again."""
    wait, is_over, tool = Wait(call, timeoutSeconds), True, "wait_for_generation"
    while True:
        found = await wait.read(_latest_generation(call, feature, max_outage=timeoutSeconds))
        if found is None:
            line = f"The latest generation of {quoted(feature)}: not observed yet."
            return digests.answer_of_wait(line, {}, tool=tool, outage=call.session.outage)
        latest, operation = found
        if operation is not None:
            try:
                is_over = await wait.follow(operation)
            except errors.OperationSupersededError:  # A newer one took its place: wait for that.
                continue
            latest = operation.snapshot or latest
        return digests.answer_of_wait(
            digests.say(latest),
            serialize(latest),
            tool=None if is_over else tool,
            outage=call.session.outage,
        )


async def _latest_generation(
    call: toolkit.Call, feature: str, *, max_outage: float
) -> tuple[Generation, GenerationOperation | None]:
    """Return a feature's latest generation, and its operation if it may be in flight."""
    try:
        latest = await call.home.get_generation_status(feature, max_outage=max_outage)
    except errors.NotFoundError:
        # For some seconds the service may not know what it has just dispatched.
        found = await call.home.get_feature(feature)
        known = await call.session.batches.latest(call.home, _name_of(found))
        ref: Any = known.items[0].ref if known else None
        if not isinstance(ref, GenerationRef):
            raise
        return Generation(found.id, request_id=ref.request_id), call.session.client.attach(ref)
    if latest.is_finished or latest.request_id is None or latest.feature_id is None:
        return latest, None
    client = call.session.client
    ref = GENERATION.ref_of(latest, server=client.server, project=call.home.id)
    assert isinstance(ref, GenerationRef)
    return latest, client.attach(ref)
