"""The tables of a journal's file: made in a new one, and read from one that exists.

It runs in the file's thread.
"""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime

from attrs import define, field

from testvibe_async._dispatch import Job
from testvibe_async._journal.files import IN_USE
from testvibe_async._journal.plan import Plan
from testvibe_async._journal.stored import ItemState
from testvibe_async.errors import ConfigError
from testvibe_async.intents import Intent

__all__ = ["Contents", "Row", "problem", "read_contents"]

APPLICATION_ID = 0x54564A31
"""What SQLite keeps in the file's head, so that no other program's file is taken for a journal."""

VERSION = 1
"""The version of the tables."""

_TABLES = """
CREATE TABLE plan (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    kind TEXT NOT NULL, server TEXT NOT NULL, project TEXT NOT NULL, site_url TEXT,
    options TEXT NOT NULL, created_at TEXT NOT NULL, is_complete INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE items (
    place INTEGER PRIMARY KEY,
    feature TEXT NOT NULL, name TEXT, config TEXT,
    state TEXT NOT NULL, intent TEXT, generation TEXT, ref TEXT, outcome TEXT, error TEXT
);
CREATE TABLE attempts (
    place INTEGER NOT NULL, attempt INTEGER NOT NULL, outcome TEXT NOT NULL,
    PRIMARY KEY (place, attempt)
);
"""


@define
class Row:
    """One feature, as the file has it."""

    job: Job
    state: ItemState = ItemState.PLANNED
    ref: str | None = None
    outcome: str | None = None
    error: str | None = None
    intent: Intent | None = None
    """The one that is open."""
    generation: str | None = None
    """The generation of a run's missing tests, where this batch dispatched one."""
    earlier: list[str] = field(factory=list[str])


@define
class Contents:
    """All that a file holds."""

    plan: Plan | None = None
    """What its batch is to do; None in a new file."""
    created_at: datetime | None = None
    """When the batch began; None in a new file."""
    is_complete: bool = False
    """Whether all features of the plan are known: a generator was read to its end."""
    rows: list[Row] = field(factory=list[Row])


def read_contents(connection: sqlite3.Connection) -> Contents:
    """Read a file, or make the tables of a new one.

    Raises:
        sqlite3.DatabaseError: It is no journal, of another version, or damaged.
    """
    ((application,),) = connection.execute("PRAGMA application_id")
    ((version,),) = connection.execute("PRAGMA user_version")
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master")
    if tables == 0 and application in {0, APPLICATION_ID}:
        _make_tables(connection)
        return Contents()
    if application != APPLICATION_ID:
        raise _ForeignFileError("is another program's database")
    if version != VERSION:
        raise _ForeignFileError(
            f"is of version {version}, and this release reads version {VERSION}: go on with it "
            "with the release that wrote it"
        )
    contents = Contents()
    try:
        _read_plan(connection, contents)
        _read_rows(connection, contents.rows)
    except (ValueError, IndexError, ConfigError) as error:
        raise sqlite3.DatabaseError(str(error)) from error
    return contents


def _make_tables(connection: sqlite3.Connection) -> None:
    for statement in _TABLES.split(";")[:-1]:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _read_plan(connection: sqlite3.Connection, contents: Contents) -> None:
    for kind, server, project, site_url, options, created_at, is_complete in connection.execute(
        "SELECT kind, server, project, site_url, options, created_at, is_complete FROM plan"
    ):
        contents.plan = Plan(
            kind=kind,
            server=server,
            project=project,
            site_url=site_url,
            options=json.loads(options),
        )
        contents.created_at = datetime.fromisoformat(created_at)
        contents.is_complete = bool(is_complete)


def _read_rows(connection: sqlite3.Connection, rows: list[Row]) -> None:
    for feature, name, config, state, intent, generation, ref, outcome, error in connection.execute(
        "SELECT feature, name, config, state, intent, generation, ref, outcome, error "
        "FROM items ORDER BY place"
    ):
        job = Job(json.loads(feature), name, config)
        open_one = None if intent is None else Intent.from_json(intent)
        rows.append(Row(job, ItemState(state), ref, outcome, error, open_one, generation))
    for place, outcome in connection.execute(
        "SELECT place, outcome FROM attempts ORDER BY place, attempt"
    ):
        rows[int(place)].earlier.append(outcome)


class _ForeignFileError(sqlite3.DatabaseError):
    """A file is a database, and no journal that can be read."""


_PROBLEMS = {
    **dict.fromkeys(IN_USE, "is in use, here or by another process: wait for its end"),
    "SQLITE_CANTOPEN": "can't be opened: is there such a folder, and may it be written?",
    "SQLITE_READONLY": "can't be written: make it writable, or take another file",
    "SQLITE_FULL": "could not be written: make room on its disk, and go on with it",
    "SQLITE_IOERR": "could not be written: look at its disk, and go on with it",
    "SQLITE_NOTADB": "is no journal: take another file",
}
"""What is wrong with a file, and what to do, by the beginning of SQLite's name for it."""


def problem(error: Exception) -> str:
    """Say what is wrong with a file."""
    if isinstance(error, _ForeignFileError):
        return str(error)
    name = getattr(error, "sqlite_errorname", "")
    found = [text for start, text in _PROBLEMS.items() if name.startswith(start)]
    return found[0] if found else f"is damaged ({error}): take another file"
