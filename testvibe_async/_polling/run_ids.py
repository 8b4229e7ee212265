"""The highest run id of a project that the service has shown to this client.

Run ids grow. A run whose answer was lost therefore has a higher id than the latest run before its
dispatch; a run with a lower id existed before. Only a list shows which run is the latest: a stored
or polled id may be days older.
"""

from __future__ import annotations

import asyncio
from math import inf
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
    """The ids of one project's runs observed by one client."""

    def __init__(self) -> None:
        self._highest: int | None = None
        self._retry_at = -inf
        self._is_read = False
        """True once the list was read, or found to be missing."""
        self._listed: _Listed | None = None
        """The last list; None if there is no such list, or it does not show the latest run."""
        self.lock: asyncio.Lock = asyncio.Lock()
        """Held while the project's list is read, so that dispatches share one read."""
        self.unlisted: asyncio.Semaphore = asyncio.Semaphore(UNLISTED_AT_ONCE)
        """Held by recorded dispatches that only a probe of ids would find."""

    def note(self, run_id: int) -> None:
        """Note a run that an answer showed."""
        if run_id > (self._highest or 0):
            self._highest = run_id

    def note_list(self, rows: Sequence[Run] | None, *, at: Moment) -> None:
        """Note the latest runs, newest first; None if they are not available."""
        ids = [row.run_id for row in rows or ()]
        self._is_read, self._listed = True, None
        if rows is not None and ids == sorted(ids, reverse=True):
            self.note(max(ids, default=0))
            self._listed = _Listed(at, all(has_zone(row.created_at) for row in rows))

    def note_failure(self, *, now: float) -> None:
        """Note that the list could not be read for a passing reason, and shows nothing for now."""
        self._is_read, self._listed = False, None
        self._retry_at = now + RETRY_SECONDS

    def needs_list(self, *, now: float, service_time: Callable[[float], datetime | None]) -> bool:
        """Return whether a list must be read to know the latest run before a dispatch.

        Args:
            now: The loop's clock.
            service_time: Returns the service's time at an instant, if it is known; with its clock
                and the rows' times, one list is enough.
        """
        if not self._is_read:
            return now >= self._retry_at
        listed = self._listed
        if listed is None or not listed.at.is_older_than(FRESH_SECONDS):
            return False
        is_timeless = not listed.is_dated or service_time(now) is None
        return is_timeless or listed.at.has_slept_since

    @property
    def known(self) -> int | None:
        """The highest observed id where no list shows the latest run; None otherwise."""
        return None if self._listed else self._highest

    @property
    def highest(self) -> int | None:
        """The highest observed id, 0 for no run; None if no list shows the latest run.

        A list from before the machine slept does not.
        """
        is_shown = self._listed is not None and not self._listed.at.has_slept_since
        return (self._highest or 0) if is_shown else None
