"""The batches of one folder, and the one that a command means.

Decides which process works on a batch, which batches are running, interrupted or over, and how a
batch and the reruns of its failures are one. Which records there are is decided in `records`.
"""

from __future__ import annotations

import os
import shlex
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from attrs import evolve

from testvibe_async._batch import EntryState
from testvibe_async.errors import ConfigError
from testvibe_async.events import logger
from testvibe_async.journal import Journal, is_in_use
from testvibe_async.runner.kinds import POLICIES
from testvibe_async.runner.names import similar_names
from testvibe_async.runner.records import BatchRecord, Place, Records
from testvibe_async.runner.stored import Batch, existing, is_settled

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping

    from testvibe_async.errors import KindName
    from testvibe_async.models import Snapshot
    from testvibe_async.outcomes import BatchItem
    from testvibe_async.runner.quarantine import Quarantine


class RunningError(ConfigError):
    """Another process works on a batch."""


class Batches(Records):
    """The batches of a folder."""

    @asynccontextmanager
    async def working_on(
        self, record: BatchRecord, *, options: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[Journal]:
        """Open the journal of a batch, and note in its record that this process works on it.

        Args:
            record: The batch.
            options: Options that a new journal stores for `resume`; None for a journal that is
                there.

        Raises:
            ConfigError: The journal can't be used, or another process works on it.
        """
        opened = (
            self._journal(record)
            if options is None
            else Journal(self.journal_of(record), options=options)
        )
        async with opened as journal:
            now, ended_at = datetime.now(UTC), None
            running = evolve(record, process=os.getpid(), started_at=now, ended_at=None)
            self._write(running)
            try:
                yield journal
            except ConfigError:  # The command is refused, so the batch did not end just now.
                ended_at = record.ended_at
                raise
            finally:
                await journal.aclose()
                self.end(running, at=ended_at)

    async def read(self, record: BatchRecord) -> Batch:
        """Read a batch without changing it.

        Raises:
            ConfigError: Another process works on it, or its journal can't be read.
        """
        async with self._journal(record) as journal:
            return Batch.of(journal, record)

    async def meant(
        self, word: str | None, place: Place, *, kind: Literal["run"] | None = None
    ) -> Batch:
        """Return the batch that a word means, with its reruns.

        Args:
            word: A number or a name; None for the batch of the place that ended last, or the one
                that this one reran.
            place: The service and the project in force.
            kind: The kind of its operations, if no word names the batch; None for any.

        Raises:
            ConfigError: There is none, another process works on it, or it can't be read.
        """
        if word is None:
            async for batch in self.each(place, kind=kind, skips_unreadable=False):
                return await self.with_reruns(await self._first_of(batch))
            what = "" if kind is None else f" of {kind}s"
            raise ConfigError(f"there is no batch{what}{place} yet")
        return await self.with_reruns(await self.read(self.records_named(word, place)[0]))

    async def to_resume(self, word: str | None, place: Place) -> BatchRecord:
        """Return the batch that `resume` is about.

        It is the last one that is not over, of that name or of the place. Where all of a name are
        over, it is the last one.

        Raises:
            ConfigError: There is none, or one that comes first can't be read.
        """
        named = [] if word is None else self.records_named(word, place)
        if len(named) == 1:
            return named[0]
        async for batch in self.each(place, name=word, skips_unreadable=False):
            if not batch.is_over:
                return batch.record
        if named:
            return named[0]
        raise ConfigError(f"nothing to resume: each batch of the last 30 days{place} is over")

    async def to_rerun(self, word: str | None, place: Place, quarantine: Quarantine) -> Batch:
        """Return the batch of runs whose failures are to run again, with its reruns.

        Args:
            word: As in `meant`.
            place: The service and the project in force.
            quarantine: The failures that are excused, in a batch that stored none.

        Raises:
            ConfigError: There is no such batch, it has no runs, or it is another project's; or none
                is named, the last one is over without a failure, and an earlier one has a failure
                that did not pass since.
        """
        batch = (await self.meant(word, place, kind="run")).judged(quarantine)
        if (kind := batch.spec.kind) != "run":
            names = shlex.join(item.feature_name for item in batch.failed)
            command = f"testvibe-async {POLICIES[kind].command} {names}"
            again = names and f"; to repeat what failed: {command}"
            raise ConfigError(f"{batch.record} has {kind}s, and --failed repeats runs{again}")
        if not place.has(batch.record):
            raise ConfigError(_is_elsewhere(batch.record, place))
        if word is None and batch.is_over and not batch.failed:
            settled: set[tuple[str, str | None]] = set()
            async for each in self.each(place, kind="run"):
                earlier = each.judged(quarantine)
                if any(item.key not in settled for item in earlier.failed):
                    raise ConfigError(
                        f"{batch.record}, the last one, has no failures. {earlier.record} has "
                        "failures that have not passed since. To rerun those: "
                        f"testvibe-async run --failed {earlier.record.number} --wait"
                    )
                settled |= {item.key for item in earlier.items if is_settled(item)}
        return batch

    def records_named(self, word: str, place: Place) -> list[BatchRecord]:
        """Return the records that a word means, the newest first.

        Only a name may mean several.

        Raises:
            ConfigError: There is no such batch.
        """
        records = self.records()
        if word.isdecimal():
            found = [each for each in records if each.number == int(word)]
        else:
            found = [each for each in records if each.name == word and place.has(each)]
        if not found:
            for each in records:
                if each.name == word:
                    raise ConfigError(_is_elsewhere(each, place))
            names = [each.name for each in records if each.name and place.has(each)]
            newest = f"the newest is batch {records[0].title}" if records else "there is none yet"
            what = "" if word.isdecimal() else "named "
            raise ConfigError(
                f"there is no batch {what}{word}: {similar_names(word, names) or newest}"
            )
        return found

    async def each(
        self,
        place: Place,
        *,
        kind: KindName | None = None,
        name: str | None = None,
        skips_unreadable: bool = True,
    ) -> AsyncGenerator[Batch]:
        """Yield the batches of a place, the newest first.

        One that another process works on, or that can't be read, is named in a warning if it is
        left out. One whose journal is not there any more is left out in any case.

        Args:
            place: The service and the project. Where no service is in force, it is the one of the
                newest batch.
            kind: The kind of their operations; None for any.
            name: Their name; None for any.
            skips_unreadable: True to leave those out.

        Raises:
            ConfigError: One can't be read, and is not left out.
        """
        for record in self.records():
            is_meant = kind in {None, record.kind} and name in {None, record.name}
            if not is_meant or not place.has(record):
                continue
            place = Place(record.server, place.project or record.project)
            try:
                yield await self.read(record)
            except ConfigError as error:
                is_unreadable = error.__cause__ is not None
                if is_unreadable and not skips_unreadable:
                    raise
                if is_unreadable:
                    said = f"{record} is left out: {error}"
                    if isinstance(error, RunningError):
                        said = f"{error}, so it is left out"
                    logger.warning("%s", said)

    async def _first_of(self, batch: Batch) -> Batch:
        """Return the batch whose failures a rerun ran again; a batch that is no rerun itself.

        Raises:
            ConfigError: It can't be read.
        """
        first, records = batch.record, {each.number: each for each in self.records()}
        while first.parent in records:
            first = records[first.parent]
        return batch if first is batch.record else await self.read(first)

    async def with_all_reruns(self, place: Place) -> AsyncGenerator[Batch]:
        """Yield the batches of runs of a place, the newest first, each with its reruns.

        A rerun is a batch of its own only where its parent is not there any more.
        """
        numbers = {each.number for each in self.records()}
        async for batch in self.each(place, kind="run"):
            if batch.record.parent not in numbers:
                yield await self.with_reruns(batch)

    async def interrupted(self) -> list[Batch]:
        """Return the batches whose process did not shut down in order, each of them once.

        A batch that can't be read, or is over, is not returned.
        """
        found: list[Batch] = []
        for record in self.records():
            if record.ended_at is not None:
                continue
            with suppress(ConfigError):
                try:
                    batch = await self.read(record)
                except RunningError:
                    continue
                if not batch.is_over:
                    found.append(batch)
            self.end(record, at=record.started_at)
        return found

    async def with_reruns(self, batch: Batch, *, without: BatchRecord | None = None) -> Batch:
        """Return a batch with its reruns but one, as further attempts of its items."""
        for rerun in await self.reruns_of(batch.record.number, without=without):
            batch = batch.after(rerun)
        return batch

    async def parent_of(self, record: BatchRecord) -> Batch | None:
        """Return the batch that a rerun reran, with its other reruns; None without a readable one.

        Args:
            record: The record of the rerun, or of a batch that is none.
        """
        if record.parent is not None:
            with suppress(ConfigError):
                place = Place(record.server, record.project)
                named = self.records_named(str(record.parent), place)
                return await self.with_reruns(await self.read(named[0]), without=record)
        return None

    async def reruns_of(self, number: int, *, without: BatchRecord | None = None) -> list[Batch]:
        """Return the reruns of a batch, the oldest first, each with its own.

        A rerun that can't be read, such as one that another process holds, is omitted.

        Args:
            number: The number of the batch.
            without: The record of a rerun to omit; None for all.
        """
        omitted, found = without and without.number, list[Batch]()
        for record in sorted(self.records(), key=lambda each: each.number):
            if record.parent == number and record.number != omitted:
                with suppress(ConfigError):
                    found.append(await self.with_reruns(await self.read(record)))
        return found

    async def record(self, items: Iterable[BatchItem[Snapshot]]) -> list[BatchRecord]:
        """Save outcomes in the batches that dispatched their operations; return those batches.

        A batch that another process works on, or that can't be read, is left as it is, and so is
        an operation that failed while attempts are left: `resume` polls and repeats it.
        """
        known = {item.ref: item.outcome for item in items if item.ref}
        outcomes = {ref.key: outcome for ref, outcome in known.items() if outcome}
        places = {(ref.server, ref.project) for ref in known}
        found: list[BatchRecord] = []
        for record in self.records():
            if (record.server, record.project) in places:
                with suppress(ConfigError):
                    async with existing(self.journal_of(record)) as journal:
                        if _record_outcomes(journal, outcomes):
                            found.append(record)
        return found

    @asynccontextmanager
    async def _journal(self, record: BatchRecord) -> AsyncGenerator[Journal]:
        """Open the journal of a batch.

        Raises:
            ConfigError: Another process works on it, or it can't be read.
        """
        try:
            async with existing(self.journal_of(record)) as journal:
                yield journal
        except ConfigError as error:
            if not is_in_use(error):
                raise
            since = f"{record.started_at.astimezone():%H:%M}"
            raise RunningError(
                f"{record} has been running since {since} in process {record.process}"
            ) from error


def _is_elsewhere(record: BatchRecord, place: Place) -> str:
    """Return that a batch is not of the place in force, and what to do."""
    there = Place(record.server, record.project)
    return f"{record} is{there}, not{place}: name them by --server and --project"


def _record_outcomes(journal: Journal, outcomes: Mapping[tuple[object, ...], Snapshot]) -> bool:
    """Save the outcomes of entries that are in flight; return whether there are any."""
    assert journal.plan is not None
    is_any = False
    for entry in journal.entries:
        outcome = outcomes.get(entry.ref.key) if entry.ref else None
        if outcome is None or entry.state is not EntryState.DISPATCHED:
            continue
        if not outcome.is_failure or len(entry.outcomes) + 1 >= journal.plan.attempts:
            entry.observe(outcome, is_last=True)
            journal.save(entry)
            is_any = True
    return is_any
