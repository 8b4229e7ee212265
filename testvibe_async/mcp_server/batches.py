"""Batches of runs: those of the ledger, and which of them this process carries.

Decides which batch a repeated call returns: an equal one that is not over, started by this process
or by an earlier one on the same ledger. Each is carried by a task of its own, so that a client that
gives up loses an answer, and no run. What a batch did is in the ledger alone.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import TYPE_CHECKING, Any, cast

from attrs import evolve, field, frozen

from testvibe_async import (
    Batch,
    BatchItem,
    Client,
    ConfigError,
    Run,
    SqliteLedger,
    StoredBatch,
    Verdict,
)
from testvibe_async.runner.quarantine import NO_QUARANTINE, Quarantine
from testvibe_async.runner.spec import BatchSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

    from testvibe_async import Project
    from testvibe_async.mcp_server.answers import Document
    from testvibe_async.runner.selection import Selection

MAX_AGE = timedelta(hours=1)
"""Age of an interrupted batch from which on an equal call asks for new runs."""

UNKNOWN_AGE = timedelta(minutes=2)
"""The same, if it is only unknown whether a run started: by then its request has expired."""


@frozen(kw_only=True)
class Request:
    """The runs that a call asks for."""

    home: Project
    spec: BatchSpec
    is_one: bool
    """True for `run_feature`, whose batch has one run."""

    choose: Callable[[], Awaitable[Selection]]
    """Chooses the features of a new batch; it may refuse."""

    quarantine: Quarantine = NO_QUARANTINE
    """The failures that are excused."""

    @property
    def meaning(self) -> Document:
        """Equal for the same features, in any order and case; plain JSON."""
        features = sorted({each.lower() for each in self.spec.features})
        configs = [each.casefold() for each in self.spec.configs]
        meant = evolve(self.spec, features=features, configs=configs)
        return {**meant.to_dict(), "isOne": self.is_one}

    async def new_batch(self) -> Batch[Run]:
        """Choose the features, and return their batch, with what a later process needs of it."""
        selection, spec = await self.choose(), self.spec
        return self.home.run_features(
            selection.jobs,
            site_url=spec.site_url,
            max_in_flight=spec.in_flight,
            attempts=spec.attempts,
            repeat=spec.repeat,
            key=f"mcp-{token_hex(6)}",
            options={
                "spec": spec.to_dict(),
                "quarantine": self.quarantine.to_dict(),
                "mcp": {"meaning": self.meaning, "notRun": _not_run(selection)},
            },
        )


def _not_run(selection: Selection) -> list[Document]:
    """Return the features that a selection leaves out, with their statuses."""
    return [
        {
            "feature": each.name or str(each.id),
            "status": "suggestion" if each.is_suggestion else str(each.status or "draft"),
        }
        for each in selection.left_out
    ]


def _meaning_of(options: Mapping[str, Any]) -> Document | None:
    """Return the meaning of the call that started a batch; None if no tool did."""
    return cast("Document | None", options.get("mcp", {}).get("meaning"))


def _quarantine_of(options: Mapping[str, Any]) -> Quarantine:
    return Quarantine.stored(options) or NO_QUARANTINE


@frozen(kw_only=True)
class View:
    """A batch at one moment, as far as it is known."""

    number: int | None
    """Its number in the ledger; None while its features are being chosen."""

    started_at: datetime
    is_over: bool
    """True if this process waits for nothing more of it."""

    items: Sequence[BatchItem[Run]]
    options: Mapping[str, Any] = field(factory=dict[str, Any])

    @property
    def not_run(self) -> list[Document]:
        """The features that were left out."""
        return cast("list[Document]", self.options.get("mcp", {}).get("notRun", []))

    @property
    def is_repeated(self) -> bool:
        """True if each feature runs several times, to show its stability."""
        return bool(self.options.get("spec", {}).get("repeat", 1) > 1)


def view_of(stored: StoredBatch) -> View:
    """Return the view of a batch that no process carries."""
    mark = _quarantine_of(stored.options).mark
    return View(
        number=stored.number,
        started_at=stored.started_at,
        is_over=True,
        items=[mark(item) for item in stored.items],
        options=stored.options,
    )


class Carried:
    """A batch that this process carries, in a task of its own."""

    def __init__(
        self,
        key: tuple[str, Document | None],
        source: Coroutine[Any, Any, tuple[Batch[Run], StoredBatch | None]],
        ledger: SqliteLedger,
    ) -> None:
        """Begin to carry it.

        Args:
            key: The project's id, and the meaning of the call.
            source: Makes the batch; it returns also what the ledger has of it from before.
            ledger: The ledger of all batches.
        """
        self.key: tuple[str, Document | None] = key
        self.number: int | None = None
        """Its number in the ledger, once it is opened."""
        self.started_at: datetime = datetime.now(UTC)
        self.is_new: bool = True
        """False if an earlier process started it."""
        self.batch: Batch[Run] | None = None
        """The batch, once it is opened."""
        self.changed: asyncio.Event = asyncio.Event()
        """Set, and replaced, when an operation changes and at the end."""
        self.task: asyncio.Task[None] = asyncio.create_task(self._carry(source, ledger))
        self.task.add_done_callback(self._end)

    @property
    def items(self) -> Sequence[BatchItem[Run]]:
        """The present item of each feature; none before it is opened."""
        return self.batch.items if self.batch else []

    @property
    def is_dispatched(self) -> bool:
        """True if each of its runs has an id, or none is to come."""
        return self.task.done() or (bool(self.items) and all(item.ref for item in self.items))

    @property
    def view(self) -> View:
        """The batch at this moment."""
        return View(
            number=self.number,
            started_at=self.started_at,
            is_over=self.task.done(),
            items=self.items,
            options=self.batch.options if self.batch else {},
        )

    def raise_failure(self) -> None:
        """Raise the error for which nothing could be started, if there is one."""
        if self.task.done():
            self.task.result()

    async def _carry(
        self,
        source: Coroutine[Any, Any, tuple[Batch[Run], StoredBatch | None]],
        ledger: SqliteLedger,
    ) -> None:
        batch, stored = await source
        self.is_new = stored is None
        async with batch:
            # Its key is a random one, or its number is known: no other batch is meant.
            found = stored or await StoredBatch.read(ledger, batch.key)
            self.number, self.started_at, self.batch = found.number, found.started_at, batch
            self._note_change()
            with ledger.living(found.number):
                async with aclosing(batch.changes()) as changes:
                    async for _ in changes:
                        self._note_change()

    def _note_change(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def _end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # A call raises it, not asyncio.
        self._note_change()


class Batches:
    """The batches of runs of a server."""

    def __init__(self, client: Client) -> None:
        """Create it, without any."""
        assert isinstance(client.ledger, SqliteLedger)
        self.ledger: SqliteLedger = client.ledger
        self._client = client
        self._carried: list[Carried] = []

    def start(self, request: Request) -> tuple[Carried, bool]:
        """Return the batch of a call, and True if it is no equal call's that is carried."""
        key = request.home.id, request.meaning
        found = next((each for each in self._in_flight() if each.key == key), None)
        return found or self._carry(key, self._begin(request)), found is None

    async def find(self, number: int) -> Carried | View:
        """Return a batch of runs: carried if this or an earlier process may continue it.

        Raises:
            ConfigError: The ledger has no such batch, of runs of this service.
        """
        for each in self._in_flight():
            if each.number == number:
                return each
        stored = await StoredBatch.read(self.ledger, number)
        if (stored.kind, stored.server) != ("run", self._client.server):
            raise ConfigError(f"batch {number} is one of {stored.kind}s at {stored.server}")
        meaning = _meaning_of(stored.options)
        if stored.is_over or meaning is None:
            return view_of(stored)
        return self._carry((stored.project, meaning), self._resume(stored))

    def _in_flight(self) -> list[Carried]:
        self._carried = [each for each in self._carried if not each.task.done()]
        return self._carried

    def _carry(self, key: tuple[str, Document | None], source: Coroutine[Any, Any, Any]) -> Carried:
        carried = Carried(key, source, self.ledger)
        self._carried.append(carried)
        return carried

    async def _begin(self, request: Request) -> tuple[Batch[Run], StoredBatch | None]:
        """Return the batch of an equal call that is not over, or a new one."""
        stored = await self._unfinished(request)
        if stored is not None:
            return await self._resume(stored)
        batch = await request.new_batch()
        batch.mark_with(request.quarantine.mark)
        return batch, None

    async def _resume(self, stored: StoredBatch) -> tuple[Batch[Run], StoredBatch]:
        spec = BatchSpec.from_dict(stored.options["spec"])
        project = self._client.project(stored.project)
        batch = project.run_features(key=stored.key, max_in_flight=spec.in_flight)
        batch.mark_with(_quarantine_of(stored.options).mark)
        return batch, stored

    async def _unfinished(self, request: Request) -> StoredBatch | None:
        """Return the latest batch of an equal call in the ledger, unless it is over or too old."""
        place, meaning = (self._client.server, request.home.id), request.meaning
        for each in await StoredBatch.all(self.ledger, with_items=False):
            if (each.server, each.project) == place and _meaning_of(each.options) == meaning:
                stored = await StoredBatch.read(self.ledger, each.number)
                return stored if _is_in_flight(stored) else None
        return None

    async def aclose(self) -> None:
        """End all waits; what was dispatched continues at the service."""
        tasks = [each.task for each in self._carried]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _is_in_flight(stored: StoredBatch) -> bool:
    """Return whether an equal call may be the repetition of the call that started a batch."""
    age, found = datetime.now(UTC) - stored.started_at, {item.verdict for item in stored.items}
    if stored.is_over or stored.is_running:
        return not stored.is_over
    if found & {Verdict.IN_FLIGHT, Verdict.SKIPPED}:
        return age < MAX_AGE
    return Verdict.UNKNOWN in found and age < UNKNOWN_AGE
