"""Batches that calls start, and that outlive them.

Decides what a call does with what an earlier one of the same meaning dispatched, also where that
one's answer was lost. The work is done in a task of its own, so a client that gives up loses the
answer, and not the operation. A result counts as delivered once the answer to its call was written,
and the call was not cancelled: then its journal is renamed. The runner decides what the features of
a batch are, and how it is dispatched.
"""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import aclosing, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field, frozen

from testvibe_async import Batch, BatchItem, DispatchUnknownError, Journal, Project, Ref
from testvibe_async.mcp_server.answers import Document, quoted
from testvibe_async.runner.kinds import POLICIES
from testvibe_async.runner.quarantine import NO_QUARANTINE, Quarantine

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Awaitable, Callable
    from datetime import datetime
    from pathlib import Path

    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

    from testvibe_async.mcp_server.journals import Place
    from testvibe_async.runner.selection import Selection
    from testvibe_async.runner.spec import BatchSpec


LOCK_SECONDS = 0.2
"""Minimum seconds between two attempts on a lock that another call holds; at most twice as many."""

MAX_DELIVERIES = 1_000
"""Number of answers remembered, as a cancellation may cross an answer on its way."""


class NotStartedError(Exception):
    """A call started nothing in its time. Its message is an answer, not a failure."""


@frozen
class Start:
    """An operation or a batch to start, unless an earlier identical call started it."""

    place: Place
    home: Project
    spec: BatchSpec
    choose: Callable[[], Awaitable[Selection]]
    """Chooses the features of a new batch; it may refuse."""

    is_one: bool
    """True for a single operation, whose work is done once it is dispatched."""

    quarantine: Quarantine = NO_QUARANTINE
    """The failures that are excused."""


def _not_run(selection: Selection | None) -> list[Document]:
    """Return the features that a selection leaves out, with their statuses."""
    return [
        {
            "feature": each.name or str(each.id),
            "status": "suggestion" if each.is_suggestion else str(each.status or "draft"),
        }
        for each in (selection.left_out if selection else ())
    ]


class Work:
    """A batch that a call started or resumed, as far as it has come."""

    path: Path
    """Its journal, once the task has chosen it."""

    item: BatchItem[Any]
    """The item of a single operation, once it is dispatched."""

    def __init__(self, start: Start, lock: sqlite3.Connection) -> None:
        """Begin to work in a task of its own; the lock is given back at the end."""
        self.start: Start = start
        self.batch: Batch[Any] | None = None
        """The batch of many operations, once it has started."""
        self.not_run: list[Document] = []
        """The features that are left out."""
        self.started_at: datetime | None = None
        self.is_new: bool = True
        """True if this work dispatched the operation, and no earlier call or server did."""
        self.line: str = "" if start.is_one else "the features are being chosen"
        """Progress in one line; empty for a single operation until it is dispatched."""
        self.changed: asyncio.Event = asyncio.Event()
        """Set, and replaced, when the line changes and at the end."""
        self._lock = lock
        self.task: asyncio.Task[None] = asyncio.create_task(self._run())
        self.task.add_done_callback(self._end)
        self._holders: set[object] = {self.task}
        """The task while it runs, and the calls that are not answered."""

    @property
    def ref(self) -> Ref:
        """The ref of a single operation, once it is dispatched."""
        ref: Ref | None = self.item.ref
        assert ref is not None
        return ref

    def join(self) -> None:
        """Keep other calls of the same meaning out until the present one is answered.

        One that repeats what costs credits need not wait: there is no other result to deliver.
        """
        if not POLICIES[self.start.spec.kind].costs_credits:
            self._holders.add(_current.get())
            _current.get().held[self] = False

    def has_ended(self) -> bool:
        """Return whether the work is done.

        An unknown run is reported once: its error says what to check before another call.

        Raises:
            VibeError: It failed, or it is unknown whether its operation was dispatched.
        """
        if self.task.done():
            try:
                self.task.result()
            except DispatchUnknownError:
                self.deliver()
                raise
        return self.task.done()

    def deliver(self) -> None:
        """Have the present call's answer deliver the result of runs, if it is not cancelled."""
        if not POLICIES[self.start.spec.kind].costs_credits:
            _current.get().held[self] = True

    def release(self, holder: object) -> None:
        """Let another call in, once the work is done and no other one has its result."""
        self._holders.discard(holder)
        if not self._holders:
            self._lock.close()

    def _end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # A call raises it, not asyncio.
        self.changed.set()
        self.release(task)

    async def _run(self) -> None:
        """Start the batch, or resume it.

        Raises:
            VibeError: It could not start, or it is unknown whether it did.
        """
        place, spec, selection = self.start.place, self.start.spec, None
        if (path := await place.undelivered()) is None:
            selection, path = await self.start.choose(), place.new()
        self.path, self.is_new = path, selection is not None
        async with Journal(path, options={"notRun": _not_run(selection)}) as journal:
            if self.start.is_one and journal.refs:
                self.item, self.started_at = journal.items[0], journal.created_at
                return
            if journal.plan is not None:
                spec = evolve(spec, site_url=journal.plan.site_url)
            jobs = None if selection is None else selection.jobs
            quarantine = self.start.quarantine
            batch = spec.start(self.start.home, jobs, journal=journal, quarantine=quarantine)
            assert journal.plan is not None
            self.started_at, self.not_run = journal.created_at, journal.plan.options["notRun"]
            async with batch:
                await (self._dispatch(batch) if self.start.is_one else self._finish(batch))

    async def _dispatch(self, batch: Batch[Any]) -> None:
        """Run a batch of one feature until that is dispatched.

        Raises:
            VibeError: It could not be dispatched, or it is unknown whether it was.
        """
        async with aclosing(batch.changes()) as changes:
            async for operation, _ in changes:
                self.is_new = self.is_new or not operation.adopted
                self.item = batch.items[0]
                return
        item = await anext(batch)  # It raises what else went wrong.
        assert item.error is not None
        raise item.error

    async def _finish(self, batch: Batch[Any]) -> None:
        """Run a batch to its end."""
        self.batch = batch
        async for item in batch:
            word = f"{item.verdict}, flaky" if item.is_flaky else item.verdict
            self.line = f"{batch.summary}; {quoted(item.feature_name)}: {word}"
            changed, self.changed = self.changed, asyncio.Event()
            changed.set()


class Starts:
    """The starts of a server, and the work on them, which outlives the calls."""

    def __init__(self, folder: Path) -> None:
        """Create it; the files are in the folder."""
        self.folder: Path = folder
        self._works: set[Work] = set()
        """Works in flight on this server."""

    async def work_on(self, start: Start) -> Work:
        """Return the work on a start: the work in flight here, else new work once it may begin.

        Work on a single operation is not shared: each call has its own operation, so a call waits
        until the previous one is answered.
        """
        while True:
            for work in self._works:
                if work.start.place == start.place and not start.is_one:
                    work.join()
                    return work
            if (lock := start.place.lock()) is not None:
                break
            await asyncio.sleep(LOCK_SECONDS * (1 + random.random()))  # noqa: S311 - a delay
        work = Work(start, lock)
        work.join()
        self._works.add(work)
        work.task.add_done_callback(lambda _: self._works.discard(work))
        return work

    async def aclose(self) -> None:
        """End all work; what was dispatched continues at the service."""
        tasks = [work.task for work in self._works]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


UNSENT = "testvibe_async.unsent"
"""The key in an ASGI scope of its requests whose answers are not written yet."""


@define(eq=False)
class Request:
    """A request in flight."""

    number: str
    is_unique: bool
    """True if no other client has a request of this number."""
    held: dict[Work, bool] = field(factory=dict["Work", bool])
    """The work that it holds, and whether its answer delivers the result."""

    is_cancelled: bool = False


_current: ContextVar[Request] = ContextVar("request")


class Deliveries:
    """A middleware that notes which results were delivered: once the answer was written.

    So a server that is killed before loses no result. A client that stopped waiting sends
    `notifications/cancelled`, which may cross the answer. Over HTTP other clients have the same
    numbers, so there a call in flight alone counts as cancelled; most such clients close their
    request instead, which ends the call.
    """

    def __init__(self) -> None:
        self.unsent: dict[str, Request] | None = None
        """The calls whose answers are not written yet, by their numbers.

        None if the wire does not report what it has written; then a result counts as delivered as
        soon as there is an answer.
        """
        self._in_flight: set[Request] = set()
        self._delivered: dict[str, list[Path]] = {}
        """The journals by the number of the call that delivered their results, the last ones."""

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Handle a message."""
        if ctx.method == "notifications/cancelled":
            self._cancel(str((ctx.params or {}).get("requestId")))
        if ctx.request_id is None:  # A notification has no answer, which would end it.
            return await call_next(ctx)
        request = Request(str(ctx.request_id), is_unique=ctx.request is None)
        self._in_flight.add(request)
        _current.set(request)
        try:
            result = await call_next(ctx)
        except BaseException:
            self.end(request, is_sent=False)
            raise
        unsent = self.unsent if ctx.request is None else ctx.request.scope.get(UNSENT)
        if unsent is None or request.is_cancelled:  # No answer to a cancelled call is written.
            self.end(request, is_sent=True)
        else:
            unsent[request.number] = request
        return result

    def note_written(self, line: str) -> None:
        """Note a message that was written: the results of an answer are delivered now."""
        message = json.loads(line)
        if "method" not in message:
            self._end_unsent(str(message.get("id")), is_sent=True)

    def close(self) -> None:
        """End the requests whose answers were not written."""
        for number in [*(self.unsent or ())]:
            self._end_unsent(number, is_sent=False)
        self.unsent = None

    def _end_unsent(self, number: str, *, is_sent: bool) -> None:
        if self.unsent and (request := self.unsent.pop(number, None)):
            self.end(request, is_sent=is_sent)

    def _cancel(self, number: str) -> None:
        for path in self._delivered.pop(number, []):
            _rename(path.with_suffix(".delivered"), path)
        for request in self._in_flight:
            request.is_cancelled |= request.number == number
        self._end_unsent(number, is_sent=False)  # The SDK may write nothing now.

    def end(self, request: Request, *, is_sent: bool) -> None:
        """End a request: if its answer was written, the results in it are delivered."""
        self._in_flight.discard(request)
        if is_sent and not request.is_cancelled:
            paths = [work.path for work, is_result in request.held.items() if is_result]
            for path in paths:
                _rename(path, path.with_suffix(".delivered"))
            if request.is_unique and paths:
                self._delivered[request.number] = paths
                if len(self._delivered) > MAX_DELIVERIES:
                    del self._delivered[next(iter(self._delivered))]
        for work in request.held:
            work.release(request)


def _rename(path: Path, to: Path) -> None:
    with suppress(OSError):  # Its result is delivered once more, then.
        path.rename(to)
