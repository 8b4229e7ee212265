"""A journal on the disk: the files that belong to it, and whether another process has it.

Pure; it never opens one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from testvibe_async.errors import ConfigError

__all__ = ["IN_USE", "files_of", "is_in_use"]

IN_USE = ("SQLITE_BUSY", "SQLITE_LOCKED")
"""How SQLite's names begin for a file that somebody else has."""


def is_in_use(error: ConfigError) -> bool:
    """Return whether a journal could not be opened because it is in use, here or elsewhere."""
    return getattr(error.__cause__, "sqlite_errorname", "").startswith(IN_USE)


def files_of(path: Path) -> list[Path]:
    """Return the file of a journal, and those that SQLite may have left beside it after a crash."""
    return [path.with_name(f"{path.name}{suffix}") for suffix in ("", "-journal", "-wal", "-shm")]
