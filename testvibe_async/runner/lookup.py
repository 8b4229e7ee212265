"""The batches of a ledger file, and the one that a command means.

A batch is named by its number or its key; without either, the latest of the project in force is
meant. Projects are compared by their ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from testvibe_async.batch import StoredBatch
from testvibe_async.errors import ConfigError
from testvibe_async.ledger import RowState
from testvibe_async.runner.kept import KeptBatch, is_settled
from testvibe_async.runner.kinds import POLICIES
from testvibe_async.runner.names import similar_names
from testvibe_async.runner.words import command

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from testvibe_async import SqliteLedger
    from testvibe_async.errors import KindName
    from testvibe_async.models import Snapshot
    from testvibe_async.outcomes import BatchItem
    from testvibe_async.runner.quarantine import Quarantine


@frozen
class Place:
    """The service and the project in force, if known."""

    server: str | None
    project: str | None
    """Its id."""

    def has(self, heading: KeptBatch) -> bool:
        """Return whether a batch is one of here."""
        return self.server in {None, heading.server} and self.project in {None, heading.project}

    def __str__(self) -> str:
        """Return it as the end of a sentence, such as ` of project P at https://…`."""
        project = f" of project {self.project}" if self.project else ""
        return f"{project} at {self.server}" if self.server else project


class Batches:
    """The batches of a ledger file."""

    def __init__(self, ledger: SqliteLedger) -> None:
        """Create it, without I/O.

        Args:
            ledger: The file, which is open.
        """
        self.ledger: SqliteLedger = ledger
        self._headings: list[KeptBatch] | None = None

    async def headings(self, *, again: bool = False) -> list[KeptBatch]:
        """Return all batches without their items' results, the latest first.

        Args:
            again: True to read them again; otherwise they are those of the first call.

        Raises:
            ConfigError: The file can't be read.
        """
        if self._headings is None or again:
            found = await StoredBatch.all(self.ledger, with_items=False)
            self._headings = [*map(KeptBatch.of, found)]
        return self._headings

    async def read(self, heading: KeptBatch) -> KeptBatch:
        """Read a batch with its items."""
        return KeptBatch.of(await StoredBatch.read(self.ledger, heading.number))

    async def find(self, key: str, place: Place) -> KeptBatch | None:
        """Return the heading of the batch that has a key in a place; None if there is none."""
        headings = await self.headings(again=True)
        return next((each for each in headings if each.key == key and place.has(each)), None)

    async def named(self, word: str, place: Place) -> KeptBatch:
        """Return the heading of the batch of a number or a key.

        Raises:
            ConfigError: There is no such batch, or there are several in other projects.
        """
        headings = await self.headings()
        if word.isdecimal():
            found = of_any = [each for each in headings if each.number == int(word)]
        else:
            of_any = [each for each in headings if each.key == word]
            found = [each for each in of_any if place.has(each)]
        if len(found) > 1:
            titles = " and ".join(str(each.number) for each in found)
            raise ConfigError(f"batches {titles} have the key {word!r}: name one by its number")
        if not found and of_any:
            raise ConfigError(_is_elsewhere(of_any[0], place))
        if not found:
            names = [each.name for each in headings if each.name and place.has(each)]
            newest = f"the newest is batch {headings[0].title}" if headings else "there is none yet"
            what = "" if word.isdecimal() else "named "
            raise ConfigError(
                f"there is no batch {what}{word}: {similar_names(word, names) or newest}"
            )
        return found[0]

    async def meant(
        self, word: str | None, place: Place, *, kind: KindName | None = None
    ) -> KeptBatch:
        """Return the batch that a word means, with its reruns.

        Args:
            word: A number or a key; None for the latest batch of the place, or the one that it
                reran.
            place: The service and the project in force.
            kind: The kind of its operations, if no word names the batch; None for any.

        Raises:
            ConfigError: There is none.
        """
        if word is not None:
            return await self.with_reruns(await self.read(await self.named(word, place)))
        for heading in await self.here(place, kind=kind):
            return await self.with_reruns(await self.read(await self._first_of(heading)))
        what = "" if kind is None else f" of {kind}s"
        raise ConfigError(f"there is no batch{what}{place} yet")

    async def to_resume(self, word: str | None, place: Place) -> KeptBatch:
        """Return the batch that `resume` is about: without a word, the latest that is not over.

        Raises:
            ConfigError: There is none.
        """
        if word is not None:
            return await self.read(await self.named(word, place))
        async for batch in self.unfinished(place):
            if not batch.is_running:
                return batch
        raise ConfigError(f"nothing to resume: each batch{place} is over, or still running")

    async def unfinished(self, place: Place) -> AsyncGenerator[KeptBatch]:
        """Yield the batches of a place that are not over, the latest first."""
        for heading in await self.here(place):
            batch = await self.read(heading)
            if not batch.is_over:
                yield batch

    async def to_rerun(self, word: str | None, place: Place, quarantine: Quarantine) -> KeptBatch:
        """Return the batch of runs whose failures are to run again, with its reruns.

        Args:
            word: As in `meant`.
            place: The service and the project in force.
            quarantine: The failures that are excused, in a batch that stored none.

        Raises:
            ConfigError: There is no such batch, it has no runs, is another project's, or is still
                running; or none is named, the latest is over without a failure, and an earlier one
                has a failure that did not pass since.
        """
        batch = (await self.meant(word, place, kind="run")).judged(quarantine)
        if (kind := batch.kind) != "run":
            names = [item.feature_name for item in batch.failed]
            again = f"; to repeat what failed: {command(POLICIES[kind].command, *names)}"
            again = again if names else ""
            raise ConfigError(f"{batch} has {kind}s, and --failed repeats runs{again}")
        if not place.has(batch):
            raise ConfigError(_is_elsewhere(batch, place))
        if batch.is_running:
            raise ConfigError(f"{batch} is still running: wait for its end")
        if word is None and batch.is_over and not batch.failed:
            settled: set[tuple[str, str | None]] = set()
            for heading in await self.here(place, kind="run"):
                earlier = (await self.read(heading)).judged(quarantine)
                if any(item.key not in settled for item in earlier.failed):
                    raise ConfigError(
                        f"{batch}, the last one, has no failures. {heading} has "
                        "failures that have not passed since. To rerun those: "
                        + command("run", "--failed", str(heading.number), "--wait")
                    )
                settled |= {item.key for item in earlier.items if is_settled(item)}
        return batch

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
                place = Place(heading.server, heading.project)
                found.append(heading)
        return found

    async def _first_of(self, heading: KeptBatch) -> KeptBatch:
        """Return the batch whose failures a rerun ran again; a batch that is no rerun itself."""
        by_number = {each.number: each for each in await self.headings()}
        while (parent := by_number.get(heading.stored.parent or 0)) is not None:
            heading = parent
        return heading

    async def with_all_reruns(
        self, place: Place, *, kind: KindName | None = None
    ) -> AsyncGenerator[KeptBatch]:
        """Yield the batches of a place, the latest first, each with its reruns.

        A rerun is a batch of its own only where its parent is not there any more.
        """
        numbers = {each.number for each in await self.headings()}
        for heading in await self.here(place, kind=kind):
            if heading.stored.parent not in numbers:
                yield await self.with_reruns(await self.read(heading))

    async def with_reruns(self, batch: KeptBatch, *, without: int | None = None) -> KeptBatch:
        """Return a batch with its reruns but one, as further attempts of its items."""
        for rerun in await self.reruns_of(batch.number, without=without):
            batch = batch.after(rerun)
        return batch

    async def parent_of(self, heading: KeptBatch) -> KeptBatch | None:
        """Return the batch that a rerun reran, with its other reruns; None if there is none.

        Args:
            heading: The rerun, or a batch that is none.
        """
        for each in await self.headings():
            if each.number == heading.stored.parent:
                return await self.with_reruns(await self.read(each), without=heading.number)
        return None

    async def reruns_of(self, number: int, *, without: int | None = None) -> list[KeptBatch]:
        """Return the reruns of a batch, the oldest first, each with its own.

        Args:
            number: The number of the batch.
            without: The number of a rerun to omit; None for all.
        """
        return [
            await self.with_reruns(await self.read(heading))
            for heading in reversed(await self.headings())
            if heading.stored.parent == number and heading.number != without
        ]

    async def record(self, items: Iterable[BatchItem[Snapshot]]) -> list[KeptBatch]:
        """Note the outcomes of operations in the ledger; return the batches that dispatched them.

        A failed operation is left as it is while a process runs its batch: further attempts are
        that one's to make.
        """
        keys: set[tuple[str, str, str]] = set()
        over = [item for item in items if item.ref is not None and item.outcome is not None]
        outcomes = {item.ref.key: item.outcome for item in over if item.ref}
        for place in {(item.ref.server, item.ref.project) for item in over if item.ref}:
            refs = [item.ref for item in over if item.ref]
            for row in await self.ledger.related(*place, refs):
                outcome = outcomes.get(row.ref.key) if row.ref else None
                if row.state is RowState.DISPATCHED and outcome is not None:
                    row.state, row.outcome, row.error = RowState.FINISHED, outcome, None
                    await self.ledger.note(row)
                    keys.add((*place, row.key))
        return [
            each
            for each in reversed(await self.headings())
            if (each.server, each.project, each.key) in keys
        ]


def _is_elsewhere(heading: KeptBatch, place: Place) -> str:
    """Return that a batch is not of the place in force, and what to do."""
    there = Place(heading.server, heading.project)
    return f"{heading} is{there}, not{place}: name them by --server and --project"
