"""testvibe_async: a durable batch in a SQLite file, with one worker; see `durable`."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.contenders.testvibe_batch import IN_FLIGHT, configs_of
from benchmarks.contenders.testvibe_finished import client_of
from testvibe_async.adapters.durable import DurableBatch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from benchmarks.contenders import FanOut, Seen, Service
    from testvibe_async import Client

__all__ = ["contend", "fan_out_on"]


@asynccontextmanager
async def contend(service: Service, interval: float) -> AsyncGenerator[FanOut]:
    """Open a client, and a folder for the database."""
    with TemporaryDirectory(dir=Path(__file__).parent, prefix=".database-") as folder:
        async with client_of(service, interval) as client:
            yield fan_out_on(client, url=str(Path(folder) / "batches.sqlite"))


def fan_out_on(*clients: Client, url: str) -> FanOut:
    """Return a fan-out that keeps each batch in a database, with a worker for each client."""
    numbers = count()

    async def fan_out(features: Sequence[int], seen: Seen) -> Sequence[object]:
        distinct = list(dict.fromkeys(features))
        batch = DurableBatch(url, id=f"batch-{next(numbers)}")
        await batch.submit(
            clients[0],
            distinct,
            config=configs_of(features),
            max_in_flight=-(-IN_FLIGHT // len(clients)),
        )
        items, *_ = await asyncio.gather(*(batch.work(client) for client in clients))
        outcomes: list[object] = []
        for item in items:
            assert item.outcome is not None, item
            outcomes.append(item.outcome)
            seen(item.outcome.run_id, str(item.outcome.status))
        return outcomes

    return fan_out
