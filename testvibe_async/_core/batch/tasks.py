"""The progress of a batch, and its tasks: their first failure, and which of them a stop cancels.

Decides which tasks a stop cancels: none that has sent a dispatch.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define

from testvibe_async._core.util.waiting import wait_uncancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from testvibe_async._core.batch.entry import Entry

T = TypeVar("T")


@define(eq=False)
class Course:
    """The progress of a batch, shared by all that works on it."""

    began: float = 0.0
    """The loop's clock when it was opened."""

    deadline: float | None = None
    """The loop's clock at its time-out; None for no limit."""

    is_stopped: bool = False
    """True if it dispatches nothing more."""

    is_timed_out: bool = False
    """True if it was stopped by its time-out."""

    is_closed: bool = False
    """True if the caller has left it, so that nothing is waited for."""

    def begin(self, timeout: float | None) -> None:
        """Note that it was opened, with a time-out in seconds."""
        self.began = asyncio.get_running_loop().time()
        self.deadline = None if timeout is None else self.began + timeout

    def elapsed(self) -> float:
        """Return the seconds since it was opened."""
        return asyncio.get_running_loop().time() - self.began


class Tasks:
    """The running tasks. The first task that fails is kept, for the batch to raise its error."""

    def __init__(self, course: Course, *, ended: Callable[[], None]) -> None:
        """Create it without tasks.

        Args:
            course: Knows whether the batch is stopped, and may cancel its tasks. A cancellation
                before the stop comes from other code, and fails the batch.
            ended: Called after each task.
        """
        self.context: Context = Context()
        """The context of the tasks. The poller, in a context of its own, starts some of them."""
        self._course = course
        self._ended = ended
        self._running: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Task[None] | None = None
        self._is_raised = False
        self._withdrawable: dict[asyncio.Task[Any], Entry[Any] | None] = {}
        """Tasks that read or dispatch: a stop cancels each of them, unless it was sent."""

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task."""
        task = asyncio.create_task(work, name="testvibe_async batch", context=self.context.copy())
        task.add_done_callback(self._note_ended)
        self._running.add(task)
        return task

    async def withdrawable(self, step: Awaitable[T], entry: Entry[Any] | None = None) -> T | None:
        """Await a step of the current task that a stop may cancel; return None if it was cancelled.

        Args:
            step: The step.
            entry: The entry that the step dispatches; the step is not cancelled once that was sent.
        """
        task = asyncio.current_task()
        assert task is not None
        self._withdrawable[task] = entry
        try:
            return await step
        except asyncio.CancelledError:
            # After a stop, the batch cancelled the task, unless it was cancelled twice.
            if not self._course.is_stopped or task.uncancel():
                raise
            return None
        finally:
            del self._withdrawable[task]

    def withdraw(self, *, spares_idle: bool) -> None:
        """Cancel the steps that have sent nothing, and keep the others from sending again.

        Args:
            spares_idle: True to leave alone a dispatch that waits for something else.
        """
        for task, entry in self._withdrawable.items():
            if entry is None:
                task.cancel()
                continue
            dispatch = entry.dispatch
            assert dispatch is not None
            dispatch.withdraw()
            if dispatch.may_be_cancelled or not (dispatch.has_effect or spares_idle):
                task.cancel()

    async def await_answers(self, seconds: float) -> None:
        """Wait for the answers to sent dispatches; at the time-out their results become unknown."""
        until = asyncio.get_running_loop().time() + seconds
        await wait_uncancelled(self._sent(), until=until)
        for task in self._sent():
            task.cancel()  # An answer that comes late still counts.

    def _sent(self) -> list[asyncio.Task[Any]]:
        return [task for task, entry in self._withdrawable.items() if entry and entry.is_awaited]

    def _note_ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if task.cancelled():
            has_failed = not self._course.is_stopped
        else:
            has_failed = task.exception() is not None
        if has_failed and self._failed is None:
            self._failed = task
        self._ended()

    @property
    def is_failure(self) -> bool:
        """True if a task has failed, and none runs any more."""
        return self._failed is not None and not self._running

    def raise_failure(self) -> None:
        """Raise the error of the first failed task, if any."""
        if self._failed is not None:
            self._is_raised = True
            self._failed.result()

    @property
    def has_unseen_failure(self) -> bool:
        """True if a task has failed, and its error was not raised."""
        return self._failed is not None and not self._is_raised

    async def close(self, *, within_seconds: float) -> None:
        """Wait for all tasks, then cancel the tasks that still run, and wait for their end.

        A cancellation is delivered after that.

        Args:
            within_seconds: Seconds to wait before the tasks are cancelled.
        """
        try:
            until = asyncio.get_running_loop().time() + within_seconds
            await wait_uncancelled(self._running, until=until)
        finally:
            for task in self._running:
                task.cancel()
            await wait_uncancelled(self._running)
