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

from testvibe_async import Operation, errors
from testvibe_async._util import clean
from testvibe_async.mcp_server.advice import capitalized, reason_of
from testvibe_async.mcp_server.answers import sentence
from testvibe_async.mcp_server.digests import again, say_of
from testvibe_async.mcp_server.starts import NotStartedError, Start, Work

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

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
    """The wait of one call, and its progress reports: messages, and a number that only grows.

    While the service does not answer, each message says so.
    """

    def __init__(self, call: Call, seconds: float) -> None:
        """Begin to wait for so many seconds."""
        self._call = call
        self._deadline = anyio.current_time() + seconds
        self._count = 0
        self._message = "waiting"

    async def report(self, message: str = "") -> None:
        """Report how an operation stands, in a line, if the caller asked for progress.

        Without a message the last one is repeated.
        """
        self._message = message or self._message
        self._count += 1
        message = "; ".join(filter(None, [self._message, self._call.session.outage]))
        await self._call.ctx.report_progress(self._count, message=clean(sentence(message)))

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
                await self._call.session.outage_changed.wait()
            await self.report()

    def _limited(self) -> anyio.CancelScope:
        return anyio.move_on_after(self._deadline - anyio.current_time())

    async def start(self, start: Start) -> tuple[Work, bool]:
        """Start a batch, or join that of an equal call, and wait for it.

        Returns:
            The work on it, and True if this call has started it.

        Raises:
            VibeError: Nothing could be started; or it is unknown whether a single operation was.
        """
        work, is_new = self._call.session.starts.start(start)
        await self.on_work(work)
        return work, is_new and not work.is_found

    async def dispatch(self, start: Start) -> tuple[Work, Operation[Any], bool]:
        """Start a single operation, or return that of an equal call, as it stands now.

        Raises:
            NotStartedError: It was not dispatched in time.
            VibeError: As of `start`.
        """
        work, is_new = await self.start(start)
        if work.ref is None:
            raise NotStartedError(self._call.session.outage or "the service has not answered")
        operation = self._call.session.client.attach(work.ref)
        if not is_new:
            with suppress(errors.ObservationError):  # Its id is the answer.
                await operation.poll()
        return work, operation, is_new

    async def on_work(self, work: Work) -> None:
        """Wait until a batch is over, or its single operation dispatched.

        Raises:
            VibeError: As of `start`.
        """
        with self._limited():
            async with self.repeated():
                while not work.is_ready:
                    if work.line:
                        await self.report(work.line)
                    await work.changed.wait()
                await self.report(work.line)
        work.raise_failure()

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
        with self._limited():
            async with self.repeated(), aclosing(operation.updates()) as transitions:
                if operation.snapshot is None:  # Its first poll may be seconds away.
                    with suppress(errors.ObservationError):
                        await operation.poll()
                async for _ in transitions:
                    await self.report(say_of(operation))
        unseen = "" if operation.done else await unseen_of(operation)
        return None if operation.done else f"{again(tool)}{unseen}"


async def unseen_of(operation: Operation[Any]) -> str:
    """Return a note if an operation was not observed for some seconds.

    So a wait that times out during an outage does not sound as if all went well.
    """
    try:
        async with asyncio.timeout(LAST_SECONDS):
            await operation.poll(max_age=SEEN_SECONDS)
    except (errors.OperationNotFoundError, errors.OperationSupersededError):
        return ""  # The next call says so.
    except TimeoutError:
        why = "no answer"
    except errors.VibeError as error:
        cause = error.__cause__
        why = reason_of(cause if isinstance(cause, errors.VibeError) else error)
    else:
        return ""
    since = "yet" if operation.snapshot is None else f"for {SEEN_SECONDS:g} s"
    return f" {capitalized(str(operation.ref))} was not observed {since}, and may be over ({why})."
