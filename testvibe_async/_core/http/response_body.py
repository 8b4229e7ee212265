"""The body of an answer: limited in size by its endpoint, with few large bodies at once.

Decides when a body is too large, and when it must wait for other bodies. It is unpacked here and
not by aiohttp. aiohttp unpacks everything that arrives at once to many times its size, for all
connections in one turn of the event loop. This module never knows a body's content.
"""

from __future__ import annotations

import asyncio
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LARGE_BYTES = 2**18
"""Size in bytes of a large body, after each piece of which other tasks get to run."""

MAX_LARGE = 2
"""Maximum number of large bodies in memory at once, until each is decoded."""

PIECE_BYTES = 2**16
"""Number of bytes that are unpacked at once."""

MAX_MEMBERS = 16
"""Maximum number of members of a gzip: each one copies the rest, and a service sends one."""

GZIP = 0x1F
"""The first byte of gzip (RFC 1952), with which JSON can't start."""

ENCODINGS = {"": False, "identity": False, "gzip": True, "x-gzip": True}
"""The known values of `Content-Encoding`; True for gzip."""


class TooLargeError(Exception):
    """A body exceeds its maximum size. The rest of it must not be read."""


class UnknownEncodingError(Exception):
    """A body has an encoding that was not requested, and can't be unpacked."""


class Content(Protocol):
    """A body that arrives in pieces."""

    def at_eof(self) -> bool:
        """Return whether all bytes were read."""
        ...

    async def readany(self) -> bytes:
        """Return the bytes that have arrived; none at the end."""
        ...


class Bodies:
    """The bodies of one client."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(MAX_LARGE)
        self._holders: set[asyncio.Task[object] | None] = set()
        """The tasks with a large body, each until it calls `let_go`."""

    async def read(  # noqa: C901 - piece by piece, with few calls
        self,
        content: Content,
        headers: Mapping[str, str],
        *,
        most: int,
        timeout: float | None,
    ) -> bytes:
        """Read a body to its end. Call `let_go` when it is decoded, in the same task.

        Args:
            content: The body, not read yet.
            headers: The answer's headers.
            most: Maximum number of bytes, both on the wire and unpacked.
            timeout: Maximum seconds to wait for other bodies; None for no limit.

        Raises:
            TooLargeError: The body is larger.
            UnknownEncodingError: The body is neither gzip nor plain.
            TimeoutError: Other bodies took too long.
            EOFError, zlib.error: The body's gzip is damaged.
        """
        encoding = headers.get("Content-Encoding", "").strip().lower()
        if encoding not in ENCODINGS:
            raise UnknownEncodingError(encoding)
        length = headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > most:
            raise TooLargeError
        whole, wire_bytes = BytesIO(), 0
        unpack = _Gzip() if ENCODINGS[encoding] else None
        try:
            while not content.at_eof() and (chunk := await content.readany()):
                # Some servers and recorders declare gzip for a body that is not, or no longer,
                # gzip.
                if not wire_bytes and chunk[0] != GZIP:
                    unpack = None
                    if content.at_eof() and len(chunk) <= min(most, LARGE_BYTES):
                        return chunk  # nearly all of them
                wire_bytes += len(chunk)
                for piece in unpack.pieces(chunk) if unpack else (chunk,):
                    whole.write(piece)
                    size = whole.tell()
                    if size > most or wire_bytes > most:
                        raise TooLargeError  # noqa: TRY301 - a call for each piece costs more
                    if size > LARGE_BYTES:
                        await self._enter(timeout)
            if unpack and wire_bytes:
                unpack.require_end()
        except BaseException:
            self.let_go()
            raise
        return whole.getvalue()  # Not copied, unlike the result of joining chunks.

    async def _enter(self, timeout: float | None) -> None:
        """Yield to other tasks, and wait until another large body may be read."""
        if (task := asyncio.current_task()) in self._holders:
            await asyncio.sleep(0)
            return
        async with asyncio.timeout(timeout):
            await self._places.acquire()
        self._holders.add(task)

    def let_go(self) -> None:
        """Allow another large body, if this task had one."""
        if self._holders and (task := asyncio.current_task()) in self._holders:
            self._holders.discard(task)
            self._places.release()


class _Gzip:
    """Unpacks gzip, of one member or several."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._members_left = MAX_MEMBERS - 1

    def pieces(self, packed: bytes) -> Iterator[bytes]:
        """Unpack bytes that have arrived, a piece at a time."""
        while packed:
            if self._member.eof:
                if packed[0] != GZIP:
                    return  # Some pad the end.
                if not self._members_left:
                    raise zlib.error("too many members")
                self._members_left -= 1
                self._member = zlib.decompressobj(wbits=31)
            yield self._member.decompress(packed, PIECE_BYTES)
            packed = self._member.unconsumed_tail or self._member.unused_data

    def require_end(self) -> None:
        """Raise an `EOFError` if the data is truncated."""
        if not self._member.eof:
            raise EOFError
