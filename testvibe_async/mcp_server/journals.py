"""The journals of what calls began, in files that outlive this server.

Decides which file belongs to a call, and when it is of no use any more. A server without a folder
has one for as long as it runs.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from testvibe_async import ConfigError, Journal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["REMEMBERED_SECONDS", "Journals"]

REMEMBERED_SECONDS = 600.0
"""How long what has ended is told again to the same call."""

MAX_SECONDS = 30 * 86_400
"""The age at which a journal is deleted that no call goes on with."""


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
    async def open(self, key: object, *, again: bool) -> AsyncGenerator[Journal]:
        """Open the journal of a call, to go on with what an earlier call began.

        Args:
            key: The tool and its arguments; its `repr` is the same in every process.
            again: Whether to begin anew what has ended, and what nobody knows about.

        Raises:
            ConfigError: There can't be one, or another server has the same call in hand.
        """
        path = self._path_of(key)
        age = time.time() - path.stat().st_mtime if path.exists() else 0.0
        async with AsyncExitStack() as stack:
            journal = await stack.enter_async_context(Journal(path))
            if journal.is_over and (again or age > REMEMBERED_SECONDS):
                await journal.aclose()
                _delete(path)
                journal = await stack.enter_async_context(Journal(path))
            elif again:
                with suppress(ConfigError):  # Nothing is unknown.
                    await journal.decide("resend")
            yield journal

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


def _delete_old(folder: Path) -> None:
    for path in folder.glob("*.sqlite"):
        if time.time() - path.stat().st_mtime > MAX_SECONDS:
            _delete(path)


def _delete(path: Path) -> None:
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)
