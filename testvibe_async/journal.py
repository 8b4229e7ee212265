"""Journals: the plan, intents, dispatches and outcomes of a batch, in one SQLite file.

A `Journal` is the store of one batch that outlives its process. It saves entries and reads them
back; `_batch` decides what they mean, and what a resumed batch does with them. It sends nothing,
and never contains the API key.
"""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from zlib import crc32

from attrs import asdict, evolve

from testvibe_async._batch import (
    Entry,
    EntryState,
    Plan,
    decided,
    difference,
    entry_document,
    read_entry,
)
from testvibe_async._util.sqlite_file import MissingFileError, SqliteFile
from testvibe_async.errors import ConfigError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from testvibe_async.intents import Intent
    from testvibe_async.outcomes import BatchItem
    from testvibe_async.refs import Ref

__all__ = ["Journal"]

APPLICATION_ID = 0x54564A31
"""The application id in the file's header, so that no other program's file passes for a journal."""

VERSION = 4
"""The version of the tables."""

PLAN_ID = -1
"""The id of the row that holds the plan; the ids of entries are their indexes."""

_TABLE = """
CREATE TABLE rows (id INTEGER PRIMARY KEY, document TEXT NOT NULL, checksum INTEGER NOT NULL)
"""


class Journal:
    """One batch, in a file that outlives the process: `run_features(…, journal=journal)`.

    For example (the same code also resumes the batch after a crash):

        async with Journal("nightly.journal") as journal:
            items = await project.run_features(["Checkout", "Returns"], journal=journal)
            print([item.verdict for item in items], journal.is_over)

    Open it with `async with`. An existing file is resumed, and a missing one is created. An open
    journal accepts one batch. Only one process can have the file open: any other gets a
    `ConfigError`. While the journal is open, and after a crash, keep the second file, which ends in
    `-wal`, beside it. The journal holds names, configurations, sites, ids and outcomes, but no key.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, options: Mapping[str, Any] | None = None
    ) -> None:
        """Create the journal; does no I/O.

        Args:
            path: The file. Its folder must exist.
            options: Values that you want back after a crash, a JSON object: a new file saves it as
                `plan.options`. None for an empty object.

        Raises:
            ConfigError: The options are not a JSON object.
        """
        self.path: Path = Path(path)
        """The file."""
        try:
            self._options = dict(options or {})
            json.dumps(self._options)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"the options of a journal must be a JSON object: {error}") from error
        self._file = SqliteFile(self.path, application_id=APPLICATION_ID)
        self._contents = _Contents()
        self._is_open = False
        self._is_used = False

    def __repr__(self) -> str:
        """Return a text with the file's path."""
        return f"<Journal {self.path}>"

    async def __aenter__(self) -> Self:
        """Open the file, and read its contents.

        Raises:
            ConfigError: The file is not a journal, of another version, damaged, in use, or not
                writable.
        """
        if self._is_open:
            raise ConfigError(f"the journal {self.path} is open already")
        try:
            self._contents = await self._file.open(_read)
        except sqlite3.Error as error:
            raise self._failed(error) from error
        self._is_open, self._is_used = True, False
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Write pending changes, and close the file; see `aclose`."""
        await self.aclose()

    async def aclose(self) -> None:
        """Write pending changes, and close the file. A second call does nothing.

        Raises:
            ConfigError: Some changes could not be written.
        """
        self._is_open = False
        await self._file.aclose()
        if (error := self._file.failure) is not None:
            self._file.failure = None
            raise ConfigError(
                f"the journal {self.path} lacks the end of its batch: it {_problem(error)}"
            ) from error

    @property
    def plan(self) -> Plan | None:
        """The plan of the batch, with `options`; None in a new file."""
        return self._contents.plan

    @property
    def created_at(self) -> datetime | None:
        """The time when the batch began; None in a new file."""
        return self._contents.created_at

    @property
    def is_complete(self) -> bool:
        """True if all features of the plan are known: a generator was read to its end."""
        return self._contents.is_complete

    @property
    def entries(self) -> list[Entry[Any]]:
        """The entries of the batch, for use by the batch alone."""
        return self._contents.entries

    @property
    def items(self) -> list[BatchItem[Any]]:
        """The known state of each feature, in the order planned; does no I/O."""
        return [entry.stored_item() for entry in self.entries]

    @property
    def is_over(self) -> bool:
        """True if nothing is left to dispatch, to wait for or to reconcile."""
        return self.is_complete and not any(entry.is_left for entry in self.entries)

    @property
    def commits(self) -> int:
        """Number of transactions committed to the disk."""
        return self._file.commits

    @property
    def refs(self) -> list[Ref]:
        """The operations that were dispatched, without the earlier attempts of a feature."""
        states = {EntryState.DISPATCHED, EntryState.OVER}
        return [e.ref for e in self.entries if e.ref is not None and e.state in states]

    @property
    def open_intents(self) -> list[Intent]:
        """The dispatches that have no answer yet."""
        return [entry.intent for entry in self.entries if entry.intent is not None]

    async def decide(
        self,
        decision: Literal["resend", "drop"] | Ref,
        *,
        feature: int | str | None = None,
    ) -> list[int | str]:
        """Decide unknown dispatches: resend them, drop them, or name their operation.

        Args:
            decision: `resend` dispatches them again, which may do the work twice; `drop` leaves
                them alone; a ref names the operation of one feature's dispatch. The next batch with
                this journal polls that operation once. If it has another feature or configuration,
                or does not exist, the dispatch stays unknown, and can be decided again.
            feature: The feature, as it was requested; None for all unknown dispatches. A dispatch
                that a batch is sending at this moment is excluded: its answer may still come.

        Returns:
            The features of the decided dispatches; the next batch with this journal acts on the
            decision.

        Raises:
            ConfigError: No dispatch is unknown; the decision is invalid; the ref was given for
                several dispatches, has another server, project or kind, or belongs to another
                feature; or the journal is not open, or can't be written.
        """
        self._require_open()
        where = f"the journal {self.path}"
        found = decided(self.entries, decision, feature=feature, where=where)
        for entry in found:
            self.save(entry)
        try:
            await self.commit()
        except sqlite3.Error as error:
            raise self._failed(error) from error
        return [entry.job.feature for entry in found]

    def begin(self, plan: Plan) -> Plan:
        """Begin the batch of a plan, or resume one; return its plan. For `run_features` alone.

        Raises:
            ConfigError: The journal is not open, was used, or holds another plan.
        """
        self._require_open()
        if self._is_used:
            raise ConfigError(f"the journal {self.path} has a batch: open it again to resume that")
        if self.plan is None:
            plan = evolve(plan, options=plan.options | self._options)
            self._contents.plan, self._contents.created_at = plan, datetime.now(UTC)
            self._save_plan()
        elif self.plan != plan:
            raise ConfigError(f"the journal {self.path} {difference(self.plan, plan)}")
        self._is_used = True
        return self._contents.plan or plan

    def save(self, entry: Entry[Any]) -> None:
        """Save an entry's present state with the next commit."""
        self._write_soon(entry.index, entry_document(entry))
        if entry.index >= self._contents.count:  # The plan's row holds the number of entries.
            self._contents.count = entry.index + 1
            self._save_plan()

    async def save_intent(self, entry: Entry[Any]) -> None:
        """Save an entry that is about to be sent, and return once it is on the disk.

        Raises:
            sqlite3.Error: It can't be written.
        """
        self.save(entry)
        await self.commit()

    def complete(self) -> None:
        """Save with the next commit that all features are planned."""
        self._contents.is_complete = True
        self._save_plan()

    async def commit(self) -> None:
        """Wait until everything saved before is on the disk.

        Raises:
            sqlite3.Error: The file can't be written.
        """
        await self._file.write(_nothing)

    def _save_plan(self) -> None:
        self._write_soon(PLAN_ID, self._contents.plan_document())

    def _write_soon(self, row: int, document: Mapping[str, Any]) -> None:
        text = json.dumps(document, separators=(",", ":"))
        values = (row, text, _checksum(row, text))
        self._file.write_soon(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", values
            )
        )

    def _require_open(self) -> None:
        if not self._is_open:
            raise ConfigError(f"open the journal {self.path} with 'async with' first")

    def _failed(self, error: sqlite3.Error) -> ConfigError:
        return ConfigError(f"the journal {self.path} {_problem(error)}")


class _Contents:
    """The contents of a journal's file."""

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.created_at: datetime | None = None
        self.is_complete = False
        self.count = 0
        """Number of entries in the file."""
        self.entries: list[Entry[Any]] = []

    def plan_document(self) -> dict[str, Any]:
        """Return the document of the row that holds the plan."""
        assert self.plan is not None
        assert self.created_at is not None
        return {
            **asdict(self.plan),
            "created_at": self.created_at.isoformat(),
            "is_complete": self.is_complete,
            "count": self.count,
        }

    def read_plan(self, document: dict[str, Any]) -> None:
        """Read the plan from its document."""
        self.created_at = datetime.fromisoformat(document.pop("created_at"))
        self.is_complete, self.count = document.pop("is_complete"), document.pop("count")
        self.plan = Plan(**document)


def _read(connection: sqlite3.Connection) -> _Contents:
    """Read a file, or create the table of a new one; runs in the file's thread.

    Raises:
        sqlite3.DatabaseError: The file is not a journal, of another version, or damaged.
    """
    ((application,),) = connection.execute("PRAGMA application_id")
    ((version,),) = connection.execute("PRAGMA user_version")
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master")
    contents = _Contents()
    if tables == 0 and application in {0, APPLICATION_ID}:
        connection.execute(_TABLE)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        return contents
    if application != APPLICATION_ID:
        raise _ForeignFileError("is another program's database")
    if version != VERSION:
        raise _ForeignFileError(
            f"is of version {version}, and this release reads version {VERSION}: resume it with "
            "the release that wrote it"
        )
    for number, text, checksum in connection.execute(
        "SELECT id, document, checksum FROM rows ORDER BY id"
    ):
        try:
            _take_row(contents, number, text, checksum)
        except Exception as error:
            raise sqlite3.DatabaseError(f"row {number}: {error!r}") from error
    if len(contents.entries) != contents.count:
        raise sqlite3.DatabaseError(
            f"{len(contents.entries)} features of {contents.count} are left"
        )
    return contents


def _take_row(contents: _Contents, number: int, text: str, checksum: int) -> None:
    if _checksum(number, text) != checksum:
        raise ValueError("its checksum is another")
    document = json.loads(text)
    if number == PLAN_ID:
        contents.read_plan(document)
        return
    if contents.plan is None or number != len(contents.entries):
        raise ValueError("the row before it is missing")
    contents.entries.append(read_entry(number, document, kind=contents.plan.kind))


def _checksum(row: int, text: str) -> int:
    """Return the checksum by which a changed or exchanged row is detected."""
    return crc32(f"{row} {text}".encode())


class _ForeignFileError(sqlite3.DatabaseError):
    """The file is a database, but not a journal that can be read."""


IN_USE = ("SQLITE_BUSY", "SQLITE_LOCKED")
"""Prefixes of SQLite's error names for a file that is in use."""

_PROBLEMS = {
    **dict.fromkeys(IN_USE, "is in use, here or by another process: wait for its end"),
    "SQLITE_CANTOPEN": "can't be opened: is there such a folder, and may it be written?",
    "SQLITE_READONLY": "can't be written: make it writable, or take another file",
    "SQLITE_FULL": "could not be written: make room on its disk, and resume it",
    "SQLITE_IOERR": "could not be written: look at its disk, and resume it",
    "SQLITE_NOTADB": "is no journal: take another file",
}
"""The problem with a file and its remedy, by the prefix of SQLite's error name."""


def _problem(error: Exception) -> str:
    """Describe the problem with a file."""
    if isinstance(error, _ForeignFileError | MissingFileError):
        return str(error)
    name = getattr(error, "sqlite_errorname", "")
    found = [text for start, text in _PROBLEMS.items() if name.startswith(start)]
    return found[0] if found else f"is damaged ({error}): take another file"


def is_in_use(error: ConfigError) -> bool:
    """Return whether a journal could not be opened because it is in use, here or elsewhere."""
    return getattr(error.__cause__, "sqlite_errorname", "").startswith(IN_USE)


def files_of(path: Path) -> list[Path]:
    """Return a journal's file, and the files that SQLite may leave beside it after a crash."""
    return [path.with_name(f"{path.name}{suffix}") for suffix in ("", "-journal", "-wal", "-shm")]


def _nothing(_connection: sqlite3.Connection) -> None:
    """Write nothing: once this has run, all requested changes are on the disk."""
