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
        self.journal: Journal | None = None
        """Its journal, once it is open."""
        self._followed: Work[Any] | None = None
        """Another one that is a part of it, and its beginning."""
        self.line: str = "begun"
        """How it stands."""
        self._changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] = asyncio.create_task(play(self))

    @property
    def begun_at(self) -> datetime | None:
        """When it began, which is its name among those with the same key."""
        journal = self._followed.journal if self._followed else self.journal
        return None if journal is None else journal.created_at

    def tell(self, line: str) -> None:
        """Say how it stands, to all calls that wait for it."""
        if line == self.line:
            return
        self.line = line
        self._changed.set_result(None)
        self._changed = asyncio.get_running_loop().create_future()

    async def follow(self, other: Work[Any]) -> None:
        """Wait until another work is over, and tell of its changes as of one's own.

        Raises:
            Exception: The other one failed.
        """
        self._followed = other
        while not other.task.done():
            self.tell(other.line)
            await other.change(None)
        self.is_resumed = other.is_resumed
        other.task.result()

    async def change(self, seconds: float | None) -> None:
        """Wait until it changes or ends, for so many seconds at most; None for any number."""
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
        """Whether something of that name goes on."""
        return repr(key) in self._works

    def get(self, key: object) -> Work[Any] | None:
        """Return what goes on of that name; None for nothing."""
        return self._works.get(repr(key))

    def join(
        self,
        key: object,
        state: Callable[[], T],
        play: Callable[[Work[T]], Coroutine[Any, Any, None]],
    ) -> Work[T]:
        """Go on with what was begun, else begin it.

        Args:
            key: What is begun; its `repr` tells it from others.
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
