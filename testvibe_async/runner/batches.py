"""The choice of the batch that a command means: by number, name or file, or the last that fits.

Decides which batches are running, interrupted or over, and how a batch and the reruns of its
failures are one.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from attrs import evolve

from testvibe_async._batch import EntryState
from testvibe_async.errors import ConfigError
from testvibe_async.events import logger
from testvibe_async.journal import Journal, is_in_use
from testvibe_async.outcomes import BatchItem, Verdict
from testvibe_async.runner.names import similar_names
from testvibe_async.runner.records import Records
from testvibe_async.runner.stored import (
    Batch,
    BatchRecord,
    Place,
    existing,
    has_failed,
    has_passed,
    state_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence

    from testvibe_async.models import Generation, Run


class Batches(Records):
    """The batches of a folder."""

    def __init__(
        self,
        folder: Path,
        *,
        read_durable: Callable[[BatchRecord], Awaitable[Batch]] | None = None,
    ) -> None:
        """Create it, without I/O.

        Args:
            folder: Folder of the batches; `create` makes it.
            read_durable: Reads the batch of a record that has a database, or raises a
                `ConfigError`; None if there is none.
        """
        super().__init__(folder)
        self._read_durable = read_durable

    async def read(self, record: BatchRecord) -> Batch:
        """Read a batch without changing it.

        Raises:
            ConfigError: Another process works on it, or its journal can't be read.
        """
        if record.database is not None:
            assert self._read_durable is not None
            return await self._read_durable(record)
        async with self.journal(record) as journal:
            return state_of(journal, record)

    async def meant(
        self, word: str | None, place: Place, *, kind: Literal["run", "generation"] | None = None
    ) -> Batch:
        """Return the batch that a word means; without one, the last of a place.

        Args:
            word: A number, a name, or the file of a journal; None for the batch that ended last.
            place: The service and the project in force.
            kind: The kind of its operations, if no word names the batch; None for either.

        Raises:
            ConfigError: There is none, another process works on it, or it can't be read.
        """
        if word is None:
            async for batch in self.each(place, kind=kind, skips_running=False):
                return batch
            what = "" if kind is None else f" of {kind}s"
            raise ConfigError(f"there is no batch{what}{place} yet")
        record = self.record_named(word, place)
        if record is None:
            async with existing(Path(word)) as journal:
                return state_of(journal, None)
        return await self.read(record)

    async def to_resume(self, place: Place) -> Batch:
        """Return the last batch of a place that is not over.

        Raises:
            ConfigError: There is none, or another process works on one that comes first.
        """
        async for batch in self.each(place, skips_running=False):
            if not batch.is_over:
                return batch
        elsewhere = ""
        for record in self.records():
            try:
                batch = await self.read(record)
            except ConfigError as error:
                if place.has(record) and error.__cause__ is not None:
                    raise  # It is unknown whether that batch is over.
                continue
            if not batch.is_over:
                where = f"project {record.project} at {record.server}"
                elsewhere = f"; batch {record.word} of {where} is not"
                break
        raise ConfigError(
            f"nothing to resume: each batch of the last 30 days{place} is over{elsewhere}"
        )

    async def to_rerun(self, word: str | None, place: Place) -> Batch:
        """Return the batch of runs whose failures are to run again, with its reruns.

        Raises:
            ConfigError: There is no such batch, or it is another project's; or none is named, the
                last one is over without a failure, and an earlier one has a failure that did not
                pass since.
        """
        batch = await self.with_reruns(await self.meant(word, place, kind="run"))
        if not place.has(batch):
            raise ConfigError(
                f"{batch.label} is of project {batch.project} at {batch.server}, not{place}: "
                "name them by --server and --project"
            )
        if word is None and batch.is_over and not batch.failed:
            passed: set[tuple[str, str | None]] = set()
            async for earlier in self.each(place, kind="run"):
                if any(item.key not in passed for item in earlier.failed):
                    raise ConfigError(
                        f"nothing failed in the last batch, {batch.label}, but something that has "
                        f"not passed since failed in {earlier.label}: name the one that you mean, "
                        f"as in run --failed {earlier.number} --wait"
                    )
                passed |= {item.key for item in earlier.items if has_passed(item)}
        return batch

    def record_named(self, word: str, place: Place) -> BatchRecord | None:
        """Return the record of the batch that a word means; None if it means a file.

        Raises:
            ConfigError: There is no such batch.
        """
        records = self.records()
        if word.isdecimal():
            found = [each for each in records if each.number == int(word)]
        elif Path(word).is_file() or Path(word).name != word or Path(word).suffix:
            return None
        else:
            found = [each for each in records if each.name == word and place.has(each)]
        if not found:
            names = [each.name for each in records if each.name and place.has(each)]
            what = "" if word.isdecimal() else "named "
            raise ConfigError(
                f"there is no batch {what}{word}: {similar_names(word, names) or _known(records)}"
            )
        return found[0]

    async def each(
        self,
        place: Place,
        *,
        kind: Literal["run", "generation"] | None = None,
        skips_running: bool = True,
    ) -> AsyncGenerator[Batch]:
        """Yield the batches of a place whose journals can be read, the newest first.

        A durable batch whose database can't be read is named in a warning.

        Args:
            place: The service and the project. Where no service is in force, it is the one of the
                newest batch.
            kind: The kind of their operations; None for both.
            skips_running: True to leave out batches that another process is working on.

        Raises:
            ConfigError: Another process works on one, or its database can't be read, and those are
                not left out.
        """
        for record in self.records():
            if kind not in {None, record.kind} or not place.has(record):
                continue
            place = Place(record.server, place.project or record.project)
            try:
                batch = await self.read(record)
            except ConfigError as error:
                if record.database is not None and skips_running:
                    logger.warning("%s is left out: %s", record, error)
                if skips_running or not (record.database or _is_running(error)):
                    continue
                raise
            yield batch

    async def first_of(self, batch: Batch) -> Batch:
        """Return the batch whose failures a rerun ran again; a batch that is no rerun itself.

        Raises:
            ConfigError: It can't be read.
        """
        records = {each.number: each for each in self.records()}
        record = first = records.get(batch.number or 0)
        while record is not None:
            first, record = record, records.get(record.parent or 0)
        return batch if first is None else await self.read(first)

    async def with_all_reruns(self, place: Place) -> AsyncGenerator[Batch]:
        """Yield the batches of runs of a place, the newest first, each with its reruns.

        A rerun is a batch of its own only where its parent is not there any more.
        """
        parents = {each.number: each.parent for each in self.records()}
        async for batch in self.each(place, kind="run"):
            if parents.get(batch.number or 0) not in parents:
                yield await self.with_reruns(batch)

    async def interrupted(self) -> list[tuple[BatchRecord, Batch]]:
        """Return the batches whose process did not shut down in order, each of them once.

        A batch that can't be read, or is over, is not returned.
        """
        found: list[tuple[BatchRecord, Batch]] = []
        for record in self.records():
            if record.ended_at is not None:
                continue
            try:
                batch = await self.read(record)
            except ConfigError as error:
                if _is_running(error):
                    continue
            else:
                found += [] if batch.is_over else [(record, batch)]
            self.end(record, at=record.started_at)
        return found

    async def with_reruns(self, batch: Batch) -> Batch:
        """Return a batch with its reruns, as further attempts of its items.

        A rerun that can't be read, such as one that another process holds, is omitted.
        """
        children = [each for each in self.records() if batch.number and each.parent == batch.number]
        for record in sorted(children, key=lambda each: each.number):
            with suppress(ConfigError):
                rerun = await self.with_reruns(await self.read(record))
                again = {(item.feature, item.config): item for item in rerun.items}
                batch = evolve(
                    batch,
                    items=[
                        _again(each, again.pop((each.feature, each.config), None))
                        if has_failed(each)
                        else each
                        for each in batch.items
                    ],
                    is_over=batch.is_over and rerun.is_over,
                    unfinished=rerun.unfinished if batch.is_over else batch.unfinished,
                    reruns=(*batch.reruns, record.number, *rerun.reruns),
                )
        return batch

    async def record(self, items: Iterable[BatchItem[Run | Generation]]) -> list[BatchRecord]:
        """Save outcomes in the batches that dispatched their operations; return those batches.

        A batch that another process works on, or that can't be read, is left as it is, and so is
        an operation that failed while attempts are left: `resume` polls and repeats it.
        """
        items = list(items)
        outcomes = {
            item.latest_ref.key: item.outcome for item in items if item.latest_ref and item.outcome
        }
        places = {
            (item.latest_ref.server, item.latest_ref.project) for item in items if item.latest_ref
        }
        found: list[BatchRecord] = []
        for record in self.records():
            if (record.server, record.project) not in places:
                continue
            with suppress(ConfigError):
                async with existing(self.journal_of(record)) as journal:
                    if _record_outcomes(journal, outcomes):
                        found.append(record)
        return found


def _record_outcomes(
    journal: Journal, outcomes: Mapping[tuple[object, ...], Run | Generation]
) -> bool:
    """Save the outcomes of entries that are in flight; return whether there are any."""
    assert journal.plan is not None
    attempts = journal.plan.options.get("batch", {}).get("attempts", 1)
    is_any = False
    for entry in journal.entries:
        outcome = outcomes.get(entry.ref.key) if entry.ref else None
        if outcome is None or entry.state is not EntryState.DISPATCHED:
            continue
        if not outcome.is_failure or len(entry.outcomes) + 1 >= attempts:
            entry.observe(outcome, is_last=True)
            journal.save(entry)
            is_any = True
    return is_any


def _again(
    item: BatchItem[Run | Generation], rerun: BatchItem[Run | Generation] | None
) -> BatchItem[Run | Generation]:
    """Return an item after its rerun, if that was dispatched."""
    if rerun is None or rerun.verdict in {Verdict.SKIPPED, Verdict.WAITING}:
        return item
    attempts = (*item.earlier, item.outcome) if item.outcome else item.earlier
    return evolve(rerun, earlier=(*attempts, *rerun.earlier))


def _is_running(error: ConfigError) -> bool:
    """Return whether a batch could not be read because another process works on it."""
    return isinstance(error.__cause__, ConfigError) and is_in_use(error.__cause__)


def _known(records: Sequence[BatchRecord]) -> str:
    if not records:
        return "there is none yet"
    return f"the newest is batch {records[0].word}"
