"""Waits that end in time: until an operation is over, or the seconds that a call has are.

The client's one poller does the polling, however many calls wait. Each change that is seen is
reported to the caller as progress. A wait that ends early, or is cancelled, takes away only itself.
"""

from __future__ import annotations

from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import anyio

from testvibe_async import (
    BatchItem,
    ClientClosedError,
    Generation,
    ObservationError,
    OperationSupersededError,
    Run,
    WaitTimeoutError,
)
from testvibe_async.mcp_server.answers import say_run
from testvibe_async.mcp_server.session import session_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testvibe_async import (
        GenerationOperation,
        Operation,
        Project,
        RunOperation,
        Transition,
        VibeError,
    )
    from testvibe_async.errors import OperationRef
    from testvibe_async.mcp_server.session import Ctx
    from testvibe_async.operations import Finished

__all__ = ["Progress", "follow", "latest_generation", "wait_for_all"]


class Progress:
    """What a caller is told while it waits: a message, and a number that only grows."""

    def __init__(self, ctx: Ctx) -> None:
        self._ctx = ctx
        self._told = 0

    async def tell(self, message: str, *, total: int | None = None) -> None:
        """Tell how it stands, if the caller asked to be told."""
        self._told += 1
        await self._ctx.report_progress(self._told, total, message)


async def follow(operation: Operation[Any], progress: Progress, seconds: float) -> bool:
    """Wait until an operation is over, and tell of each change; return whether it is.

    Args:
        operation: The operation.
        progress: Who is told.
        seconds: How long to wait at most.

    Raises:
        VibeError: As `Operation.wait` does, but for the time-out.
    """
    with anyio.move_on_after(seconds):
        async with aclosing(operation.updates()) as changes:
            async for change in changes:
                await progress.tell(_message(operation, change))
    return operation.done


def _message(operation: Operation[Any], change: Transition[Any]) -> str:
    message = f"{operation.ref}: {change.phase}, {change.status or 'dispatched'}"
    if not isinstance(change.snapshot, Generation):
        return message
    sections = change.snapshot.sections
    return "; ".join(
        [message, *(f"{part.section} {part.conclusion or part.status}" for part in sections)]
    )


async def latest_generation(
    ctx: Ctx, project: Project, feature: str, *, seconds: float
) -> tuple[Generation, GenerationOperation | None]:
    """Wait until a feature's latest generation is over, or the time is.

    Returns:
        What was last seen, and the operation if it goes on.
    """
    deadline = anyio.current_time() + seconds
    progress = Progress(ctx)
    while True:
        latest = await project.get_generation_status(feature)
        if latest.is_finished or latest.request_id is None or latest.feature_id is None:
            return latest, None
        operation = session_of(ctx).generation(project, latest.request_id, latest.feature_id)
        with suppress(OperationSupersededError):
            is_over = await follow(operation, progress, deadline - anyio.current_time())
            return operation.snapshot or latest, None if is_over else operation


async def wait_for_all(
    ctx: Ctx, operations: Sequence[RunOperation], *, seconds: float
) -> list[BatchItem[Run]]:
    """Wait until all runs are over, or the time is, and tell of each end.

    Returns:
        One item for each, in the order given.

    Raises:
        UnauthorizedError, ForbiddenError: The key may not see them.
    """
    progress = Progress(ctx)
    errors: dict[OperationRef | None, VibeError] = {}
    with anyio.move_on_after(seconds):
        async with aclosing(session_of(ctx).client.finished(operations)) as ends:
            while (end := await _next_end(ends, errors)) is not None:
                await progress.tell(end, total=len(operations))
    return [_item(operation, errors.get(operation.ref), seconds) for operation in operations]


async def _next_end(
    ends: Finished[RunOperation], errors: dict[OperationRef | None, VibeError]
) -> str | None:
    """Return a line about the next run that is over, or can't be seen; None after the last."""
    try:
        operation = await anext(ends)
    except StopAsyncIteration:
        return None
    except (ObservationError, ClientClosedError) as error:
        errors[error.ref] = error
        return str(error)
    assert operation.outcome is not None
    return say_run(operation.outcome)


def _item(operation: RunOperation, error: VibeError | None, seconds: float) -> BatchItem[Run]:
    seen = operation.snapshot
    feature = (seen.feature_name or seen.feature_id) if seen else None
    if error is None and not operation.done:
        error = WaitTimeoutError(ref=operation.ref, status=operation.status, elapsed=seconds)
    return BatchItem(
        feature=feature or f"unknown (run {operation.run_id})",
        ref=operation.ref,
        outcome=operation.outcome,
        error=error,
    )
