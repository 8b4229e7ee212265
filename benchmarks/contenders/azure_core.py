"""azure-core's `AsyncLROPoller`, with a custom polling method, over its aiohttp transport.

As its documentation says for services with another polling protocol: "If your polling need are more
specific, you could implement a PollingMethod directly". Its `AsyncLROBasePolling` polls once before
it first sleeps; this one sleeps first, which saves a request for each operation. The pipeline has
one policy, for the headers; the SDKs that are built on azure-core have about ten.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import ClientSession, DummyCookieJar, TCPConnector
from azure.core import AsyncPipelineClient
from azure.core.pipeline.policies import HeadersPolicy
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.polling import AsyncLROPoller, AsyncPollingMethod
from azure.core.rest import AsyncHttpResponse, HttpRequest

from benchmarks.contenders import CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from typing import TypeAlias

    from benchmarks.contenders import FanOut, Seen, Service

    Client: TypeAlias = AsyncPipelineClient[HttpRequest, AsyncHttpResponse]

__all__ = ["contend"]


class RunPolling(AsyncPollingMethod[Any]):
    """The polling method of a run."""

    def __init__(self, service: Service, interval: float) -> None:
        self._service = service
        self._interval = interval

    def initialize(
        self,
        client: Client,
        initial_response: AsyncHttpResponse,
        deserialization_callback: Callable[[AsyncHttpResponse], Any],
    ) -> None:
        """Start from the answer to the dispatch."""
        self._client = client
        self._deserialize = deserialization_callback
        self._url = self._service.run_url(self._deserialize(initial_response)["runId"])
        self._digest: dict[str, Any] = {"status": "running"}

    async def run(self) -> None:
        """Poll until it has finished."""
        while not self.finished():
            await asyncio.sleep(self._interval)
            response = await self._client.send_request(HttpRequest("GET", self._url))
            response.raise_for_status()
            self._digest = self._deserialize(response)

    def status(self) -> str:
        """Return the service's status."""
        return str(self._digest["status"])

    def finished(self) -> bool:
        """Return whether it has finished."""
        return self.status() != "running"

    def resource(self) -> dict[str, Any]:
        """Return the digest."""
        return self._digest


@asynccontextmanager
async def contend(service: Service, interval: float) -> AsyncGenerator[FanOut]:
    """Open a pipeline client on its own session, which can limit the connections."""
    session = ClientSession(
        connector=TCPConnector(limit=CONNECTIONS),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
    )
    transport = AioHttpTransport(session=session, use_env_settings=False)
    client: Client = AsyncPipelineClient(
        service.url, transport=transport, policies=[HeadersPolicy(service.headers)]
    )

    async def run(feature: int, seen: Seen) -> object:
        request = HttpRequest("POST", service.dispatch_url(feature), json={})
        dispatched = await client.send_request(request)
        dispatched.raise_for_status()
        poller = AsyncLROPoller(client, dispatched, _deserialize, RunPolling(service, interval))
        digest: dict[str, Any] = await poller.result()
        seen(digest["runId"], digest["status"])
        return digest

    async def fan_out(features: Sequence[int], seen: Seen) -> Sequence[object]:
        return await asyncio.gather(*(run(feature, seen) for feature in features))

    async with client:
        yield fan_out


def _deserialize(response: AsyncHttpResponse) -> Any:  # noqa: ANN401 - JSON as it is
    return json.loads(response.content)
