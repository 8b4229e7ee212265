"""The journals of what calls began, in files that outlive this server.

Decides which file belongs to a call, when it is of no use any more, and whether a call goes on with
it or begins anew. Servers of one user share the folder: while one has what a call began in hand,
the others wait. A server without a folder has one for as long as it runs.

Beside a journal `x.sqlite` there may be `x.told`, written when an answer has told of it;
`x.begun`, written when a generation is about to be sent; and `x.lock`, which its server holds.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import sqlite3
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen
from mcp.server.mcpserver.exceptions import ToolError

from testvibe_async import (
    ConfigError,
    Journal,
    OperationNotFoundError,
    OperationSupersededError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Generator

__all__ = [
    "GENERATION",
    "KEPT",
    "MAX_SECONDS",
    "Journals",
    "Keeping",
    "Key",
    "ReplacedError",
    "has_begun",
]

REMEMBERED_SECONDS = 600.0
"""How long what has ended is told again to the same call, after its end and after each answer."""

MAX_SECONDS = 30 * 86_400
"""The age at which a journal is deleted that no call goes on with."""

KEY_BYTES = 32

LOCK_SECONDS = 0.2
"""How often it is tried to take over from another server, at most twice as long."""

GENERATION = "generation"
"""The first word of the key of a generation."""

Key: TypeAlias = tuple[object, ...]
"""What is begun: a word, the server, the project and more. Its `repr` is the same everywhere."""


class ReplacedError(ToolError):
    """What is asked for is kept no more: it ended long ago, or the same was begun anew."""

    def __init__(self) -> None:
        super().__init__("it is kept no more: it ended long ago, or the same was begun anew since")


async def _ended_at(journal: Journal) -> datetime | None:
    """Return when a batch ended by its journal; None while it goes on."""
    goes_on = any(item.is_unfinished or item.is_waiting for item in journal.items)
    return None if goes_on or not journal.is_complete else datetime.fromtimestamp(0, UTC)


async def _never(_journal: Journal) -> bool:
    return False


@frozen(kw_only=True)
class Keeping:
    """When what was begun is of no use any more."""

    ended_at: Callable[[Journal], Awaitable[datetime | None]] = _ended_at
    """Returns when it ended, so far as that is later than the file; None while it goes on."""

    is_stale: Callable[[Journal], Awaitable[bool]] = _never
    """Says whether what has ended would end otherwise today."""

    is_paid: bool = False
    """Whether it cost credits: then it is kept until an answer has told of it."""


async def _never_ended(_journal: Journal) -> datetime | None:
    return None


_KEEPING = Keeping()

KEPT = Keeping(ended_at=_never_ended)
"""It is of use for as long as anybody asks for it."""


@frozen
class _Place:
    """The files of a journal."""

    path: Path

    @property
    def told(self) -> Path:
        return self.path.with_suffix(".told")

    @property
    def begun(self) -> Path:
        return self.path.with_suffix(".begun")

    @property
    def age(self) -> float:
        """The seconds since something was written, or told."""
        return min(map(_age_of, (self.path, self.told)))

    def delete(self) -> None:
        """Delete them, except for the lock: somebody may wait for it."""
        names = (self.path.name, f"{self.path.name}-wal", f"{self.path.name}-shm")
        for each in (self.told, self.begun, *map(self.path.with_name, names)):
            each.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Generator[bool]:
        """Keep other servers out; yields whether that was possible. A death ends it, too."""
        path = self.path.with_suffix(".lock")
        try:
            connection = sqlite3.connect(path, timeout=0.0, isolation_level=None)
        except sqlite3.Error as error:
            raise ConfigError(f"what was begun can't be written down: {error}") from error
        try:
            connection.execute("BEGIN EXCLUSIVE")
            os.utime(path)  # Not `touch`: closing the file would end the lock on it.
        except FileNotFoundError:  # Another server's clean-up was quicker, so this locks nothing.
            yield False
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise ConfigError(f"what was begun can't be written down: {error}") from error
            yield False
        else:
            yield True
        finally:
            connection.close()

    @asynccontextmanager
    async def held(self, on_wait: Callable[[], object]) -> AsyncGenerator[None]:
        """Keep other servers out, once they let go."""
        while True:
            with self.lock() as is_held:
                if is_held:
                    yield
                    return
            on_wait()
            await asyncio.sleep(LOCK_SECONDS * (1 + random.random()))  # noqa: S311 - a delay


class Journals:
    """The journals in a folder."""

    def __init__(self, folder: Path | None) -> None:
        """Make it.

        Args:
            folder: Where they are; None for a temporary folder.
        """
        self._folder = folder
        self._temporary: TemporaryDirectory[str] | None = None

    @asynccontextmanager
    async def open(
        self,
        key: Key,
        *,
        again: bool = False,
        begun_at: datetime | None = None,
        keeping: Keeping = _KEEPING,
        on_wait: Callable[[], object] = lambda: None,
    ) -> AsyncGenerator[Journal]:
        """Open the journal of a call, to go on with what an earlier call began.

        One in which nothing began is deleted at the end.

        Args:
            key: What is begun.
            again: Whether to begin anew what has ended, and what nobody knows about. What no answer
                has told yet is told first: the call that began it may be this one.
            begun_at: When it was begun, to go on with that and to begin nothing; None to begin what
                was not begun, or ended long ago.
            keeping: When it is of no use any more.
            on_wait: Called while another server has it in hand.

        Raises:
            ConfigError: There can't be one.
            ReplacedError: Nothing was begun at `begun_at` that is kept, or what was begun is over
                and another has taken its place.
        """
        place = self._place_of(key)
        async with place.held(on_wait):
            if begun_at is None:
                await _forget(place, keeping, again=again)
            elif not place.path.exists():
                raise ReplacedError
            is_of_use, journal = True, Journal(place.path)
            try:
                async with journal:
                    if begun_at not in {None, journal.created_at}:
                        raise ReplacedError
                    try:
                        yield journal
                    except (OperationSupersededError, OperationNotFoundError):
                        is_of_use = False
                        raise
                    finally:
                        is_of_use = is_of_use and has_begun(journal)
            finally:
                if not is_of_use:
                    place.delete()

    def note_begun(self, key: Key) -> None:
        """Note that a generation is about to be sent, of which no answer has told."""
        place = self._place_of(key)
        place.told.unlink(missing_ok=True)
        place.begun.touch()

    def note_told(self, key: Key) -> None:
        """Note that an answer has told of what was begun."""
        place = self._place_of(key)
        if place.path.exists():
            place.told.touch()

    def is_told(self, key: Key) -> bool:
        """Whether an answer has told of what was begun."""
        return self._place_of(key).told.exists()

    async def has_generated(
        self, server: str, project: str, features: Collection[int] | None, *, since: datetime
    ) -> bool:
        """Whether a generation was begun of one of some features, or of any, since an instant."""
        folder, prefix = self._made_folder(), _prefix(server, project)

        def any_since() -> bool:
            begun = (
                folder.glob(f"{prefix}*.begun")
                if features is None
                else [folder / f"{prefix}{number}.begun" for number in features]
            )
            return any(_written_at(each) > since.timestamp() for each in begun)

        return await asyncio.to_thread(any_since)

    async def goes_on(self, key: Key, *, again: bool) -> bool:
        """Whether a call for a generation would begin none, since one is known that is to be told.

        Raises:
            ConfigError: As `open` does.
        """
        place = self._place_of(key)
        if not place.path.exists():
            return False
        is_told = place.told.exists()
        with place.lock() as is_held:
            if not is_held or (is_told and (again or place.age > REMEMBERED_SECONDS)):
                return False
            async with Journal(place.path) as journal:
                return has_begun(journal)

    def secret(self) -> bytes:
        """Return the secret of this folder's servers, which is made where there is none.

        Raises:
            ConfigError: It can't be kept.
        """
        try:
            path = self._made_folder() / "secret"
            if not path.exists():
                _write_secret(path)
            return path.read_bytes()
        except OSError as error:
            raise ConfigError(f"the secret of task ids can't be kept: {error}") from error

    def _place_of(self, key: Key) -> _Place:
        try:
            folder = self._made_folder()
        except OSError as error:
            raise ConfigError(f"what was begun can't be written down: {error}") from error
        if key[0] == GENERATION:
            _, server, project, feature_id = key
            return _Place(folder / f"{_prefix(server, project)}{feature_id}.sqlite")
        return _Place(folder / f"{_digest(*key)}.sqlite")

    def _made_folder(self) -> Path:
        if self._folder is not None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self._folder
        self._temporary = self._temporary or TemporaryDirectory(prefix="testvibe-async-mcp-")
        return Path(self._temporary.name)

    async def delete_old(self) -> None:
        """Delete what no call goes on with any more: once, before any call begins something."""
        if self._folder is not None:
            with suppress(OSError):  # It must not keep a server from starting.
                await asyncio.to_thread(_delete_old, self._folder)

    def close(self) -> None:
        """Delete the temporary folder."""
        if self._temporary is not None:
            self._temporary.cleanup()


def has_begun(journal: Journal) -> bool:
    """Whether anything was dispatched, or may have been."""
    return bool(journal.refs or journal.open_intents or any(item.earlier for item in journal.items))


async def _forget(place: _Place, keeping: Keeping, *, again: bool) -> None:
    """Delete a journal that is of no use any more, if there is one."""
    if not place.path.exists():
        return
    is_told, age = place.told.exists(), place.age
    async with Journal(place.path) as journal:
        is_of_use = has_begun(journal) and not await _is_over(
            journal, keeping, again=again, is_told=is_told, age=age
        )
    if not is_of_use:
        place.delete()


async def _is_over(
    journal: Journal, keeping: Keeping, *, again: bool, is_told: bool, age: float
) -> bool:
    """Whether what was begun is not to be gone on with."""
    is_wanted_anew = again and is_told
    if journal.open_intents and (keeping.is_paid or not is_wanted_anew):
        return False
    if is_wanted_anew or await keeping.is_stale(journal):
        return await keeping.ended_at(journal) is not None
    if age <= REMEMBERED_SECONDS or (keeping.is_paid and not is_told):
        return False
    ended_at = await keeping.ended_at(journal)
    return ended_at is not None and time.time() - ended_at.timestamp() > REMEMBERED_SECONDS


def _prefix(server: object, project: object) -> str:
    """Return how the names of the generations' files of a project begin."""
    return f"{GENERATION}-{_digest(server, project)}-"


def _digest(*parts: object) -> str:
    return sha256(repr(parts).encode()).hexdigest()[:32]


def _age_of(path: Path) -> float:
    """Return the seconds since something was written."""
    return time.time() - _written_at(path)


def _written_at(path: Path) -> float:
    """Return when a file was written, in seconds since 1970; 0 where it is gone.

    Another server of this user may delete it at any moment.
    """
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _write_secret(path: Path) -> None:
    """Write a new secret, whole at once, unless another server was quicker."""
    draft = path.with_name(f"secret-{os.getpid()}-{secrets.token_hex(4)}")
    draft.touch(mode=0o600)
    draft.write_bytes(secrets.token_bytes(KEY_BYTES))
    with suppress(FileExistsError):
        path.hardlink_to(draft)
    draft.unlink()


def _delete_old(folder: Path) -> None:
    """Delete the old files of a folder, so far as that is possible."""
    for path in (*folder.glob("*.sqlite"), *folder.glob("*.lock")):
        with suppress(OSError):
            if _age_of(path) > MAX_SECONDS:
                _Place(path).delete()
                path.unlink(missing_ok=True)
