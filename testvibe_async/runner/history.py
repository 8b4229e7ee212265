"""The history of a ledger file: its batches, the one that a command means, and their reruns.

A batch is named by its number or its key; without either, the latest of the project in force is
meant. Projects are compared by their ids. Decides what counts as failed for a rerun, and how a
batch and the reruns of its failures are one. It never asks the service.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import reduce
from typing import TYPE_CHECKING, Any, Self

from attrs import evolve, fields_dict, frozen

from testvibe_async.batch import StoredBatch
from testvibe_async.errors import ConfigError
from testvibe_async.ledger import RowState
from testvibe_async.models import Run
from testvibe_async.outcomes import BatchItem, Verdict
from testvibe_async.runner.names import similar_names
from testvibe_async.runner.spec import BatchSpec
from testvibe_async.runner.words import command

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

    from testvibe_async import Batch, SqliteLedger
    from testvibe_async.errors import KindName
    from testvibe_async.models import Snapshot
    from testvibe_async.runner.quarantine import Quarantine


MOST_EARLIER = 50
"""Number of earlier batches in which a feature's last result is looked for."""


@frozen(kw_only=True)
class KeptBatch(StoredBatch):
    """A batch of a ledger with its description; its items are marked by its quarantine."""

    spec: BatchSpec

    fails_on_flaky: bool
    """True if its command was to fail if a feature was flaky."""

    unfinished: int
    """The number of the batch to resume if it has not finished: its own, or that of a rerun."""

    reruns: Sequence[int] = ()
    """The batches that reran its failures, if they are part of its items."""

    @classmethod
    def of(cls, batch: StoredBatch) -> Self:
        """Return a batch of a ledger with its description."""
        spec = BatchSpec.of(batch)
        facts = {name: getattr(batch, name) for name in fields_dict(StoredBatch)}
        facts["items"] = [*map(spec.mark, batch.items)]
        is_strict = bool(spec.files.get("fail_on_flaky"))
        return cls(**facts, spec=spec, fails_on_flaky=is_strict, unfinished=batch.number)

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

    def judged(self, quarantine: Quarantine) -> Self:
        """Return it marked by a quarantine, unless it is by the one that held when it ran."""
        if self.spec.quarantine is not None:
            return self
        return evolve(
            self,
            items=[*map(quarantine.mark, self.items)],
            spec=evolve(self.spec, quarantine=quarantine),
        )

    def after(self, rerun: KeptBatch) -> Self:
        """Return it after a rerun of its failures."""
        return evolve(
            self,
            items=after_rerun(self.items, rerun.items),
            fails_on_flaky=self.fails_on_flaky or rerun.fails_on_flaky,
            is_running=self.is_running or rerun.is_running,
            is_over=self.is_over and rerun.is_over,
            unfinished=rerun.number if self.is_over else self.unfinished,
            reruns=(*self.reruns, rerun.number),
        )

    @property
    def failed(self) -> list[BatchItem[Snapshot]]:
        """Its items that a rerun is to run again: see `has_failed`."""
        return [item for item in self.items if has_failed(item)]


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
            raise ConfigError(_is_elsewhere(of_any[0], place))
        keys = [each.name for each in headings if each.name and place.has(each)]
        newest = f"the newest is batch {headings[0].title}" if headings else "there is none yet"
        what = "" if is_number else "named "
        raise ConfigError(f"there is no batch {what}{word}: {similar_names(word, keys) or newest}")

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
            return await self.with_reruns(await self.named(word, place))
        by_number = {each.number: each for each in await self.headings()}
        for heading in await self.here(place, kind=kind):
            while (parent := by_number.get(heading.spec.parent or 0)) is not None:
                heading = parent  # noqa: PLW2901 - up to the first
            return await self.with_reruns(heading)
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

    async def to_rerun(self, word: str | None, place: Place, quarantine: Quarantine) -> KeptBatch:
        """Return the batch of runs whose failures are to run again, with its reruns.

        Args:
            word: As in `meant`.
            place: The service and the project in force.
            quarantine: The failures that are excused, in a batch that kept none.

        Raises:
            ConfigError: There is no such batch, it has no runs, is another project's, or is still
                running; or none is named, the latest finished without a failure, and an earlier one
                has a failure that did not pass since.
        """
        batch = (await self.meant(word, place, kind="run")).judged(quarantine)
        if batch.kind == "generation":
            names = [item.feature_name for item in batch.failed]
            again = f"; to repeat what failed: {command('generate', *names)}" if names else ""
            raise ConfigError(f"{batch} has generations, and --failed repeats runs{again}")
        if not place.has(batch):
            raise ConfigError(_is_elsewhere(batch, place))
        if batch.is_running:
            raise ConfigError(f"{batch} is still running: wait for its end")
        if word is None and batch.is_over and not batch.failed:
            await self._require_settled(batch, place, quarantine)
        return batch

    async def _require_settled(
        self, latest: KeptBatch, place: Place, quarantine: Quarantine
    ) -> None:
        """Refuse to rerun nothing, if an earlier failure did not pass since."""
        settled: set[tuple[str, str | None]] = set()
        for heading in await self.here(place, kind="run"):
            earlier = (await self.read(heading)).judged(quarantine)
            if any(item.key not in settled for item in earlier.failed):
                raise ConfigError(
                    f"{latest}, the last one, has no failures. {heading} has "
                    "failures that have not passed since. To rerun those: "
                    + command("run", "--failed", str(heading.number), "--wait")
                )
            settled |= {item.key for item in earlier.items if _is_settled(item)}

    async def with_all_reruns(self, place: Place) -> AsyncGenerator[KeptBatch]:
        """Yield the batches of a place, the latest first, each with its reruns.

        A rerun is a batch of its own only where its parent is not there any more.
        """
        numbers = {each.number for each in await self.headings()}
        for heading in await self.here(place):
            if heading.spec.parent not in numbers:
                yield await self.with_reruns(heading)

    async def with_reruns(self, heading: KeptBatch, *, without: int | None = None) -> KeptBatch:
        """Read a batch with its reruns but one, as further attempts of its items."""
        reruns = await self.reruns_of(heading.number, without=without)
        return reduce(KeptBatch.after, reruns, await self.read(heading))

    async def reruns_of(self, number: int, *, without: int | None = None) -> list[KeptBatch]:
        """Return the reruns of a batch, and theirs, the oldest first.

        Args:
            number: The number of the batch.
            without: The number of a rerun to omit, with its own; None for all.
        """
        numbers, found = {number}, list[KeptBatch]()
        for heading in reversed(await self.headings()):
            if heading.spec.parent in numbers and heading.number != without:
                numbers.add(heading.number)
                found.append(await self.read(heading))
        return found

    async def parent_of(self, rerun: KeptBatch) -> KeptBatch | None:
        """Return the batch that a rerun reran, with its other reruns; None if there is none."""
        found = (each for each in await self.headings() if each.number == rerun.spec.parent)
        heading = next(found, None)
        return heading and await self.with_reruns(heading, without=rerun.number)

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


def _is_elsewhere(batch: KeptBatch, place: Place) -> str:
    """Return that a batch is not of the place in force, and what to do."""
    return f"{batch} is{batch.place}, not{place}: name them by --server and --project"


def has_failed(item: BatchItem[Snapshot]) -> bool:
    """Return whether to run an item again may help: it failed, or could not be started.

    Excused failures are none. An expired quarantine and an unexpected pass make a batch red, but no
    run that passed is run again for them.
    """
    bare = evolve(item, quarantine=None)
    if bare.verdict is Verdict.FAILED:
        return item.verdict is not Verdict.QUARANTINED
    return bare.is_bad and bare.verdict is not Verdict.UNKNOWN and item.ref is None


def _is_settled(item: BatchItem[Snapshot]) -> bool:
    """Return whether an item passed, expected or not, or failed as expected."""
    has_passed = evolve(item, quarantine=None).verdict is Verdict.SUCCEEDED
    return has_passed or item.verdict is Verdict.QUARANTINED


def after_rerun(
    items: Iterable[BatchItem[Any]], rerun: Iterable[BatchItem[Any]]
) -> list[BatchItem[Any]]:
    """Return the items of a batch after a rerun, whose runs are further attempts of its failures.

    Args:
        items: The items of the batch.
        rerun: Those of the rerun. What it has not dispatched is as it was.
    """
    again = {
        (item.feature, item.config): item
        for item in rerun
        if item.verdict not in {Verdict.SKIPPED, Verdict.WAITING}
    }
    found: list[BatchItem[Any]] = []
    for item in items:
        last = again.pop((item.feature, item.config), None) if has_failed(item) else None
        found.append(evolve(last, earlier=(*item.attempts, *last.earlier)) if last else item)
    return found
