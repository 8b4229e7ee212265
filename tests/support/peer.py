"""A server that sends scripted bytes, and what all tests of requests share."""

import asyncio
import errno
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp.client_reqrep import ConnectionKey
from attrs import fields

from testvibe_async import Client, Hooks, RetryPolicy

KEY = "tvb_" + "SecretKey" * 4 + "0000000"


ONCE = RetryPolicy(attempts=1)


class Peer:
    """A server that sends a scripted answer, and keeps the requests that it received."""

    def __init__(self, url: str, received: list[bytes]) -> None:
        self.url = url
        self.received = received

    def client(self, **options: Any) -> Client:
        """Return a client of it that does not retry."""
        usual: dict[str, Any] = {"api_key": KEY, "project": "p", "retry": ONCE}
        return Client(self.url, **{**usual, **options})


@asynccontextmanager
async def peer(answer: bytes | Callable[[bytes], bytes]) -> AsyncGenerator[Peer]:
    """Answer each connection's first request with these bytes, and close."""
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer if isinstance(answer, bytes) else answer(received[-1]))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield Peer(f"http://127.0.0.1:{port}", received)


def http(status: int, body: bytes = b"", *lines: str) -> bytes:
    """Return an answer as it is on the wire."""
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def no_connection() -> aiohttp.ClientConnectorError:
    """Return aiohttp's error of a connection that was refused."""
    key = ConnectionKey("h", 1, False, True, None, None, None)  # noqa: FBT003
    return aiohttp.ClientConnectorError(key, OSError(errno.ECONNREFUSED, "refused"))


def hooks_into(seen: list[Any]) -> Hooks:
    """Return hooks that keep every event."""
    return Hooks(**dict.fromkeys((hook.name for hook in fields(Hooks)), seen.append))
