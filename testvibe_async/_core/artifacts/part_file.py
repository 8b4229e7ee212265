"""A file that is not complete yet: written beside its final path, and moved there once complete.

It decides nothing about the content, and never follows a symbolic link below the given directory.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from testvibe_async._core.util.waiting import wait_uncancelled

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_MOUNT_POINT = 0xA0000003
"""The reparse tag of a Windows junction, which leads elsewhere like a symbolic link."""


async def in_thread(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call a function in a worker thread, and return only when it has ended.

    A cancellation is delivered after that, so that nothing is cleaned up while it runs.
    """
    work = asyncio.get_running_loop().run_in_executor(None, function, *args)
    try:
        await wait_uncancelled([work])
    finally:
        work.exception()  # Retrieved, so that asyncio does not log it after a cancellation.
    return work.result()


@asynccontextmanager
async def part_file(directory: Path, name: str) -> AsyncGenerator[Path]:
    """Create an empty part file, and move it to its path at the end; remove it after an error.

    An existing file at that path is replaced atomically; of a link, the link itself, not its
    target.

    Args:
        directory: The directory that the file must stay below. It exists.
        name: The file's safe path there; see `safe_paths`. Missing directories are created.

    Raises:
        OSError: The operating system's error; NotADirectoryError if a link is in the way.
    """
    place = directory / name
    # No artifact's name starts with a dot (see `paths`), so none can equal this name.
    part = place.with_name(f".{os.urandom(8).hex()}.part")
    try:
        await in_thread(_create, directory, part)
        yield part
        await in_thread(part.replace, place)
    finally:
        await in_thread(_remove, part)


def append(path: Path, block: bytes) -> None:
    """Append bytes to a file."""
    with path.open("ab") as file:
        file.write(block)


def _create(directory: Path, part: Path) -> None:
    """Create a file, and the directories between it and the existing one."""
    for folder in reversed(part.relative_to(directory).parents[:-1]):
        _make_directory(directory / folder)
    part.touch(exist_ok=False)


def _remove(part: Path) -> None:
    """Remove a file, if it exists. An error here would hide the first one."""
    with suppress(OSError):
        part.unlink()


def _make_directory(path: Path) -> None:
    """Create a directory, unless it exists as a real directory, not as a link to another."""
    with suppress(FileExistsError):
        path.mkdir()
        return
    found = path.lstat()
    leads_away = getattr(found, "st_reparse_tag", 0) == _MOUNT_POINT
    if leads_away or not stat.S_ISDIR(found.st_mode):
        what = "a file or a symbolic link is in the way, and no link is followed here"
        raise NotADirectoryError(errno.ENOTDIR, what, os.fspath(path))
