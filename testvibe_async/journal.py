"""Journals: what a batch planned, intended, dispatched and saw, in one SQLite file.

With one a batch goes on after any crash: what was dispatched is attached to, what was intended is
reconciled, and the rest is dispatched. It stores and restores; it never decides what becomes of a
dispatch, and sends nothing. The API key is never in it.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from attrs import evolve

from testvibe_async._journal import (
    Contents,
    ItemState,
    PlannedJobs,
    Rows,
    difference,
    problem,
    read_contents,
)
from testvibe_async._telemetry import telemetry
from testvibe_async._util.sqlite_file import SqliteFile
from testvibe_async.errors import ConfigError
from testvibe_async.refs import Ref

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from datetime import datetime

    from testvibe_async._dispatch import JobSource
    from testvibe_async._journal import Plan
    from testvibe_async.intents import Intent
    from testvibe_async.outcomes import BatchItem

__all__ = ["Journal"]


class Journal:
    """One batch, in a file that outlives the process: `run_features(…, journal=journal)`.

    For example, also after a crash, when it resumes:

        async with Journal("nightly.journal") as journal:
            items = await project.run_features(["Checkout", "Returns"], journal=journal)
            print([item.verdict for item in items], journal.is_over)

    Open it with `async with`. An existing file is resumed, and a missing one created. One open
    journal takes one batch, and one process has the file: another gets a `ConfigError`. While it is
    open, and after a crash, keep the second file, `-wal` at its end, with it. It holds names,
    configurations, sites, ids and outcomes, and no key.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, options: Mapping[str, Any] | None = None
    ) -> None:
        """Make it; no I/O is done.

        Args:
            path: The file. Its folder must exist.
            options: What you want to know after a crash, a JSON object: a new file keeps it as
                `plan.options`. None for an empty one.

        Raises:
            ConfigError: The options are no JSON object.
        """
        self.path: Path = Path(path)
        """The file."""
        try:
            self._options = dict(options or {})
            json.dumps(self._options)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"the options of a journal must be a JSON object: {error}") from error
        self._file = SqliteFile(self.path, telemetry().commit)
        self._rows = Rows(self._file, self.path, Contents())
        self._is_open = False
        self._is_used = False

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
            contents = await self._file.open(read_contents)
        except sqlite3.Error as error:
            raise ConfigError(f"the journal {self.path} {problem(error)}") from error
        self._rows = Rows(self._file, self.path, contents)
        self._is_open = True
        self._is_used = False
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
                f"the journal {self.path} lacks the end of its batch: it {problem(error)}"
            ) from error

    @property
    def plan(self) -> Plan | None:
        """What its batch is to do, with `options`; None in a new file."""
        return self._rows.plan

    @property
    def created_at(self) -> datetime | None:
        """When the batch began; None in a new file."""
        return self._rows.created_at

    @property
    def is_complete(self) -> bool:
        """Whether all features of the plan are known: a generator was read to its end."""
        return self._rows.is_complete

    @property
    def items(self) -> list[BatchItem[Any]]:
        """What is known of each feature, in the order planned, without asking the service."""
        return self._rows.items

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to dispatch, to wait for or to reconcile."""
        left = {ItemState.PLANNED, ItemState.INTENDED, ItemState.DISPATCHED}
        return self.is_complete and not left.intersection(self._rows.states)

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
        """Decide unknown dispatches: resend, drop, or name their operation.

        Args:
            decision: `resend` dispatches them again, which may do the work twice; `drop` leaves
                them alone; a ref says which operation it was, of one feature.
            feature: The feature, as it was asked for; None for all that are unknown. What a batch
                is sending at this moment is not: its answer may still come.

        Returns:
            The features that it was decided for; the next batch with this journal acts on it.

        Raises:
            ConfigError: Nothing is unknown, it is no decision, a ref was given for several, or the
                journal is not open or can't be written.
        """
        self._require_open()
        if not isinstance(decision, Ref) and decision not in {"resend", "drop"}:
            raise ConfigError(f"the decision must be 'resend', 'drop' or a ref, not {decision!r}")
        jobs = self._rows.jobs
        places = [
            place
            for place, job in enumerate(jobs)
            if self._rows.is_undecided(place, is_used=self._is_used)
            and feature in {None, job.feature, job.name}
        ]
        if not places:
            what = "nothing" if feature is None else f"nothing of feature {feature!r}"
            raise ConfigError(f"{what} is unknown in the journal {self.path}")
        if isinstance(decision, Ref) and len(places) > 1:
            raise ConfigError(
                f"{decision} is of one dispatch, and {len(places)} are unknown: name the feature"
            )
        for place in places:
            self._rows.decide(place, decision)
        try:
            await self._file.write(_nothing)
        except sqlite3.Error as error:
            raise ConfigError(f"the journal {self.path} {problem(error)}") from error
        return [jobs[place].feature for place in places]

    def begin(self, plan: Plan, source: JobSource) -> PlannedJobs:
        """Begin the batch of a plan, or resume it; return its jobs. For `run_features` alone.

        Raises:
            ConfigError: It is not open, was used, or holds another plan.
        """
        self._require_open()
        if self._is_used:
            raise ConfigError(f"the journal {self.path} has a batch: open it anew to go on with it")
        if self.plan is None:
            self._rows.begin(evolve(plan, options=plan.options | self._options))
        elif self.plan != plan:
            raise ConfigError(f"the journal {self.path} {difference(self.plan, plan)}")
        self._is_used = True
        return PlannedJobs(self._rows, source)

    def _require_open(self) -> None:
        if not self._is_open:
            raise ConfigError(f"open the journal {self.path} with 'async with' first")

    @property
    def refs(self) -> list[Ref]:
        """The operations that were dispatched, the earlier attempts of a feature not among them."""
        return self._rows.refs

    @property
    def open_intents(self) -> list[Intent]:
        """The dispatches that have no answer yet."""
        return self._rows.open_intents


def _nothing(_connection: sqlite3.Connection) -> None:
    """Write nothing: what was asked for before is on the disk once this is."""
