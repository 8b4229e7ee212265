"""Journals: what a batch planned, intended, dispatched and saw, in one SQLite file.

With one a batch goes on after any crash: what was dispatched is attached to, what was intended is
reconciled, and the rest is dispatched. It stores and restores; it never decides what becomes of a
dispatch, and sends nothing. The API key is never in it.
"""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from attrs import define, field, frozen

from testvibe_async import stored
from testvibe_async._dispatch import Job
from testvibe_async._util.sqlite_file import SqliteFile
from testvibe_async.errors import ConfigError, NotSentError, VibeError
from testvibe_async.intents import Intent
from testvibe_async.refs import Ref
from testvibe_async.stored import ItemState

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from testvibe_async._dispatch import JobSource
    from testvibe_async.errors import DispatchUnknownError
    from testvibe_async.models import Generation, Run
    from testvibe_async.outcomes import BatchItem
    from testvibe_async.stored import Restored

__all__ = ["Journal"]

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
    state TEXT NOT NULL, ref TEXT, outcome TEXT, error TEXT, finished_at TEXT
);
CREATE TABLE intents (
    id TEXT PRIMARY KEY, place INTEGER NOT NULL, document TEXT NOT NULL, state TEXT NOT NULL,
    ref TEXT, error TEXT
);
CREATE TABLE attempts (
    place INTEGER NOT NULL, attempt INTEGER NOT NULL, outcome TEXT NOT NULL,
    PRIMARY KEY (place, attempt)
);
CREATE TABLE decisions (
    place INTEGER NOT NULL, decision TEXT NOT NULL, decided_at TEXT NOT NULL
);
"""


@frozen(kw_only=True)
class Plan:
    """What a batch is to do."""

    kind: Literal["run", "generation"]
    server: str
    project: str
    site_url: str | None = None
    options: dict[str, Any] = field(factory=dict[str, Any], eq=False)
    """What else its caller wants to know after a crash; any JSON."""


@define
class _Row:
    """One feature, as the file has it."""

    job: Job
    state: ItemState = ItemState.PLANNED
    ref: str | None = None
    outcome: str | None = None
    error: str | None = None
    intent: Intent | None = None
    """The one that is open."""
    earlier: list[str] = field(factory=list[str])


class Journal:
    """One batch, in a file that outlives the process: `run_features(…, journal=journal)`.

    Open it with `async with`. A file that exists is gone on with, and one that does not is made.
    One process at a time has it. It holds names, configurations, sites, ids and outcomes, and no
    key.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Make it; no I/O is done.

        Args:
            path: The file. Its folder must exist.
        """
        self.path: Path = Path(path)
        """The file."""
        self._file = SqliteFile(self.path)
        self._rows: list[_Row] = []
        self._is_open = False
        self._is_used = False
        self.plan: Plan | None = None
        """What its batch is to do; None in a new file."""
        self.is_complete: bool = False
        """Whether all features of the plan are known: a generator was read to its end."""
        self.created_at: datetime | None = None
        """When the batch began; None in a new file."""

    def __repr__(self) -> str:
        """Return the file."""
        return f"<Journal {self.path}>"

    async def __aenter__(self) -> Self:
        """Open the file, and read what is in it.

        Raises:
            ConfigError: It is no journal, of another version, damaged, in use, or can't be written.
        """
        if self._is_open:
            raise ConfigError(f"the journal {self.path} is open already")
        try:
            await self._file.open(self._load)
        except sqlite3.Error as error:
            raise ConfigError(f"the journal {self.path} {_problem(error)}") from error
        self._is_open = True
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Write what waits, and close the file; see `aclose`."""
        await self.aclose()

    async def aclose(self) -> None:
        """Write what waits, and close the file. A second time does nothing.

        Raises:
            ConfigError: Not all of it could be written.
        """
        self._is_open = False
        await self._file.aclose()
        if (error := self._file.failure) is not None:
            self._file.failure = None
            raise ConfigError(
                f"the journal {self.path} lacks the end of its batch: it {_problem(error)}"
            ) from error

    @property
    def items(self) -> list[BatchItem[Any]]:
        """What is known of each feature, in the order planned, without asking the service."""
        return [stored.item_of(row.job, self._restored(row)) for row in self._rows]

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to dispatch, to wait for or to reconcile."""
        left = {ItemState.PLANNED, ItemState.INTENDED, ItemState.DISPATCHED}
        return self.is_complete and not any(row.state in left for row in self._rows)

    @property
    def commits(self) -> int:
        """How many transactions were committed to the disk."""
        return self._file.commits

    async def decide(
        self,
        decision: Literal["resend", "drop"] | Ref,
        *,
        feature: int | str | None = None,
    ) -> list[int | str]:
        """Decide what becomes of dispatches that nobody knows about.

        Args:
            decision: `resend` dispatches them again, which may do the work twice; `drop` leaves
                them alone; a ref says which operation it was, of one feature.
            feature: The feature, as it was asked for; None for all that are unknown.

        Returns:
            The features that it was decided for; the next batch with this journal acts on it.

        Raises:
            ConfigError: Nothing is unknown, or a ref was given for several.
        """
        places = [
            place
            for place, row in enumerate(self._rows)
            if row.state is ItemState.INTENDED and feature in {None, row.job.feature, row.job.name}
        ]
        if not places:
            what = "nothing" if feature is None else f"nothing of feature {feature!r}"
            raise ConfigError(f"{what} is unknown in the journal {self.path}")
        if isinstance(decision, Ref) and len(places) > 1:
            raise ConfigError(
                f"{decision} is of one dispatch, and {len(places)} are unknown: name the feature"
            )
        for place in places:
            self._decide(place, decision)
        await self._file.write(_nothing)
        return [self._rows[place].job.feature for place in places]

    def _decide(self, place: int, decision: Literal["resend", "drop"] | Ref) -> None:
        row = self._rows[place]
        row.intent = row.error = None
        if isinstance(decision, Ref):
            row.state, row.ref = ItemState.DISPATCHED, decision.to_json()
        else:
            row.state = ItemState.PLANNED if decision == "resend" else ItemState.DROPPED
        text = str(decision) if isinstance(decision, str) else decision.to_json()
        now = datetime.now(UTC).isoformat()

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO decisions VALUES (?, ?, ?)", (place, text, now))
            connection.execute(
                "UPDATE intents SET state = 'decided' WHERE place = ? AND state = 'open'", (place,)
            )
            connection.execute(
                "UPDATE items SET state = ?, ref = ?, error = NULL WHERE place = ?",
                (row.state, row.ref, place),
            )

        self._file.write_soon(write)

    def begin(self, plan: Plan, source: JobSource) -> PlannedJobs:
        """Begin the batch of a plan, or go on with it; return its jobs.

        Raises:
            ConfigError: It is not open, was used, or holds another plan.
        """
        if not self._is_open:
            raise ConfigError(f"open the journal {self.path} with 'async with' first")
        if self._is_used:
            raise ConfigError(f"the journal {self.path} has a batch: open it anew to go on with it")
        if self.plan is None:
            self.plan, self.created_at = plan, datetime.now(UTC)
            values = (
                plan.kind,
                plan.server,
                plan.project,
                plan.site_url,
                json.dumps(plan.options),
                self.created_at.isoformat(),
            )
            self._file.write_soon(
                lambda connection: connection.execute(
                    "INSERT INTO plan VALUES (1, ?, ?, ?, ?, ?, ?, 0)", values
                )
            )
        elif self.plan != plan:
            raise ConfigError(f"the journal {self.path} {_difference(self.plan, plan)}")
        self._is_used = True
        return PlannedJobs(self, source)

    def recorder(self, place: int) -> RowRecorder:
        """Return what stores the intents of one feature."""
        return RowRecorder(self, place)

    def add(self, place: int, job: Job) -> None:
        """Add a feature to the plan, unless it is there."""
        if place < len(self._rows):
            return
        self._rows.append(_Row(job))
        values = (place, json.dumps(job.feature), job.name, job.config, ItemState.PLANNED)
        self._file.write_soon(
            lambda connection: connection.execute(
                "INSERT INTO items (place, feature, name, config, state) VALUES (?, ?, ?, ?, ?)",
                values,
            )
        )

    def complete(self) -> None:
        """Note that the plan has no more features."""
        if not self.is_complete:
            self.is_complete = True
            self._file.write_soon(
                lambda connection: connection.execute("UPDATE plan SET is_complete = 1")
            )

    @property
    def jobs(self) -> Sequence[Job]:
        """The features that are planned so far."""
        return [row.job for row in self._rows]

    @property
    def refs(self) -> list[Ref]:
        """The operations that were dispatched, the earlier attempts of a feature not among them."""
        return [Ref.from_json(row.ref) for row in self._rows if row.ref is not None]

    def unknown(self, place: int, what: str) -> DispatchUnknownError:
        """Return the error of a dispatch that is open; `what` happened to its answer."""
        row = self._rows[place]
        return stored.unknown_error(row.job, row.intent, what)

    @property
    def open_intents(self) -> list[Intent]:
        """The dispatches that nobody saw an answer to."""
        return [row.intent for row in self._rows if row.intent is not None]

    def restore(self, place: int) -> Restored | None:
        """Return where a feature stands; None where it was not planned before."""
        return self._restored(self._rows[place]) if place < len(self._rows) else None

    def _restored(self, row: _Row) -> Restored:
        return stored.restored(
            row.state,
            kind=self.kind,
            ref=row.ref,
            outcome=row.outcome,
            error=row.error,
            intent=row.intent,
            earlier=row.earlier,
        )

    def note_attempt(self, place: int, attempt: int, outcome: Run | Generation) -> None:
        """Note the outcome of an attempt that is followed by another."""
        row = self._rows[place]
        text = json.dumps(outcome.to_dict())
        row.earlier.append(text)
        row.state, row.ref = ItemState.PLANNED, None

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR REPLACE INTO attempts VALUES (?, ?, ?)", (place, attempt, text)
            )
            connection.execute(
                "UPDATE items SET state = ?, ref = NULL WHERE place = ?", (row.state, place)
            )

        self._file.write_soon(write)

    def note_end(self, place: int, item: BatchItem[Any]) -> None:
        """Note what a batch says of a feature at its end.

        What goes on stays dispatched, what is unknown stays intended, and what was not sent stays
        planned: the next batch with this journal goes on with them.
        """
        row = self._rows[place]
        if item.outcome is not None:
            row.state, row.outcome = ItemState.OVER, json.dumps(item.outcome.to_dict())
        elif row.ref is None and stored.is_refusal(item.error):
            row.state = ItemState.REFUSED
        row.error = None if item.error is None else json.dumps(item.error.to_dict())
        values = (row.state, row.outcome, row.error, datetime.now(UTC).isoformat(), place)
        self._file.write_soon(
            lambda connection: connection.execute(
                "UPDATE items SET state = ?, outcome = ?, error = ?, finished_at = ? "
                "WHERE place = ?",
                values,
            )
        )

    async def note_intent(self, place: int, intent: Intent) -> None:
        """Store an intent, and return once it is on the disk."""
        row = self._rows[place]
        row.intent, row.state = intent, ItemState.INTENDED
        values = (intent.id, place, intent.to_json(), "open", None, None)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO intents VALUES (?, ?, ?, ?, ?, ?)", values)
            connection.execute(
                "UPDATE items SET state = ? WHERE place = ?", (ItemState.INTENDED, place)
            )

        await self._file.write(write)

    def note_result(self, place: int, intent: Intent, result: Ref | VibeError) -> None:
        """Note what came of an intent: its operation, or why nothing began."""
        row = self._rows[place]
        row.intent = None
        is_dispatched = isinstance(result, Ref) and intent.kind == self.kind
        # The generation of a run's missing tests is no end of it: the run is still to be sent.
        row.state = ItemState.DISPATCHED if is_dispatched else ItemState.PLANNED
        row.ref = result.to_json() if isinstance(result, Ref) and is_dispatched else None
        ref = result.to_json() if isinstance(result, Ref) else None
        error = None if isinstance(result, Ref) else json.dumps(result.to_dict())
        state = "dispatched" if isinstance(result, Ref) else "not dispatched"

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE intents SET state = ?, ref = ?, error = ? WHERE id = ?",
                (state, ref, error, intent.id),
            )
            connection.execute(
                "UPDATE items SET state = ?, ref = ? WHERE place = ?", (row.state, row.ref, place)
            )

        self._file.write_soon(write)

    def note_nothing(self, place: int, intent: Intent) -> None:
        """Note that nothing of an intent began, as reconciling has proved."""
        what = "it was reconciled: nothing of it began"
        self.note_result(place, intent, NotSentError(what, method="POST", url=intent.server))

    @property
    def kind(self) -> Literal["run", "generation"]:
        """What its batch dispatches."""
        assert self.plan is not None
        return self.plan.kind

    def _load(self, connection: sqlite3.Connection) -> None:
        """Read the file, or make the tables of a new one; runs in the file's thread."""
        ((application,),) = connection.execute("PRAGMA application_id")
        ((version,),) = connection.execute("PRAGMA user_version")
        ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master")
        if tables == 0 and application in {0, APPLICATION_ID}:
            for statement in _TABLES.split(";")[:-1]:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            return
        if application != APPLICATION_ID:
            raise _ForeignFileError("is another program's database")
        if version != VERSION:
            raise _ForeignFileError(
                f"is of version {version}, and this release reads version {VERSION}: go on with it "
                "with the release that wrote it"
            )
        try:
            self._load_rows(connection)
        except (ValueError, IndexError, ConfigError) as error:
            raise sqlite3.DatabaseError(str(error)) from error

    def _load_rows(self, connection: sqlite3.Connection) -> None:
        for kind, server, project, site_url, options, created_at, is_complete in connection.execute(
            "SELECT kind, server, project, site_url, options, created_at, is_complete FROM plan"
        ):
            self.plan = Plan(
                kind=kind,
                server=server,
                project=project,
                site_url=site_url,
                options=json.loads(options),
            )
            self.created_at = datetime.fromisoformat(created_at)
            self.is_complete = bool(is_complete)
        for feature, name, config, state, ref, outcome, error in connection.execute(
            "SELECT feature, name, config, state, ref, outcome, error FROM items ORDER BY place"
        ):
            job = Job(json.loads(feature), name, config)
            self._rows.append(_Row(job, ItemState(state), ref, outcome, error))
        for place, document in connection.execute(
            "SELECT place, document FROM intents WHERE state = 'open' ORDER BY rowid"
        ):
            self._rows[place].intent = Intent.from_json(document)
        for place, outcome in connection.execute(
            "SELECT place, outcome FROM attempts ORDER BY place, attempt"
        ):
            self._rows[int(place)].earlier.append(outcome)


class PlannedJobs:
    """The jobs of a journal's plan, and then those that its source has beyond them."""

    def __init__(self, journal: Journal, source: JobSource) -> None:
        self._journal = journal
        self._source = source
        self._planned = list(journal.jobs)
        self._place = 0
        # A plan that is whole needs no list of the project's features.
        self._is_whole = journal.is_complete
        self.is_lazy: bool = source.is_lazy and not self._is_whole
        """Whether features are read only as there is room for them."""

    async def read(self) -> Job | None:
        """Return the next job; None after the last.

        Raises:
            ConfigError: The source has other features than the plan.
        """
        place, self._place = self._place, self._place + 1
        if self._is_whole and not self._source.is_named:
            return self._planned[place] if place < len(self._planned) else None
        job = await self._source.read()
        if place < len(self._planned) and (job is None or _differs(job, self._planned[place])):
            raise ConfigError(
                f"the journal {self._journal.path} has a batch of other features: go on with it "
                "without naming any, or take another file"
            )
        if self._is_whole and job is not None and place >= len(self._planned):
            raise ConfigError(
                f"the journal {self._journal.path} has a batch of fewer features: go on with it "
                "without naming any, or take another file"
            )
        if job is None:
            self._journal.complete()
            return None
        self._journal.add(place, job)
        return self._planned[place] if place < len(self._planned) else job


class RowRecorder:
    """Stores the intents of one feature, and what came of them."""

    def __init__(self, journal: Journal, place: int) -> None:
        self._journal = journal
        self._place = place

    async def intended(self, intent: Intent) -> None:
        """Store an intent, and return once it is on the disk."""
        await self._journal.note_intent(self._place, intent)

    async def dispatched(self, intent: Intent, ref: Ref) -> None:
        """Note the operation, on the disk with the next commit.

        Waiting for that would gain nothing: a crash before it finds the intent, and reconciles it.
        """
        self._journal.note_result(self._place, intent, ref)

    async def not_dispatched(self, intent: Intent, error: VibeError) -> None:
        """Note that nothing began."""
        self._journal.note_result(self._place, intent, error)


class _ForeignFileError(sqlite3.DatabaseError):
    """A file is a database, and no journal that can be read."""


def _nothing(_connection: sqlite3.Connection) -> None:
    """Write nothing: what was asked for before is on the disk once this is."""


def _differs(job: Job, planned: Job) -> bool:
    return (job.feature, job.config) != (planned.feature, planned.config)


def _difference(planned: Plan, asked: Plan) -> str:
    """Say in what a plan is another one than was asked for."""
    for name, what in (("kind", "kind"), ("server", "server"), ("project", "project")):
        if getattr(planned, name) != getattr(asked, name):
            return (
                f"has a batch of another {what}: {getattr(planned, name)}, not "
                f"{getattr(asked, name)}; take another file"
            )
    return f"has a batch for the site {planned.site_url}, not {asked.site_url}; take another file"


_PROBLEMS = {
    "SQLITE_BUSY": "is in use by another process: wait for its end, or stop it",
    "SQLITE_LOCKED": "is in use by another process: wait for its end, or stop it",
    "SQLITE_CANTOPEN": "can't be opened: is there such a folder, and may it be written?",
    "SQLITE_READONLY": "can't be written: make it writable, or take another file",
    "SQLITE_FULL": "could not be written: make room on its disk, and go on with it",
    "SQLITE_IOERR": "could not be written: look at its disk, and go on with it",
    "SQLITE_NOTADB": "is no journal: take another file",
}
"""What is wrong with a file, and what to do, by the beginning of SQLite's name for it."""


def _problem(error: Exception) -> str:
    """Say what is wrong with a file."""
    if isinstance(error, _ForeignFileError):
        return str(error)
    name = getattr(error, "sqlite_errorname", "")
    found = [text for start, text in _PROBLEMS.items() if name.startswith(start)]
    return found[0] if found else f"is damaged ({error}): take another file"
