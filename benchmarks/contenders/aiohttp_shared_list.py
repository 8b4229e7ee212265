"""aiohttp and one loop for all runs: it asks for the list, and reads those that are over.

The floor: what a shared poller costs that has nothing to go wrong. No retries, no limits, no checks
of what comes back, no doubt of the list.
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

        async def dispatch(feature: int) -> int:
            async with session.post(service.dispatch_url(feature), json={}) as response:
                run_id: int = json.loads(await response.read())["runId"]
                return run_id

        async def read(run_id: int, seen: Seen) -> object:
            async with session.get(service.run_url(run_id)) as response:
                digest: dict[str, Any] = json.loads(await response.read())
            seen(run_id, digest["status"])
            return digest

        async def fan_out(features: Sequence[int], seen: Seen) -> Sequence[object]:
            run_ids = await asyncio.gather(*map(dispatch, features))
            waiting = set(run_ids)
            outcomes: dict[int, object] = {}
            while waiting:
                await asyncio.sleep(interval)
                async with session.get(service.list_url(len(run_ids))) as response:
                    rows: list[dict[str, Any]] = json.loads(await response.read())
                over = [
                    row["runId"]
                    for row in rows
                    if row["status"] != "running" and row["runId"] in waiting
                ]
                digests = await asyncio.gather(*(read(run_id, seen) for run_id in over))
                outcomes |= zip(over, digests, strict=True)
                waiting.difference_update(over)
            return [outcomes[run_id] for run_id in run_ids]

        yield fan_out
