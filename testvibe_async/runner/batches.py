"""The batches of one folder: each has a number, a journal, and a record that is always readable.

Decides which batch a command means, and which are running, interrupted or over. A journal can be
read by one process at a time, so the record beside it says what others need to know of a batch that
runs elsewhere. What a batch did is in its journal alone. A durable batch has its journal in a
database, which any number of processes read.
"""

from __future__ import annotations

import json
import os
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attrs import asdict, evolve, field, frozen

from testvibe_async._batch import EntryState
from testvibe_async._util.serialization import Serializable
from testvibe_async.errors import ConfigError
from testvibe_async.events import logger
from testvibe_async.journal import Journal, files_of, is_in_use
from testvibe_async.outcomes import BatchItem, Verdict
from testvibe_async.refs import build_stored, is_aware, read_stored
from testvibe_async.runner.generation_limit import with_limit_named
from testvibe_async.runner.names import similar_names
from testvibe_async.runner.spec import BatchSpec

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        Awaitable,
        Callable,
        Iterable,
        Mapping,
        Sequence,
    )

    from testvibe_async._batch import Plan
    from testvibe_async.models import Generation, Run

__all__ = [
    "Batch",
    "BatchRecord",
    "Batches",
    "Place",
    "Worker",
    "require_batch",
    "require_existing",
    "require_whole",
    "spec_of",
]

_VERSION = 1

KEPT = 50
"""Maximum number of batches that are retained."""

KEPT_FOR = timedelta(days=30)
"""Retention of a batch."""


@frozen(kw_only=True)
class BatchRecord:
    """Facts about a numbered batch that are known without its journal."""

    number: int
    name: str | None
    """The name of the batch; None if it has none."""

    kind: Literal["run", "generation"]
    server: str
    project: str
    project_name: str | None
    """The name that was given for the project; None if an id was given."""

    parent: int | None
    """The number of the batch whose failures it runs again; None if it does not."""

    process: int
    """The process that runs the batch, or did last."""

    started_at: datetime = field(validator=is_aware)
    """The time when that process began to."""

    ended_at: datetime | None = field(default=None, validator=is_aware)
    """The time when that process ended the batch; None while it runs, or if interrupted."""

    database: str | None = None
    """The database of a durable batch, without a password; None if its journal is a file."""

    def __str__(self) -> str:
        """Return its name in a sentence: `Batch 12 (nightly)`."""
        return f"Batch {self.word}"

    @property
    def word(self) -> str:
        """The batch's number and name, to follow the word batch: `12 (nightly)`."""
        return f"{self.number}" + (f" ({self.name})" if self.name else "")

    @property
    def done_at(self) -> datetime:
        """The time of the last action on it."""
        return self.ended_at or self.started_at


@frozen
class Place:
    """The service and the project in force, if known."""

    server: str | None
    project: str | None
    """Its id, or its name."""

    def has(self, batch: Batch | BatchRecord) -> bool:
        """Return whether a batch is one of here."""
        names = {None, batch.project.casefold(), (batch.project_name or "").casefold()}
        project = None if self.project is None else self.project.casefold()
        return self.server in {None, batch.server} and project in names

    def __str__(self) -> str:
        """Return it as the end of a sentence, such as ` of project P at https://…`."""
        project = f" of project {self.project}" if self.project else ""
        return f"{project} at {self.server}" if self.server else project


@frozen(kw_only=True)
class Worker(Serializable):
    """A process that works on a durable batch, or did."""

    name: str
    """Its host, its process id and a random word."""

    is_alive: bool
    """True if it works; what a dead one had in flight, another takes over."""

    in_flight: int = 0
    """Number of its operations in flight, with those whose dispatch is under way."""

    def __str__(self) -> str:
        """Return its state as a line."""
        if self.is_alive:
            return f"{self.name} has {self.in_flight} in flight"
        return f"{self.name} has ended, with {self.in_flight} in flight for another to take over"


@frozen(kw_only=True)
class Batch:
    """The state of one batch according to its journal, without asking the service."""

    path: Path
    """The file of its journal; of a durable batch there is none."""

    record: BatchRecord | None
    """Its record; None if its journal is a file of the caller's own."""

    kind: Literal["run", "generation"]
    server: str
    project: str
    project_name: str | None
    spec: BatchSpec
    """The spec that its command created."""

    fails_on_flaky: bool
    """True if its command was to fail if a feature was flaky."""

    created_at: datetime
    items: Sequence[BatchItem[Run | Generation]]
    is_over: bool
    """True if nothing is left to dispatch, to wait for or to reconcile."""

    is_complete: bool
    """True if all of its features are known."""

    unfinished: Path
    """The journal to resume if it is not over: its own, or that of a rerun."""

    reruns: Sequence[int] = ()
    """The batches that reran its failures, if they are part of its items."""

    is_live: bool = False
    """True if it is durable, and a worker has something to do for it."""

    workers: Sequence[Worker] = ()
    """The workers of a durable batch that are alive, or ended with something in flight."""

    @property
    def has_worker(self) -> bool:
        """True if a worker of a durable batch is alive."""
        return any(worker.is_alive for worker in self.workers)

    @property
    def database(self) -> str | None:
        """The database of a durable batch; None if its journal is a file."""
        return None if self.record is None else self.record.database

    @property
    def label(self) -> str:
        """The batch's name in a sentence: `Batch 12 (nightly)`, or `The batch in FILE`."""
        return f"The batch in {self.path}" if self.record is None else str(self.record)

    @property
    def number(self) -> int | None:
        """Its number; None if its journal is a file of the caller's own."""
        return None if self.record is None else self.record.number

    @property
    def failed(self) -> list[BatchItem[Run | Generation]]:
        """Its items that failed, or could not be started."""
        return [item for item in self.items if _has_failed(item)]

    @property
    def failed_jobs(self) -> list[BatchItem[Any]]:
        """An item without ref and outcome for each of those."""
        return [
            BatchItem(feature=item.feature, name=item.feature_name, config=item.config)
            for item in self.failed
        ]

    def rerun(
        self, spec: BatchSpec, *, on_conflict: Literal["raise", "generate"] | None
    ) -> BatchSpec:
        """Return the spec of a rerun of the failures, on the same site.

        Args:
            spec: The spec that was asked for.
            on_conflict: The treatment of conflicts that was asked for; None for that of this batch,
                which concerns features without a run: the others have tests.
        """
        may_lack_tests = any(not item.attempts for item in self.failed)
        same = self.spec.on_conflict if may_lack_tests else "raise"
        return evolve(
            spec,
            site_url=spec.site_url or self.spec.site_url,
            on_conflict=on_conflict or same,
        )

    @property
    def undecided(self) -> list[BatchItem[Run | Generation]]:
        """Its items that neither passed nor failed."""
        return [item for item in self.items if not _has_passed(item) and not _has_failed(item)]


class Batches:
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
        self.folder: Path = folder
        self._read_durable = read_durable

    def records(self) -> list[BatchRecord]:
        """Return the records of all batches, the one that was worked on last first."""
        with suppress(OSError):
            found = [_read(path) for path in self.folder.glob("*.json")]
            return sorted(filter(None, found), key=lambda each: each.done_at, reverse=True)
        return []

    def journal_of(self, record: BatchRecord) -> Path:
        """Return the journal of a batch."""
        return self.folder / f"{record.number}.journal"

    def word_for(self, journal: Path) -> str:
        """Return the argument for the batch of a journal: its number, or the file."""
        return journal.stem if journal.parent == self.folder else str(journal)

    def create(  # noqa: PLR0913 - each by name but two
        self,
        kind: Literal["run", "generation"],
        place: Place,
        *,
        name: str | None = None,
        project_name: str | None = None,
        parent: int | None = None,
        database: str | None = None,
    ) -> BatchRecord:
        """Add a batch that this process works on, and remove batches beyond the limit, or too old.

        A durable batch has no such process; if it is here already, its record is returned.

        Raises:
            OSError: The folder can't be written to.
        """
        assert place.server is not None
        assert place.project is not None
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        records = self.records()
        self._remove_old(records)
        now = datetime.now(UTC)
        for each in records:
            if database is not None and (each.database, each.name) == (database, name):
                return each
        record = BatchRecord(
            number=max((each.number for each in records), default=0) + 1,
            name=name,
            kind=kind,
            server=place.server,
            project=place.project,
            project_name=project_name,
            parent=parent,
            process=os.getpid(),
            started_at=now,
            ended_at=None if database is None else now,
            database=database,
        )
        while True:
            try:
                self._path_of(record).touch(exist_ok=False)
            except FileExistsError:  # Another process was faster.
                record = evolve(record, number=record.number + 1)
            else:
                self._write(record)
                return record

    def end(self, record: BatchRecord, *, at: datetime | None = None) -> None:
        """Note that its process is done with a batch, now or at another moment."""
        with suppress(OSError):
            self._write(evolve(record, ended_at=at or datetime.now(UTC)))

    @asynccontextmanager
    async def working_on(
        self, record: BatchRecord, *, options: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[Journal]:
        """Open the journal of a batch, and note that this process works on it meanwhile.

        Args:
            record: The batch.
            options: Options that a new journal stores for `resume`.

        Raises:
            ConfigError: The journal can't be used.
        """
        async with Journal(self.journal_of(record), options=options) as journal:
            now = datetime.now(UTC)
            record = evolve(record, process=os.getpid(), started_at=now, ended_at=None)
            self._write(record)
            try:
                yield journal
            finally:
                await journal.aclose()
                self.end(record)

    async def read(self, record: BatchRecord) -> Batch:
        """Read a batch without changing it.

        Raises:
            ConfigError: Another process works on it, or its journal can't be read.
        """
        if record.database is not None:
            assert self._read_durable is not None
            return await self._read_durable(record)
        try:
            return await _read_journal(self.journal_of(record), record)
        except ConfigError as error:
            if is_in_use(error):
                raise ConfigError(_running(record)) from error
            raise

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
            return await _read_journal(Path(word), None)
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
                passed |= {item.key for item in earlier.items if _has_passed(item)}
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
                        if _has_failed(each)
                        else each
                        for each in batch.items
                    ],
                    is_over=batch.is_over and rerun.is_over,
                    unfinished=rerun.unfinished if batch.is_over else batch.unfinished,
                    reruns=(*batch.reruns, record.number, *rerun.reruns),
                )
        return batch

    def discard(self, record: BatchRecord) -> None:
        """Delete a batch; operations in flight continue at the service."""
        for path in (*files_of(self.journal_of(record)), self._path_of(record)):
            with suppress(OSError):
                path.unlink(missing_ok=True)

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
                require_existing(self.journal_of(record))
                async with Journal(self.journal_of(record)) as journal:
                    if _record_outcomes(journal, outcomes):
                        found.append(record)
        return found

    def _path_of(self, record: BatchRecord) -> Path:
        return self.folder / f"{record.number}.json"

    def _write(self, record: BatchRecord) -> None:
        """Write a record at once, so that none is ever half of one."""
        path = self._path_of(record)
        part = path.with_suffix(f".{os.getpid()}.part")
        document = {"version": _VERSION, **asdict(record, value_serializer=_serialized)}
        part.write_text(json.dumps(document), encoding="utf-8")
        part.replace(path)

    def _remove_old(self, records: Sequence[BatchRecord]) -> None:
        """Remove batches beyond the limit, or too old; none on which a process works."""
        oldest = datetime.now(UTC) - KEPT_FOR
        ended = [each for each in records if each.ended_at is not None]
        for place, record in enumerate(ended):
            if place >= KEPT - 1 or record.done_at < oldest:
                self.discard(record)


async def _read_journal(path: Path, record: BatchRecord | None) -> Batch:
    """Read a journal without changing it.

    Raises:
        ConfigError: It is none, holds no batch, or is in use.
    """
    require_existing(path)
    async with Journal(path) as journal:
        require_batch(journal)
        assert journal.plan is not None
        assert journal.created_at is not None
        # What was not dispatched is not going to be, as far as a reader is concerned.
        items = [with_limit_named(evolve(item, is_waiting=False)) for item in journal.items]
        return Batch(
            path=path,
            unfinished=path,
            record=record,
            kind=journal.plan.kind,
            server=journal.plan.server,
            project=journal.plan.project,
            project_name=journal.plan.options.get("project"),
            spec=spec_of(journal.plan),
            fails_on_flaky=bool(journal.plan.options.get("files", {}).get("fail_on_flaky")),
            created_at=journal.created_at,
            items=items,
            is_over=journal.is_over,
            is_complete=journal.is_complete,
        )


def spec_of(plan: Plan) -> BatchSpec:
    """Return the spec of a batch by its plan, also of one that the library started."""
    known = {name: getattr(plan, name) for name in ("kind", "site_url", "on_conflict", "attempts")}
    return BatchSpec.from_dict(plan.options.get("batch", {}) | known)


def require_existing(path: Path) -> None:
    """Refuse a journal that is not there: opening it would make one.

    Raises:
        ConfigError: It is not there.
    """
    if not path.exists():
        raise ConfigError(f"there is no journal {path}")


def require_whole(path: Path) -> None:
    """Refuse a journal that lost all that it held: a restarted batch would do its work twice.

    Raises:
        ConfigError: The file is empty.
    """
    if path.exists() and not path.stat().st_size:
        raise ConfigError(f"{path} is empty, and may have held a batch: remove it to begin another")


def require_batch(journal: Journal) -> None:
    """Refuse a journal that holds no batch.

    Raises:
        ConfigError: It holds none.
    """
    if journal.plan is None:
        path = journal.path
        raise ConfigError(
            f"the journal {path} holds no batch: its command ended before it began one, or the "
            f"file {path.name}-wal is missing, which a crash leaves beside it and which belongs "
            "to it"
        )


def _record_outcomes(
    journal: Journal, outcomes: Mapping[tuple[object, ...], Run | Generation]
) -> bool:
    """Save the outcomes of entries that are in flight; return whether there are any."""
    attempts = journal.plan.options.get("batch", {}).get("attempts", 1) if journal.plan else 1
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


def _has_failed(item: BatchItem[Run | Generation]) -> bool:
    """Return whether an item failed, or could not be started."""
    return item.verdict is Verdict.FAILED or (
        item.verdict is Verdict.ERROR and item.latest_ref is None
    )


def _has_passed(item: BatchItem[Run | Generation]) -> bool:
    return item.verdict is Verdict.SUCCEEDED


def _again(
    item: BatchItem[Run | Generation], rerun: BatchItem[Run | Generation] | None
) -> BatchItem[Run | Generation]:
    """Return an item after its rerun, if that was dispatched."""
    if rerun is None or rerun.verdict in {Verdict.SKIPPED, Verdict.WAITING}:
        return item
    attempts = (*item.earlier, item.outcome) if item.outcome else item.earlier
    return evolve(rerun, earlier=(*attempts, *rerun.earlier))


def _running(record: BatchRecord) -> str:
    since = f"{record.started_at.astimezone():%H:%M}"
    return f"{record} is running since {since} in process {record.process}"


def _is_running(error: ConfigError) -> bool:
    """Return whether a batch could not be read because another process works on it."""
    return isinstance(error.__cause__, ConfigError) and is_in_use(error.__cause__)


def _known(records: Sequence[BatchRecord]) -> str:
    if not records:
        return "there is none yet"
    return f"the newest is batch {records[0].word}"


def _serialized(_instance: object, _field: object, value: Any) -> Any:  # noqa: ANN401 - JSON
    return value.isoformat() if isinstance(value, datetime) else value


def _read(path: Path) -> BatchRecord | None:
    """Read a record; None if the file holds none."""
    try:
        document = read_stored(path.read_bytes(), "a record of a batch")
        return build_stored(BatchRecord, document, "record of a batch", version=_VERSION, name=str)
    except (OSError, ConfigError):
        return None
