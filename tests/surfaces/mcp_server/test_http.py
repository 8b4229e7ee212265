"""The server over HTTP: its authorization, and how it stops."""

import asyncio
import signal
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import pytest

from tests.conftest import client_of
from testvibe_async import ConfigError
from testvibe_async.mcp_server import make_server, serve_http
from testvibe_async.testing import Emulator

TOKEN = "a-token-for-tests"

USUAL = {
    "Authorization": f"Bearer {TOKEN}",
    "Accept": "application/json, text/event-stream",
    "Content-Type": "application/json",
}

PING = {"jsonrpc": "2.0", "id": 0, "method": "ping"}


@asynccontextmanager
async def served(emulator: Emulator, *, port: int = 0, **options: Any) -> AsyncGenerator[str]:
    """Serve in this process, and yield the URL; a signal stops the server."""
    announced: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    server = asyncio.create_task(
        serve_http(
            make_server(partial(client_of, emulator), **options),
            port=port,
            token=TOKEN,
            announce=announced.set_result,
        )
    )
    try:
        yield await announced
    finally:
        signal.raise_signal(signal.SIGTERM)
        await server


WHO: list[tuple[str, str, int]] = [
    ("Authorization", f"bearer  {TOKEN}", 200),
    ("Authorization", "", 401),
    ("Authorization", "Bearer wrong", 401),
    ("Authorization", f"Bearer {TOKEN}x", 401),
    ("Authorization", f"Bearer {TOKEN[:-1]}", 401),
    ("Authorization", "Bearer ", 401),
    ("Authorization", TOKEN, 401),
    ("Authorization", f"Basic {TOKEN}", 401),
    ("Authorization", "Bearer schlüssel", 401),
    ("Host", "evil.example", 421),
    ("Host", "127.0.0.1:1", 421),
    ("Origin", "http://evil.example", 403),
    ("Origin", "https://127.0.0.1", 403),
    ("Origin", "null", 403),
    ("Origin", "http://HOST", 200),
]


async def test_who_is_served(emulator: Emulator) -> None:
    """A request needs the token, and a page under another host name or origin is refused."""
    connector = aiohttp.TCPConnector(force_close=True)  # What refuses does not read the request.
    async with served(emulator) as url, aiohttp.ClientSession(connector=connector) as session:
        host = url.removeprefix("http://").removesuffix("/mcp")
        for name, value, status in WHO:
            headers = {**USUAL, name: value.replace("HOST", host)}
            async with session.post(url, json=PING, headers=headers) as answer:
                assert answer.status == status, (name, value)
                assert (answer.headers.get("WWW-Authenticate") == "Bearer") is (status == 401)
                assert TOKEN not in await answer.text()
    assert emulator.count() == 0


@pytest.mark.parametrize(
    ("token", "said"),
    [(TOKEN, "port [0-9]+ of 127.0.0.1 can't be listened on"), ("", "the token is empty")],
)
async def test_a_port_in_use_and_an_empty_token_are_refused(token: str, said: str) -> None:
    """Either is refused in one sentence; any request would match an empty token."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1] if token else 0
        with pytest.raises(ConfigError, match=said):
            await serve_http(make_server(), port=port, token=token, announce=print)
