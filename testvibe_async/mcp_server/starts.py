"""Batches that calls start, in tasks of their own that outlive the calls.

Decides what a repeated call does: while the batch of an equal call is in flight, it joins that one.
So a client that gives up loses an answer, and no operation. A generation costs credits: as long as
it is unknown whether one began, an equal call looks for it first. Nothing is stored: what was
dispatched continues at the service after the server has ended. The runner decides what the features
of a batch are, and how it is dispatched.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from attrs import frozen

from testvibe_async import Batch, Client, DispatchUnknownError, GenerationRef, Project, Ref
from testvibe_async.runner.kinds import POLICIES
from testvibe_async.runner.quarantine import NO_QUARANTINE, Quarantine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from testvibe_async.intents import Intent
    from testvibe_async.mcp_server.answers import Document
    from testvibe_async.runner.selection import Selection
    from testvibe_async.runner.spec import BatchSpec

MAX_BATCHES = 100
"""Number of batches that are remembered, besides those in flight."""


class NotStartedError(Exception):
    """A call started nothing in its time. Its message is an answer, not a failure."""


@frozen
class Start:
    """A batch to start, unless an equal call's is in flight."""

    key: tuple[object, ...]
    """Equal for the calls of one meaning; of a generation, what it replaces comes last."""

    home: Project
    spec: BatchSpec
    choose: Callable[[], Awaitable[Selection]]
    """Chooses the features of a new batch; it may refuse."""

    is_one: bool
    """True for a single operation, whose call waits only until it is dispatched."""

    quarantine: Quarantine = NO_QUARANTINE
    """The failures that are excused."""


class Work:
    """A batch that a call started, as far as it has come."""

    def __init__(
        self, client: Client, start: Start, number: int, *, lost: Intent | None = None
    ) -> None:
        """Begin to work in a task of its own.

        Args:
            client: The server's client.
            start: The batch.
            number: The number of the batch on this server.
            lost: The dispatch of an equal call that may have started this generation.
        """
        self.start: Start = start
        self.number: int = number
        self.started_at: datetime = datetime.now(UTC) if lost is None else lost.intended_at
        self.batch: Batch[Any] | None = None
        """The batch, once its features are chosen."""
        self.not_run: list[Document] = []
        """The features that are left out."""
        self.lost: Intent | None = lost
        """The dispatch of a generation of which it is unknown whether it began."""
        self.changed: asyncio.Event = asyncio.Event()
        """Set, and replaced, when an operation changes and at the end."""
        self._client = client
        self._found: Ref | None = None
        self.task: asyncio.Task[None] = asyncio.create_task(self._run())
        self.task.add_done_callback(self._end)

    @property
    def ref(self) -> Ref | None:
        """The ref of a single operation; None until it is dispatched."""
        ref: Ref | None = self.batch.items[0].ref if self.batch and self.start.is_one else None
        return ref or self._found

    @property
    def is_found(self) -> bool:
        """True if an earlier call had dispatched it, whose answer was lost."""
        return self._found is not None

    @property
    def was_lost(self) -> bool:
        """True if its work is done, and it is unknown whether its generation began."""
        return self.task.done() and self.lost is not None

    @property
    def is_ready(self) -> bool:
        """True if a call need not wait any longer."""
        return self.task.done() or (self.start.is_one and self.ref is not None)

    @property
    def line(self) -> str:
        """Its progress, with the name of all that was started; empty if nothing was yet."""
        if self.start.is_one:
            return "" if self.ref is None else f"{self.ref} was dispatched"
        if self.batch is None:
            return f"batch {self.number}: the features are being chosen"
        refs = ", ".join(map(str, self.batch.in_flight))
        return f"batch {self.number}: {self.batch.summary}{refs and f'; in flight: {refs}'}"

    def raise_failure(self) -> None:
        """Raise the error that ended it, if there is one.

        Raises:
            VibeError: Nothing could be started; or it is unknown whether a single operation was.
        """
        if self.task.done():
            self.task.result()
            if self.start.is_one and self.ref is None:
                assert self.batch is not None
                error: Exception | None = self.batch.items[0].error
                assert error is not None
                raise error

    async def _run(self) -> None:
        if self.lost is not None:
            operation = await self._client.reconcile(self.lost)
            self.lost = None
            if operation is not None:
                self._found = operation.ref
                return
        start, selection = self.start, await self.start.choose()
        self.not_run = _not_run(selection)
        self.batch = start.spec.start(start.home, selection.jobs, quarantine=start.quarantine)
        async with self.batch as batch, aclosing(batch.changes()) as changes:
            async for _ in changes:
                self._note_change()
        errors = [item.error for item in batch.items] if _costs_credits(start) else []
        self.lost = next((e.intent for e in errors if isinstance(e, DispatchUnknownError)), None)

    def _note_change(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def _end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # A call raises it, not asyncio.
        self._note_change()


def _costs_credits(start: Start) -> bool:
    return POLICIES[start.spec.kind].costs_credits


def _not_run(selection: Selection) -> list[Document]:
    """Return the features that a selection leaves out, with their statuses."""
    return [
        {
            "feature": each.name or str(each.id),
            "status": "suggestion" if each.is_suggestion else str(each.status or "draft"),
        }
        for each in selection.left_out
    ]


class Starts:
    """The batches of a server."""

    def __init__(self, client: Client) -> None:
        """Create it, without any."""
        self._client = client
        self._works: dict[int, Work] = {}
        """By number, the oldest first."""
        self._count = 0

    def find(self, key: tuple[object, ...]) -> Work | None:
        """Return the work of an equal call that is in flight, or may be; None for none.

        While a generation of a feature is unknown, each call that generates it is meant: what is
        replaced has several names.
        """
        for work in self._works.values():
            if work.start.key == key and not work.task.done():
                return work
            if work.lost and work.start.key[:-1] == key[:-1]:
                return work
        return None

    def start(self, start: Start) -> tuple[Work, bool]:
        """Start a batch, or join that of an equal call; return its work, and True if it is new."""
        earlier = self.find(start.key)
        if earlier is not None and not earlier.task.done():
            return earlier, False
        lost = None
        if earlier is not None:
            lost = self._works.pop(earlier.number).lost
        self._count += 1
        work = self._works[self._count] = Work(self._client, start, self._count, lost=lost)
        over = [each for each in self._works.values() if each.task.done() and not each.lost]
        if len(over) > MAX_BATCHES:
            del self._works[over[0].number]
        return work, True

    def batch(self, number: int) -> Work | None:
        """Return the batch of runs of a number; None if there is none, or not any more."""
        work = self._works.get(number)
        return work if work is not None and not _costs_credits(work.start) else None

    def generation(self, home: Project, feature_id: int) -> GenerationRef | None:
        """Return the generation of a feature that was started here last; None for none."""
        found = [each.ref for each in self._works.values() if each.start.home.id == home.id]
        refs = [each for each in found if isinstance(each, GenerationRef)]
        return next((each for each in reversed(refs) if each.feature_id == feature_id), None)

    async def aclose(self) -> None:
        """End all work; what was dispatched continues at the service."""
        tasks = [work.task for work in self._works.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
