"""Plain aiohttp: a loop that sleeps and polls for each run, under one `gather`.

The minimum that does the work: no retries, no limits, no validation of answers. One session without
cookies, and the bytes go straight to `json.loads`, which is faster than `response.json()`.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import ClientSession, DummyCookieJar, TCPConnector

from benchmarks.contenders import CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from benchmarks.contenders import FanOut, Seen, Service

__all__ = ["contend"]


@asynccontextmanager
async def contend(service: Service, interval: float) -> AsyncGenerator[FanOut]:
    """Open a session."""
    async with ClientSession(
        headers=service.headers,
        connector=TCPConnector(limit=CONNECTIONS),
        cookie_jar=DummyCookieJar(),
        raise_for_status=True,
    ) as session:

        async def run(feature: int, seen: Seen) -> object:
            async with session.post(service.dispatch_url(feature), json={}) as response:
                url = service.run_url(json.loads(await response.read())["runId"])
            while True:
                await asyncio.sleep(interval)
                async with session.get(url) as response:
                    digest: dict[str, Any] = json.loads(await response.read())
                if digest["status"] != "running":
                    seen(digest["runId"], digest["status"])
                    return digest

        async def fan_out(features: Sequence[int], seen: Seen) -> Sequence[object]:
            return await asyncio.gather(*(run(feature, seen) for feature in features))

        yield fan_out
