"""Waits of one call: until its deadline, with reports of progress.

Decides what is reported while a call waits. The client's one poller does the polling, however many
calls wait. A time-out is an ordinary answer: neither it nor a cancelled call cancels the operation.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import anyio

from testvibe_async import Generation, Operation, errors
from testvibe_async._core.util import clean
from testvibe_async.mcp_server.answers import sentence
from testvibe_async.mcp_server.digests import progress_of, say_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from testvibe_async.mcp_server.batches import ActiveBatch
    from testvibe_async.mcp_server.toolkit import Call

T = TypeVar("T")

State: TypeAlias = tuple[str, int, int | None]
"""The state in words, the number of finished parts, and the number of all parts if it is known."""

WAITING: State = "waiting", 0, None

PATIENCE = 45
"""Seconds that our own tools wait; many clients give up after a minute."""

PROGRESS_SECONDS = 5.0
"""Seconds between two repetitions of a report, so that no client hears nothing for long."""

STEP = 0.001
"""Progress of a report without a new count: in MCP it grows with each report."""


class Wait:
    """The wait of one call, and its progress reports.

    A report has the number of what has finished, of how many, and names what was started, since a
    client may give up at any moment. While the service does not answer, each report says so.
    """

    def __init__(self, call: Call, seconds: float) -> None:
        """Begin to wait for so many seconds."""
        self._call = call
        self._deadline = anyio.current_time() + seconds
        self._state: Callable[[], State] = lambda: WAITING
        self._progress = 0.0

    async def _report(self) -> None:
        """Report how an operation or a batch stands, if the caller asked for progress."""
        message, done, total = self._state()
        if total and self._progress >= total:
            return
        self._progress = max(round(self._progress + (STEP if total else 1), 3), done)
        message = "; ".join(filter(None, [message.rstrip("."), self._call.session.outage]))
        await self._call.ctx.report_progress(
            self._progress, total, message=clean(sentence(message))
        )

    @asynccontextmanager
    async def _limited(self) -> AsyncGenerator[None]:
        """End the block at the deadline, and report now and then in it."""
        ticker = asyncio.create_task(self._repeat())
        try:
            with anyio.move_on_after(self._deadline - anyio.current_time()):
                yield
        finally:
            ticker.cancel()
            await asyncio.wait([ticker])

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            await self._report()

    async def on_batch(self, active: ActiveBatch, *, until_dispatched: bool = False) -> None:
        """Wait until a batch has finished, or its operations are dispatched.

        Raises:
            VibeError: Nothing could be started.
        """

        def state() -> State:
            kept = active.kept
            return progress_of(kept, in_flight=not active.task.done()) if kept else WAITING

        self._state = state
        async with self._limited():
            is_over = False
            while not is_over:
                changed = active.changed  # A report takes time, in which there may be a change.
                is_over = active.task.done() or (until_dispatched and active.is_dispatched)
                if active.kept is not None:
                    await self._report()
                if not is_over:
                    await changed.wait()
        if active.task.done():
            active.task.result()

    async def read(self, request: Awaitable[T]) -> T | None:
        """Return an answer of the service; None if the deadline passes first."""
        async with self._limited():
            return await request
        return None

    async def follow(self, operation: Operation[Any]) -> bool:
        """Wait until an operation is finished, and report each transition; return whether it is.

        Raises:
            VibeError: As `Operation.wait` does, except the time-out.
        """
        self._state = lambda: (say_of(operation), *_sections(operation.snapshot))
        async with self._limited(), aclosing(operation.updates()) as transitions:
            if operation.snapshot is None:  # Its first poll may be seconds away.
                with suppress(errors.ObservationError):
                    await operation.poll()
            async for _ in transitions:
                await self._report()
        return operation.done


def _sections(seen: object) -> tuple[int, int | None]:
    """Return how many sections of a generation are done, and of how many."""
    sections = seen.sections if isinstance(seen, Generation) else ()
    return sum(each.conclusion is not None for each in sections), len(sections) or None
