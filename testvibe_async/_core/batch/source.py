"""The entries of a batch, in order: from the features requested, and from the ledger's rows.

Decides which features a batch has that was begun before: those of its first call.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from attrs import evolve

from testvibe_async._core.batch.entry import Entry
from testvibe_async._core.batch.jobs import job_of
from testvibe_async.errors import ConfigError
from testvibe_async.ledger import item_of

if TYPE_CHECKING:
    from testvibe_async._core.batch.jobs import Job, JobSource
    from testvibe_async._core.batch.plan import Plan
    from testvibe_async.ledger import Ledger, Row


MIN_STORED = 2
"""Number of items in the ledger, with the batch's own, from which a feature may be one of them."""


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
        self._by_identity: dict[tuple[object, ...], str] | None = None
        """The items that the ledger had at the start, for features spelled otherwise."""
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
        """Return the item of a job; of a generator's, that of the ledger, however it is spelled."""
        item = _item(job)
        if self._planned is not None or item in self._rows or len(self._rows) < MIN_STORED:
            return item
        if self._by_identity is None:
            self._by_identity = {
                await self._jobs.identity_of(job_of(rows[-1]), rows[-1]): stored
                for stored, rows in self._rows.items()
                if stored
            }
        return self._by_identity.get(await self._jobs.identity_of(job), item)

    async def _next_job(self) -> Job | None:
        """Return the next job; after those of a generator, the ones that only the ledger has."""
        if self._planned is not None:
            index = len(self.entries)
            return self._planned[index] if index < len(self._planned) else None
        if (job := await self._jobs.read()) is not None:
            return job
        return next((job_of(rows[0]) for item, rows in self._rows.items() if item), None)

    async def read(self) -> Entry[Any] | None:
        """Return the next entry; None after the last."""
        job = await self._next_job()
        if job is None:
            self.is_over = True
            if self.plan.is_keyed and self._planned is None:  # Now all of them are known.
                assert self._first is not None
                jobs = [entry.job for entry in self.entries]
                self._first.plan = evolve(self.plan, jobs=jobs).row().plan
                await self._ledger.note(self._first)
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
