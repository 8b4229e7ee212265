"""Journals of processes that were killed."""

import shutil
from pathlib import Path


def copy_of_the_disk(path: Path, to: Path) -> None:
    """Copy what the next process finds of a journal."""
    for suffix in ("", "-wal"):
        if (file := Path(f"{path}{suffix}")).exists():
            shutil.copy(file, f"{to}{suffix}")
