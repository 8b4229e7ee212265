"""Waits with a timeout, which report progress to the caller.

Decides what is reported while a call waits, and how a wait ends. The client's one poller does the
polling, however many calls wait. A wait that times out or is cancelled never cancels the operation.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio

from testvibe_async import (
    BatchItem,
    ClientClosedError,
    Generation,
    NotFoundError,
    ObservationError,
    OperationNotFoundError,
    OperationSupersededError,
    Run,
    VibeError,
    WaitTimeoutError,
)
from testvibe_async._util import clean
from testvibe_async.mcp_server.advice import without_addresses
from testvibe_async.mcp_server.answers import STILL_IN_FLIGHT, say_run
from testvibe_async.mcp_server.characters import visible
from testvibe_async.mcp_server.session import session_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from testvibe_async import (
        GenerationOperation,
        Operation,
        Project,
        RunOperation,
        Transition,
    )
    from testvibe_async.errors import OperationRef
    from testvibe_async.mcp_server.session import Ctx

__all__ = [
    "PATIENCE",
    "Progress",
    "follow",
    "latest_generation",
    "message_of",
    "note_of_wait",
    "unseen_of",
    "wait_for_all",
]


PATIENCE = 45
"""How long our own tools wait in seconds: many clients give up after a minute."""

SEEN_SECONDS = 10.0
"""How long ago an operation in flight was seen, at most: three polls, and a slow answer."""

LAST_SECONDS = 2.0
"""How long a wait that is over looks once more, where nothing was seen for long."""

PROGRESS_SECONDS = 10.0
"""How long a call that waits says nothing at most."""


class Progress:
    """The progress reports of one call: messages, and a number that only grows."""

    def __init__(self, ctx: Ctx) -> None:
        self._ctx = ctx
        self._count = 0
        self._last: tuple[str, int | None] = ("waiting", None)

    async def report(self, message: str, *, total: int | None = None) -> None:
        """Report how the operation stands, if the caller asked for progress.

        Args:
            message: How it stands, in a line.
            total: How many reports there will be; None where that is not known.
        """
        self._count += 1
        self._last = message, total
        await self._ctx.report_progress(self._count, total, clean(visible(message)))

    @asynccontextmanager
    async def repeated(self) -> AsyncGenerator[None]:
        """Repeat the last report every 10 s while this is open, so that no client gives up."""
        ticker = asyncio.create_task(self._repeat())
        try:
            yield
        finally:
            ticker.cancel()
            await asyncio.wait([ticker])

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            message, total = self._last
            await self.report(message, total=total)


async def follow(operation: Operation[Any], progress: Progress, seconds: float) -> bool:
    """Wait until an operation is finished, and report each transition.

    Args:
        operation: The operation.
        progress: Where to report.
        seconds: How long to wait at most, in seconds.

    Returns:
        Whether the operation is finished.

    Raises:
        VibeError: As `Operation.wait` does, except the timeout.
    """
    with anyio.move_on_after(seconds):
        async with progress.repeated(), aclosing(operation.updates()) as transitions:
            if operation.snapshot is None:  # Its first poll may be seconds away.
                with suppress(ObservationError):
                    await operation.poll()
            async for transition in transitions:
                await progress.report(message_of(operation, transition))
    return operation.done


def message_of(operation: Operation[Any], transition: Transition[Any]) -> str:
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
        why = without_addresses(clean(error.brief))[:200].rstrip(". ")
    else:
        return ""
    return f" But nothing was seen of it for {SEEN_SECONDS:g} s, so it may be over by now ({why})."


async def latest_generation(
    ctx: Ctx, project: Project, feature: str, *, seconds: float
) -> tuple[Generation, GenerationOperation | None]:
    """Wait until a feature's latest generation is finished, also if a newer one takes its place.

    Args:
        ctx: The call that waits.
        project: The project of the feature.
        feature: The feature's name or id.
        seconds: How long to wait at most, in seconds.

    Returns:
        The generation as last seen, and its operation if it is still in flight.
    """
    deadline = anyio.current_time() + seconds
    progress, session = Progress(ctx), session_of(ctx)
    while True:
        try:
            latest = await project.get_generation_status(feature)
        except NotFoundError:
            # For some seconds the service may not know what it has just dispatched.
            operation = session.started_generation(project, feature)
            if operation is None or operation.snapshot is not None:
                raise
            latest = Generation(operation.feature_id, request_id=operation.request_id)
        else:
            if latest.is_finished or latest.request_id is None or latest.feature_id is None:
                return latest, None
            operation = session.generation(project, latest.request_id, latest.feature_id)
        with suppress(OperationSupersededError):
            is_finished = await follow(operation, progress, deadline - anyio.current_time())
            return operation.snapshot or latest, None if is_finished else operation


async def wait_for_all(
    ctx: Ctx, operations: Sequence[RunOperation], *, seconds: float
) -> list[BatchItem[Run]]:
    """Wait until all runs are finished, and report each completion.

    Args:
        ctx: The call that waits.
        operations: The runs.
        seconds: How long to wait at most, in seconds.

    Returns:
        One item for each run, in the order given.

    Raises:
        UnauthorizedError, ForbiddenError: The key may not read the runs.
    """
    progress = Progress(ctx)
    errors: dict[OperationRef | None, VibeError] = {}
    finished = session_of(ctx).client.finished(operations, timeout=seconds)
    async with progress.repeated(), aclosing(finished) as completions:
        while (line := await _next_line(completions, errors)) is not None:
            await progress.report(line, total=len(operations))
    return [_item(operation, errors.get(operation.ref)) for operation in operations]


async def _next_line(
    completions: AsyncIterator[RunOperation], errors: dict[OperationRef | None, VibeError]
) -> str | None:
    """Return a line on the next run that finished or can't be observed; None after the last."""
    while True:
        try:
            operation = await anext(completions)
        except StopAsyncIteration:
            return None
        except WaitTimeoutError as error:
            errors[error.ref] = error  # The item says that it goes on.
        except (ObservationError, ClientClosedError) as error:
            errors[error.ref] = error
            return error.brief
        else:
            assert operation.outcome is not None
            return say_run(operation.outcome)


def _item(operation: RunOperation, error: VibeError | None) -> BatchItem[Run]:
    snapshot = operation.snapshot
    feature = (snapshot.feature_name or snapshot.feature_id) if snapshot else None
    return BatchItem(
        feature=feature or f"unknown (run {operation.run_id})",
        ref=operation.ref,
        outcome=operation.outcome,
        error=error,
    )
