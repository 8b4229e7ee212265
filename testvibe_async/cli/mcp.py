"""`testvibe-async mcp`: TestVibe's operations as tools for a model.

Decides only how the server is reached and what people read about it, on standard error: standard
output belongs to the protocol. The tools are in `testvibe_async.mcp_server`, an extra, which is
imported when this command runs.
"""

from __future__ import annotations

import logging
import secrets
import sys
from functools import partial
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time
from typing import Annotated

from cyclopts import Parameter
from cyclopts.types import Port  # noqa: TC002 - cyclopts reads the annotations at run time

from testvibe_async import Client
from testvibe_async.cli.common import common


async def mcp(  # noqa: PLR0913 - the options of the command
    *,
    http: Port | None = None,
    token: Annotated[str | None, Parameter(env_var="TESTVIBE_MCP_TOKEN")] = None,
    read_only: bool = False,
    tools: tuple[str, ...] | None = None,
    exclude_tools: tuple[str, ...] = (),
    max_generations: int | None = None,
    max_output: int = 20_000,
    ledger: Path | None = None,
) -> None:
    """Serve TestVibe's operations as tools for a model (MCP).

    Without a port it talks over standard input and output, as MCP clients start it. It starts
    without settings too; then each tool says what to set.

    Args:
        http: Serve streamable HTTP on this port of 127.0.0.1 instead; 0 for any that is free.
        token: Bearer token that clients must send over HTTP; by default one is generated and shown.
        read_only: Offer only the tools that change nothing at the service.
        tools: Offer only these tools; repeat it for several.
        exclude_tools: Do not offer these tools; repeat it for several.
        max_generations: Maximum number of generations started while it runs; any number by default.
        max_output: Maximum characters of an answer.
        ledger: The file that keeps what is dispatched; by default that of all commands.
    """
    from testvibe_async.mcp_server import (  # noqa: PLC0415 - an extra, loaded when used
        make_server,
        serve_http,
        serve_stdio,
    )

    _log_warnings()
    server = make_server(
        partial(Client, **common.get().client),
        read_only=read_only,
        tools=tools,
        exclude_tools=exclude_tools,
        max_generations=max_generations,
        max_output=max_output,
        ledger=ledger,
    )
    if http is None:
        said = "Serving MCP until Ctrl-C. An MCP client should start this command.\n"
        is_typed = sys.stdin.isatty()
        await serve_stdio(server, announce=partial(sys.stderr.write, said) if is_typed else None)
        return
    chosen = secrets.token_urlsafe(32) if token is None else token
    # On a line of its own, so that it can be copied with nothing else.
    shown = ":\n  Authorization: Bearer " + chosen if token is None else " the token that you gave."

    def announce(url: str) -> None:
        sys.stderr.write(f"Serving MCP at {url} until Ctrl-C. It asks for{shown}\n")

    await serve_http(server, port=http, token=chosen, announce=announce)


def _log_warnings() -> None:
    """Log each warning of the SDK of MCP in a line; else it would draw boxes around them."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(lambda record: record.name.partition(".")[0] != "testvibe_async")
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
