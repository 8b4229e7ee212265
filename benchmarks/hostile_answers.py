"""The hostile answers: what is sent, and which calls meet it.

Sizes are those of one attacker with one connection. A quick run takes a sixteenth of what is sent.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from testvibe_async import Project

__all__ = ["CASES", "Case", "Service"]

MEBIBYTE = 2**20
OK = b"HTTP/1.1 200 OK\r\n"
ENDLESS = 10**9
PIECE_BYTES = 64 * 1024

Part: TypeAlias = tuple[bytes, int]
"""Some bytes, and how often they are sent."""


@frozen
class Case:
    """One hostile answer, and the calls that meet it."""

    title: str
    parts: Callable[[int], list[Part]]
    """Returns the answer's parts, given by how much less than usual is sent."""

    call: Callable[[Project, str], Awaitable[object]]
    """Takes the project, and a directory for what is downloaded."""

    at_once: int = 1
    pause: float = 0.0
    """Seconds before each part is sent again."""

    timeout: float = 30.0
    """The client's, in seconds."""


def _document(*parts: Part, status: int = 200, lines: str = "") -> list[Part]:
    length = sum(len(text) * times for text, times in parts)
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{lines}\r\n"
    return [(head.encode(), 1), *parts]


def _bomb(status: int = 200) -> Callable[[int], list[Part]]:
    """Return 61 KB of gzip that unfold to 60 MiB."""

    def parts(scale: int) -> list[Part]:
        packer = zlib.compressobj(9, wbits=31)
        zeros = bytes(MEBIBYTE)
        packed = b"".join([packer.compress(zeros) for _ in range(60 // scale)]) + packer.flush()
        return _document((packed, 1), status=status, lines="Content-Encoding: gzip\r\n")

    return parts


def _rows(scale: int) -> list[Part]:
    row = {
        "runId": 214,
        "status": "failed",
        "featureId": 12,
        "featureName": "Login Functionality",
        "config": "Default",
        "createdUtc": "2026-06-10T16:02:11Z",
        "startedUtc": "2026-06-10T16:02:19Z",
        "finishedUtc": "2026-06-10T16:02:54Z",
        "summary": {"total": 3, "passed": 2, "failed": 1, "other": 0},
    }
    text = json.dumps(row).encode()
    times = 53 * MEBIBYTE // scale // (len(text) + 1)
    return _document((b"[", 1), (text + b",", times), (text + b"]", 1))


def _file(scale: int) -> list[Part]:
    line = json.dumps("  await page.goto('/checkout');  // \u201cCheckout\u201d, {step: 1}\n")
    text = line.encode()[1:-1]
    times = 63 * MEBIBYTE // scale // len(text)
    return _document((b'{"path": "a.js", "content": "', 1), (text, times), (b'"}', 1))


def _around(start: bytes, again: bytes, end: bytes, mebibytes: int) -> Callable[[int], list[Part]]:
    """Return a document of that size which repeats itself."""

    def parts(scale: int) -> list[Part]:
        times = mebibytes * MEBIBYTE // scale // len(again)
        return _document((start, 1), (again, times), (end, 1))

    return parts


def _headers(scale: int) -> list[Part]:
    return [(OK, 1), (b"X-A: " + b"a" * 4000 + b"\r\n", 16_000 // scale)]


def _chunks(_scale: int) -> list[Part]:
    return [
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", 1),
        (b"10000\r\n" + bytes(65536) + b"\r\n", ENDLESS),
    ]


def _trickle(_scale: int) -> list[Part]:
    return [(OK + b"Content-Length: 500000\r\n\r\n", 1), (b"x", 500_000)]


def _list(project: Project, _directory: str) -> Awaitable[object]:
    return project.list_runs()


def _status(project: Project, _directory: str) -> Awaitable[object]:
    return project.get_generation_status(12)


def _read_file(project: Project, _directory: str) -> Awaitable[object]:
    return project.read_file("a.js")


def _run(project: Project, _directory: str) -> Awaitable[object]:
    return project.get_run(1)


def _download(project: Project, directory: str) -> Awaitable[object]:
    return project.download_artifacts(1, directory)


_OBJECTS = b'{"path": "a.js", "kind": ['
CASES = (
    Case("a list of 53 MiB", _rows, _list),
    Case("a file of 63 MiB", _file, _read_file),
    Case("60 MiB of `{}` in a document", _around(_OBJECTS, b"{},", b"{}]}", 60), _read_file),
    Case("60 MiB of `{}` in a row", _around(b'[{"a": [', b"{},", b"{}]}]", 60), _list),
    Case("60 MiB of `{}` as rows", _around(b"[", b"{},", b"{}]", 60), _list),
    Case("60 MiB of small rows", _around(b"[", b'{"runId":1,"status":""},', b"1]", 60), _list),
    Case("60 MiB nested", _around(b"", b"[", b"", 60), _read_file),
    Case("60 MiB nested, of objects", _around(b"", b'{"a":', b"", 60), _read_file),
    Case("60 MiB of digits", _around(b'{"path": ', b"9", b"}", 60), _read_file),
    Case("60 MiB of escapes", _around(b'{"path": "', b"\\u12aB\\n", b'"}', 60), _read_file),
    Case("3 MiB of digits as an id", _around(b'{"runId": ', b"9", b"}", 3), _run),
    Case("a bomb as a status", _bomb(), _status),
    Case("a bomb as a list", _bomb(), _list),
    Case("a bomb as an error", _bomb(400), _status),
    Case("32 bombs as statuses", _bomb(), _status, at_once=32),
    Case("32 bombs as lists", _bomb(), _list, at_once=32),
    Case("64 MB of headers", _headers, _list),
    Case("chunks without end", _chunks, _list),
    Case("a download of a byte a second", _trickle, _download, pause=1.0, timeout=3.0),
)
"""What is measured, in the table's order."""


class Service:
    """A service that answers calls of the project `hostile` as a case says, and all others well."""

    def __init__(self, case: Case, scale: int) -> None:
        self._case = case
        self._parts = case.parts(scale)
        self._handlers: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target = head.split(b" ", 2)[1]
                async for piece in self._answer(target, head):
                    writer.write(piece)
                    await writer.drain()
        writer.close()

    async def _answer(self, target: bytes, head: bytes) -> AsyncGenerator[bytes]:
        if b"/projects/hostile/" not in target and not target.startswith(b"/file"):
            yield _good(target)
            return
        if target.endswith(b"/artifacts"):
            host = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"host:"))
            url = f"http://{host.split(b' ')[1].decode()}/file?sig=x"
            body = json.dumps([{"kind": "trace", "path": "a.zip", "url": url}]).encode()
            yield b"".join(text for text, _ in _document((body, 1)))
            return
        for text, times in self._parts:
            if self._case.pause and times > 1:
                for _ in range(times):
                    await asyncio.sleep(self._case.pause)
                    yield text
            a_piece = max(1, PIECE_BYTES // max(1, len(text)))
            for _ in range(times // a_piece):
                yield text * a_piece
            yield text * (times % a_piece)

    async def aclose(self) -> None:
        """End what is still being sent."""
        for task in self._handlers:
            task.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)


def _good(target: bytes) -> bytes:
    """Return a good answer to any call: the client makes its parts ready before it is measured."""
    body = b"[]"
    if target.endswith(b"/runs/1"):
        body = b'{"runId": 1, "status": "passed"}'
    elif b"/content" in target:
        body = b'{"path": "a.js", "content": ""}'
    elif target.endswith(b"/generation"):
        body = b'{"featureId": 12, "featureStatus": "generated"}'
    elif b"/runs" in target and not target.endswith(b"/artifacts"):
        body = b'[{"runId": 1, "status": "passed"}]'
    return b"".join(text for text, _ in _document((body, 1)))
