"""Plain httpx: the same loop for each run, under one `gather`.

Its pool scans all connections and all waiting requests for each request. So a semaphore keeps
requests from waiting in the pool, and it gets four connections, the best of 2 to 32 as measured.
It reads no proxies from the environment.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from benchmarks.contenders import FanOut, Seen, Service

__all__ = ["contend"]

CONNECTIONS = 4


@asynccontextmanager
async def contend(service: Service, interval: float) -> AsyncGenerator[FanOut]:
    """Open a client."""
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    slots = asyncio.Semaphore(CONNECTIONS)
    async with httpx.AsyncClient(
        headers=service.headers, limits=limits, timeout=30, trust_env=False
    ) as client:

        async def run(feature: int, seen: Seen) -> object:
            async with slots:
                response = await client.post(service.dispatch_url(feature), json={})
            url = service.run_url(json.loads(response.content)["runId"])
            while True:
                await asyncio.sleep(interval)
                async with slots:
                    response = await client.get(url)
                digest: dict[str, Any] = json.loads(response.raise_for_status().content)
                if digest["status"] != "running":
                    seen(digest["runId"], digest["status"])
                    return digest

        async def fan_out(features: Sequence[int], seen: Seen) -> Sequence[object]:
            return await asyncio.gather(*(run(feature, seen) for feature in features))

        yield fan_out
