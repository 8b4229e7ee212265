"""The highest run id of each project that the service has shown to this client.

Run ids grow. So a run whose answer was lost has a higher one than the latest run that existed right
before its dispatch, and a run with a lower one was there before. Which run is the latest, a list
alone shows: an id that was stored or polled may be days older.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testvibe_async.models import Run

__all__ = ["RunIds"]

FRESH_SECONDS = 10.0
"""How old a list may be that shows the latest run, where no times tell which runs are newer."""


@frozen
class _Listed:
    """The last list of a project's runs."""

    at: float
    """When it was read, by the loop's clock."""
    is_dated: bool
    """Whether its rows say when they were created."""


class RunIds:
    """The run ids that one client has seen."""

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}
        self._listed: dict[str, _Listed | None] = {}
        """By project; None where there is no such list, or not one that shows the latest run."""
        self.locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """By project; held while its list is read, so that dispatches share one."""

    def note(self, project: str, run_id: int) -> None:
        """Note a run that an answer showed."""
        if run_id > self._highest.get(project, 0):
            self._highest[project] = run_id

    def note_list(self, project: str, rows: Sequence[Run] | None, *, now: float) -> None:
        """Note the latest runs of a project, newest first; None where they can't be had."""
        ids = [row.run_id for row in rows or ()]
        if rows is None or ids != sorted(ids, reverse=True):
            self._listed[project] = None
            return
        self.note(project, max(ids, default=0))
        self._listed[project] = _Listed(now, all(row.created_at is not None for row in rows))

    def needs_list(self, project: str, *, now: float, has_clock: bool) -> bool:
        """Return whether a list must be read to know the latest run before a dispatch.

        Args:
            project: The project's id.
            now: The loop's clock.
            has_clock: Whether the service's clock is known: with it, and the times of the rows, one
                list is enough.
        """
        if project not in self._listed:
            return True
        listed = self._listed[project]
        is_stale = listed is not None and now - listed.at > FRESH_SECONDS
        return listed is not None and is_stale and not (listed.is_dated and has_clock)

    def highest(self, project: str) -> int | None:
        """Return the highest id that was seen, 0 for no run; None where no list has shown it."""
        return self._highest.get(project, 0) if self._listed.get(project) else None
