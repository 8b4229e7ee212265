"""The batches of one folder: each has a number, a journal, and a record that is always readable.

Decides which numbers are given, how long a batch is retained, and which process works on it. What
a batch did is in its journal alone.
"""

from __future__ import annotations

import json
import os
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from attrs import asdict, evolve

from testvibe_async.errors import ConfigError
from testvibe_async.journal import Journal, files_of, is_in_use
from testvibe_async.refs import build_stored, read_stored
from testvibe_async.runner.stored import BatchRecord, Place, existing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from pathlib import Path


_VERSION = 1

KEPT = 50
"""Maximum number of batches that are retained."""

KEPT_FOR = timedelta(days=30)
"""Retention of a batch."""


class Records:
    """The records and journals of a folder."""

    def __init__(self, folder: Path) -> None:
        """Create it, without I/O.

        Args:
            folder: Folder of the batches; `create` makes it.
        """
        self.folder: Path = folder

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
            options: Options that a new journal stores for `resume`; None for a journal that is
                there.

        Raises:
            ConfigError: The journal can't be used, or another process works on it.
        """
        opened = (
            self.journal(record)
            if options is None
            else Journal(self.journal_of(record), options=options)
        )
        async with opened as journal:
            now = datetime.now(UTC)
            record = evolve(record, process=os.getpid(), started_at=now, ended_at=None)
            self._write(record)
            try:
                yield journal
            finally:
                await journal.aclose()
                self.end(record)

    @asynccontextmanager
    async def journal(self, record: BatchRecord) -> AsyncGenerator[Journal]:
        """Open the journal of a batch.

        Raises:
            ConfigError: Another process works on it, or it can't be read.
        """
        async with AsyncExitStack() as stack:
            try:
                journal = await stack.enter_async_context(existing(self.journal_of(record)))
            except ConfigError as error:
                if not is_in_use(error):
                    raise
                since = f"{record.started_at.astimezone():%H:%M}"
                running = f"{record} is running since {since} in process {record.process}"
                raise ConfigError(running) from error
            yield journal

    def discard(self, record: BatchRecord) -> None:
        """Delete a batch; operations in flight continue at the service."""
        for path in (*files_of(self.journal_of(record)), self._path_of(record)):
            with suppress(OSError):
                path.unlink(missing_ok=True)

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


def _serialized(_instance: object, _field: object, value: Any) -> Any:  # noqa: ANN401 - JSON
    return value.isoformat() if isinstance(value, datetime) else value


def _read(path: Path) -> BatchRecord | None:
    """Read a record; None if the file holds none."""
    try:
        document = read_stored(path.read_bytes(), "a record of a batch")
        return build_stored(BatchRecord, document, "record of a batch", version=_VERSION, name=str)
    except (OSError, ConfigError):
        return None
