"""The journals of what calls started, in a folder that outlives this server.

Decides whether there is a start whose result was not delivered, and who may work on it.
Each start has a journal of the SDK, in a file of its own. The journal of runs is renamed once an
answer has delivered their result, so the next identical call starts another. That of a generation
stays, since it costs credits: the same call never starts another. Servers of one user share the
folder: while one holds the lock of a place, the others wait for it.

The files of a place are `KEY.lock`, and for each start `KEY.TIME.sqlite` or `KEY.TIME.delivered`.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from attrs import frozen

from testvibe_async import ConfigError, Journal

if TYPE_CHECKING:
    from pathlib import Path

MAX_SECONDS = 30 * 86_400
"""The age at which a file is deleted."""


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
        path, connection = self.folder / f"{self.key}.lock", None
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=0.0, isolation_level=None)
            connection.execute("BEGIN EXCLUSIVE")
            os.utime(path)  # Not `touch`: closing the file would end the lock on it.
        except (OSError, sqlite3.Error) as error:
            if connection is not None:
                connection.close()
            is_busy = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            # Where another server's clean-up was quicker, this locks nothing.
            if is_busy or isinstance(error, FileNotFoundError):
                return None
            raise ConfigError(
                f"what a call starts can't be written down, so nothing was started: {error}"
            ) from error
        return connection

    async def is_known(self) -> bool:
        """Return whether a call started something here, or one may do so right now.

        Raises:
            ConfigError: The folder can't be written, so nothing can be started.
        """
        if (lock := self.lock()) is None:
            return True
        with closing(lock):
            return await self.undelivered() is not None

    async def undelivered(self) -> Path | None:
        """Return the oldest journal whose result was not delivered; the lock must be held.

        Those where nothing began are deleted.
        """
        for path in self._files("sqlite"):
            async with Journal(path) as journal:
                attempts = any(item.earlier for item in journal.items)
                if journal.refs or journal.open_intents or attempts:
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


def delete_old(folder: Path) -> None:
    """Delete the files that no call has used for a month."""
    for path in folder.glob("*.*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > MAX_SECONDS:
                path.unlink()
