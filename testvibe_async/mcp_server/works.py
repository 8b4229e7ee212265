"""What calls began and go on with: batches, generations with their runs, dispatches.

Decides which call joins what an earlier one began. A client that gives up calls again, often with
the same arguments, and must start nothing twice by that. Works run in tasks of their own, so the
end of a call, or of a client's patience, does not end them. `journals` has what outlives the
server.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from testvibe_async.mcp_server.journals import REMEMBERED_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

__all__ = ["Work", "Works"]

T = TypeVar("T")

MAX_WORKS = 1_000


class Work(Generic[T]):
    """Something that was begun, with all that is known of it so far."""

    def __init__(
        self,
        state: T,
        play: Callable[[Work[T]], Coroutine[Any, Any, None]],
        *,
        is_anew: bool = False,
    ) -> None:
        """Begin it.

        Args:
            state: What `play` fills in, and goes on from if it is called again.
            play: Does the work, and calls `tell` at each change.
            is_anew: Whether what ended before is of no use.
        """
        self.state: T = state
        self.is_anew: bool = is_anew
        self.calls: int = 0
        """How many calls have joined it."""
        self.line: str = "begun"
        """How it stands."""
        self._play = play
        self._loop = asyncio.get_running_loop()
        self.ended_at: float | None = None
        """When it ended, by the loop's clock."""
        self._changed: asyncio.Future[None] = self._loop.create_future()
        self.task: asyncio.Task[None] = self._start()

    def tell(self, line: str) -> None:
        """Say how it stands, to all calls that wait for it."""
        self.line = line
        self._changed.set_result(None)
        self._changed = self._loop.create_future()

    async def change(self, seconds: float) -> None:
        """Wait until it changes or ends, for so many seconds at most."""
        await asyncio.wait(
            {self.task, self._changed},
            timeout=seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )

    def go_on(self) -> None:
        """Go on after a failure, from what was reached."""
        if self.has_failed:
            self.is_anew, self.ended_at = False, None
            self.task = self._start()

    @property
    def has_failed(self) -> bool:
        """Whether it ended with an error."""
        return self.task.done() and (self.task.cancelled() or self.task.exception() is not None)

    def _start(self) -> asyncio.Task[None]:
        task = self._loop.create_task(self._play(self))
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[None]) -> None:
        self.ended_at = self._loop.time()
        if not task.cancelled():
            task.exception()  # It is told by the next call, not by asyncio.


class Works:
    """All that the calls of a server began."""

    def __init__(self) -> None:
        self._works: dict[Hashable, Work[Any]] = {}

    def find(self, key: Hashable) -> Work[Any] | None:
        """Return what was begun with the same arguments; None where it ended long ago."""
        work = self._works.get(key)
        if work is None or work.ended_at is None:
            return work
        age = asyncio.get_running_loop().time() - work.ended_at
        return work if age < REMEMBERED_SECONDS else None

    def join(
        self,
        key: Hashable,
        state: Callable[[], T],
        play: Callable[[Work[T]], Coroutine[Any, Any, None]],
        *,
        again: bool = False,
    ) -> Work[T]:
        """Go on with what was begun, else begin it.

        Args:
            key: The tool and its arguments.
            state: Makes the state of something new.
            play: See `Work`.
            again: Whether to begin anew where it has ended; what goes on is joined all the same.
        """
        work = self.find(key)
        if work is None or (again and work.task.done()):
            is_forgotten = self._works.pop(key, None) is not None
            work = Work(state(), play, is_anew=again or is_forgotten)
            self._works[key] = work
            self._forget_old()
        else:
            work.go_on()
        work.calls += 1
        return cast("Work[T]", work)

    def forget(self, key: Hashable) -> None:
        """Forget what was told, so that the same call begins anew."""
        self._works.pop(key, None)

    def _forget_old(self) -> None:
        ended = [key for key, work in self._works.items() if work.task.done()]
        for key in ended[: max(0, len(self._works) - MAX_WORKS)]:
            del self._works[key]

    async def aclose(self) -> None:
        """End all tasks; what was dispatched goes on at the service."""
        tasks = [work.task for work in self._works.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
