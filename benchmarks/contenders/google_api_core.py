"""google-api-core's `AsyncFuture`, subclassed as documented, over aiohttp.

"The `done` method should be implemented by subclasses. The polling behavior will repeatedly call
`done` until it returns True." Its `AsyncRetry` draws each delay between 0 and the maximum, so that
a maximum of twice the interval gives the interval on average. It polls at once, so this contender
sleeps for one interval first, which saves a request for each operation.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import ClientSession, DummyCookieJar, TCPConnector
from google.api_core.future.async_future import DEFAULT_RETRY, RETRY_PREDICATE, AsyncFuture
from google.api_core.retry_async import AsyncRetry

from benchmarks.contenders import CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from benchmarks.contenders import FanOut, Seen, Service

__all__ = ["contend"]


class RunFuture(AsyncFuture):
    """The future of a run."""

    def __init__(self, session: ClientSession, url: str, retry: AsyncRetry) -> None:
        super().__init__(retry=retry)  # type: ignore[no-untyped-call]
        self._session = session
        self._url = url

    async def done(self, retry: AsyncRetry = DEFAULT_RETRY) -> bool:  # noqa: ARG002 - its signature
        """Poll once."""
        async with self._session.get(self._url) as response:
            digest = json.loads(await response.read())
        if digest["status"] == "running":
            return False
        self.set_result(digest)  # type: ignore[no-untyped-call]
        return True

    async def cancel(self) -> bool:
        """Return False: a run can't be cancelled."""
        return False

    async def cancelled(self) -> bool:
        """Return False: a run is never cancelled."""
        return False


@asynccontextmanager
async def contend(service: Service, interval: float) -> AsyncGenerator[FanOut]:
    """Open a session."""
    retry = AsyncRetry(
        predicate=RETRY_PREDICATE, initial=2 * interval, maximum=2 * interval, multiplier=1.0
    )
    async with ClientSession(
        headers=service.headers,
        connector=TCPConnector(limit=CONNECTIONS),
        cookie_jar=DummyCookieJar(),
        raise_for_status=True,
    ) as session:

        async def run(feature: int, seen: Seen) -> object:
            async with session.post(service.dispatch_url(feature), json={}) as response:
                url = service.run_url(json.loads(await response.read())["runId"])
            await asyncio.sleep(interval)
            future = RunFuture(session, url, retry)
            digest: dict[str, Any] = await future.result()  # type: ignore[no-untyped-call]
            seen(digest["runId"], digest["status"])
            return digest

        async def fan_out(features: Sequence[int], seen: Seen) -> Sequence[object]:
            return await asyncio.gather(*(run(feature, seen) for feature in features))

        yield fan_out
