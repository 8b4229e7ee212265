"""The server: its tools, resources and prompts, on one session.

Decides what the server offers and how it introduces itself to a model. It never opens a stream or
a port; `stdio` and `http` do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcp.server.mcpserver import MCPServer

from testvibe_async import Client, __version__
from testvibe_async.mcp_server.context import add_prompts, add_resources
from testvibe_async.mcp_server.session import Session, every_three_seconds, open_session
from testvibe_async.mcp_server.tools import TOOLS
from testvibe_async.mcp_server.waiting_tools import WAITING_TOOLS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["make_server"]

INSTRUCTIONS = """
TestVibe turns features, written in Gherkin, into Playwright tests, and runs them.
A run (run_feature) takes about half a minute. A generation (generate_feature) takes minutes and
costs credits: ask the user before you start one. Both return at once; then call wait_for_run or
wait_for_generation. A wait that times out is no failure: nothing was cancelled, call it again, and
never start the run or the generation anew because of it.
A failed test is an answer, not an error: diagnose_run says why a run failed, get_generation_log
why a generation did. For many features at once call run_features.
"""


def make_server(make_client: Callable[[], Client] | None = None) -> MCPServer[Session]:
    """Return the MCP server. It does no I/O before it is served.

    Args:
        make_client: Makes the client that all calls share, when the server starts. If it raises
            `ConfigError` the server starts all the same, and each tool says what to set. None for
            `Client(poll_plan=every_three_seconds)`.
    """
    make = make_client or (lambda: Client(poll_plan=every_three_seconds))
    server = MCPServer[Session](
        "testvibe",
        title="TestVibe",
        instructions=INSTRUCTIONS.strip(),
        version=__version__,
        tools=[*TOOLS, *WAITING_TOOLS],
        lifespan=lambda _server: open_session(make),
        subscriptions=False,
        log_level="WARNING",
    )
    add_resources(server)
    add_prompts(server)
    return server
