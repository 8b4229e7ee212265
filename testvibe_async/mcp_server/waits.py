# ruff: noqa: N803 - the arguments have the service's own names, in its camelCase
"""Waits with a time-out, and the tools that wait for what was dispatched before.

Decides what is reported while a call waits, and how a wait ends. The client's one poller does the
polling, however many calls wait. A time-out is an ordinary answer, which says how the operation
stands and which call continues; neither it nor a cancelled call cancels the operation. The
docstrings of the tools are what a model reads.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Annotated, Any

import anyio
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult
from pydantic import Field

from testvibe_async import (
    BatchItem,
    ClientClosedError,
    Generation,
    GenerationOperation,
    GenerationRef,
    NotFoundError,
    ObservationError,
    Operation,
    OperationNotFoundError,
    OperationSupersededError,
    Run,
    RunOperation,
    Transition,
    VibeError,
    WaitTimeoutError,
)
from testvibe_async._util import clean
from testvibe_async._wire import serialize
from testvibe_async.mcp_server.advice import reason_of
from testvibe_async.mcp_server.answers import (
    STILL_IN_FLIGHT,
    answer_of_wait,
    digest,
    say,
)
from testvibe_async.mcp_server.budget import visible
from testvibe_async.mcp_server.session import Ctx, session_of
from testvibe_async.mcp_server.toolkit import READS, Call, FeatureName, RunId, TimeoutSeconds, tool

PATIENCE = 45
"""How long our own tools wait in seconds: many clients give up after a minute."""

SEEN_SECONDS = 10.0
"""How long ago an operation in flight was seen, at most: three polls, and a slow answer."""

LAST_SECONDS = 2.0
"""How long a wait that is over polls once more, where nothing was seen for long."""

PROGRESS_SECONDS = 10.0
"""How long a call that waits says nothing at most."""

MAX_RUNS = 1_000
"""How many runs one call may wait for."""


class Progress:
    """The progress reports of one call: messages, and a number that only grows.

    While the service does not answer, each message says so.
    """

    def __init__(self, ctx: Ctx) -> None:
        self._ctx = ctx
        self._session = session_of(ctx)
        self._count = 0
        self._message: str = "waiting"
        self._total: int | None = None

    async def report(self, message: str, *, total: int | None = None) -> None:
        """Report how the operation stands, if the caller asked for progress.

        Args:
            message: How it stands, in a line.
            total: How many reports there will be; None where that is not known.
        """
        self._message, self._total = message, total
        await self._send()

    async def _send(self) -> None:
        self._count += 1
        message, outage = self._message, self._session.outage
        if outage is not None:
            message = f"{message}; the service does not answer ({outage})"
        await self._ctx.report_progress(self._count, self._total, clean(visible(message)))

    @asynccontextmanager
    async def repeated(self) -> AsyncGenerator[None]:
        """Repeat the last report every 10 s while this is open, and when an outage starts or ends.

        So no client gives up because it hears nothing.
        """
        ticker = asyncio.create_task(self._repeat())
        try:
            yield
        finally:
            ticker.cancel()
            await asyncio.wait([ticker])

    async def _repeat(self) -> None:
        while True:
            with anyio.move_on_after(PROGRESS_SECONDS):
                await self._session.outage_changed.wait()
            await self._send()

    async def follow(self, operation: Operation[Any], seconds: float) -> bool:
        """Wait until an operation is finished, and report each transition.

        Args:
            operation: The operation.
            seconds: How long to wait at most, in seconds.

        Returns:
            Whether the operation is finished.

        Raises:
            VibeError: As `Operation.wait` does, except the time-out.
        """
        with anyio.move_on_after(seconds):
            async with self.repeated(), aclosing(operation.updates()) as transitions:
                if operation.snapshot is None:  # Its first poll may be seconds away.
                    with suppress(ObservationError):
                        await operation.poll()
                async for transition in transitions:
                    await self.report(_message_of(operation, transition))
        return operation.done


def _message_of(operation: Operation[Any], transition: Transition[Any]) -> str:
    """Say how an operation stands, with the sections of a generation."""
    message = f"{operation.ref}: {transition.phase}, {transition.status or 'dispatched'}"
    if not isinstance(transition.snapshot, Generation):
        return message
    sections = transition.snapshot.sections
    return "; ".join(
        [message, *(f"{part.section} {part.conclusion or part.status}" for part in sections)]
    )


async def note_of_wait(operation: Operation[Any], step: str) -> str | None:
    """Say how to continue with what a wait did not see end; None where it is over by now.

    Args:
        operation: The operation.
        step: What to do next.
    """
    unseen = "" if operation.done else await unseen_of(operation)
    return None if operation.done else f"{STILL_IN_FLIGHT} {step}{unseen}"


async def unseen_of(operation: Operation[Any]) -> str:
    """Say that an operation can't be observed, where it was not for some seconds.

    So a wait that times out during an outage does not sound as if all went well.
    """
    try:
        async with asyncio.timeout(LAST_SECONDS):
            await operation.poll(max_age=SEEN_SECONDS)
    except (OperationNotFoundError, OperationSupersededError):
        return ""  # The next call says so.
    except TimeoutError:
        why = "no answer"
    except VibeError as error:
        why = reason_of(error)
    else:
        return ""
    return f" But nothing was seen of it for {SEEN_SECONDS:g} s, so it may be over by now ({why})."


@tool(READS)
async def wait_for_run(
    call: Call, *, runId: RunId, timeoutSeconds: TimeoutSeconds = 120
) -> CallToolResult:
    """Wait until a run is over and return its tests. If `inFlight`, call this again."""
    operation = call.session.run(call.home, runId)
    await Progress(call.ctx).follow(operation, timeoutSeconds)
    note = await note_of_wait(operation, f"call wait_for_run again with runId {runId}.")
    if operation.snapshot is None:
        return answer_of_wait(f"{operation.ref}: not seen yet.", {"runId": runId}, note=note)
    return answer_of_wait(say(operation.snapshot), serialize(operation.snapshot), note=note)


@tool(READS)
async def wait_for_generation(
    call: Call, *, feature: FeatureName, timeoutSeconds: TimeoutSeconds = 120
) -> CallToolResult:
    """Wait until a feature's latest generation is over. If `inFlight`, call this again."""
    deadline = anyio.current_time() + timeoutSeconds
    progress, note = Progress(call.ctx), None
    while True:
        latest, operation = await _latest_generation(call, feature)
        if operation is not None:
            try:
                await progress.follow(operation, deadline - anyio.current_time())
            except OperationSupersededError:  # A newer one took its place: wait for that.
                continue
            step = f"call wait_for_generation again with feature {feature!r}."
            note = await note_of_wait(operation, step)
            latest = operation.snapshot or latest
        return answer_of_wait(say(latest), serialize(latest), note=note)


async def _latest_generation(
    call: Call, feature: str
) -> tuple[Generation, GenerationOperation | None]:
    """Return a feature's latest generation, and its operation if it may be in flight."""
    try:
        latest = await call.home.get_generation_status(feature)
    except NotFoundError:
        # For some seconds the service may not know what it has just dispatched.
        found = await call.home.get_feature(feature)
        operation = call.session.last_generation(call.home, found.id)
        if operation is None or operation.snapshot is not None:
            raise
        return Generation(operation.feature_id, request_id=operation.request_id), operation
    if latest.is_finished or latest.request_id is None or latest.feature_id is None:
        return latest, None
    ref = GenerationRef(
        server=call.session.client.server,
        project=call.home.id,
        request_id=latest.request_id,
        feature_id=latest.feature_id,
    )
    return latest, call.session.client.attach(ref)


@tool(READS)
async def wait_for_runs(
    call: Call,
    *,
    runIds: Annotated[
        list[RunId], Field(min_length=1, max_length=MAX_RUNS, description="The ids.")
    ],
    timeoutSeconds: TimeoutSeconds = PATIENCE,
) -> CallToolResult:
    """Wait until many runs are over. Lists what did not succeed. If `inFlight`, call this again."""
    home, progress = call.home, Progress(call.ctx)
    operations = [call.session.run(home, run_id) for run_id in dict.fromkeys(runIds)]
    errors: dict[object, VibeError] = {}
    ends = call.session.client.finished(operations, timeout=timeoutSeconds)
    async with progress.repeated(), aclosing(ends):
        while True:
            try:
                line = say(_outcome_of(await anext(ends)))
            except StopAsyncIteration:
                break
            except WaitTimeoutError as error:
                errors[error.ref] = error  # The item says that it is in flight.
                continue
            except (ObservationError, ClientClosedError) as error:
                errors[error.ref], line = error, error.brief
            await progress.report(line, total=len(operations))
    items = [_item(operation, errors.get(operation.ref)) for operation in operations]
    in_flight = [each for each in operations if isinstance(errors.get(each.ref), WaitTimeoutError)]
    told = (await unseen_of(in_flight[0])).strip() if in_flight else None
    return digest(items, call.room, told=told)


def _outcome_of(operation: RunOperation) -> Run:
    assert operation.outcome is not None
    return operation.outcome


def _item(operation: RunOperation, error: VibeError | None) -> BatchItem[Run]:
    snapshot = operation.snapshot
    feature = (snapshot.feature_name or snapshot.feature_id) if snapshot else None
    return BatchItem(
        feature=feature or f"unknown (run {operation.run_id})",
        ref=operation.ref,
        outcome=operation.outcome,
        error=error,
    )


WAITING_TOOLS: list[Tool] = [wait_for_generation, wait_for_run, wait_for_runs]
