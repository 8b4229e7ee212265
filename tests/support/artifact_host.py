"""An artifact host that gives scripted answers, written byte for byte."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from attrs import define, field


@define
class Request:
    """A request that the host received."""

    target: str
    headers: dict[str, str]


@define
class Host:
    """An artifact host that answers each request as scripted, and closes the connection."""

    answer: Callable[[Request], bytes | None]
    """Returns the bytes to send; None for nothing, with the connection left open."""
    url: str = ""
    requests: list[Request] = field(factory=list[Request])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        with suppress(ConnectionError):
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines if line)
            request = Request(first.split(" ")[1], headers)
            self.requests.append(request)
            answer = self.answer(request)
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def host(answer: bytes | Callable[[Request], bytes | None]) -> AsyncGenerator[Host]:
    """Start a host that answers all requests with these bytes, or with those of a function."""
    made = Host(answer if callable(answer) else lambda _: answer)
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as server:
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield made


@asynccontextmanager
async def scripted(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncGenerator[Host]:
    """Start a host whose connections are a function's, once a request has come; it closes them."""

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await serve(reader, writer)
        writer.close()

    async with await asyncio.start_server(connect, "127.0.0.1", 0) as server:
        yield Host(lambda _: None, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")


def http(status: int, body: bytes, *lines: str, length: int | None = None) -> bytes:
    """Return an answer as it is on the wire."""
    length = len(body) if length is None else length
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {length}", "Connection: close", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def chunked(body: bytes) -> bytes:
    """Return an answer without a Content-Length."""
    head = b"HTTP/1.1 200 X\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
