"""testvibe_async: dispatch with a few workers, then iterate over the operations as they finish.

Like the other contenders it keeps the outcomes, but not the handles.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.contenders import CONNECTIONS
from testvibe_async import Client

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence
    from pathlib import Path

    from benchmarks.contenders import FanOut, Seen, Service
    from testvibe_async import Project, Run, RunOperation

__all__ = ["client_of", "contend"]


@asynccontextmanager
async def contend(service: Service, interval: float) -> AsyncGenerator[FanOut]:
    """Open a client."""
    async with client_of(service, interval) as client:
        yield partial(_fan_out, client)


def client_of(service: Service, interval: float, *, ledger: Path | None = None) -> Client:
    """Return a client with defaults, except the poll interval and the connections."""
    return Client(
        service.url,
        api_key=service.api_key,
        project=service.project,
        poll_interval=interval,
        max_connections=CONNECTIONS,
        ledger=ledger,
    )


async def _fan_out(client: Client, features: Sequence[int], seen: Seen) -> Sequence[object]:
    operations = await _dispatch(client.project(), features)
    run_ids = [operation.run_id for operation in operations]
    finished = client.finished(operations)
    del operations  # so that each is freed when it ends, and only the outcomes stay
    outcomes: dict[int, Run] = {}
    async for operation in finished:
        outcome = operation.outcome
        assert outcome is not None
        outcomes[outcome.run_id] = outcome
        seen(outcome.run_id, str(outcome.status))
    return [outcomes[run_id] for run_id in run_ids]


async def _dispatch(project: Project, features: Sequence[int]) -> list[RunOperation]:
    """Dispatch all runs, as many at once as there are connections."""
    operations: dict[int, RunOperation] = {}
    places = iter(range(len(features)))

    async def work(places: Iterator[int]) -> None:
        for place in places:
            operations[place] = await project.run_feature(features[place])

    await asyncio.gather(*(work(places) for _ in range(CONNECTIONS)))
    return [operations[place] for place in range(len(features))]
