"""The records of the batches of one folder: which numbers are given, each once, and for how long.

What a batch did is in its journal alone; its record is always readable.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from attrs import asdict, evolve, field, frozen

from testvibe_async._util.replacement import replace_file
from testvibe_async.errors import ConfigError
from testvibe_async.journal import files_of
from testvibe_async.refs import build_stored, is_aware, read_stored

if TYPE_CHECKING:
    from pathlib import Path

    from testvibe_async.errors import KindName


_VERSION = 1

KEPT = 50
"""Maximum number of batches that are retained."""

KEPT_FOR = timedelta(days=30)
"""Retention of a batch."""


@frozen(kw_only=True)
class BatchRecord:
    """Facts about a batch that are known without its journal."""

    number: int
    """Its number among the batches of a folder."""

    name: str | None = None
    """The name of the batch; None if it has none."""

    kind: KindName
    server: str
    project: str
    project_name: str | None = None
    """The name that was given for the project; None if an id was given."""

    parent: int | None = None
    """The number of the batch whose failures it runs again; None if it does not."""

    process: int = field(factory=os.getpid)
    """The process that runs the batch, or did last."""

    started_at: datetime = field(factory=lambda: datetime.now(UTC), validator=is_aware)
    """The time when that process began to."""

    ended_at: datetime | None = field(default=None, validator=is_aware)
    """The time when that process ended the batch; None while it runs, or if interrupted."""

    def __str__(self) -> str:
        """Return its name in a sentence: `Batch 12 (nightly)`."""
        return f"Batch {self.title}"

    @property
    def title(self) -> str:
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

    def has(self, record: BatchRecord) -> bool:
        """Return whether a batch is one of here."""
        names = {None, record.project.casefold(), (record.project_name or "").casefold()}
        project = None if self.project is None else self.project.casefold()
        return self.server in {None, record.server} and project in names

    def __str__(self) -> str:
        """Return it as the end of a sentence, such as ` of project P at https://…`."""
        project = f" of project {self.project}" if self.project else ""
        return f"{project} at {self.server}" if self.server else project


class Records:
    """The records of a folder."""

    def __init__(self, folder: Path) -> None:
        """Create it, without I/O.

        Args:
            folder: Folder of the batches; `add` makes it.
        """
        self.folder: Path = folder

    def records(self) -> list[BatchRecord]:
        """Return the records of all batches, the one that was worked on last first."""
        found = filter(None, map(_read, self.folder.glob("*.json")))
        return sorted(found, key=lambda each: each.done_at, reverse=True)

    def journal_of(self, record: BatchRecord) -> Path:
        """Return the journal of a batch."""
        return self.folder / f"{record.number}.journal"

    def add(self, **facts: Any) -> BatchRecord:  # noqa: ANN401 - those of a record
        """Make the record of a new batch, and remove batches beyond the limit, or too old.

        Raises:
            OSError: The folder can't be written to.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        now = datetime.now(UTC)
        ended = [each for each in self.records() if each.ended_at is not None]
        for index, each in enumerate(ended):
            if index >= KEPT - 1 or each.done_at < now - KEPT_FOR:
                self.discard(each)
        record = BatchRecord(number=self._new_number(), started_at=now, ended_at=now, **facts)
        self._write(record)
        return record

    def end(self, record: BatchRecord, *, at: datetime | None = None) -> None:
        """Note that its process is done with a batch, now or at another moment."""
        with suppress(OSError):
            self._write(evolve(record, ended_at=at or datetime.now(UTC)))

    def discard(self, record: BatchRecord) -> None:
        """Delete a batch of the folder; operations in flight continue at the service.

        Of the highest number an empty file remains, so that it is not given again.
        """
        path = self._path_of(record)
        with suppress(OSError):
            path.write_bytes(b"")
            for each in files_of(self.journal_of(record)):
                each.unlink(missing_ok=True)
            if record.number != max(self._numbers()):
                path.unlink()

    def _new_number(self) -> int:
        """Return a number that no batch of the folder ever had, and keep it from all others."""
        number = max(self._numbers(), default=0)
        while True:
            number += 1
            with suppress(FileExistsError):  # Another process was faster.
                (self.folder / f"{number}.json").touch(exist_ok=False)
                # A lower one may be free only because a batch that had it was discarded.
                if number == max(self._numbers()):
                    return number

    def _numbers(self) -> list[int]:
        return [int(path.stem) for path in self.folder.glob("*.json") if path.stem.isdecimal()]

    def _path_of(self, record: BatchRecord) -> Path:
        return self.folder / f"{record.number}.json"

    def _write(self, record: BatchRecord) -> None:
        """Write a record at once, so that none is ever half of one.

        Raises:
            OSError: It can't be written, as on a full disk.
        """
        path, document = self._path_of(record), {"version": _VERSION, **asdict(record)}
        try:
            replace_file(path, json.dumps(document, default=datetime.isoformat))
        except OSError as error:  # That of a full disk names no file.
            raise OSError(error.errno, error.strerror, str(path)) from error


def _read(path: Path) -> BatchRecord | None:
    """Read a record; None if the file holds none."""
    try:
        document = read_stored(path.read_bytes(), "a record of a batch")
        return build_stored(BatchRecord, document, "record of a batch", version=_VERSION, name=str)
    except (OSError, ConfigError):
        return None
