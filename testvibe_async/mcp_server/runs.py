# ruff: noqa: N803 - the arguments have the service's own names, in its camelCase
"""The tools that start runs, one or many, and wait for them.

Each call of the first starts runs, unless an earlier call of the same meaning did whose result was
not delivered. A time-out is an ordinary answer, and cancels nothing. The docstrings are what a
model reads.
"""

from collections.abc import Generator
from contextlib import aclosing, contextmanager, suppress
from typing import Annotated, Any

from attrs import evolve
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from testvibe_async import BatchItem, Run, errors
from testvibe_async.mcp_server import digests, toolkit
from testvibe_async.mcp_server.advice import capitalized, nothing_done
from testvibe_async.mcp_server.answers import Answer
from testvibe_async.mcp_server.starts import Start
from testvibe_async.mcp_server.waits import PATIENCE, Wait, unseen_of
from testvibe_async.runner.quarantine import NO_QUARANTINE, Quarantine
from testvibe_async.runner.selection import Selection, select
from testvibe_async.runner.spec import BatchSpec
from testvibe_async.runner.waits import completions_of

MAX_NAMED = 1_000
"""Maximum number of features, or of runs, that one call may name."""

Repeat = Annotated[
    int, Field(ge=1, le=50, description="Runs of each, one by one, for `stability`: how flaky?")
]

Attempts = Annotated[
    int, Field(ge=1, le=5, description="How often what failed may run; above 1 it shows flaky.")
]


def run_start(
    call: toolkit.Call,
    word: str,
    *,
    config: str | None,
    quarantine: Quarantine = NO_QUARANTINE,
    **wanted: Any,  # noqa: ANN401 - as of `BatchSpec`
) -> Start:
    """Return the start of runs: the same for the same features, in any order and case.

    Args:
        call: The call.
        word: The kind of the start: `runs` for many, any other word for one.
        config: The run configuration; None for the default one.
        quarantine: The failures that are excused.
        wanted: The other members of the batch's description.
    """
    home, is_one = call.home, word != "runs"
    with refused_if_wrong():
        spec = BatchSpec(kind="run", configs=() if config is None else (config,), **wanted)
    features = sorted({each.lower() for each in spec.features})
    meant = evolve(spec, features=features, configs=[each.casefold() for each in spec.configs])
    place = call.place(word, meant.to_dict())

    async def choose() -> Selection:
        with refused_if_wrong():
            return await select(
                home, spec, max_outage=toolkit.MAX_OUTAGE, is_one=is_one, all_word="`all: true`"
            )

    return Start(place, home, spec, choose, is_one, quarantine)


@contextmanager
def refused_if_wrong() -> Generator[None]:
    """Turn an error of a name or a setting into one that says that nothing was started."""
    try:
        yield
    except errors.ConfigError as error:
        raise ToolError(nothing_done(error, started=True)) from error


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
    `generated`.
    """
    start = run_start(call, "run", features=[feature], config=config, site_url=siteUrl)
    work = await Wait(call, PATIENCE).work_on(start)
    operation = call.session.client.attach(work.ref)
    if not work.is_new:
        with suppress(errors.ObservationError):  # Its id is the result.
            await operation.poll()
    work.deliver()
    note = "Its answer was not delivered; the next call starts another run."
    return digests.answer_of_start(work, operation, "wait_for_run", note)


@toolkit.tool(toolkit.ADDS)
async def run_features(  # noqa: PLR0913 - the arguments of the tool
    call: toolkit.Call,
    *,
    features: Annotated[
        list[toolkit.FeatureName] | None,
        Field(min_length=1, max_length=MAX_NAMED, description="Names, ids, globs, !exclusions."),
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

    If `inFlight`, call this again with the same arguments: it continues. After that, a call starts
    new runs. Of `all`, features that are not `generated` are in `notRun`.
    """
    with refused_if_wrong():
        quarantine = Quarantine.read()
    start = run_start(
        call,
        "runs",
        features=features or (),
        is_all=all,
        config=config,
        site_url=siteUrl,
        attempts=attempts,
        repeat=repeat,
        quarantine=quarantine,
    )
    work = await Wait(call, timeoutSeconds).work_on(start)
    batch, note = work.batch, ""
    if batch is not None and batch.in_flight and not work.task.done():
        note = await unseen_of(call.session.client.attach(batch.in_flight[0]))
    if is_over := work.has_ended():
        work.deliver()
    elif not note and call.session.outage:
        note = f"{capitalized(call.session.outage)}."
    if is_over and not work.is_new:
        note = (
            f"This is the result of your call at {digests.time_of(work.started_at)}, which was not "
            "delivered; this call started nothing. The next one starts new runs."
        )
    return digests.digest(batch.items if batch else [], call.room, work=work, remark=note.strip())


@toolkit.tool(toolkit.READS)
async def wait_for_run(
    call: toolkit.Call, *, runId: toolkit.RunId, timeoutSeconds: toolkit.TimeoutSeconds = 120
) -> Answer:
    """Wait until a run is over and return its tests. If `inFlight`, call this again."""
    operation = call.session.run(call.home, runId)
    note = await Wait(call, timeoutSeconds).follow(operation, "wait_for_run")
    return digests.answer_of_wait(
        digests.say_of(operation), digests.document_of(operation), note=note
    )


@toolkit.tool(toolkit.READS)
async def wait_for_runs(
    call: toolkit.Call,
    *,
    runIds: Annotated[
        list[toolkit.RunId], Field(min_length=1, max_length=MAX_NAMED, description="The ids.")
    ],
    timeoutSeconds: toolkit.TimeoutSeconds = PATIENCE,
) -> Answer:
    """Wait until many runs are over. Lists what did not succeed. If `inFlight`, call this again."""
    quarantine = Quarantine.read()
    wait, client = Wait(call, timeoutSeconds), call.session.client
    refs = [call.session.run(call.home, run_id).ref for run_id in dict.fromkeys(runIds)]
    items: list[BatchItem[Run]] = []
    ends = completions_of(client, refs, timeout=timeoutSeconds)
    async with wait.repeated(), aclosing(ends):
        async for item in ends:
            if isinstance(item.error, errors.UnauthorizedError | errors.ForbiddenError):
                raise item.error
            items.append(item)
            if not isinstance(item.error, errors.WaitTimeoutError):
                line = digests.say(item.outcome) if item.outcome else f"{item.ref}: {item.verdict}"
                await wait.report(line)
    late = [item for item in items if isinstance(item.error, errors.WaitTimeoutError)]
    ref = late[0].ref if late else None
    remark = "" if ref is None else await unseen_of(client.attach(ref))
    return digests.digest(list(map(quarantine.mark, items)), call.room, remark=remark.strip())
