"""What calls began, while it goes on: each in a task of its own.

Decides which call joins what an earlier one began. A client that gives up calls again, often with
the same arguments, and must start nothing twice by that. The end of a call, or of a client's
patience, does not end a work. What has ended is in its journal alone; see `journals`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import datetime

    from testvibe_async import Journal

__all__ = ["Work", "Works"]

T = TypeVar("T")


class Work(Generic[T]):
    """Something that goes on, with all that is known of it so far."""

    def __init__(self, state: T, play: Callable[[Work[T]], Coroutine[Any, Any, None]]) -> None:
        """Begin it.

        Args:
            state: What `play` fills in.
            play: Does the work, and calls `tell` at each change.
        """
        self.state: T = state
        self.is_joined: bool = False
        """Whether a later call has joined it."""
        self.is_resumed: bool = False
        """Whether an earlier call began it that has ended, or whose server has."""
        self._journal: Journal | None = None
        self.line: str = "begun"
        """How it stands."""
        self._changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] = asyncio.create_task(play(self))

    def note(self, journal: Journal) -> None:
        """Note its journal; one with features was begun by an earlier call."""
        self.is_resumed = bool(journal.items)
        self._journal = journal

    @property
    def begun_at(self) -> datetime | None:
        """When it began, which is its name among those with the same arguments."""
        return None if self._journal is None else self._journal.created_at

    def tell(self, line: str) -> None:
        """Say how it stands, to all calls that wait for it."""
        self.line = line
        self._changed.set_result(None)
        self._changed = asyncio.get_running_loop().create_future()

    async def change(self, seconds: float) -> None:
        """Wait until it changes or ends, for so many seconds at most."""
        await asyncio.wait(
            {self.task, self._changed},
            timeout=seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )


class Works:
    """All that the calls of a server began and that goes on."""

    def __init__(self) -> None:
        self._works: dict[str, Work[Any]] = {}

    def has(self, key: object) -> bool:
        """Whether something with the same arguments goes on."""
        return repr(key) in self._works

    def join(
        self,
        key: object,
        state: Callable[[], T],
        play: Callable[[Work[T]], Coroutine[Any, Any, None]],
    ) -> Work[T]:
        """Go on with what was begun, else begin it.

        Args:
            key: The tool and its arguments; its `repr` tells it from others.
            state: Makes the state of something new.
            play: See `Work`.
        """
        name = repr(key)
        work = self._works.get(name)
        if work is not None:
            work.is_joined = True
            return cast("Work[T]", work)
        begun = self._works[name] = Work(state(), play)
        begun.task.add_done_callback(lambda task: self._end(name, task))
        return begun

    def _end(self, name: str, task: asyncio.Task[None]) -> None:
        del self._works[name]
        if not task.cancelled():
            task.exception()  # A call tells it, not asyncio.

    async def aclose(self) -> None:
        """End all tasks; what was dispatched goes on at the service."""
        tasks = [work.task for work in self._works.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
