"""The history of a ledger file: its batches, and the one that a command means.

A batch is named by its number or its key; without either, the latest of the project in force is
meant. Projects are compared by their ids. It never asks the service.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from attrs import evolve, fields_dict, frozen

from testvibe_async.batch import StoredBatch
from testvibe_async.errors import ConfigError
from testvibe_async.ledger import RowState
from testvibe_async.models import Run
from testvibe_async.runner.names import similar_names
from testvibe_async.runner.spec import BatchSpec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from testvibe_async import Batch, SqliteLedger
    from testvibe_async.errors import KindName
    from testvibe_async.models import Snapshot
    from testvibe_async.outcomes import BatchItem
    from testvibe_async.runner.quarantine import Quarantine


MOST_EARLIER = 50
"""Number of earlier batches in which a feature's last result is looked for."""


@frozen(kw_only=True)
class KeptBatch(StoredBatch):
    """A batch of a ledger with its description; its items are marked by its quarantine."""

    spec: BatchSpec

    @classmethod
    def of(cls, batch: StoredBatch) -> Self:
        """Return a batch of a ledger with its description."""
        spec = BatchSpec.of(batch)
        facts = {name: getattr(batch, name) for name in fields_dict(StoredBatch)}
        facts["items"] = [*map(spec.mark, batch.items)]
        return cls(**facts, spec=spec)

    def __str__(self) -> str:
        """Return its name in a sentence: `Batch 12 (nightly)`."""
        return f"Batch {self.title}"

    @property
    def name(self) -> str | None:
        """The key that a person chose; None without one."""
        return self.key if self.spec.is_named else None

    @property
    def title(self) -> str:
        """The batch's number and name, to follow the word batch: `12 (nightly)`."""
        return f"{self.number}" + (f" ({self.name})" if self.name else "")

    @property
    def place(self) -> Place:
        """The service and the project that it is of."""
        return Place(self.server, self.project)

    @property
    def fails_on_flaky(self) -> bool:
        """True if its command was to fail if a feature was flaky."""
        return bool(self.spec.files.get("fail_on_flaky"))

    def judged(self, quarantine: Quarantine) -> Self:
        """Return it marked by a quarantine, unless it is by the one that held when it ran."""
        if self.spec.quarantine is not None:
            return self
        return evolve(
            self,
            items=[*map(quarantine.mark, self.items)],
            spec=evolve(self.spec, quarantine=quarantine),
        )


@frozen
class Place:
    """The service and the project in force, if known."""

    server: str | None
    project: str | None
    """Its id."""

    def has(self, batch: StoredBatch) -> bool:
        """Return whether a batch is one of here."""
        return self.server in {None, batch.server} and self.project in {None, batch.project}

    def __str__(self) -> str:
        """Return it as the end of a sentence, such as ` of project P at https://…`."""
        project = f" of project {self.project}" if self.project else ""
        return f"{project} at {self.server}" if self.server else project


@asynccontextmanager
async def running(
    batch: Batch[Any], ledger: SqliteLedger | None, place: Place
) -> AsyncGenerator[KeptBatch | None]:
    """Open a batch, and mark it as running in the ledger's file until it is left.

    Args:
        batch: The batch, which is not opened yet.
        ledger: The file that keeps it; None if no file does.
        place: Its service and its project.

    Yields:
        The batch as the file has it now, with its number; None without a file.
    """
    async with batch:
        if ledger is None:
            yield None
            return
        where = {"server": place.server, "project": place.project}
        kept = KeptBatch.of(await StoredBatch.read(ledger, batch.key, **where))
        with ledger.living(kept.number):
            yield kept


class Batches:
    """The batches of a ledger file. A *heading* is one without its items, which is quickly read."""

    def __init__(self, ledger: SqliteLedger) -> None:
        """Create it, without I/O.

        Args:
            ledger: The file, which is open.
        """
        self.ledger: SqliteLedger = ledger
        self._headings: list[KeptBatch] | None = None

    async def headings(self) -> list[KeptBatch]:
        """Return the headings of all batches, the latest first; read once."""
        if self._headings is None:
            found = await StoredBatch.all(self.ledger, with_items=False)
            self._headings = [*map(KeptBatch.of, found)]
        return self._headings

    async def here(self, place: Place, *, kind: KindName | None = None) -> list[KeptBatch]:
        """Return the headings of a place, the latest first.

        Args:
            place: The service and the project. Where one of them is not in force, it is that of the
                latest batch.
            kind: The kind of their operations; None for any.
        """
        found: list[KeptBatch] = []
        for heading in await self.headings():
            if kind in {None, heading.kind} and place.has(heading):
                place = heading.place
                found.append(heading)
        return found

    async def read(self, heading: KeptBatch) -> KeptBatch:
        """Read a batch with its items."""
        return KeptBatch.of(await StoredBatch.read(self.ledger, heading.number))

    async def find(self, key: str, place: Place) -> KeptBatch | None:
        """Return the heading of the batch that has a key in a place; None if there is none."""
        found = (each for each in await self.headings() if each.key == key and place.has(each))
        return next(found, None)

    async def named(self, word: str, place: Place) -> KeptBatch:
        """Return the heading of the batch of a number or a key.

        Raises:
            ConfigError: There is no such batch, or there are several in other projects.
        """
        headings = await self.headings()
        is_number = word.isdecimal()
        of_any = [each for each in headings if word == str(each.number if is_number else each.key)]
        found = [each for each in of_any if is_number or place.has(each)]
        if len(found) > 1:
            titles = " and ".join(str(each.number) for each in found)
            raise ConfigError(f"batches {titles} have the key {word!r}: name one by its number")
        if found:
            return found[0]
        if of_any:
            where = f"{of_any[0].place}, not{place}: name them by --server and --project"
            raise ConfigError(f"{of_any[0]} is{where}")
        keys = [each.name for each in headings if each.name and place.has(each)]
        newest = f"the newest is batch {headings[0].title}" if headings else "there is none yet"
        what = "" if is_number else "named "
        raise ConfigError(f"there is no batch {what}{word}: {similar_names(word, keys) or newest}")

    async def meant(
        self, word: str | None, place: Place, *, kind: KindName | None = None
    ) -> KeptBatch:
        """Return the batch that a word means.

        Args:
            word: A number or a key; None for the latest batch of the place.
            place: The service and the project in force.
            kind: The kind of its operations, if no word names the batch; None for any.

        Raises:
            ConfigError: There is none.
        """
        if word is not None:
            return await self.read(await self.named(word, place))
        for heading in await self.here(place, kind=kind):
            return await self.read(heading)
        what = "" if kind is None else f" of {kind}s"
        raise ConfigError(f"there is no batch{what}{place} yet")

    async def to_resume(self, word: str | None, place: Place) -> KeptBatch:
        """Return the batch to resume: without a word, the latest that has not finished.

        Raises:
            ConfigError: There is none.
        """
        if word is not None:
            return await self.read(await self.named(word, place))
        for heading in await self.here(place):
            batch = await self.read(heading)
            if not batch.is_over and not batch.is_running:
                return batch
        raise ConfigError(f"nothing to resume: each batch{place} has finished, or is still running")

    async def history_of(
        self, items: Iterable[BatchItem[Any]], place: Place, *, before: int
    ) -> list[KeptBatch]:
        """Return the batches that show since when failures are new, the latest as the last.

        They are read until each feature with a failure has a result.

        Args:
            items: The items of a batch of runs.
            place: The service and the project of the batch.
            before: The number of the batch.
        """
        wanted = {
            item.key
            for item in items
            if any(isinstance(run, Run) and run.is_failure for run in item.attempts)
        }
        found: list[KeptBatch] = []
        earlier = [each for each in await self.here(place, kind="run") if each.number < before]
        for heading in earlier[:MOST_EARLIER]:
            if wanted:
                found.insert(0, await self.read(heading))
                wanted -= {item.key for item in found[0].items if item.attempts}
        return found

    async def record(self, items: Iterable[BatchItem[Snapshot]]) -> list[KeptBatch]:
        """Note the outcomes of operations in the ledger; return the batches that dispatched them.

        A failed operation is not changed while a process runs its batch: further attempts are
        that one's to make.
        """
        known = {item.ref: item.outcome for item in items if item.ref and item.outcome}
        keys: set[tuple[str, str, str]] = set()
        outcomes = {ref.key: outcome for ref, outcome in known.items()}
        for place in {(ref.server, ref.project) for ref in known}:
            for row in await self.ledger.related(*place, list(known)):
                outcome = outcomes.get(row.ref.key) if row.ref else None
                if row.state is RowState.DISPATCHED and outcome is not None:
                    row.state, row.outcome, row.error = RowState.FINISHED, outcome, None
                    await self.ledger.note(row)
                    keys.add((*place, row.key))
        headings = reversed(await self.headings())
        return [each for each in headings if (each.server, each.project, each.key) in keys]
