"""Plain aiohttp with one loop for all runs: it polls the list, and reads the runs that finished.

The minimum cost of a shared poller where nothing fails. No retries, no limits, no validation of
answers, full trust in the list.
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
                finished = [
                    row["runId"]
                    for row in rows
                    if row["status"] != "running" and row["runId"] in waiting
                ]
                digests = await asyncio.gather(*(read(run_id, seen) for run_id in finished))
                outcomes |= zip(finished, digests, strict=True)
                waiting.difference_update(finished)
            return [outcomes[run_id] for run_id in run_ids]

        yield fan_out
