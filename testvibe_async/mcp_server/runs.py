# ruff: noqa: N803 - the arguments have the service's own names, in its camelCase
"""The tools that start runs, one or many, and wait for them.

A call starts runs, unless those of an equal call are in flight. A time-out is an ordinary answer,
and cancels nothing. The docstrings are what a model reads.
"""

from contextlib import suppress
from typing import Annotated, Any

from attrs import evolve
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from testvibe_async import Batch, errors
from testvibe_async._core.wire import serialize
from testvibe_async.mcp_server import digests, toolkit
from testvibe_async.mcp_server.advice import capitalized
from testvibe_async.mcp_server.answers import Answer
from testvibe_async.mcp_server.batches import Carried
from testvibe_async.mcp_server.waits import PATIENCE, Wait, unseen_of
from testvibe_async.refs import RunRef
from testvibe_async.runner.quarantine import NO_QUARANTINE, Quarantine
from testvibe_async.runner.selection import Selection, select
from testvibe_async.runner.spec import BatchSpec

Repeat = Annotated[
    int, Field(ge=1, le=50, description="Runs of each, one by one, for `stability`: how flaky?")
]

Attempts = Annotated[
    int, Field(ge=1, le=5, description="How often what failed may run; above 1 it shows flaky.")
]


async def start(
    call: toolkit.Call,
    *,
    is_one: bool,
    config: str | None,
    **wanted: Any,  # noqa: ANN401 - as of `BatchSpec`
) -> tuple[Carried, bool]:
    """Start runs, unless those of an equal call are in flight: see `Batches.start`.

    Args:
        call: The call.
        is_one: True for a single run, which the service alone may refuse.
        config: The run configuration; None for the default one.
        wanted: The other members of the batch's description.
    """
    home, quarantine = call.home, NO_QUARANTINE if is_one else Quarantine.read()
    spec = BatchSpec(kind="run", configs=() if config is None else (config,), **wanted)
    meaning = {
        **spec.to_dict(),
        "features": sorted({each.lower() for each in spec.features}),
        "configs": [each.casefold() for each in spec.configs],
        "isOne": is_one,
    }

    async def make(key: str) -> Batch[Any]:
        chosen = await select(
            home, spec, max_outage=toolkit.MAX_OUTAGE, is_one=is_one, all_word="`all: true`"
        )
        batch = home.run_features(
            chosen.jobs,
            site_url=spec.site_url,
            max_in_flight=spec.in_flight,
            attempts=spec.attempts,
            repeat=spec.repeat,
            key=key,
            options={
                "mcp": {"meaning": meaning, "notRun": _not_run(chosen)},
                "spec": spec.to_dict(),
                "quarantine": quarantine.to_dict(),
            },
        )
        batch.mark_with(quarantine.mark)
        return batch

    return await call.session.batches.start(home, meaning, make)


def _not_run(selection: Selection) -> list[dict[str, str]]:
    """Return the features that a selection leaves out, with their statuses."""
    return [
        {
            "feature": each.name or str(each.id),
            "status": "suggestion" if each.is_suggestion else str(each.status or "draft"),
        }
        for each in selection.left_out
    ]


@toolkit.tool(toolkit.ADDS)
async def run_feature(
    call: toolkit.Call,
    *,
    feature: toolkit.FeatureName,
    config: toolkit.ConfigName = None,
    siteUrl: toolkit.SiteUrl = None,
) -> Answer:
    """Start a run of one feature's tests, which takes half a minute; then call wait_for_run.

    For several features, call run_features. It is refused unless the feature's status is
    `generated`. While the run is in flight, the same call starts no other.
    """
    started = await start(call, is_one=True, features=[feature], config=config, site_url=siteUrl)
    return await answer_of_one(call, started, tool="run_feature")


async def answer_of_one(call: toolkit.Call, started: tuple[Carried, bool], *, tool: str) -> Answer:
    """Wait until a single operation is dispatched, and return the answer of a tool.

    Raises:
        VibeError: It was refused, or it is unknown whether it started.
    """
    carried, is_new = started
    await Wait(call, PATIENCE).on_batch(carried, until_dispatched=True)
    item = carried.items[0] if carried.items else None
    if item is None or item.ref is None or carried.number is None:
        if item is not None and item.error is not None and carried.task.done():
            raise item.error
        return digests.not_started(tool, carried, call.session.outage)
    operation = call.session.client.attach(item.ref)
    if not is_new:
        with suppress(errors.ObservationError):  # Its id is the answer.
            await operation.poll()
    stored = await call.session.batches.read(carried.number)
    return digests.answer_of_start(operation, item.feature_name, stored, is_new=is_new)


@toolkit.tool(toolkit.ADDS)
async def run_features(  # noqa: PLR0913 - the arguments of the tool
    call: toolkit.Call,
    *,
    features: Annotated[
        list[toolkit.FeatureName] | None,
        Field(min_length=1, max_length=1_000, description="Names, ids, globs, !exclusions."),
    ] = None,
    all: Annotated[  # noqa: A002 - the argument's name
        bool, Field(description="Run every generated feature; `features` may exclude some.")
    ] = False,
    config: toolkit.ConfigName = None,
    siteUrl: toolkit.SiteUrl = None,
    attempts: Attempts = 1,
    repeat: Repeat = 1,
    timeoutSeconds: toolkit.TimeoutSeconds = PATIENCE,
) -> Answer:
    """Run `features` at once, or `all: true`, and wait. Lists what failed and what was not run.

    If `inFlight`, wait_for_batch waits for its `batch`; the same call starts no other until then.
    Of `all`, features that are not `generated` are in `notRun`.
    """
    carried, is_new = await start(
        call,
        is_one=False,
        features=features or (),
        is_all=all,
        config=config,
        site_url=siteUrl,
        attempts=attempts,
        repeat=repeat,
    )
    await Wait(call, timeoutSeconds).on_batch(carried)
    if carried.number is None:
        return digests.not_started("run_features", carried, call.session.outage)
    return await _digest(call, carried.number, carried, is_new=is_new)


@toolkit.tool(toolkit.RESUMES, has_project=False)
async def wait_for_batch(
    call: toolkit.Call,
    *,
    batch: Annotated[int, Field(ge=1, description="From run_features.")],
    timeoutSeconds: toolkit.TimeoutSeconds = PATIENCE,
) -> Answer:
    """Wait until the runs of run_features are over. If `inFlight`, call this again.

    After a restart of this server too: it continues what the batch has left.
    """
    client = call.session.client  # Else what is missing is the configuration.
    try:
        carried = await call.session.batches.find(batch)
    except errors.ConfigError as error:
        raise ToolError(
            f"There is no batch {batch} of runs of {client.server}: {error.brief}. list_runs shows "
            "the runs, and wait_for_run waits for one; wait_for_generation for a generation."
        ) from error
    if carried is not None:
        await Wait(call, timeoutSeconds).on_batch(carried)
    return await _digest(call, batch, carried, is_new=True)


async def _digest(
    call: toolkit.Call, number: int, carried: Carried | None, *, is_new: bool
) -> Answer:
    """Return a batch's digest; while it is in flight, also what can't be observed."""
    stored, unseen, in_flight = await call.session.batches.read(number), "", False
    if carried is not None and not carried.task.done():
        stored, in_flight = evolve(stored, items=carried.items), True
        refs = [item.ref for item in carried.items if item.ref and item.is_unfinished]
        unseen = await unseen_of(call.session.client.attach(refs[0])) if refs else ""
        if not unseen and call.session.outage:
            unseen = f"{capitalized(call.session.outage)}."
    remark = f"{'' if is_new else digests.not_again(stored)} {unseen}".strip()
    return digests.digest(stored, call.room, in_flight=in_flight, remark=remark)


@toolkit.tool(toolkit.READS)
async def wait_for_run(
    call: toolkit.Call, *, runId: toolkit.RunId, timeoutSeconds: toolkit.TimeoutSeconds = 120
) -> Answer:
    """Wait until a run is over and return its tests. If `inFlight`, call this again."""
    client = call.session.client
    ref = RunRef(server=client.server, project=call.home.id, run_id=runId)
    operation = client.attach(ref)
    note = await Wait(call, timeoutSeconds).follow(operation, "wait_for_run")
    seen = operation.snapshot
    document = digests.ids_of(ref) if seen is None else serialize(seen)
    return digests.answer_of_wait(digests.say_of(operation), document, note=note)
