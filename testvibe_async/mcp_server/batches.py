"""Batches: those of the ledger, and which of them this process runs.

Decides which batch a repeated call returns: an equal one that has not finished, started by this
process or by an earlier one on the same ledger. The key of a batch begins with the name of its
call, which equal calls have in common. Each batch runs in a task of its own, so that a client that
gives up loses an answer, and no operation.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import evolve

from testvibe_async import Batch, Client, ConfigError, Project, SqliteLedger, StoredBatch, Verdict
from testvibe_async.runner.history import KeptBatch, Place, running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Make: TypeAlias = Callable[[str], Awaitable[Batch[Any]]]
    """Makes the batch of a key, and does not open it; it may refuse."""

PREFIX = "mcp-"
"""The beginning of the keys of batches that tools started."""

MAX_AGE = timedelta(hours=1)
"""Age of interrupted runs from which on an equal call asks for new ones."""

UNKNOWN_AGE = timedelta(minutes=2)
"""The same, if it is only unknown whether a run started: by then its request has expired."""

SEARCHED = 200
"""Number of the latest batches among which an equal call's is looked for."""


class ActiveBatch:
    """A batch that this process runs, in a task of its own."""

    def __init__(self, make: Make, ledger: SqliteLedger, place: Place, key: str) -> None:
        """Begin to run it.

        Args:
            make: Makes it.
            ledger: The file that keeps it.
            place: Its service and its project.
            key: Its key.
        """
        self.place: Place = place
        self.key: str = key
        self.changed: asyncio.Event = asyncio.Event()
        """Set, and replaced, when an operation changes and at the end."""
        self._opened: tuple[Batch[Any], KeptBatch] | None = None
        """The batch and what the ledger had of it then; None before it is opened."""
        self.task: asyncio.Task[None] = asyncio.create_task(self._run(make, ledger))
        self.task.add_done_callback(self._end)

    @property
    def kept(self) -> KeptBatch | None:
        """The batch with its number and its present items; None before it is opened."""
        if self._opened is None:
            return None
        batch, stored = self._opened
        return evolve(stored, items=batch.items or stored.items)

    @property
    def is_dispatched(self) -> bool:
        """True if each of its operations has an id, or none is to come."""
        return self.task.done() or bool(self.kept and all(item.ref for item in self.kept.items))

    async def _run(self, make: Make, ledger: SqliteLedger) -> None:
        batch = await make(self.key)
        async with running(batch, ledger, self.place) as kept:
            assert kept is not None
            self._opened = batch, kept
            self._note_change()
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


class ActiveBatches:
    """The batches that tools start, and of them those that this process runs."""

    def __init__(self, client: Client, ledger: SqliteLedger) -> None:
        """Create it, without any."""
        self._ledger = ledger
        self._client = client
        self._active: list[ActiveBatch] = []
        self._starting = asyncio.Lock()

    async def start(self, home: Project, name: str, make: Make) -> tuple[ActiveBatch, bool]:
        """Return the batch of a call, and True if no equal call started it.

        Args:
            home: The project.
            name: The name of the call.
            make: Makes a new batch, under a key that equal calls of other processes have at the
                same time.
        """
        place = Place(self._client.server, home.id)
        async with self._starting:
            for each in self._active:
                if (each.place, _name_of(each.key)) == (place, name) and not each.task.done():
                    return each, False
            latest = await self.latest(home, name)
            if latest is not None and _is_in_flight(latest):
                return self.resume(latest), False
            return self._run(make, place, f"{name}-{latest.number if latest else 0}"), True

    async def latest(self, home: Project, name: str) -> KeptBatch | None:
        """Return the latest batch in the ledger of the calls of a name."""
        place = Place(self._client.server, home.id)
        for each in await StoredBatch.all(self._ledger, with_items=False, limit=SEARCHED):
            if place.has(each) and _name_of(each.key) == name:
                return KeptBatch.of(await StoredBatch.read(self._ledger, each.number))
        return None

    async def find(self, number: int) -> tuple[KeptBatch, ActiveBatch | None]:
        """Return the batch of runs of a number, which is resumed if a tool left it.

        Raises:
            ConfigError: The ledger has none of that number and service.
        """
        kept = KeptBatch.of(await StoredBatch.read(self._ledger, number))
        if (kept.kind, kept.server) != ("run", self._client.server):
            raise ConfigError(f"batch {number} is one of {kept.kind}s at {kept.server}")
        is_left = not kept.is_over and kept.key.startswith(PREFIX)
        return kept, self.resume(kept) if is_left else None

    def resume(self, kept: KeptBatch) -> ActiveBatch:
        """Resume a batch that an earlier process, or an earlier call, has left."""

        async def make(key: str) -> Batch[Any]:
            return kept.spec.start(self._client.project(kept.project), None, key=key)

        return self._run(make, kept.place, kept.key)

    def _run(self, make: Make, place: Place, key: str) -> ActiveBatch:
        """Run a batch, unless this process already does."""
        self._active = [each for each in self._active if not each.task.done()]
        for each in self._active:
            if (each.place, each.key) == (place, key):
                return each
        self._active.append(active := ActiveBatch(make, self._ledger, place, key))
        return active

    async def aclose(self) -> None:
        """End all waits; what was dispatched continues at the service."""
        for each in self._active:
            each.task.cancel()
        await asyncio.gather(*(each.task for each in self._active), return_exceptions=True)


def _name_of(key: str) -> str:
    """Return the name of the calls that started the batch of a key."""
    return key.rpartition("-")[0]


def _is_in_flight(kept: KeptBatch) -> bool:
    """Return whether an equal call may repeat the one that started a batch.

    A generation costs credits, so it may at any age.
    """
    age, found = datetime.now(UTC) - kept.started_at, {item.verdict for item in kept.items}
    if kept.is_over or kept.is_running or kept.kind == "generation":
        return not kept.is_over
    if found & {Verdict.IN_FLIGHT, Verdict.SKIPPED}:
        return age < MAX_AGE
    return Verdict.UNKNOWN in found and age < UNKNOWN_AGE
