"""A queue of due polls, served by a few tasks instead of one task for each poll.

Decides how many polls run at once, and loses none when a task is cancelled or fails. It never
decides which operations are polled, nor how.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from testvibe_async.events import logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

JobT = TypeVar("JobT")

JOBS_A_TURN = 50
"""Number of jobs that a worker serves before other tasks get to run: some jobs wait for nothing."""


class PollQueue(Generic[JobT]):
    """Queued jobs, and the workers that serve them."""

    def __init__(
        self,
        serve: Callable[[JobT], Awaitable[None]],
        abandon: Callable[[JobT, BaseException | None], None],
        *,
        max_workers: int,
        is_closed: Callable[[], bool],
    ) -> None:
        """Create an empty queue.

        Args:
            serve: Serves a job.
            abandon: Called with each job that was not served to its end, and the error; None if its
                worker was cancelled.
            max_workers: Maximum number of jobs served at once.
            is_closed: Returns whether serving has stopped; a client that closes ends all waits
                itself.
        """
        self._serve = serve
        self._abandon = abandon
        self._max_workers = max_workers
        self._is_closed = is_closed
        self._jobs: deque[JobT] = deque()
        self._urgent: deque[JobT] = deque()
        self._is_urgent_turn = True
        self.workers: set[asyncio.Task[None]] = set()
        """The worker tasks, to be cancelled when the client closes."""

    def put(self, jobs: Sequence[JobT], *, is_urgent: bool = False) -> None:
        """Add jobs; `start` has the workers serve them, and every other one is an urgent one."""
        (self._urgent if is_urgent else self._jobs).extend(jobs)

    def _next(self) -> JobT | None:
        """Remove and return the next job: urgent ones must not keep all others waiting."""
        self._is_urgent_turn = not self._is_urgent_turn or not self._jobs
        jobs = self._urgent if self._is_urgent_turn and self._urgent else self._jobs
        return jobs.popleft() if jobs else None

    @property
    def _length(self) -> int:
        return len(self._jobs) + len(self._urgent)

    def start(self) -> None:
        """Start as many workers as the jobs need and the limit allows."""
        if self._is_closed():
            return
        for _ in range(min(self._length, self._max_workers - len(self.workers))):
            worker = asyncio.create_task(self._work(), name="testvibe_async poller")
            self.workers.add(worker)
            worker.add_done_callback(self._note_ended)

    def _note_ended(self, worker: asyncio.Task[None]) -> None:
        """Remove a worker, and leave no queued job without one.

        If the worker was cancelled, all queued jobs are abandoned: no wait may hang on an event
        loop that is shutting down.
        """
        self.workers.discard(worker)
        if worker.cancelled() and not self._is_closed():
            while (job := self._next()) is not None:
                self._abandon(job, None)
        if self._length:
            self.start()

    async def _work(self) -> None:
        """Serve jobs until the queue is empty."""
        number = 0
        while (job := self._next()) is not None:
            number += 1
            try:
                await self._serve(job)
            except asyncio.CancelledError:
                self._jobs.append(job)  # `_note_ended` abandons it with the others.
                raise
            except BaseException as error:
                # Neither a defect nor an exception from a hook that ends the program may leave a
                # wait hanging.
                logger.exception("polling failed in an unforeseen way")
                self._abandon(job, error)
                if not isinstance(error, Exception):
                    raise
            if number % JOBS_A_TURN == 0:
                await asyncio.sleep(0)
