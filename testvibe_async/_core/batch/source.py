"""The entries of a batch, in order: from the features requested, and from the ledger's rows.

Decides which features a batch has that was begun before: those of its first call.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from attrs import evolve

from testvibe_async._core.batch.entry import Entry
from testvibe_async._core.batch.jobs import job_of
from testvibe_async._core.dispatch import noted
from testvibe_async._core.util import id_in
from testvibe_async.errors import ConfigError
from testvibe_async.ledger import folded, folded_config, item_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from testvibe_async._core.batch.jobs import Job, JobSource
    from testvibe_async._core.batch.plan import Plan
    from testvibe_async.ledger import Ledger, Row


MIN_STORED = 2
"""Number of stored items, counting the plan, from which a feature may be one of them."""


class _Stored:
    """The features of a batch's items in the ledger, by each id and name that its rows know."""

    def __init__(self, rows: Mapping[str, list[Row]]) -> None:
        self.items: dict[tuple[object, ...], str] = {}
        """The item of each id or folded name, with a configuration and a repetition."""
        self.is_partial = False
        """True if of some feature only the id, or only the name, is known."""
        for item, own in rows.items():
            if item:
                job, identities = job_of(own[0]), _identities(job_of(own[0]), own[-1])
                self.items |= {(each, *_variant(job)): item for each in identities}
                self.is_partial |= len({type(each) for each in identities}) == 1


class EntrySource:
    """The entries of one batch."""

    def __init__(self, plan: Plan, jobs: JobSource, ledger: Ledger) -> None:
        """Create it; reads nothing yet.

        Args:
            plan: The batch, as this call describes it.
            jobs: The features that this call requests.
            ledger: Keeps the batch, if it has a key.
        """
        self.plan: Plan = plan
        """The batch; once opened, with what its first call said."""
        self.entries: list[Entry[Any]] = []
        """The entries read so far."""
        self.is_over: bool = False
        """True once no more entries are to come."""
        self.is_lazy: bool = jobs.is_lazy
        """True if features are read only as slots become free."""
        self._jobs = jobs
        self._ledger = ledger
        self._rows: defaultdict[str, list[Row]] = defaultdict(list)
        """The rows of each item that the ledger had at the start."""
        self._stored: _Stored | None = None
        """The features of these items, if they had to be compared."""
        self._ids_by_name: Mapping[str, int] | None = None
        """The ids of the project's features, if they had to be listed."""
        self._lock = asyncio.Lock()
        """Held while an entry is read: a feature may have to be looked up."""
        self._first: Row | None = None
        """The row that describes the batch."""
        self._planned: list[Job] | None = None
        """The jobs of the batch, once they are known."""

    async def open(self) -> Plan:
        """Read what the ledger has of the batch, and have it keep the batch; return its plan.

        Raises:
            ConfigError: The key has another request.
            VibeError: The features must be listed, and can't be.
        """
        plan = evolve(self.plan, missing_only=self._is_missing_only)
        if not plan.is_keyed:
            self.plan = plan
            return plan
        first, is_new = await self._read_rows(), False
        if first is None:
            if not self.is_lazy:
                self._planned = await self._read_jobs()
            row = evolve(plan, jobs=self._planned).row()
            first = await self._ledger.insert(row)
            is_new = first.token == row.token
            if not is_new:  # Another process was faster.
                await self._read_rows()
        self._first = first
        self.plan = self.plan.with_stored(first)
        if not is_new:
            await self._use_stored_jobs()
        return self.plan

    @property
    def _is_missing_only(self) -> bool:
        """True if it was requested, or if no generation is of a feature that the caller named."""
        is_unnamed = self.plan.kind == "generation" and not self._jobs.is_named
        return self.plan.missing_only or is_unnamed

    async def _read_rows(self) -> Row | None:
        """Read the batch's rows; return the first, if there is one."""
        place = self.plan.server, self.plan.project
        rows = await self._ledger.rows(self.plan.key)
        own = [row for row in rows if (row.server, row.project) == place]
        for row in own:
            self._rows[row.item].append(row)
        return next((row for row in own if not row.item), None)

    async def _use_stored_jobs(self) -> None:
        stored = self.plan.jobs
        if stored is None:
            if not self._jobs.is_named:
                raise ConfigError(
                    f"the features of batch {self.plan.key!r} came from a generator: pass it again"
                )
            return
        if self._jobs.is_named:
            named = self._planned or await self._read_jobs()
            if {_item(job) for job in named} != {_item(job) for job in stored}:
                raise ConfigError(
                    f"key {self.plan.key!r} is that of a batch of {len(stored)} other jobs: name "
                    "no features to resume that, or take another key"
                )
        elif not self._jobs.has_variants_of(stored):
            raise ConfigError(
                f"resume batch {self.plan.key!r} without config= and repeat=, or take another key: "
                "it has others"
            )
        self._planned, self.is_lazy = list(stored), False

    async def _read_jobs(self) -> list[Job]:
        jobs: list[Job] = []
        while (job := await self._jobs.read()) is not None:
            jobs.append(job)
        return jobs

    async def _item_of(self, job: Job) -> str:
        """Return the item of a job; of a generator's, that of the ledger, however it is spelled.

        Raises:
            VibeError: Only the list of features tells which one it is, and it can't be read.
        """
        item = _item(job)
        if self._planned is not None or item in self._rows or len(self._rows) < MIN_STORED:
            return item
        stored = self._stored = self._stored or _Stored(self._rows)
        wanted = _identities(job)
        if stored.is_partial:
            wanted |= await self._aliases(wanted)
        found = (stored.items.get((each, *_variant(job)), "") for each in wanted)
        return next((each for each in found if each in self._rows and each), item)

    async def _aliases(self, identities: Collection[int | str]) -> set[int | str]:
        """Return the ids and names of a feature, as the service lists them."""
        if self._ids_by_name is None:
            self._ids_by_name = await self._jobs.ids_by_name()
        return {
            each
            for pair in self._ids_by_name.items()
            if not set(identities).isdisjoint(pair)
            for each in pair
        }

    async def _next_job(self) -> Job | None:
        """Return the next job; after those of a generator, the ones that only the ledger has."""
        if self._planned is not None:
            index = len(self.entries)
            return self._planned[index] if index < len(self._planned) else None
        if (job := await self._jobs.read()) is not None:
            return job
        return next((job_of(rows[0]) for item, rows in self._rows.items() if item), None)

    async def read(self) -> Entry[Any] | None:
        """Return the next entry; None after the last. Concurrent calls are served one by one."""
        async with self._lock:
            return await self._read()

    async def _read(self) -> Entry[Any] | None:
        job = await self._next_job()
        if job is None:
            self.is_over = True
            if self.plan.is_keyed and self._planned is None:  # Now all of them are known.
                assert self._first is not None
                jobs = [entry.job for entry in self.entries]
                self._first.plan = evolve(self.plan, jobs=jobs).row().plan
                await noted(self._ledger, self._first)
            return None
        item, rows = f"{len(self.entries)}", list["Row"]()
        if self.plan.is_keyed:
            item = await self._item_of(job)
            rows = self._rows.pop(item, [])
        job = job_of(rows[0]) if rows else job
        entry: Entry[Any] = Entry(index=len(self.entries), job=job, item=item, rows=rows)
        self.entries.append(entry)
        return entry


def _item(job: Job) -> str:
    return item_of(job.feature, job.config, job.repetition)


def _variant(job: Job) -> tuple[object, ...]:
    return folded_config(job.config), job.repetition


def _identities(job: Job, row: Row | None = None) -> set[int | str]:
    """Return the ids and the folded names of a job's feature that are known without a request."""
    outcome, number = row and row.outcome, id_in(str(job.feature))
    ids = {number, getattr(row and row.ref, "feature_id", None), outcome and outcome.feature_id}
    names = {None if number else str(job.feature), job.name, outcome and outcome.feature_name}
    return {each for each in ids if each} | {folded(each) for each in names if each}
