"""A file that is not whole yet: written beside its place, and moved there when it is.

Everything that touches the disk runs in worker threads, in blocks. It decides nothing about what is
written, and never follows a symbolic link below the directory that it is given.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import stat
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from anyio.lowlevel import checkpoint_if_cancelled

from testvibe_async._util.waiting import wait_uncancelled

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

__all__ = ["PartFile", "in_thread", "part_file"]

T = TypeVar("T")

BLOCK_BYTES = 256 * 1024
"""How much is gathered before it is written."""

_MOUNT_POINT = 0xA0000003
"""The reparse tag of a Windows junction, which leads elsewhere as a symbolic link does."""


async def in_thread(function: Callable[[], T]) -> T:
    """Call a function in a worker thread, and come back only when it has ended.

    A cancellation is delivered after that, so that nothing is cleaned up while it works. Neither
    `asyncio.to_thread` nor, for a task's own `cancel`, `anyio.to_thread.run_sync` waits.
    """
    work = asyncio.get_running_loop().run_in_executor(None, function)
    try:
        await wait_uncancelled([work])
    finally:
        work.exception()  # Retrieved, so that asyncio does not log it if a cancellation came first.
    await checkpoint_if_cancelled()
    return work.result()


@asynccontextmanager
async def part_file(directory: Path, name: str) -> AsyncGenerator[PartFile]:
    """Open a part file, and take it away at the end unless it was finished.

    Args:
        directory: Where it must stay below. It exists.
        name: Its safe path there; see `safe_paths`. Directories that lack are made.

    Raises:
        OSError: As the operating system says; NotADirectoryError where a link is in the way.
    """
    part = PartFile(directory, name)
    try:
        await in_thread(part.open)
        yield part
    finally:
        await in_thread(part.discard)


class PartFile:
    """A file that grows. Its methods without `async` block."""

    def __init__(self, directory: Path, name: str) -> None:
        """Make one; `open` comes first."""
        *self._parents, last = name.split("/")
        self.path = directory.joinpath(*self._parents, last)
        """Where it goes in the end."""
        self.size_bytes = 0
        """How much it has, what is not written yet included."""
        self._directory = directory
        # No artifact's name starts with a dot (see `paths`), so none can be this one.
        self._place = self.path.with_name(f".{secrets.token_hex(8)}.part")
        self._file: BinaryIO | None = None
        self._gathered = bytearray()

    def open(self) -> None:
        """Make it, and the directories that it needs."""
        parent = self._directory
        for name in self._parents:
            parent /= name
            _make_directory(parent)
        self._file = self._place.open("xb")

    async def add(self, chunk: bytes) -> bool:
        """Add bytes at its end, and say whether they were written now."""
        self._gathered += chunk
        self.size_bytes += len(chunk)
        if len(self._gathered) < BLOCK_BYTES:
            return False
        await in_thread(self._write)
        return True

    async def restart(self) -> None:
        """Throw away what it has."""
        self._gathered.clear()
        self.size_bytes = 0
        await in_thread(self._empty)

    async def finish(self) -> None:
        """Move it to its place. What was there is replaced, at once; a link, not what it names."""
        await in_thread(self._finish)

    def _write(self) -> None:
        assert self._file is not None
        self._file.write(self._gathered)
        self._gathered.clear()

    def _empty(self) -> None:
        assert self._file is not None
        self._file.seek(0)
        self._file.truncate()

    def _finish(self) -> None:
        assert self._file is not None
        self._write()
        self._file.close()
        self._place.replace(self.path)

    def discard(self) -> None:
        """Take it away, if it is not finished. What goes wrong is not worth an error more."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            with suppress(OSError):
                self._place.unlink()


def _make_directory(path: Path) -> None:
    """Make a directory, unless it is there, and is one itself rather than a way to another."""
    with suppress(FileExistsError):
        path.mkdir()
        return
    found = path.lstat()
    leads_away = getattr(found, "st_reparse_tag", 0) == _MOUNT_POINT
    if leads_away or not stat.S_ISDIR(found.st_mode):
        what = "a file or a symbolic link is in the way, and no link is followed here"
        raise NotADirectoryError(errno.ENOTDIR, what, os.fspath(path))
