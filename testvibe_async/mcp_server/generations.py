# ruff: noqa: N803 - the arguments have the service's own names, in its camelCase
"""The tools that start generations, which cost credits.

Decides whether a generation may replace what is there, and how the user is asked: only before a
generation that a call would start. A client that can't ask decides by the tool's hints and its
description. Each request has a key in the ledger, under which nothing is dispatched a second time,
by whatever process. The docstrings are what a model reads.
"""

import asyncio
from contextlib import suppress
from typing import Annotated

from attrs import frozen
from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Elicit, Resolve
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

from testvibe_async import Project, errors
from testvibe_async._wire import GENERATION, serialize
from testvibe_async.ledger import Row, RowState
from testvibe_async.mcp_server import advice, digests, toolkit
from testvibe_async.mcp_server.answers import Answer, visible
from testvibe_async.mcp_server.waits import PATIENCE, Wait
from testvibe_async.models import DRAFT, Feature, FeatureStatus, Generation
from testvibe_async.operations import GenerationOperation
from testvibe_async.refs import GenerationRef

Replace = Annotated[
    str | None,
    Field(
        description="The `requestId` (or `updatedUtc`) of the latest generation, from "
        "get_generation_status, to replace it, also if it failed; left out for a first one."
    ),
]


@frozen(kw_only=True)
class Target:
    """The generation that a call asks for."""

    call: toolkit.Call
    feature: Feature
    key: str
    """The key of the request in the ledger."""

    site_url: str | None
    replace: str | None
    row: Row | None
    """The last dispatch of the key, by any process, or of the feature if it is unknown."""

    is_known: bool
    """True if that generation is in flight, or may be: nothing else is started."""


async def target_of(
    ctx: toolkit.Ctx, feature: str, siteUrl: str | None, replace: str | None, project: str | None
) -> Target:
    """Read which feature is meant, and check that the call may generate it.

    Raises:
        ToolError: It may not.
        VibeError: There is no such feature, or it could not be read.
    """
    call = await toolkit.Call.of(ctx, project)
    found = await call.home.get_feature(feature)
    names = [f"mcp-generate {found.id}", *(filter(None, [replace, siteUrl]))]
    row = await _row_of(call, found, key := " ".join(names))
    is_known = row is not None and row.is_open
    if not is_known:
        latest = await _read_latest(call.home, found)
        is_known = row is not None and _may_be_in_flight(row, latest)
        if not is_known:
            _require_latest(latest, found, replace)
    return Target(
        call=call,
        feature=found,
        key=key if row is None else row.key,
        site_url=siteUrl if row is None else row.site_url,
        replace=replace,
        row=row,
        is_known=is_known,
    )


async def _row_of(call: toolkit.Call, feature: Feature, key: str) -> Row | None:
    """Return the last dispatch of a key; else one of the feature that is unknown, by any call.

    What is replaced has several names: while a lost answer is searched for, each call for that
    feature means it.
    """
    ledger, place = call.session.client.ledger, (call.session.client.server, call.home.id)
    rows = [row for row in await ledger.rows(key) if (row.server, row.project) == place]
    if rows:
        return rows[-1]
    for row in await ledger.related(*place, ()):
        is_single = row.kind == "generation" and not row.item
        if is_single and row.feature == feature.id and row.state is not RowState.UNKNOWN:
            return row
    return None


def _may_be_in_flight(row: Row, latest: Generation) -> bool:
    """Return whether a dispatched generation is in flight, as far as a status shows it.

    For some seconds the service may still show the generation before it, or none.
    """
    if row.ref is None:
        return False
    shown = latest.request_id
    is_shown = shown is None or row.ref.to_dict()["requestId"] == shown
    return not latest.is_finished if is_shown else shown == row.before


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
        ToolError: The server may start no more.
    """
    _require_below_limit(target)
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
    wait = Wait(call, PATIENCE)
    if target.is_known and target.row is not None and target.row.ref is not None:
        operation, is_new = call.session.client.attach(target.row.ref), False
    else:
        dispatching, is_new = _dispatching(target)
        await wait.report(f"feature {target.feature.id}: generation {target.key!r}")
        if not await wait.on_task(dispatching):
            why = call.session.outage or "the service has not answered"
            return digests.not_started("generate_feature", why, {})
        operation = dispatching.result()
    if not is_new:
        with suppress(errors.ObservationError):  # Its id is the answer.
            await operation.poll()
    row = await _row_of(call, target.feature, target.key)
    assert row is not None
    return digests.answer_of_start(
        operation,
        {},
        feature=target.feature.name or str(target.feature.id),
        started_at=row.intended_at,
        is_new=is_new,
        wait="wait_for_generation",
    )


def _require_below_limit(target: Target) -> None:
    """Check that the server may start one more generation, unless it has started it.

    A generation counts that was started or may have been, but none that was refused.
    """
    session = target.call.session
    is_counted = target.key in session.generating or (target.is_known and target.row)
    if session.is_limit_reached and not is_counted:
        raise ToolError(advice.LIMIT_REACHED)


def _dispatching(target: Target) -> tuple[asyncio.Task[GenerationOperation], bool]:
    """Return the task that dispatches a generation, and True if this call starts it.

    It outlives the call.
    """
    generating, key = target.call.session.generating, target.key
    task = generating.get(key)
    if task is not None and not (task.done() and task.exception()):
        return task, False
    _require_below_limit(target)
    task = generating[key] = asyncio.create_task(_dispatch(target))
    task.add_done_callback(lambda task: _discount(generating, key, task))
    return task, not target.is_known


def _discount(
    generating: dict[str, asyncio.Task[GenerationOperation]],
    key: str,
    task: asyncio.Task[GenerationOperation],
) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, errors.DispatchUnknownError):
        del generating[key]


async def _dispatch(target: Target) -> GenerationOperation:
    home = target.call.home
    if not target.is_known:  # The user may have thought for long.
        latest = await _read_latest(home, target.feature)
        _require_latest(latest, target.feature, target.replace)
    return await home.generate_feature(target.feature.id, site_url=target.site_url, key=target.key)


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
        tasks = call.session.generating.values()
        made = [each.result() for each in tasks if each.done() and not each.exception()]
        operation = next((each for each in made if each.feature_id == found.id), None)
        if operation is None or operation.snapshot is not None:
            raise
        return Generation(operation.feature_id, request_id=operation.request_id), operation
    if latest.is_finished or latest.request_id is None or latest.feature_id is None:
        return latest, None
    client = call.session.client
    ref = GENERATION.ref_of(latest, server=client.server, project=call.home.id)
    assert isinstance(ref, GenerationRef)
    return latest, client.attach(ref)
