"""The server over HTTP: who is let in, and how it ends."""

from __future__ import annotations

import asyncio
import signal
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.conftest import client_of
from tests.mcp_server.connection import Listener, connected_by_http, serialize, told
from testvibe_async import ConfigError
from testvibe_async.mcp_server import make_server, serve_http
from testvibe_async.mcp_server.http import Door

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import Message, Receive, Scope, Send

    from testvibe_async.testing import Emulator

TOKEN = "a-token-for-tests"

RIGHT = {"Authorization": f"Bearer {TOKEN}"}

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@asynccontextmanager
async def served(emulator: Emulator) -> AsyncGenerator[str]:
    """Serve in this process, and give the URL; a signal ends it."""
    announced: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    server = asyncio.create_task(
        serve_http(
            make_server(lambda: client_of(emulator)),
            port=0,
            token=TOKEN,
            announce=announced.set_result,
        )
    )
    try:
        yield await announced
    finally:
        signal.raise_signal(signal.SIGTERM)
        await server


async def posted(url: str, **headers: str) -> int:
    """Send what a client sends first, and return the status of the answer."""
    usual = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json=INITIALIZE, headers={**usual, **headers}) as answer,
    ):
        return answer.status


async def test_a_client_with_the_token_is_served(emulator: Emulator) -> None:
    """The official client lists the tools, calls them, and hears of progress."""
    listener = Listener()
    async with served(emulator) as url, connected_by_http(url, TOKEN) as mcp:
        assert len((await mcp.list_tools()).tools) == 25
        run = await told(mcp, "run_feature", feature="Checkout")
        over = await mcp.call_tool(
            "wait_for_run", {"runId": run["runId"]}, progress_callback=listener
        )
    assert serialize(over)["inFlight"] is False
    assert listener.messages[-1].startswith("run 214: finished")


async def test_all_clients_share_one_poller(emulator: Emulator) -> None:
    """Two clients that wait for one run cost the service what one does."""
    async with (
        served(emulator) as url,
        connected_by_http(url, TOKEN) as one,
        connected_by_http(url, TOKEN) as other,
    ):
        run = await told(one, "run_feature", feature="Checkout")
        before = emulator.count()
        await told(one, "wait_for_run", runId=run["runId"])
        alone = emulator.count() - before
        run = await told(one, "run_feature", feature="Checkout")
        before = emulator.count()
        await asyncio.gather(
            *(told(mcp, "wait_for_run", runId=run["runId"]) for mcp in (one, other))
        )
        assert emulator.count() - before <= alone


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": "Bearer "},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer schlüssel"},
    ],
    ids=str,
)
async def test_without_the_token_nobody_is_served(
    emulator: Emulator, headers: dict[str, str]
) -> None:
    """Whoever does not send the token is refused, and told how it is sent."""
    async with served(emulator) as url:
        assert await posted(url, **headers) == 401
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert TOKEN not in await answer.text()
    assert emulator.count() == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Authorization": f"bearer  {TOKEN}"}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1:1"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "https://127.0.0.1"}, 403),
        ({"Origin": "null"}, 403),
    ],
    ids=str,
)
async def test_other_hosts_and_origins_are_refused(
    emulator: Emulator, headers: dict[str, str], status: int
) -> None:
    """A web page that has the name of another host point here gets nowhere, token or not."""
    async with served(emulator) as url:
        assert await posted(url, **{**RIGHT, **headers}) == status


async def test_its_own_origin_is_welcome(emulator: Emulator) -> None:
    """A page that is served from this machine and port may talk to it."""
    async with served(emulator) as url:
        assert await posted(url, **RIGHT, Origin=url.removesuffix("/mcp")) == 200


async def cut_off(*, begun: bool) -> list[Any]:
    """Shut the door on a request, and return what it was sent."""
    sent: list[Any] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200})
        door.shut()
        await asyncio.Event().wait()

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    door = Door(app, token=TOKEN)
    headers = [(b"authorization", f"Bearer {TOKEN}".encode())]
    await door({"type": "http", "headers": headers}, receive, send)
    return sent


async def test_an_answer_that_has_begun_is_brought_to_its_end() -> None:
    """A stream that is cut off when the server stops ends as a stream does."""
    start, body = await cut_off(begun=True)
    assert start == {"type": "http.response.start", "status": 200}
    assert body == {"type": "http.response.body"}


async def test_a_request_that_is_not_answered_yet_is_told_of_the_end() -> None:
    """What has no answer when the server stops gets one that says so."""
    start, body = await cut_off(begun=False)
    assert start["status"] == 503
    assert body["body"] == b"This server is ending."


async def test_a_port_in_use_is_named(emulator: Emulator) -> None:
    """A port that another has is refused in one sentence."""
    server = make_server(lambda: client_of(emulator))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 can't be listened on"):
            await serve_http(server, port=port, token=TOKEN, announce=print)


async def test_an_empty_token_is_refused(emulator: Emulator) -> None:
    """A token that anybody could send is none."""
    server = make_server(lambda: client_of(emulator))
    with pytest.raises(ConfigError, match="the token is empty"):
        await serve_http(server, port=0, token="", announce=print)
