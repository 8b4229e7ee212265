"""The features of a batch that wait to be dispatched.

Decides which is next, and when: once fewer than `max_in_flight` are in flight. It reads features
from their source only as there is room for them, and dispatches nothing itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from testvibe_async._batch.reconciliation import Reconciliation
    from testvibe_async._dispatch import Job, JobSource
    from testvibe_async._journal import PlannedJobs

__all__ = ["JobQueue"]


class JobQueue:
    """The places of the features that wait; several tasks take from it at once."""

    def __init__(
        self,
        source: JobSource | PlannedJobs,
        take_in: Callable[[Job | None], None],
        *,
        max_in_flight: int,
        reconciliation: Reconciliation,
    ) -> None:
        """Make it; nothing is read yet.

        Args:
            source: What has the features.
            take_in: Called with each that is read, and with None for the end.
            max_in_flight: How many may be in flight at once.
            reconciliation: What a crash left open; the last feature is held back for it.
        """
        self.room = asyncio.Semaphore(max_in_flight)
        """Taken before a dispatch, and given back at the end of its operation."""
        self.waiting: deque[int] = deque()
        """Those that were read and wait."""
        self.is_read: bool = False
        """Whether no more is read from the source."""
        self.is_stopped: bool = False
        """Whether nothing more is dispatched."""
        self._source = source
        self._take_in = take_in
        self._reconciliation = reconciliation
        self._readers: set[asyncio.Task[Any]] = set()
        """The tasks that read the next feature, one of them, or wait to."""

    @property
    def is_lazy(self) -> bool:
        """Whether features are read only as there is room for them."""
        return self._source.is_lazy

    async def next(self) -> int | None:
        """Return the next to dispatch, once there is room for it; None where nothing is left."""
        task = asyncio.current_task()
        assert task is not None
        while self.waiting or not self.is_read:
            if task.cancelling():  # Not by the batch, which would have let nothing wait.
                raise asyncio.CancelledError
            if self._is_last_held_back:
                await self._reconciliation.progress()
                continue
            await self.room.acquire()
            if not self.waiting and not self.is_read:
                await self._read_one()
            # Others may have taken what waited.
            if self.waiting and not self._is_last_held_back:
                return self.waiting.popleft()
            self.room.release()
        return None

    @property
    def _is_last_held_back(self) -> bool:
        """Whether the last one waits for the time that it is to show; see `Reconciliation`."""
        return len(self.waiting) == 1 and self._reconciliation.is_open and not self.is_stopped

    async def read(self) -> None:
        """Read one more from the source."""
        job = await self._source.read()
        self.is_read = self.is_read or job is None
        self._take_in(job)

    async def _read_one(self) -> None:
        """Read one more; nothing, if the batch is stopped meanwhile."""
        task = asyncio.current_task()
        assert task is not None
        self._readers.add(task)
        try:
            await self.read()
        except asyncio.CancelledError:
            if not self.is_stopped or task.uncancel():
                raise
        except BaseException:
            self.is_read = True  # A generator that has failed has no more.
            raise
        finally:
            self._readers.discard(task)

    def stop(self) -> None:
        """Give out nothing more, and read nothing more. What waits stays in `waiting`."""
        self.is_stopped = self.is_read = True
        for reader in self._readers:
            reader.cancel()
