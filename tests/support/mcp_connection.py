"""Helpers for tests of the MCP server: connections, and calls of tools."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal, Self, get_args

import httpx2
import pytest
from mcp import Client as McpClient
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, TextContent

from tests.support.timing import now
from testvibe_async import Client
from testvibe_async.mcp_server import make_server
from testvibe_async.testing import Emulator

Mode = Literal["auto", "legacy"]
"""The protocol without a handshake, or the one with a handshake."""

both_modes = pytest.mark.parametrize("mode", get_args(Mode))

CLIENT_OPTIONS = {"api_key", "project", "timeout"}
"""Which options of a connection are the SDK client's."""


class Connection(McpClient):
    """The official client, with what tests ask of it."""

    async def __aenter__(self) -> Self:
        """Connect."""
        await super().__aenter__()
        return self

    async def result(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool, and return the structured content of its result."""
        return content_of(await self.call_tool(tool, arguments))

    async def finished(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool until nothing is in flight."""
        content: dict[str, Any] = {"inFlight": True}
        while content.get("inFlight"):
            content = await self.result(tool, **arguments)
        return content

    async def refused(self, tool: str, **arguments: Any) -> str:
        """Call a tool that fails, and return the error's text."""
        result = await self.call_tool(tool, arguments)
        assert result.is_error, result.structured_content
        return text_of(result)

    async def give_up(self, tool: str, *, seconds: float = 3, **arguments: Any) -> None:
        """Call a tool, and give up after some seconds, as a client does that says so."""
        call = asyncio.create_task(self.call_tool(tool, arguments))
        await asyncio.sleep(seconds)
        call.cancel()
        await asyncio.wait([call])

    async def latest(self, feature: str) -> str:
        """Return what a feature's latest generation is called."""
        return str((await self.result("get_generation_status", feature=feature))["requestId"])


@asynccontextmanager
async def connected(
    emulator: Emulator, mode: Mode = "auto", *, ask: Any = None, **options: Any
) -> AsyncGenerator[Connection]:
    """Connect the official client to a server in this process.

    Args:
        emulator: The service.
        mode: The protocol.
        ask: The callback by which the client asks its user; None for a client that can't.
        options: Options of the SDK's client, and of `make_server`.
    """
    settings: dict[str, Any] = {"api_key": emulator.api_key, "project": emulator.project_id}
    settings |= {name: options.pop(name) for name in list(options) if name in CLIENT_OPTIONS}
    server = make_server(partial(Client, emulator.url, **settings), **options)
    async with Connection(server, mode=mode, elicitation_callback=ask) as mcp:
        yield mcp


@asynccontextmanager
async def connected_by_http(
    url: str, token: str, mode: Mode = "auto"
) -> AsyncGenerator[Connection]:
    """Connect the official client to an HTTP server that requires a token."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=None) as http,
        Connection(streamable_http_client(url, http_client=http), mode=mode) as mcp,
    ):
        yield mcp


def without_tests(emulator: Emulator, tool: str = "generate_feature") -> None:
    """Have Checkout and its like be features that were never generated, for a tool that does so."""
    if tool.startswith("generate"):
        for name in ("Checkout", "Returns", "Wishlist"):
            if name in emulator.features:
                emulator.features[name].status = "draft"


def content_of(result: CallToolResult) -> dict[str, Any]:
    """Return the structured content of a result, which must not be an error."""
    assert not result.is_error, text_of(result)
    document: dict[str, Any] | None = result.structured_content
    assert document is not None
    return document


def text_of(result: CallToolResult) -> str:
    """Return the first text of a result."""
    return texts_of(result)[0]


def texts_of(result: CallToolResult) -> list[str]:
    """Return the texts of a result."""
    return [block.text for block in result.content if isinstance(block, TextContent)]


class Listener:
    """A progress callback that records the reports of a call."""

    def __init__(self) -> None:
        self.numbers: list[float] = []
        self.totals: list[float | None] = []
        self.messages: list[str] = []
        self.times: list[float] = []

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        self.totals.append(total)
        self.numbers.append(progress)
        self.messages.append(message or "")
        self.times.append(now())
