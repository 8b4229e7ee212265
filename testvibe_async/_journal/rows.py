"""The features of a journal, and how far each has come: in memory, and in the file.

Each change is made here, in both at once; it is on the disk with the file's next commit.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from testvibe_async._journal.stored import (
    ItemState,
    Restored,
    is_refusal,
    item_of,
    restored,
    unknown_error,
)
from testvibe_async._journal.tables import Contents, Row
from testvibe_async.errors import NotSentError
from testvibe_async.refs import Ref

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

    from testvibe_async._dispatch import Job
    from testvibe_async._journal.plan import Plan
    from testvibe_async._util.sqlite_file import SqliteFile
    from testvibe_async.errors import DispatchUnknownError, VibeError
    from testvibe_async.intents import Intent
    from testvibe_async.models import Generation, Run
    from testvibe_async.outcomes import BatchItem

__all__ = ["RowRecorder", "Rows"]


class Rows:
    """What a journal's file holds, by the place of each feature in its plan."""

    def __init__(self, file: SqliteFile, path: Path, contents: Contents) -> None:
        self.path = path
        """The journal's file."""
        self._file = file
        self._contents = contents
        self._rows = contents.rows

    @property
    def plan(self) -> Plan | None:
        """What the batch is to do; None in a new file."""
        return self._contents.plan

    @property
    def created_at(self) -> datetime | None:
        """When the batch began; None in a new file."""
        return self._contents.created_at

    @property
    def is_complete(self) -> bool:
        """Whether all features of the plan are known."""
        return self._contents.is_complete

    @property
    def kind(self) -> Literal["run", "generation"]:
        """What the batch dispatches."""
        assert self.plan is not None
        return self.plan.kind

    @property
    def jobs(self) -> list[Job]:
        """The features that are planned so far."""
        return [row.job for row in self._rows]

    @property
    def states(self) -> list[ItemState]:
        """How far each has come."""
        return [row.state for row in self._rows]

    @property
    def items(self) -> list[BatchItem[Any]]:
        """What is known of each, without asking the service."""
        return [item_of(row.job, self._restored(row)) for row in self._rows]

    @property
    def refs(self) -> list[Ref]:
        """The operations that were dispatched, the earlier attempts of a feature not among them."""
        return [Ref.from_json(row.ref) for row in self._rows if row.ref is not None]

    @property
    def open_intents(self) -> list[Intent]:
        """The dispatches that nobody saw an answer to."""
        return [row.intent for row in self._rows if row.intent is not None]

    def begin(self, plan: Plan) -> None:
        """Store the plan of a new file."""
        now = datetime.now(UTC)
        self._contents.plan, self._contents.created_at = plan, now
        values = (
            plan.kind,
            plan.server,
            plan.project,
            plan.site_url,
            json.dumps(plan.options),
            now.isoformat(),
        )
        self._file.write_soon(
            lambda connection: connection.execute(
                "INSERT INTO plan VALUES (1, ?, ?, ?, ?, ?, ?, 0)", values
            )
        )

    def add(self, place: int, job: Job) -> None:
        """Add a feature to the plan, unless it is there."""
        if place < len(self._rows):
            return
        self._rows.append(Row(job))
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
            self._contents.is_complete = True
            self._file.write_soon(
                lambda connection: connection.execute("UPDATE plan SET is_complete = 1")
            )

    def restore(self, place: int) -> Restored | None:
        """Return where a feature stands; None where it was not planned before."""
        return self._restored(self._rows[place]) if place < len(self._rows) else None

    def _restored(self, row: Row) -> Restored:
        return restored(
            row.state,
            kind=self.kind,
            ref=row.ref,
            outcome=row.outcome,
            error=row.error,
            intent=row.intent,
            generation=row.generation,
            earlier=row.earlier,
        )

    def note_attempt(self, place: int, attempt: int, outcome: Run | Generation) -> None:
        """Note the outcome of an attempt that is followed by another."""
        row = self._rows[place]
        text = json.dumps(outcome.to_dict())
        row.earlier[attempt - 1 :] = [text]  # It may be noted twice, if its next one is put off.
        row.state, row.ref = ItemState.PLANNED, None

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR REPLACE INTO attempts VALUES (?, ?, ?)", (place, attempt, text)
            )
            connection.execute(
                "UPDATE items SET state = ?, ref = NULL WHERE place = ?", (ItemState.PLANNED, place)
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
        elif row.ref is None and is_refusal(item.error):
            row.state = ItemState.REFUSED
        row.error = None if item.error is None else json.dumps(item.error.to_dict())
        self._update(place, state=row.state, outcome=row.outcome, error=row.error)

    async def note_intent(self, place: int, intent: Intent) -> None:
        """Store an intent, and return once it is on the disk."""
        row = self._rows[place]
        row.state, row.intent, row.error = ItemState.INTENDED, intent, None
        await self._file.write(_update(place, state=row.state, intent=intent.to_json(), error=None))

    def note_result(self, place: int, intent: Intent, result: Ref | VibeError) -> None:
        """Note what came of an intent: its operation, or why nothing began."""
        row = self._rows[place]
        row.intent = row.ref = None
        row.state = ItemState.PLANNED
        if isinstance(result, Ref):
            if intent.kind == self.kind:
                row.state, row.ref = ItemState.DISPATCHED, result.to_json()
            else:
                # It is no end of a run that its tests are generated: that is still to be sent.
                row.generation = result.to_json()
        self._update(place, state=row.state, intent=None, ref=row.ref, generation=row.generation)

    def note_nothing(self, place: int, intent: Intent) -> None:
        """Note that nothing of an intent began, as reconciling has proved."""
        what = "it was reconciled: nothing of it began"
        self.note_result(place, intent, NotSentError(what, method="POST", url=intent.server))

    def unknown(self, place: int, what: str) -> DispatchUnknownError:
        """Return the error of a dispatch that is open; `what` happened to its answer."""
        row = self._rows[place]
        return unknown_error(row.job, row.intent, what)

    def is_undecided(self, place: int, *, is_used: bool) -> bool:
        """Say whether nobody knows what became of a dispatch, and nobody is finding it out.

        Args:
            place: Its place.
            is_used: Whether a batch goes on with the journal. It may be sending what has no error.
        """
        row = self._rows[place]
        return row.state is ItemState.INTENDED and not (is_used and row.error is None)

    def decide(self, place: int, decision: Literal["resend", "drop"] | Ref) -> None:
        """Take a decision for a dispatch that nobody knows about; see `Journal.decide`."""
        row = self._rows[place]
        row.intent = row.error = None
        if isinstance(decision, Ref):
            row.state, row.ref = ItemState.DISPATCHED, decision.to_json()
        else:
            row.state = ItemState.PLANNED if decision == "resend" else ItemState.DROPPED
        self._update(place, state=row.state, intent=None, ref=row.ref, error=None)

    def _update(self, place: int, **columns: str | None) -> None:
        self._file.write_soon(_update(place, **columns))


class RowRecorder:
    """Stores the intents of one feature, and what came of them."""

    def __init__(self, rows: Rows, place: int) -> None:
        self._rows = rows
        self._place = place

    async def intended(self, intent: Intent) -> None:
        """Store an intent, and return once it is on the disk."""
        await self._rows.note_intent(self._place, intent)

    async def dispatched(self, intent: Intent, ref: Ref) -> None:
        """Note the operation, on the disk with the next commit.

        Waiting for that would gain nothing: a crash before it finds the intent, and reconciles it.
        """
        self._rows.note_result(self._place, intent, ref)

    async def not_dispatched(self, intent: Intent, error: VibeError) -> None:
        """Note that nothing began."""
        self._rows.note_result(self._place, intent, error)


def _update(place: int, **columns: str | None) -> Callable[[sqlite3.Connection], object]:
    """Return what writes some columns of a feature, as they are now: it runs later, in a thread."""
    names = ", ".join(f"{name} = ?" for name in columns)
    values = (*columns.values(), place)
    return lambda connection: connection.execute(
        f"UPDATE items SET {names} WHERE place = ?",  # noqa: S608 - the names are ours
        values,
    )
