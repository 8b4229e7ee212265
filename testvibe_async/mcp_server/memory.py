"""What calls started, in files that outlive this server.

Decides whether a call starts something, or returns what an earlier call of the same meaning did.
Each start has a journal of the SDK. A run's is of use until an answer has delivered its result: the
next call starts anew. A generation's is kept, since it costs credits: the same call never starts
another. Servers of one user share the folder: while one holds a start, the others wait for it.

Beside a journal `x.sqlite` there may be `x.delivered`, and `x.lock`, which its server holds.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
from collections import OrderedDict
from contextlib import asynccontextmanager, closing, suppress
from contextvars import ContextVar
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, field, frozen

from testvibe_async import ConfigError, Journal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

T = TypeVar("T")

MAX_SECONDS = 30 * 86_400
"""The age at which a journal is deleted."""

LOCK_SECONDS = 0.2
"""How often a lock is tried that another server holds, at most twice as long."""

LOCK_TRIES = 5
"""How often a lock is tried by a call that only looks what is there."""

MAX_DELIVERIES = 1_000
"""How many answers can still be cancelled by a notification that crossed them."""


@frozen
class Place:
    """The files of one start."""

    path: Path
    """The journal."""

    @property
    def delivered(self) -> Path:
        """Written once an answer has delivered the result."""
        return self.path.with_suffix(".delivered")

    def delete(self) -> None:
        """Delete them, except for the lock: somebody may wait for it."""
        names = (self.path.name, f"{self.path.name}-wal", f"{self.path.name}-shm")
        for each in (*map(self.path.with_name, names), self.delivered):
            each.unlink(missing_ok=True)

    def lock(self) -> sqlite3.Connection | None:
        """Keep other servers out until this is closed, or this process dies; None if one is in.

        Raises:
            ConfigError: The folder can't be written.
        """
        path = self.path.with_suffix(".lock")
        try:
            connection = sqlite3.connect(path, timeout=0.0, isolation_level=None)
            try:
                connection.execute("BEGIN EXCLUSIVE")
                os.utime(path)  # Not `touch`: closing the file would end the lock on it.
            except BaseException:
                connection.close()
                raise
        except FileNotFoundError:  # Another server's clean-up was quicker, so this locks nothing.
            return None
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                return None
            raise _unwritable(error) from error
        return connection

    async def is_known(self) -> bool:
        """Return whether a call started something here, or one of another server may right now."""
        if not self.path.exists():
            return False
        for _ in range(LOCK_TRIES):
            if (lock := self.lock()) is not None:
                with closing(lock):
                    return await self._has_begun()
            await pause()
        return True

    async def forget_useless(self) -> None:
        """Delete what was delivered, and what never began; its lock must be held."""
        is_of_use = self.path.exists() and not self.delivered.exists() and await self._has_begun()
        if not is_of_use:
            self.delete()

    @asynccontextmanager
    async def journal(self, **options: Any) -> AsyncGenerator[Journal]:  # noqa: ANN401 - any JSON
        """Open the journal, and delete it at the end if nothing began; its lock must be held."""
        is_of_use = True
        try:
            async with Journal(self.path, options=options) as journal:
                try:
                    yield journal
                finally:
                    is_of_use = _has_begun(journal)
        finally:
            if not is_of_use:
                self.delete()

    async def _has_begun(self) -> bool:
        async with Journal(self.path) as journal:
            return _has_begun(journal)


def _has_begun(journal: Journal) -> bool:
    """Return whether anything was dispatched, or may have been."""
    return bool(journal.refs or journal.open_intents or any(item.earlier for item in journal.items))


class Memory:
    """The starts of a server, and the work on them, which outlives the calls."""

    def __init__(self, folder: Path | None) -> None:
        """Make it.

        Args:
            folder: Where the files are; None for a temporary folder.
        """
        self._folder = folder
        self._temporary: TemporaryDirectory[str] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.shared: dict[Place, Any] = {}
        """What is in flight here, for all calls that wait for it."""

    def place(self, *key: object) -> Place:
        """Return the place of a start.

        Args:
            key: What is started: a word, the server, the project and more. Its `repr` is the same
                in every process.

        Raises:
            ConfigError: There can't be one.
        """
        try:
            return Place(self._made_folder() / f"{sha256(repr(key).encode()).hexdigest()}.sqlite")
        except OSError as error:
            raise _unwritable(error) from error

    def _made_folder(self) -> Path:
        if self._folder is not None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self._folder
        self._temporary = self._temporary or TemporaryDirectory(prefix="testvibe-async-mcp-")
        return Path(self._temporary.name)

    def work(self, lock: sqlite3.Connection, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do in a task of its own what the end of a call must not end; then open the lock."""
        task = asyncio.create_task(work)
        self._tasks.add(task)

        def end(task: asyncio.Task[T]) -> None:
            self._tasks.discard(task)
            lock.close()
            if not task.cancelled():
                task.exception()  # A call raises it, not asyncio.

        task.add_done_callback(end)
        return task

    async def delete_old(self) -> None:
        """Delete old files: once, before any call starts something."""
        if self._folder is not None:
            with suppress(OSError):  # It must not keep a server from starting.
                await asyncio.to_thread(_delete_old, self._folder)

    async def aclose(self) -> None:
        """End all work; what was dispatched continues at the service."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._temporary is not None:
            self._temporary.cleanup()


async def pause() -> None:
    """Wait before a lock is tried again."""
    await asyncio.sleep(LOCK_SECONDS * (1 + random.random()))  # noqa: S311 - a delay


def _unwritable(error: Exception) -> ConfigError:
    return ConfigError(f"what a call starts can't be written down, so nothing was started: {error}")


def _delete_old(folder: Path) -> None:
    for path in (*folder.glob("*.sqlite"), *folder.glob("*.lock")):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > MAX_SECONDS:
                Place(path).delete()
                path.unlink(missing_ok=True)


@define(eq=False)
class _Call:
    """A request in flight."""

    number: str
    answered: list[Place] = field(factory=list[Place])
    is_cancelled: bool = False


_current: ContextVar[_Call] = ContextVar("call")


def deliver(place: Place) -> None:
    """Note that the answer to this call delivers a result, if the call is not cancelled."""
    if (call := _current.get(None)) is not None:
        call.answered.append(place)


class Deliveries:
    """A middleware that notes which results were delivered: at the end of each call, not before.

    A client that gave up says so (`notifications/cancelled`), also where its message crosses the
    answer. Over HTTP other clients have the same numbers, so there a call in flight alone counts as
    cancelled; most such clients close their request instead, which ends the call.
    """

    def __init__(self) -> None:
        self._in_flight: set[_Call] = set()
        self._delivered: OrderedDict[str, list[Place]] = OrderedDict()
        """By the number of the call, the last ones."""

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Handle a message."""
        if ctx.method == "notifications/cancelled":
            self._cancel(str((ctx.params or {}).get("requestId")))
        call = _Call(str(ctx.request_id))
        self._in_flight.add(call)
        token = _current.set(call)
        try:
            result = await call_next(ctx)
        finally:
            _current.reset(token)
            self._in_flight.discard(call)
        if call.answered and not call.is_cancelled:
            self._note(call, is_unique=ctx.request is None)
        return result

    def _cancel(self, number: str) -> None:
        for place in self._delivered.pop(number, []):
            place.delivered.unlink(missing_ok=True)
        for call in self._in_flight:
            call.is_cancelled |= call.number == number

    def _note(self, call: _Call, *, is_unique: bool) -> None:
        for place in call.answered:
            with suppress(OSError):  # It is delivered once more, then.
                place.delivered.touch()
        if is_unique:
            self._delivered[call.number] = call.answered
            if len(self._delivered) > MAX_DELIVERIES:
                self._delivered.popitem(last=False)
