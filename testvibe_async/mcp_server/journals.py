"""The journals of what calls began, in files that outlive this server.

Decides which file belongs to a call, when it is of no use any more, and whether a call goes on with
it or begins anew. A server without a folder has one for as long as it runs.
"""

from __future__ import annotations

import os
import secrets
import time
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mcp.server.mcpserver.exceptions import ToolError

from testvibe_async import ConfigError, Journal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from datetime import datetime

__all__ = ["MAX_SECONDS", "REMEMBERED_SECONDS", "Journals", "ReplacedError"]

REMEMBERED_SECONDS = 600.0
"""How long what has ended is told again to the same call."""

MAX_SECONDS = 30 * 86_400
"""The age at which a journal is deleted that no call goes on with."""

KEY_BYTES = 32


class ReplacedError(ToolError):
    """What is asked for is kept no more: it ended long ago, or the same was begun anew."""

    def __init__(self) -> None:
        super().__init__("it is kept no more: it ended long ago, or the same was begun anew since")


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
        key: object,
        *,
        again: bool = False,
        begun_at: datetime | None = None,
        has_ended: Callable[[Journal], Awaitable[bool]] | None = None,
    ) -> AsyncGenerator[Journal]:
        """Open the journal of a call, to go on with what an earlier call began.

        One in which nothing began is deleted at the end.

        Args:
            key: The tool and its arguments; its `repr` is the same in every process.
            again: Whether to begin anew what has ended, and what nobody knows about.
            begun_at: When it was begun, to go on with that and to begin nothing; None to begin what
                was not begun, or ended long ago.
            has_ended: Says whether what was begun has ended; None to go by the journal.

        Raises:
            ConfigError: There can't be one, or another server has the same call in hand.
            ReplacedError: Nothing was begun at `begun_at` that is kept.
        """
        path = self._path_of(key)
        if begun_at is None and path.exists() and (again or _age_of(path) > REMEMBERED_SECONDS):
            await _forget_ended(path, has_ended or _is_over)
        elif begun_at is not None and not path.exists():
            raise ReplacedError
        journal = Journal(path)
        try:
            async with journal:
                if begun_at not in {None, journal.created_at}:
                    raise ReplacedError
                if again:
                    with suppress(ConfigError):  # Nothing is unknown.
                        await journal.decide("resend")
                yield journal
        finally:
            if not _has_begun(journal):
                _delete(path)

    async def goes_on(self, key: object, *, again: bool) -> bool:
        """Whether a call would begin nothing, since it goes on with what an earlier one began.

        Raises:
            ConfigError: As `open` does.
        """
        path = self._path_of(key)
        if not path.exists() or (again or _age_of(path) > REMEMBERED_SECONDS):
            return False
        async with Journal(path) as journal:
            return _has_begun(journal)

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

    def _path_of(self, key: object) -> Path:
        try:
            folder = self._made_folder()
            _delete_old(folder)
        except OSError as error:
            raise ConfigError(f"what was begun can't be written down: {error}") from error
        return folder / f"{sha256(repr(key).encode()).hexdigest()[:32]}.sqlite"

    def _made_folder(self) -> Path:
        if self._folder is not None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self._folder
        self._temporary = self._temporary or TemporaryDirectory(prefix="testvibe-async-mcp-")
        return Path(self._temporary.name)

    def close(self) -> None:
        """Delete the temporary folder."""
        if self._temporary is not None:
            self._temporary.cleanup()


def _age_of(path: Path) -> float:
    """Return the seconds since something was written."""
    return time.time() - path.stat().st_mtime


async def _forget_ended(path: Path, has_ended: Callable[[Journal], Awaitable[bool]]) -> None:
    """Delete a journal if what was begun has ended."""
    async with Journal(path) as journal:
        is_of_use = not await has_ended(journal)
    if not is_of_use:
        _delete(path)


async def _is_over(journal: Journal) -> bool:
    return journal.is_over


def _has_begun(journal: Journal) -> bool:
    """Whether anything was dispatched, or may have been."""
    return bool(journal.refs or journal.open_intents or any(item.earlier for item in journal.items))


def _write_secret(path: Path) -> None:
    """Write a new secret, whole at once, unless another server was quicker."""
    draft = path.with_name(f"secret-{os.getpid()}-{secrets.token_hex(4)}")
    draft.touch(mode=0o600)
    draft.write_bytes(secrets.token_bytes(KEY_BYTES))
    with suppress(FileExistsError):
        path.hardlink_to(draft)
    draft.unlink()


def _delete_old(folder: Path) -> None:
    for path in folder.glob("*.sqlite"):
        if _age_of(path) > MAX_SECONDS:
            _delete(path)


def _delete(path: Path) -> None:
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)
