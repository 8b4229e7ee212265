"""The body of an answer: no more of it than its endpoint may have, and few large ones at once.

Decides when a body is too large, and when it has to wait for others. It is unpacked here and not by
aiohttp, which unpacks what comes at once to many times its size, for all connections in one turn of
the event loop. It never knows what a body holds.
"""

from __future__ import annotations

import asyncio
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Bodies", "TooLargeError", "UnknownEncodingError"]

LARGE_BYTES = 2**18
"""From this size on a body is a large one: other tasks get to run after each piece of it."""

MAX_LARGE = 2
"""How many large bodies are in memory at once, until each is decoded."""

PIECE_BYTES = 2**16
"""How much is unpacked at once."""

GZIP = 0x1F
"""The first byte of gzip (RFC 1952), which JSON can't start with."""

ENCODINGS = {"": False, "identity": False, "gzip": True, "x-gzip": True}
"""The values of `Content-Encoding` that are known, and whether they mean gzip."""


class TooLargeError(Exception):
    """A body is larger than it may be. The rest of it must not be read."""


class UnknownEncodingError(Exception):
    """A body can't be unpacked, and was not asked for like that."""


class Content(Protocol):
    """A body that comes in pieces."""

    async def readany(self) -> bytes:
        """Return what has come; nothing at the end."""
        ...


class Bodies:
    """The bodies of one client."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(MAX_LARGE)
        self._holders: set[asyncio.Task[object] | None] = set()
        """The tasks that have a large body, each until it lets go."""

    async def read(
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
            most: The most bytes that it may have, on the wire and unpacked.
            timeout: Seconds that it may wait for others; None for as long as it takes.

        Raises:
            TooLargeError: It has more.
            UnknownEncodingError: It is no gzip, and not plain.
            TimeoutError: Others took too long.
            EOFError, zlib.error: Its gzip is broken.
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
            while chunk := await content.readany():
                # Some servers and recorders say gzip of what is not, or not any more.
                if not wire_bytes and chunk[0] != GZIP:
                    unpack = None
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
        return whole.getvalue()  # Not copied, unlike what is joined out of chunks.

    async def _enter(self, timeout: float | None) -> None:
        """Let others run, and wait until there is a place for a large body."""
        if (task := asyncio.current_task()) in self._holders:
            await asyncio.sleep(0)
            return
        async with asyncio.timeout(timeout):
            await self._places.acquire()
        self._holders.add(task)

    def let_go(self) -> None:
        """Let another large body in, if this task had one."""
        if self._holders and (task := asyncio.current_task()) in self._holders:
            self._holders.discard(task)
            self._places.release()


class _Gzip:
    """Unpacks gzip, of one member or several."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)

    def pieces(self, packed: bytes) -> Iterator[bytes]:
        """Unpack what has come, a piece at a time."""
        while packed:
            if self._member.eof:
                if packed[0] != GZIP:
                    return  # Some pad the end.
                self._member = zlib.decompressobj(wbits=31)
            yield self._member.decompress(packed, PIECE_BYTES)
            packed = self._member.unconsumed_tail or self._member.unused_data

    def require_end(self) -> None:
        """Raise an `EOFError` where it breaks off."""
        if not self._member.eof:
            raise EOFError
