"""Batches: those of the ledger, and which of them this process carries.

Decides which batch a repeated call returns: an equal one that is not over, started by this process
or by an earlier one on the same ledger. Each is carried by a task of its own, so that a client that
gives up loses an answer, and no operation. What a batch did is in the ledger alone.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import evolve

from testvibe_async import ConfigError, DispatchUnknownError, SqliteLedger, StoredBatch, Verdict
from testvibe_async.runner.quarantine import NO_QUARANTINE, Quarantine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from testvibe_async import Batch, BatchItem, Client, Project
    from testvibe_async.mcp_server.answers import Document

    Make: TypeAlias = Callable[[], Awaitable[Batch[Any]]]
    Key: TypeAlias = tuple[str, Document]

MAX_AGE = timedelta(hours=1)
"""Age of interrupted runs from which on an equal call asks for new ones."""

UNKNOWN_AGE = timedelta(minutes=2)
"""The same, if it is only unknown whether a run started: by then its request has expired."""

SEARCHED = 200
"""Number of the latest batches among which an equal call's is looked for."""


class Carried:
    """A batch that this process carries, in a task of its own."""

    def __init__(self, make: Make, batches: Batches, key: Key) -> None:
        """Begin to carry it.

        Args:
            make: Makes the batch, and does not open it; it may refuse.
            batches: The batches of the process.
            key: The project's id, and the meaning of the call that started the batch.
        """
        self.key: Key = key
        self.number: int | None = None
        """Its number in the ledger, once it is opened."""
        self.batch: Batch[Any] | None = None
        self.changed: asyncio.Event = asyncio.Event()
        """Set, and replaced, when an operation changes and at the end."""
        self.task: asyncio.Task[None] = asyncio.create_task(self._carry(make, batches))
        self.task.add_done_callback(self._end)

    @property
    def items(self) -> list[BatchItem[Any]]:
        """The present item of each feature; none before it is opened."""
        return self.batch.items if self.batch else []

    @property
    def is_dispatched(self) -> bool:
        """True if each of its operations has an id, or none is to come."""
        return self.task.done() or (bool(self.items) and all(item.ref for item in self.items))

    @property
    def may_have_started(self) -> bool:
        """False once it is certain that none of its operations was started."""
        return not self.task.done() or any(
            item.ref or isinstance(item.error, DispatchUnknownError) for item in self.items
        )

    async def _carry(self, make: Make, batches: Batches) -> None:
        async with await make() as batch:
            self.number = (await batches.read(batch.key, self.key[0])).number
            self.batch = batch
            self._note_change()
            with batches.ledger.living(self.number):
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
    """The batches that tools start."""

    def __init__(self, client: Client) -> None:
        """Create it, without any."""
        assert isinstance(client.ledger, SqliteLedger)
        self.ledger: SqliteLedger = client.ledger
        self._client = client
        self._carried: list[Carried] = []
        self._starting = asyncio.Lock()

    async def start(
        self, home: Project, meaning: Document, make: Callable[[str], Awaitable[Batch[Any]]]
    ) -> tuple[Carried, bool]:
        """Return the batch of a call, and True if no equal call started it.

        Args:
            home: The project.
            meaning: Equal for calls of one meaning; plain JSON.
            make: Makes a new batch, with the meaning in its options, under a key that equal calls
                of other processes have at the same time.
        """
        async with self._starting:
            for each in self._in_flight():
                if each.key == (home.id, meaning):
                    return each, False
            stored = await self.latest(home, meaning)
            if stored is not None and _is_in_flight(stored):
                return self.resume(stored), False
            text = json.dumps([meaning, stored.number if stored else 0])
            key = f"mcp-{sha256(text.encode()).hexdigest()[:16]}"
            return self._carry(partial(make, key), (home.id, meaning)), True

    async def latest(self, home: Project, meaning: Document) -> StoredBatch | None:
        """Return the latest batch that the ledger has of a meaning, or of a part of it."""
        place = self._client.server, home.id
        for each in await StoredBatch.all(self.ledger, with_items=False, limit=SEARCHED):
            if (each.server, each.project) == place and meaning_of(each).items() >= meaning.items():
                return await self.read(each.number)
        return None

    async def read(self, name: int | str, project: str | None = None) -> StoredBatch:
        """Return a batch as it is in the ledger, judged by its quarantine.

        Args:
            name: Its number, or its key.
            project: The project that a key is of.

        Raises:
            ConfigError: The ledger has none.
        """
        server = self._client.server
        stored = await StoredBatch.read(self.ledger, name, server=server, project=project)
        return evolve(stored, items=[*map(_quarantine_of(stored).mark, stored.items)])

    async def find(self, number: int) -> Carried | None:
        """Return the carried batch of a number; None if a tool started none, or it is over.

        Raises:
            ConfigError: The ledger has no batch of runs of that number and service.
        """
        stored = await self.read(number)
        if (stored.kind, stored.server) != ("run", self._client.server):
            raise ConfigError(f"batch {number} is one of {stored.kind}s at {stored.server}")
        return None if stored.is_over or not meaning_of(stored) else self.resume(stored)

    def resume(self, stored: StoredBatch) -> Carried:
        """Carry a batch on that an earlier process, or an earlier call, has left."""
        key = stored.project, meaning_of(stored)
        for each in self._in_flight():
            if each.number == stored.number or (each.number is None and each.key == key):
                return each

        async def make() -> Batch[Any]:
            home = self._client.project(stored.project)
            if stored.kind == "generation":
                return home.generate_features(key=stored.key)
            is_repeated = stored.options["spec"]["repeat"] > 1
            batch = home.run_features(key=stored.key, max_in_flight=1 if is_repeated else 100)
            batch.mark_with(_quarantine_of(stored).mark)
            return batch

        return self._carry(make, key)

    def _in_flight(self) -> list[Carried]:
        self._carried = [each for each in self._carried if not each.task.done()]
        return self._carried

    def _carry(self, make: Make, key: Key) -> Carried:
        self._in_flight().append(carried := Carried(make, self, key))
        return carried

    async def aclose(self) -> None:
        """End all waits; what was dispatched continues at the service."""
        tasks = [each.task for each in self._carried]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _quarantine_of(stored: StoredBatch) -> Quarantine:
    return Quarantine.stored(stored.options) or NO_QUARANTINE


def meaning_of(stored: StoredBatch) -> Document:
    """Return the meaning of the call that started a batch; empty if no tool did."""
    meaning: Document = stored.options.get("mcp", {}).get("meaning", {})
    return meaning


def _is_in_flight(stored: StoredBatch) -> bool:
    """Return whether an equal call may repeat the one that started a batch.

    What generated once is that for all equal calls, since each generation costs credits.
    """
    age, found = datetime.now(UTC) - stored.started_at, {item.verdict for item in stored.items}
    if stored.kind == "generation":
        return not stored.is_over or stored.items[0].ref is not None
    if stored.is_over or stored.is_running:
        return not stored.is_over
    if found & {Verdict.IN_FLIGHT, Verdict.SKIPPED}:
        return age < MAX_AGE
    return Verdict.UNKNOWN in found and age < UNKNOWN_AGE
