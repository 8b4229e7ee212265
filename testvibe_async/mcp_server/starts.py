"""Batches that calls start, and that outlive them.

Decides what a call does with what an earlier one of the same meaning dispatched, also where that
one's answer was lost. The work is done in a task of its own, so a client that gives up loses the
answer, and not the operation. What the features of a batch are, and how it is dispatched, is
decided in the runner.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from testvibe_async import DispatchUnknownError, Journal, NotSentError
from testvibe_async.mcp_server.journals import Place, delete_old, hold, pause, unwritable
from testvibe_async.runner.generation_limit import with_limit_named

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from testvibe_async import Batch, Client, Project, Ref
    from testvibe_async.mcp_server.answers import Document
    from testvibe_async.runner.generation_limit import GenerationLimit
    from testvibe_async.runner.selection import Selection
    from testvibe_async.runner.spec import BatchSpec


class NotStartedError(Exception):
    """A call has started nothing in its time, and says why: an answer, and no failure."""


@frozen
class Start:
    """What a call wants to start, unless an earlier one of the same meaning did."""

    place: Place
    client: Client
    home: Project
    spec: BatchSpec
    choose: Callable[[], Awaitable[Selection]]
    """Chooses the features of a new batch; it may refuse."""

    is_one: bool
    """Whether it is one operation, and its work is done once that is dispatched."""

    def batch(self, journal: Journal, selection: Selection | None) -> Batch[Any]:
        """Return the batch of a journal: a new one of these features, or the one that it has."""
        spec, kept = self.spec, _kept(selection)
        features: Any = selection and selection.features
        if journal.plan is not None:
            spec, kept = evolve(spec, site_url=journal.plan.site_url), journal.plan.options
            features = None if journal.is_complete else kept["features"]
        return spec.start(self.home, features, kept["configs"], timeout=None, journal=journal)


def _kept(selection: Selection | None) -> Document:
    """Return what a new journal keeps of a selection."""
    if selection is None:
        return {}
    return {
        "features": [each if isinstance(each, str) else each.id for each in selection.features],
        "configs": list(selection.configs),
        "notRun": [
            {
                "feature": each.name or str(each.id),
                "status": "suggestion" if each.is_suggestion else str(each.status or "draft"),
            }
            for each in selection.left_out
        ],
    }


class Work:
    """A batch that a call started or resumed, as far as it has come."""

    path: Path
    """Its journal, once the task has chosen it."""

    def __init__(self, start: Start, limit: GenerationLimit, lock: sqlite3.Connection) -> None:
        """Begin to work in a task of its own; the lock is given back at the end."""
        self.start: Start = start
        self.batch: Batch[Any] | None = None
        """The batch of many, once it has begun."""
        self.ref: Ref | None = None
        """The operation that was dispatched, where it is one."""
        self.not_run: list[Document] = []
        """The features that are left out."""
        self.started_at: datetime | None = None
        self.is_new: bool = True
        """Whether this work dispatched it, and not that of an earlier call or server."""
        self.line: str = "the features are being chosen"
        """How far it has come."""
        self.changed: asyncio.Event = asyncio.Event()
        """Set, and replaced, when the line changes and at the end."""
        self._limit = limit
        self._lock = lock
        self._calls = 0
        self.task: asyncio.Task[None] = asyncio.create_task(self._run())
        self.task.add_done_callback(self._end)

    def join(self) -> None:
        """Keep other calls of the same meaning out until the present one is answered.

        One that repeats a generation need not wait: there is no other result to deliver.
        """
        if self.start.spec.kind == "run":
            self._calls += 1
            hold(self)

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
        if self.start.spec.kind == "run":
            hold(self, is_result=True)

    def leave(self) -> None:
        """Let another call in, once the work is done and no other one has its result."""
        self._calls -= 1
        self._release()

    def _end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # A call raises it, not asyncio.
        self.changed.set()
        self._release()

    def _release(self) -> None:
        if self.task.done() and self._calls == 0:
            self._lock.close()

    async def _run(self) -> None:
        """Start the batch, or resume it.

        Raises:
            VibeError: It could not start, or it is unknown whether it did.
        """
        place, selection = self.start.place, None
        if (path := await place.undelivered()) is None:
            selection, path = await self.start.choose(), place.new()
        self.path, self.is_new = path, selection is not None
        async with Journal(path, options=_kept(selection)) as journal:
            if not self.start.is_one:
                await self._finish(journal, self.start.batch(journal, selection))
                return
            self.is_new = self.is_new or await self._is_nothing(journal)
            if not journal.refs:
                await _dispatch(self.start.batch(journal, selection))
            (self.ref,) = journal.refs
            self.started_at = self.ref.dispatched_at or journal.created_at

    async def _is_nothing(self, journal: Journal) -> bool:
        """Return whether it is proved that a dispatch whose answer was lost started nothing.

        Raises:
            DispatchUnknownError: It is unknown.
        """
        if any(item.latest_ref is not None for item in journal.items):
            return False
        for intent in journal.open_intents:
            operation = await self.start.client.reconcile(intent)
            await journal.decide("resend" if operation is None else operation.ref)
            if operation is not None:
                return False
            nothing = NotSentError("nothing started", method="POST", url=intent.server)
            await self._limit.not_dispatched(intent, nothing)
        return True

    async def _finish(self, journal: Journal, batch: Batch[Any]) -> None:
        """Run a batch to its end."""
        assert journal.plan is not None
        self.batch, self.started_at = batch, journal.created_at
        self.not_run = journal.plan.options["notRun"]
        async with batch:
            async for item in batch:
                word = f"{item.verdict}, flaky" if item.is_flaky else item.verdict
                self.line = f"{batch.summary}; {item.feature_name}: {word}"
                changed, self.changed = self.changed, asyncio.Event()
                changed.set()


async def _dispatch(batch: Batch[Any]) -> None:
    """Run a batch of one feature until that is dispatched."""
    async with batch, aclosing(batch.changes()) as changes:
        async for _ in changes:
            break
        if not batch.refs:
            await anext(batch)  # It raises what else went wrong.
    error = with_limit_named(batch.items[0]).error
    if error is not None and not batch.refs:
        raise error


class Starts:
    """The starts of a server, and the work on them, which outlives the calls."""

    def __init__(self, limit: GenerationLimit, folder: Path | None) -> None:
        """Make it.

        Args:
            limit: Counts the generations that are dispatched.
            folder: Where the files are; None for a temporary folder.
        """
        self._limit = limit
        self._folder = folder
        self._temporary: TemporaryDirectory[str] | None = None
        self._works: set[Work] = set()
        """What is in flight here."""

    def place(self, *key: object) -> Place:
        """Return the place of a start.

        Args:
            key: What is started: a word, the server, the project and more. Its `repr` is the same
                in every process.

        Raises:
            ConfigError: There can't be one.
        """
        try:
            return Place(self._made_folder(), sha256(repr(key).encode()).hexdigest())
        except OSError as error:
            raise unwritable(error) from error

    def _made_folder(self) -> Path:
        if self._folder is not None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self._folder
        self._temporary = self._temporary or TemporaryDirectory(prefix="testvibe-async-mcp-")
        return Path(self._temporary.name)

    async def begun(self, start: Start) -> Work:
        """Return the work on a start: that which is in flight here, else another once it may begin.

        Work on one operation is not shared: each call has an operation of its own, so it waits
        until the one before is answered.
        """
        while True:
            for work in self._works:
                if work.start.place == start.place and not start.is_one:
                    work.join()
                    return work
            if (lock := start.place.lock()) is not None:
                break
            await pause()
        work = Work(start, self._limit, lock)
        work.join()
        self._works.add(work)
        work.task.add_done_callback(lambda _: self._works.discard(work))
        return work

    async def delete_old(self) -> None:
        """Delete old files: once, before any call starts something."""
        if self._folder is not None:
            with suppress(OSError):  # It must not keep a server from starting.
                await asyncio.to_thread(delete_old, self._folder)

    async def aclose(self) -> None:
        """End all work; what was dispatched continues at the service."""
        tasks = [work.task for work in self._works]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._temporary is not None:
            self._temporary.cleanup()
