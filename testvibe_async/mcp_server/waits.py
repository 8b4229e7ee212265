"""Waits of one call: until its deadline, with reports of progress.

Decides what is reported while a call waits, and the note on an operation that was not observed. The
client's one poller does the polling, however many calls wait. A time-out is an ordinary answer:
neither it nor a cancelled call cancels the operation.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio

from testvibe_async import Generation, Operation, errors
from testvibe_async._core.util import clean
from testvibe_async.mcp_server.advice import capitalized, reason_of
from testvibe_async.mcp_server.answers import sentence
from testvibe_async.mcp_server.digests import again, brief_of, progress_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from testvibe_async.mcp_server.batches import Carried
    from testvibe_async.mcp_server.toolkit import Call

PATIENCE = 45
"""Seconds that our own tools wait; many clients give up after a minute."""

SEEN_SECONDS = 10.0
"""Maximum seconds since an operation in flight was polled: three polls, and a slow answer."""

LAST_SECONDS = 2.0
"""Maximum seconds for a last poll after a wait, if nothing was observed for long."""

PROGRESS_SECONDS = 10.0
"""Maximum seconds between two progress notifications of a wait."""


class Wait:
    """The wait of one call, and its progress reports.

    A report has the number of what is over, of how many, and names what was started, since a client
    may give up at any moment. While the service does not answer, each report says so.
    """

    def __init__(self, call: Call, seconds: float) -> None:
        """Begin to wait for so many seconds."""
        self._call = call
        self._deadline = anyio.current_time() + seconds
        self._message = "waiting"
        self._progress = 0.0
        self._done = 0
        self._total: int | None = None

    async def report(self, message: str = "", done: int = 0, total: int | None = None) -> None:
        """Report how an operation or a batch stands, if the caller asked for progress.

        Without a message the last report is repeated, with a number before the next count: MCP has
        it grow with each report.
        """
        if message:
            self._message, self._done, self._total = message, done, total
        if self._total and self._progress >= self._total:
            return
        count = self._done if self._total else self._progress + 1
        between = max((self._progress + count + 1) / 2, self._progress + 0.001)
        self._progress = count if count > self._progress else between
        message = "; ".join(filter(None, [self._message, self._call.session.outage]))
        await self._call.ctx.report_progress(
            self._progress, self._total, message=clean(sentence(message))
        )

    @asynccontextmanager
    async def _limited(self) -> AsyncGenerator[None]:
        """End the block at the deadline, and repeat the last report in it.

        It is repeated every 10 s, and when an outage starts or ends, so that no client gives up
        because it hears nothing.
        """
        ticker = asyncio.create_task(self._repeat())
        try:
            with anyio.move_on_after(self._deadline - anyio.current_time()):
                yield
        finally:
            ticker.cancel()
            await asyncio.wait([ticker])

    async def _repeat(self) -> None:
        while True:
            with anyio.move_on_after(PROGRESS_SECONDS):
                await self._call.session.outage_changed.wait()
            await self.report()

    async def on_batch(self, carried: Carried, *, until_dispatched: bool = False) -> None:
        """Wait until a batch is over, or its runs are dispatched.

        Raises:
            VibeError: Nothing could be started.
        """
        async with self._limited():
            while not (carried.task.done() or (until_dispatched and carried.is_dispatched)):
                changed = carried.changed  # A report takes time, in which there may be a change.
                if carried.number is not None:
                    await self.report(*progress_of(carried))
                await changed.wait()
            await self.report(*progress_of(carried))
        if carried.task.done():
            carried.task.result()

    async def follow(self, operation: Operation[Any], tool: str) -> str | None:
        """Wait until an operation is finished, and report each transition.

        Args:
            operation: The operation.
            tool: The tool that waits for it.

        Returns:
            A note that it is in flight, and what to do next; None if it is over.

        Raises:
            VibeError: As `Operation.wait` does, except the time-out.
        """
        async with self._limited(), aclosing(operation.updates()) as transitions:
            if operation.snapshot is None:  # Its first poll may be seconds away.
                with suppress(errors.ObservationError):
                    await operation.poll()
            async for _ in transitions:
                await self.report(brief_of(operation), *_sections(operation.snapshot))
        unseen = "" if operation.done else await unseen_of(operation)
        return None if operation.done else f"{again(tool)}{unseen}"


def _sections(seen: object) -> tuple[int, int | None]:
    """Return how many sections of a generation are done, and of how many."""
    sections = seen.sections if isinstance(seen, Generation) else ()
    return sum(each.conclusion is not None for each in sections), len(sections) or None


async def unseen_of(operation: Operation[Any]) -> str:
    """Return a note if an operation was not observed for some seconds.

    So a wait that times out during an outage does not sound as if all went well.
    """
    try:
        async with asyncio.timeout(LAST_SECONDS):
            await operation.poll(max_age=SEEN_SECONDS)
    except TimeoutError:
        why = "no answer"
    except errors.VibeError as error:
        why = reason_of(error)
    else:
        return ""
    since = "yet" if operation.snapshot is None else f"for {SEEN_SECONDS:g} s"
    return f" {capitalized(str(operation.ref))} was not observed {since}, and may be over ({why})."
