# ruff: noqa: N803 - the arguments have the service's own names, in its camelCase
"""The tools that start runs, one or many.

Each call starts runs, unless an earlier call of the same meaning did whose result was not
delivered. A time-out is an ordinary answer, and cancels nothing. The docstrings are what a model
reads.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import anyio
from attrs import evolve
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult
from pydantic import Field

from testvibe_async import ConfigError, DispatchUnknownError, Project
from testvibe_async._wire import serialize
from testvibe_async.mcp_server.advice import nothing_done
from testvibe_async.mcp_server.answers import answer, digest, say
from testvibe_async.mcp_server.memory import deliver
from testvibe_async.mcp_server.starts import (
    Start,
    Started,
    not_started,
    shared_batch,
    started_once,
    time_of,
)
from testvibe_async.mcp_server.toolkit import (
    ADDS,
    Call,
    ConfigName,
    FeatureName,
    SiteUrl,
    TimeoutSeconds,
    tool,
)
from testvibe_async.mcp_server.waits import PATIENCE, Progress, unseen_of
from testvibe_async.runner.selection import Selection, select
from testvibe_async.runner.spec import BatchSpec

Attempts = Annotated[
    int, Field(ge=1, le=5, description="How often what failed may run; above 1 it shows flaky.")
]


def run_spec(features: Sequence[str], config: str | None, site_url: str | None) -> BatchSpec:
    """Return what a call wants to run."""
    configs = () if config is None else (config,)
    return BatchSpec(kind="run", features=features, configs=configs, site_url=site_url)


def run_start(call: Call, word: str, spec: BatchSpec) -> Start:
    """Return the start of runs: the same for the same features, in any order and case.

    Args:
        call: The call.
        word: What starts them.
        spec: What is to run.
    """
    home = call.home
    features = sorted({each.casefold() for each in spec.features})
    more = (features, spec.configs, spec.site_url, spec.attempts)
    place = call.session.memory.place(word, call.session.client.server, home.id, *more)
    return Start(place, home, spec, partial(_chosen, home, spec, is_one=word != "runs"))


async def _chosen(home: Project, spec: BatchSpec, *, is_one: bool) -> Selection:
    """Choose what runs.

    Args:
        home: The project.
        spec: What is to run.
        is_one: Whether it must be one feature.

    Raises:
        ToolError: There is no such feature, or no such configuration.
        IncompleteListError: Features are missing.
    """
    try:
        selection = await select(home, spec)
    except ConfigError as error:
        raise ToolError(nothing_done(error, started=True)) from error
    if is_one and len(selection.features) != 1:
        raise ToolError("Nothing was started: these are several features, for run_features.")
    return selection


async def run_once(call: Call, start: Start, *, seconds: float) -> Started | str:
    """Start a run, unless the result of an earlier call of the same is not delivered.

    An unknown dispatch is reported once: its error says what to check before another call.
    """
    try:
        return await started_once(call, start, seconds=seconds)
    except DispatchUnknownError:
        deliver(start.place)
        raise


@tool(ADDS)
async def run_feature(
    call: Call, *, feature: FeatureName, config: ConfigName = None, siteUrl: SiteUrl = None
) -> CallToolResult:
    """Start a run of one feature's tests (half a minute), then call wait_for_run.

    For several, call run_features. Refused where the feature's status is not `generated`.
    """
    start = run_start(call, "run", run_spec([feature], config, siteUrl))
    started = await run_once(call, start, seconds=PATIENCE)
    if isinstance(started, str):
        return not_started("run_feature", feature, started)
    deliver(start.place)
    if started.is_new:
        ids = started.document
        line = f"Run {ids['runId']} of {feature} was started. wait_for_run waits for it."
        return answer(line, ids)
    seen = await call.session.client.attach(started.ref).poll()
    note = (
        f"Nothing was started: your call at {time_of(started.started_at)} did. Its answer was not "
        "delivered; the next call starts another run. wait_for_run waits for it."
    )
    return answer(f"{note} {say(seen)}", {**started.document, "status": seen.status, "note": note})


@tool(ADDS)
async def run_features(  # noqa: PLR0913 - the arguments of the tool
    call: Call,
    *,
    features: Annotated[
        list[FeatureName] | None, Field(min_length=1, description="Names, ids, globs, !exclusions.")
    ] = None,
    all: Annotated[  # noqa: A002 - the argument's name
        bool, Field(description="Run every generated feature of the project.")
    ] = False,
    config: ConfigName = None,
    siteUrl: SiteUrl = None,
    attempts: Attempts = 1,
    timeoutSeconds: TimeoutSeconds = PATIENCE,
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
    spec = evolve(run_spec(features or (), config, siteUrl), is_all=all, attempts=attempts)
    start, progress = run_start(call, "runs", spec), Progress(call.ctx)
    deadline = anyio.current_time() + timeoutSeconds
    async with progress.repeated():
        shared = await shared_batch(call.session, start, deadline=deadline)
        if shared is None:
            return not_started("run_features", "The batch")
        await shared.wait(progress, deadline - anyio.current_time())
    is_over, batch, note = shared.task.done(), shared.batch, None
    if is_over:
        shared.task.result()
        deliver(start.place)
    if is_over and shared.is_resumed:
        note = (
            f"This is the result of your call at {time_of(shared.started_at)}, which was not "
            "delivered; this call started nothing. The next one starts new runs."
        )
    elif not is_over and batch is not None and batch.in_flight:
        note = (await unseen_of(call.session.client.attach(batch.in_flight[0]))).strip()
    return digest(
        batch.items if batch else [],
        call.room,
        not_run=shared.not_run,
        again="run_features",
        told=note,
        started_at=serialize(shared.started_at),
        is_over=is_over,
        attempts=attempts,
    )


RUNNING_TOOLS: list[Tool] = [run_feature, run_features]
