"""What is due to be polled, served by few tasks in place of one for each poll.

Decides how many polls are under way at once, and that none is lost where a task is cancelled or
fails. It never decides what is polled, nor how.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from testvibe_async.events import logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

__all__ = ["PollQueue"]

JobT = TypeVar("JobT")


class PollQueue(Generic[JobT]):
    """Jobs that wait, and the workers that serve them."""

    def __init__(
        self,
        serve: Callable[[JobT], Awaitable[None]],
        abandon: Callable[[JobT, BaseException | None], None],
        *,
        max_workers: int,
        is_closed: Callable[[], bool],
    ) -> None:
        """Make it, empty.

        Args:
            serve: Serves a job.
            abandon: Called with a job that was not served to its end, and why; None where somebody
                cancelled its worker.
            max_workers: How many jobs are served at once.
            is_closed: Returns whether no more is served: at its close the client ends all waits.
        """
        self._serve = serve
        self._abandon = abandon
        self._max_workers = max_workers
        self._is_closed = is_closed
        self._jobs: deque[JobT] = deque()
        self.workers: set[asyncio.Task[None]] = set()
        """The tasks that serve, to be cancelled at the close."""

    def put(self, jobs: Iterable[JobT]) -> None:
        """Add jobs; `start` has them served."""
        self._jobs.extend(jobs)

    def start(self) -> None:
        """Have as many workers as the jobs need and the limit allows."""
        if self._is_closed():
            return
        for _ in range(min(len(self._jobs), self._max_workers - len(self.workers))):
            worker = asyncio.create_task(self._work(), name="testvibe_async poller")
            self.workers.add(worker)
            worker.add_done_callback(self._note_ended)

    def _note_ended(self, worker: asyncio.Task[None]) -> None:
        """Remove a worker, and leave nothing in the queue without one.

        If somebody cancelled it, all that waits is abandoned, so that no wait hangs on an event
        loop that is shutting down.
        """
        self.workers.discard(worker)
        if worker.cancelled() and not self._is_closed():
            jobs = list(self._jobs)
            self._jobs.clear()
            for job in jobs:
                self._abandon(job, None)
        self.start()

    async def _work(self) -> None:
        """Serve jobs until there are none."""
        while self._jobs:
            job = self._jobs.popleft()
            try:
                await self._serve(job)
            except asyncio.CancelledError:
                self._jobs.append(job)  # `_note_ended` abandons it with the others.
                raise
            except BaseException as error:
                # Neither a defect nor what a hook raises to end the program may hang a wait.
                logger.exception("polling failed in an unforeseen way")
                self._abandon(job, error)
                if not isinstance(error, Exception):
                    raise
