"""The entries of a batch, in order: from the features requested, and from the ledger's rows.

Decides which features a batch has that was begun before: those of its first call.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from attrs import evolve

from testvibe_async._core.batch.entry import Entry
from testvibe_async.errors import ConfigError
from testvibe_async.ledger import item_of

if TYPE_CHECKING:
    from testvibe_async._core.batch.jobs import Job, JobSource
    from testvibe_async._core.batch.plan import Plan
    from testvibe_async.ledger import Ledger, Row


READ_A_TURN = 100
"""Number of features that are read before other tasks get to run."""


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
        self.is_lazy: bool = jobs.is_lazy and not plan.is_keyed
        """True if features are read only as slots become free: the ledger keeps whole batches."""
        self._jobs = jobs
        self._ledger = ledger
        self._rows: defaultdict[str, list[Row]] = defaultdict(list)
        """The rows of each item that the ledger had at the start."""
        self._requested: list[Job] | None = None
        """The jobs that this call requests, once they are read."""
        self._planned: list[Job] = []
        """The jobs of a batch with a key."""

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
        first = await self._read_rows()
        if first is None:
            jobs = await self._read_jobs()
            row = evolve(plan, jobs=jobs).row()
            first = await self._ledger.insert(row)
            if first.token == row.token:
                self.plan, self._planned = self.plan.with_stored(first), jobs
                return self.plan
            await self._read_rows()  # Another process was faster.
        self.plan = self.plan.with_stored(first)
        self._planned = list(self.plan.jobs)
        await self._require_same_jobs()
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

    async def _require_same_jobs(self) -> None:
        """Refuse other features, configurations or repetitions than those of the first call.

        Raises:
            ConfigError: This call names others.
        """
        stored = self._planned
        if self._jobs.is_named:
            if {_item(job) for job in await self._read_jobs()} != {_item(job) for job in stored}:
                raise ConfigError(
                    f"key {self.plan.key!r} is that of a batch of {len(stored)} other jobs: name "
                    "no features to resume that, or take another key"
                )
        elif not self._jobs.has_variants_of(stored):
            raise ConfigError(
                f"resume batch {self.plan.key!r} without config= and repeat=, or take another key: "
                "it has others"
            )

    async def _read_jobs(self) -> list[Job]:
        """Read the jobs that this call requests, once."""
        if self._requested is None:
            self._requested = []
            while (job := await self._jobs.read()) is not None:
                self._requested.append(job)
                if len(self._requested) % READ_A_TURN == 0:
                    await asyncio.sleep(0)
        return self._requested

    async def read(self) -> Entry[Any] | None:
        """Return the next entry; None after the last."""
        job = await self._next_job()
        if job is None:
            self.is_over = True
            return None
        index = len(self.entries)
        item = _item(job) if self.plan.is_keyed else f"{index}"
        rows = self._rows.pop(item, [])
        entry: Entry[Any] = Entry(index=index, job=job, item=item, rows=rows)
        self.entries.append(entry)
        return entry

    async def _next_job(self) -> Job | None:
        if not self.plan.is_keyed:
            return await self._jobs.read()
        index = len(self.entries)
        return self._planned[index] if index < len(self._planned) else None


def _item(job: Job) -> str:
    return item_of(job.feature, job.config, job.repetition)
