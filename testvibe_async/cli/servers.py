"""`testvibe-async mcp` and `worker`: the programs that serve others, until a signal.

Decides how each is reached, and what people read about it on standard error. What they do is in
`testvibe_async.mcp_server` and `testvibe_async.temporal`, extras that are imported when used.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.types import (
    Port,  # noqa: TC002 - cyclopts reads the annotations at run time
    PositiveInt,  # noqa: TC002 - cyclopts reads the annotations at run time
)

from testvibe_async import Client, ConfigError, Hooks
from testvibe_async.cli.common import common, connected
from testvibe_async.cli.exits import shown_elsewhere
from testvibe_async.cli.stop import Stop
from testvibe_async.cli.text import reason, warn

if TYPE_CHECKING:
    from collections.abc import Callable

    from testvibe_async.ledger import Ledger


async def mcp(  # noqa: PLR0913 - the options of the command
    *,
    http: Port | None = None,
    token: Annotated[str | None, Parameter(env_var="TESTVIBE_MCP_TOKEN")] = None,
    read_only: bool = False,
    tools: tuple[str, ...] | None = None,
    exclude_tools: tuple[str, ...] = (),
    max_generations: int | None = None,
    max_output: int = 20_000,
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
    """
    from testvibe_async.mcp_server import (  # noqa: PLC0415 - an extra, loaded when used
        make_server,
        serve_http,
        serve_stdio,
    )

    _log_warnings()
    given = common.get()
    server = make_server(
        partial(Client, **given.client),
        read_only=read_only,
        tools=tools,
        exclude_tools=exclude_tools,
        max_generations=max_generations,
        max_output=max_output,
        ledger=given.ledger,
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


CHECK_SECONDS = 5.0
"""Seconds between two checks whether the engine answers."""


async def worker(
    *,
    address: str | None = None,
    namespace: str | None = None,
    task_queue: str = "testvibe",
    max_chunks: PositiveInt = 8,
) -> None:
    """Carry batches that Temporal hands out, until Ctrl-C or SIGTERM.

    Then it gives back what is under way, and another worker takes it over. Temporal is reached by
    the settings of the command temporal, such as TEMPORAL_API_KEY.

    For example:

        testvibe-async worker --address localhost:7233

    Args:
        address: Temporal's host and port; else TEMPORAL_ADDRESS.
        namespace: Temporal's namespace; else TEMPORAL_NAMESPACE, else default.
        task_queue: The task queue.
        max_chunks: Maximum number of chunks, of up to 100 features each, to carry at once.
    """
    async with connected() as connection:  # The settings are complete, and a name is known.
        project = connection.project_id
    contact = _Contact()
    given: dict[str, Any] = {**common.get().client, "project": project}
    hooks = Hooks(
        on_outage_started=lambda event: contact.note(event.server, reason(event.error)),
        on_outage_ended=lambda event: contact.note(event.server, None),
    )

    def made(ledger: Ledger | None) -> Client:
        return Client(**given, hooks=hooks, ledger=ledger)

    engine = {"address": address, "namespace": namespace}
    options = {"task_queue": task_queue, "max_chunks": max_chunks}
    with suppress(SystemExit), Stop(), shown_elsewhere():  # A signal is the usual end.
        await _work(contact, made, engine, options)
    sys.stdout.flush()
    sys.stderr.flush()
    # With all its results delivered, temporalio 1.35 often aborts while Python finalizes.
    os._exit(0)


async def _work(
    contact: _Contact,
    made: Callable[[Ledger | None], Client],
    engine: dict[str, Any],
    options: dict[str, Any],
) -> None:
    from testvibe_async.temporal import connect, failure_of  # noqa: PLC0415 - an extra
    from testvibe_async.temporal import worker as carrying  # noqa: PLC0415

    connection = None
    while connection is None:
        try:
            connection = await connect(**engine)
        except RuntimeError as error:
            contact.note("Temporal", str(error))
            await asyncio.sleep(CHECK_SECONDS)
    contact.note("Temporal", None)
    target = f"{connection.service_client.config.target_host}, namespace {connection.namespace}"
    try:
        async with carrying(connection, made, **options):
            warn(f"Carrying batches of {target}, task queue {options['task_queue']}, until Ctrl-C.")
            while True:
                await asyncio.sleep(CHECK_SECONDS)
                contact.note("Temporal", await failure_of(connection))
    except RuntimeError as error:
        raise ConfigError(f"Temporal at {target}: {error}") from error


class _Contact:
    """The reachability of the engine and of the service."""

    def __init__(self) -> None:
        self._away: set[str] = set()

    def note(self, name: str, why: str | None) -> None:
        """Print a line if that has changed; `why` is None if it answers."""
        if why is not None and name not in self._away:
            self._away.add(name)
            warn(f"{name} can't be reached, trying again: {' '.join(why.split())[:300]}")
        elif why is None and name in self._away:
            self._away.discard(name)
            warn(f"{name} answers again.")
