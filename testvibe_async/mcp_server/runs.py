# ruff: noqa: N803 - the arguments have the service's own names, in its camelCase
"""The tools that start runs, one or many, and wait for them.

A call starts runs, unless those of an equal call are in flight. A time-out is an ordinary answer,
and cancels nothing. The docstrings are what a model reads.
"""

from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from typing import Annotated, Any, TypeAlias

from attrs import evolve
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from testvibe_async import Batch, BatchItem, RunRef, errors
from testvibe_async._core.wire import serialize
from testvibe_async.mcp_server import advice, digests, toolkit
from testvibe_async.mcp_server.answers import Answer
from testvibe_async.mcp_server.batches import PREFIX, ActiveBatch
from testvibe_async.mcp_server.waits import PATIENCE, Wait
from testvibe_async.runner.history import KeptBatch
from testvibe_async.runner.names import chosen_configs
from testvibe_async.runner.quarantine import Quarantine
from testvibe_async.runner.selection import listed_configs, select
from testvibe_async.runner.spec import BatchSpec

Repeat = Annotated[
    int, Field(ge=1, le=50, description="Runs of each, one by one, for `stability`: how flaky?")
]

Attempts = Annotated[
    int, Field(ge=1, le=5, description="How often what failed may run; above 1 it shows flaky.")
]


Jobs: TypeAlias = Callable[[], Awaitable[tuple[BatchSpec, Sequence[BatchItem[Any]]]]]
"""Decides what is run: the description to keep with the batch, and an item for each run."""


async def start(call: toolkit.Call, spec: BatchSpec, jobs: Jobs) -> tuple[ActiveBatch, bool]:
    """Start runs, unless those of an equal call are in flight: see `ActiveBatches.start`.

    Args:
        call: The call.
        spec: The description of the runs, which equal calls have in common.
        jobs: Called if there is no equal call; it may refuse.
    """
    features = sorted({each.lower() for each in spec.features})
    meaning = repr(evolve(spec, features=features, configs=[c.casefold() for c in spec.configs]))

    async def make(key: str) -> Batch[Any]:
        described, found = await jobs()
        return described.start(call.home, found, key=key)

    name = f"{PREFIX}run-{sha256(meaning.encode()).hexdigest()[:16]}"
    return await call.session.batches.start(call.home, name, make)


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
    configs = () if config is None else (config,)
    spec = BatchSpec(
        kind="run", features=[feature], configs=configs, site_url=siteUrl, is_named=False
    )

    async def jobs() -> tuple[BatchSpec, Sequence[BatchItem[Any]]]:
        spelled = chosen_configs(configs, await listed_configs(call.home)) if configs else [None]
        return spec, [BatchItem(feature=feature, config=each) for each in spelled]

    return await answer_of_one(call, await start(call, spec, jobs), tool="run_feature")


async def answer_of_one(
    call: toolkit.Call, started: tuple[ActiveBatch, bool], *, tool: str
) -> Answer:
    """Wait until a single operation is dispatched, and return the answer of a tool.

    Raises:
        VibeError: It was refused, or it is unknown whether it started.
    """
    active, is_new = started
    await Wait(call, PATIENCE).on_batch(active, until_dispatched=True)
    if (kept := active.kept) is not None:
        item = kept.items[0]
        if item.ref is not None:
            return digests.answer_of_start(kept, item.ref, is_new=is_new)
        if item.error is not None and active.task.done():
            raise item.error
    return digests.answer_without_id(kept, tool=tool, outage=call.session.outage)


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
    spec = BatchSpec(
        kind="run",
        features=features or (),
        is_all=all,
        configs=() if config is None else (config,),
        site_url=siteUrl,
        attempts=attempts,
        repeat=repeat,
        is_named=False,
    )

    async def jobs() -> tuple[BatchSpec, Sequence[BatchItem[Any]]]:
        quarantine = Quarantine.read()
        found = await select(call.home, spec, max_outage=toolkit.MAX_OUTAGE, all_word="`all: true`")
        return evolve(spec, quarantine=quarantine, left_out=found.unrunnable), found.jobs

    active, is_new = await start(call, spec, jobs)
    await Wait(call, timeoutSeconds).on_batch(active)
    if active.kept is None:
        outage = call.session.outage
        return digests.answer_without_id(None, tool="run_features", outage=outage)
    remark = "" if is_new else digests.not_again(active.kept)
    return _digest(call, active.kept, active, remark)


@toolkit.tool(toolkit.RESUMES, has_project=False)
async def wait_for_batch(
    call: toolkit.Call,
    *,
    batch: Annotated[int, Field(ge=1, description="From run_features.")],
    timeoutSeconds: toolkit.TimeoutSeconds = PATIENCE,
) -> Answer:
    """Wait until the runs of run_features have finished. If `inFlight`, call this again.

    After a restart of this server too: it continues what the batch has left.
    """
    try:
        kept, active = await call.session.batches.find(batch)
    except errors.ConfigError as error:
        where = "list_runs shows the runs. wait_for_generation waits for a generation."
        raise ToolError(f"{advice.nothing_done(error)} {where}") from error
    if active is not None:
        await Wait(call, timeoutSeconds).on_batch(active)
    return _digest(call, kept, active)


def _digest(
    call: toolkit.Call, kept: KeptBatch, active: ActiveBatch | None, remark: str = ""
) -> Answer:
    """Return a batch's digest; while it is in flight, also whether the service is away."""
    in_flight = active is not None and not active.task.done()
    kept = (active and active.kept) or kept
    if in_flight and call.session.outage:
        remark = f"{remark} {advice.capitalized(call.session.outage)}.".lstrip()
    return digests.digest(kept, call.session.max_output, in_flight=in_flight, remark=remark)


@toolkit.tool(toolkit.READS)
async def wait_for_run(
    call: toolkit.Call, *, runId: toolkit.RunId, timeoutSeconds: toolkit.TimeoutSeconds = 120
) -> Answer:
    """Wait until a run has finished and return its tests. If `inFlight`, call this again."""
    client = call.session.client
    ref = RunRef(server=client.server, project=call.home.id, run_id=runId)
    operation = client.attach(ref)
    is_over = await Wait(call, timeoutSeconds).follow(operation)
    seen = operation.snapshot
    return digests.answer_of_wait(
        digests.say_of(operation),
        digests.ids_of(ref) if seen is None else serialize(seen),
        tool=None if is_over else "wait_for_run",
        outage=call.session.outage,
    )
