"""The tasks of a batch, and the first that failed. It decides nothing."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any

from testvibe_async._util.waiting import wait_uncancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Tasks"]


class Tasks:
    """Those that run. The first that fails is kept, for the batch to raise."""

    def __init__(self, *, is_stopped: Callable[[], bool], ended: Callable[[], None]) -> None:
        """Make it; there are none yet.

        Args:
            is_stopped: Says whether the batch is stopped, and may cancel its tasks: before that, a
                cancellation is somebody else's, and fails it.
            ended: Called after each.
        """
        self.context: Context = Context()
        """What they run in. The poller, in a context of its own, starts some of them."""
        self._is_stopped = is_stopped
        self._ended = ended
        self._running: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """How many run."""
        return len(self._running)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start one."""
        task = asyncio.create_task(work, name="testvibe_async batch", context=self.context.copy())
        task.add_done_callback(self._note_ended)
        self._running.add(task)
        return task

    def _note_ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        has_failed = not self._is_stopped() if task.cancelled() else task.exception() is not None
        if has_failed and self._failed is None:
            self._failed = task
        self._ended()

    @property
    def is_failure(self) -> bool:
        """Whether one has failed, and none runs any more."""
        return self._failed is not None and not self._running

    def raise_failure(self) -> None:
        """Raise what the first that failed has raised, if one has."""
        if self._failed is not None:
            self._failed.result()

    async def close(self, *, within_seconds: float) -> None:
        """Wait for all of them, then cancel what still runs, and wait for that.

        A cancellation is delivered after that.

        Args:
            within_seconds: How long to wait before they are cancelled.
        """
        try:
            until = asyncio.get_running_loop().time() + within_seconds
            await wait_uncancelled(self._running, until=until)
        finally:
            for task in self._running:
                task.cancel()
            await wait_uncancelled(self._running)
