"""The jobs of a batch that a journal keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testvibe_async.errors import ConfigError

if TYPE_CHECKING:
    from testvibe_async._dispatch import Job, JobSource
    from testvibe_async._journal.rows import Rows

__all__ = ["PlannedJobs"]


class PlannedJobs:
    """The jobs of a journal's plan, and then those that its source has beyond them."""

    def __init__(self, rows: Rows, source: JobSource) -> None:
        self.rows = rows
        """Where the journal keeps them, and what becomes of them."""
        self._source = source
        self._planned = rows.jobs
        self._place = 0
        # A plan that is whole needs no list of the project's features.
        self._is_whole = rows.is_complete
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
                f"the journal {self.rows.path} has a batch of other features, or of these in "
                "another order: go on with it without naming any, or take another file"
            )
        if self._is_whole and job is not None and place >= len(self._planned):
            raise ConfigError(
                f"the journal {self.rows.path} has a batch of fewer features: go on with it "
                "without naming any, or take another file"
            )
        if job is None:
            self.rows.complete()
            return None
        self.rows.add(place, job)
        return self._planned[place] if place < len(self._planned) else job


def _differs(job: Job, planned: Job) -> bool:
    return (job.feature, job.config) != (planned.feature, planned.config)
