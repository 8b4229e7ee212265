"""A server that sends scripted bytes, and what all tests of requests share."""

import asyncio
import errno
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

import aiohttp
from aiohttp.client_reqrep import ConnectionKey
from attrs import define, field, fields

from testvibe_async import Client, Hooks, RetryPolicy

KEY = "tvb_" + "SecretKey" * 4 + "0000000"


ONCE = RetryPolicy(attempts=1)


class Request(bytes):
    """The head of a request."""

    @property
    def target(self) -> str:
        """The path and the query."""
        return self.decode().split(" ")[1]

    @property
    def headers(self) -> dict[str, str]:
        """The headers, in lower case."""
        return dict(line.lower().split(": ", 1) for line in self.decode().split("\r\n")[1:-2])


Answering: TypeAlias = bytes | Callable[[Request], bytes | None]
Serving: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@define
class Peer:
    """A server that sends scripted answers, and keeps the requests that it received."""

    url: str
    requests: list[Request] = field(factory=list[Request])

    def client(self, **options: Any) -> Client:
        """Return a client of it that does not retry."""
        usual: dict[str, Any] = {"api_key": KEY, "project": "p", "retry": ONCE}
        return Client(self.url, **{**usual, **options})


@asynccontextmanager
async def scripted(serve: Serving) -> AsyncGenerator[Peer]:
    """Start a server whose connections a function serves, once a request has come."""

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            made.requests.append(Request(await reader.readuntil(b"\r\n\r\n")))
            await serve(reader, writer)
        writer.close()

    async with await asyncio.start_server(connect, "127.0.0.1", 0) as server:
        made = Peer(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        yield made


@asynccontextmanager
async def peer(answer: Answering) -> AsyncGenerator[Peer]:
    """Answer each connection's first request with these bytes, or with those of a function.

    None leaves the connection open, without an answer.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent = answer(made.requests[-1]) if callable(answer) else answer
        if sent is None:
            await reader.read()
        else:
            writer.write(sent)
            await writer.drain()

    async with scripted(serve) as made:
        yield made


def http(status: int, body: bytes = b"", *lines: str, length: int | None = None) -> bytes:
    """Return an answer as it is on the wire."""
    length = len(body) if length is None else length
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {length}", "Connection: close", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def chunked(body: bytes) -> bytes:
    """Return an answer without a Content-Length."""
    head = b"HTTP/1.1 200 X\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def no_connection(
    kind: type[aiohttp.ClientConnectorError] = aiohttp.ClientConnectorError,
) -> aiohttp.ClientConnectorError:
    """Return aiohttp's error of a connection that was refused."""
    key = ConnectionKey("h", 1, False, True, None, None, None)  # noqa: FBT003
    return kind(key, OSError(errno.ECONNREFUSED, "refused"))


def hooks_into(seen: list[Any]) -> Hooks:
    """Return hooks that keep every event."""
    return Hooks(**dict.fromkeys((hook.name for hook in fields(Hooks)), seen.append))
