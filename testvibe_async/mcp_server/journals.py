"""The journals of what calls started, in a folder that outlives this server.

Decides whether there is a start whose result was not delivered, and when one counts as delivered.
Each start has a journal of the SDK, in a file of its own. That of runs is renamed once an answer
has delivered their result, so the next call of the same meaning starts anew. That of a generation
stays, since it costs credits: the same call never starts another. Servers of one user share the
folder: while one holds the lock of a place, the others wait for it.

The files of a place are `KEY.lock`, and for each start `KEY.TIME.sqlite` or `KEY.TIME.delivered`.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
from collections import OrderedDict
from contextlib import closing, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field, frozen

from testvibe_async import ConfigError, Journal

if TYPE_CHECKING:
    from pathlib import Path

    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

MAX_SECONDS = 30 * 86_400
"""The age at which a file is deleted."""

LOCK_SECONDS = 0.2
"""How often a lock is tried that another call holds, at most twice as long."""

LOCK_TRIES = 5
"""How often a lock is tried by a call that only looks what is there."""

MAX_DELIVERIES = 1_000
"""How many answers can still be cancelled by a notification that crossed them."""


@frozen
class Place:
    """The files of all calls of the same meaning."""

    folder: Path
    key: str

    def lock(self) -> sqlite3.Connection | None:
        """Keep other calls out until this is closed, or this process dies; None if one is in.

        Raises:
            ConfigError: The folder can't be written.
        """
        path = self.folder / f"{self.key}.lock"
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
            raise unwritable(error) from error
        return connection

    async def is_known(self) -> bool:
        """Return whether a call started something here, or one may do so right now."""
        for _ in range(LOCK_TRIES):
            if not self._files("sqlite"):
                return False
            if (lock := self.lock()) is not None:
                with closing(lock):
                    return await self.undelivered() is not None
            await pause()
        return True

    async def undelivered(self) -> Path | None:
        """Return the oldest journal whose result was not delivered; the lock must be held.

        Those where nothing began are deleted.
        """
        for path in self._files("sqlite"):
            async with Journal(path) as journal:
                if has_begun(journal):
                    return path
            path.unlink()
        return None

    def new(self) -> Path:
        """Return the file of a new journal; the lock must be held.

        Of the starts that were delivered the last one is kept: its answer may be cancelled yet.
        """
        for path in self._files("delivered")[:-1]:
            path.unlink(missing_ok=True)
        return self.folder / f"{self.key}.{time.time_ns()}.sqlite"

    def _files(self, suffix: str) -> list[Path]:
        """Return the files of starts, the oldest first."""
        return sorted(self.folder.glob(f"{self.key}.*.{suffix}"))


def has_begun(journal: Journal) -> bool:
    """Return whether anything was dispatched, or may have been."""
    return bool(journal.refs or journal.open_intents or any(item.earlier for item in journal.items))


async def pause() -> None:
    """Wait before a lock is tried again."""
    await asyncio.sleep(LOCK_SECONDS * (1 + random.random()))  # noqa: S311 - a delay


def unwritable(error: Exception) -> ConfigError:
    """Return the error of a start that can't be written down."""
    return ConfigError(f"what a call starts can't be written down, so nothing was started: {error}")


def delete_old(folder: Path) -> None:
    """Delete the files that no call has used for a month."""
    for path in folder.glob("*.*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > MAX_SECONDS:
                path.unlink()


class Held(Protocol):
    """A start that other calls of the same meaning wait for, while a call has its result."""

    path: Path

    def leave(self) -> None:
        """Let another call of the same meaning in, once the work is done."""


@define(eq=False)
class _Request:
    """A request in flight."""

    number: str
    held: dict[Held, bool] = field(factory=dict[Held, bool])
    """The starts that it holds, and whether its answer delivers their results."""

    is_cancelled: bool = False


_current: ContextVar[_Request] = ContextVar("request")


def hold(start: Held, *, is_result: bool = False) -> None:
    """Hold a start until the present call is answered.

    Args:
        start: The start.
        is_result: Whether the answer delivers its result, if the call is not cancelled.
    """
    _current.get().held[start] = is_result


class Deliveries:
    """A middleware that notes which results were delivered: at the end of each call, not before.

    A client that gave up says so (`notifications/cancelled`), also where its message crosses the
    answer. Over HTTP other clients have the same numbers, so there a call in flight alone counts as
    cancelled; most such clients close their request instead, which ends the call.
    """

    def __init__(self) -> None:
        self._in_flight: set[_Request] = set()
        self._delivered: OrderedDict[str, list[Path]] = OrderedDict()
        """The journals by the number of the call that delivered their results, the last ones."""

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Handle a message."""
        if ctx.method == "notifications/cancelled":
            self._cancel(str((ctx.params or {}).get("requestId")))
        request = _Request(str(ctx.request_id))
        self._in_flight.add(request)
        token = _current.set(request)
        try:
            result = await call_next(ctx)
            self._note(request, is_unique=ctx.request is None)
        finally:
            _current.reset(token)
            self._in_flight.discard(request)
            for start in request.held:
                start.leave()
        return result

    def _cancel(self, number: str) -> None:
        for path in self._delivered.pop(number, []):
            _rename(path.with_suffix(".delivered"), path)
        for request in self._in_flight:
            request.is_cancelled |= request.number == number

    def _note(self, request: _Request, *, is_unique: bool) -> None:
        paths = [start.path for start, is_result in request.held.items() if is_result]
        if request.is_cancelled:
            return
        for path in paths:
            _rename(path, path.with_suffix(".delivered"))
        if is_unique and paths:
            self._delivered[request.number] = paths
            if len(self._delivered) > MAX_DELIVERIES:
                self._delivered.popitem(last=False)


def _rename(path: Path, to: Path) -> None:
    with suppress(OSError):  # Its result is delivered once more, then.
        path.rename(to)
