"""The newest run of a project, as far as one client knows it.

Run ids grow. A run whose answer was lost therefore has a higher id than the newest before its
dispatch. Only a list, or the answer to a dispatch, shows which run is the newest.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING

from testvibe_async._core.dispatch.candidates import BEFORE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testvibe_async._core.http import Moment
    from testvibe_async.models import Run

UNLISTED_AT_ONCE = 4
"""Number of dispatches under way on a service without a list: only reads by id find them."""

RETRY_SECONDS = 2.0
"""Seconds after which a list is read again that could not be read for a passing reason."""


class Newest:
    """The newest run of one project."""

    def __init__(self) -> None:
        self.id: int | None = None
        """The highest observed id, 0 for no run; None if none was observed."""
        self.is_listed: bool = True
        """False if the service does not show which run is the newest."""
        self._known_at: Moment | None = None
        """The moment at which no run had a higher id; None if that is not known."""
        self._retry_at = -inf
        self.lock: asyncio.Lock = asyncio.Lock()
        """Held while the list is read, so that dispatches share one read."""
        self.unlisted: asyncio.Semaphore = asyncio.Semaphore(UNLISTED_AT_ONCE)
        """Held by dispatches that only reads by id would find."""

    @property
    def is_known(self) -> bool:
        """True if it is known which run was the newest a few seconds ago."""
        return self._known_at is not None and not self._known_at.is_older_than(BEFORE_SECONDS)

    def needs_list(self) -> bool:
        """Return whether the list must be read before a dispatch."""
        is_due = asyncio.get_running_loop().time() >= self._retry_at
        return not self.is_known and self.is_listed and is_due

    def note(self, run_id: int) -> None:
        """Note a run that an answer showed."""
        if run_id > (self.id or 0):
            self.id = run_id

    def note_dispatched(self, run_id: int, *, sent: Moment) -> None:
        """Note the run of a dispatch: no run from before it was sent has a higher id."""
        self.note(run_id)
        if run_id == self.id:
            self._known_at = sent

    def note_list(self, rows: Sequence[Run] | None, *, at: Moment) -> None:
        """Note the newest runs, newest first; None if the service has no such list."""
        ids = [row.run_id for row in rows or ()]
        self.is_listed = rows is not None and ids == sorted(ids, reverse=True)
        if self.is_listed:
            self.id = max(ids, default=0)
            self._known_at = at

    def note_failure(self) -> None:
        """Note that the list could not be read for a passing reason."""
        self._retry_at = asyncio.get_running_loop().time() + RETRY_SECONDS
