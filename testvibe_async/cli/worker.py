"""`testvibe-async worker`: carries batches that Temporal hands out, until a signal.

Decides what a person reads about it, on standard error: a line at the start, and one whenever
Temporal or the service can't be reached, or can again. What a worker does is decided in
`testvibe_async.temporal`, an extra, which is imported when this command runs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import anyio
from cyclopts.types import PositiveInt  # noqa: TC002 - cyclopts reads the annotations at run time

from testvibe_async import Client, ConfigError, Hooks
from testvibe_async.cli.common import common, connected
from testvibe_async.cli.exits import shown_elsewhere
from testvibe_async.cli.text import warn
from testvibe_async.cli.words import reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from testvibe_async.ledger import Ledger

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

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals, shown_elsewhere():
        engine = {"address": address, "namespace": namespace}
        options = {"task_queue": task_queue, "max_chunks": max_chunks}
        working = asyncio.create_task(_work(contact, made, engine, options))
        stopped = asyncio.ensure_future(anext(signals))
        await asyncio.wait([working, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        working.cancel()
        await asyncio.wait([working])
        if not working.cancelled():
            working.result()
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
