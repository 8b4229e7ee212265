"""The highest run id of each project that any answer has shown.

Run ids grow. So a run whose answer was lost has a higher one than all that were seen before it was
dispatched, and what does not was there before.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["RunIds"]


class RunIds:
    """The run ids that one client has seen."""

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}
        self._used: set[str] = set()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def note(self, project: str, run_id: int) -> None:
        """Take note of a run that an answer showed; 0 for a project that has none."""
        if run_id > self._highest.get(project, -1):
            self._highest[project] = run_id

    def highest(self, project: str) -> int | None:
        """Return the highest id that was seen; None where none was."""
        return self._highest.get(project)

    @asynccontextmanager
    async def first_use(self, project: str) -> AsyncGenerator[bool]:
        """Say whether a project is used for the first time; others wait until that use is over."""
        if project in self._used:
            yield False
            return
        async with self._locks[project]:
            yield project not in self._used
            self._used.add(project)
