"""The highest run id of each project that the service has shown to this client.

Run ids grow. A run whose answer was lost therefore has a higher id than the latest run before its
dispatch; a run with a lower id existed before. Only a list shows which run is the latest: a stored
or polled id may be days older.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

from attrs import frozen

from testvibe_async._wire import has_zone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from testvibe_async._http import Moment
    from testvibe_async.models import Run

UNLISTED_AT_ONCE = 4
"""Number of recorded dispatches under way on a service without a list: a crash may lose each."""

RETRY_SECONDS = 2.0
"""Seconds after which a list is read again that could not be read for a passing reason."""

FRESH_SECONDS = 10.0
"""Maximum age in seconds of the list that shows the latest run, if its rows have no times."""


@frozen
class _Listed:
    """The last list of a project's runs."""

    at: Moment
    """The moment before the list was read."""
    is_dated: bool
    """True if all rows say when they were created, with a time zone."""


class RunIds:
    """The run ids observed by one client."""

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}
        self._retry_at: dict[str, float] = {}
        self._listed: dict[str, _Listed | None] = {}
        """By project; None if there is no such list, or it does not show the latest run."""
        self.locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """By project; held while the project's list is read, so that dispatches share one read."""
        self.unlisted: defaultdict[str, asyncio.Semaphore] = defaultdict(
            partial(asyncio.Semaphore, UNLISTED_AT_ONCE)
        )
        """By project; held by recorded dispatches that only a probe of ids would find."""

    def note(self, project: str, run_id: int) -> None:
        """Note a run that an answer showed."""
        if run_id > self._highest.get(project, 0):
            self._highest[project] = run_id

    def note_list(self, project: str, rows: Sequence[Run] | None, *, at: Moment) -> None:
        """Note the latest runs of a project, newest first; None if they are not available."""
        ids = [row.run_id for row in rows or ()]
        if rows is None or ids != sorted(ids, reverse=True):
            self._listed[project] = None
            return
        self.note(project, max(ids, default=0))
        self._listed[project] = _Listed(at, all(has_zone(row.created_at) for row in rows))

    def note_failure(self, project: str, *, now: float) -> None:
        """Note that the list could not be read for a passing reason, and shows nothing for now."""
        self._listed.pop(project, None)
        self._retry_at[project] = now + RETRY_SECONDS

    def needs_list(
        self, project: str, *, now: float, service_time: Callable[[float], datetime | None]
    ) -> bool:
        """Return whether a list must be read to know the latest run before a dispatch.

        Args:
            project: The project's id.
            now: The loop's clock.
            service_time: Returns the service's time at an instant, if it is known; with its clock
                and the rows' times, one list is enough.
        """
        if project not in self._listed:
            return now >= self._retry_at.get(project, now)
        listed = self._listed[project]
        if listed is None or not listed.at.is_older_than(FRESH_SECONDS):
            return False
        is_timeless = not listed.is_dated or service_time(now) is None
        return is_timeless or listed.at.has_slept_since

    def known(self, project: str) -> int | None:
        """Return the highest observed id where no list shows the latest run; None otherwise."""
        return None if self._listed.get(project) else self._highest.get(project)

    def highest(self, project: str) -> int | None:
        """Return the highest observed id, 0 for no run; None if no list shows the latest run.

        A list from before the machine slept does not.
        """
        listed = self._listed.get(project)
        is_shown = listed is not None and not listed.at.has_slept_since
        return self._highest.get(project, 0) if is_shown else None
