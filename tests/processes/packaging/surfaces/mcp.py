"""The MCP server: a client over standard input and output lists its tools and calls one."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters, stdio_client

from testvibe_async.mcp_server import make_server, serve_http, serve_stdio
from testvibe_async.testing import Emulator

OFFERED = (make_server, serve_http, serve_stdio)


async def main() -> None:
    """Start the server as clients do."""
    async with Emulator() as service:
        server = StdioServerParameters(
            command=str(Path(sys.executable).with_name("testvibe-async")),
            args=["mcp"],
            env={
                "TESTVIBE_SERVER": service.url,
                "TESTVIBE_API_KEY": service.api_key,
                "TESTVIBE_PROJECT": service.project_id,
            },
        )
        async with Client(stdio_client(server)) as client:
            tools = (await client.list_tools()).tools
            answer: Any = await client.call_tool("list_features", {})
    assert not answer.is_error, answer
    assert service.count("list_features") == 1
    print(f"{len(tools)} tools, one called")


asyncio.run(main())
