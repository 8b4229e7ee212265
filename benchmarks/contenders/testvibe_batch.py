"""testvibe_async: `run_features`, 100 in flight, in memory."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.contenders.testvibe_finished import client_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from benchmarks.contenders import FanOut, Seen, Service
    from testvibe_async import Client

__all__ = ["IN_FLIGHT", "configs_of", "contend", "run_batch"]

IN_FLIGHT = 100


@asynccontextmanager
async def contend(service: Service, interval: float) -> AsyncGenerator[FanOut]:
    """Open a client."""
    async with client_of(service, interval) as client:
        yield partial(run_batch, client)


def configs_of(features: Sequence[int]) -> list[str | None]:
    """Return as many configurations as each feature is named: then no two runs are the same."""
    times = len(features) // len(dict.fromkeys(features))
    return [None, *(f"Config {number}" for number in range(1, times))]


async def run_batch(
    client: Client, features: Sequence[int], seen: Seen, *, key: str | None = None
) -> Sequence[object]:
    """Run features as one batch; one that is named again runs with another configuration."""
    distinct = list(dict.fromkeys(features))
    outcomes: list[object] = []
    async with client.project().run_features(
        distinct, config=configs_of(features), max_in_flight=IN_FLIGHT, key=key
    ) as batch:
        async for item in batch:
            assert item.outcome is not None, item
            outcomes.append(item.outcome)
            seen(item.outcome.run_id, str(item.outcome.status))
    return outcomes
