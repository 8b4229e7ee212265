"""The requests: few, one after the other, each with a time-out. All I/O with the service is here.

It sends what reads, and through `dispatch_run` one run, once. It sees answers of every status,
which the client of the package turns into errors: what a service refuses is to be examined, too.
Where a rate is limited it waits as it is told to, and notes that.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from testvibe_async import RateLimitedError, ResponseError
from testvibe_async._http import HttpSession
from testvibe_async._wire import Endpoints, raise_for_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testvibe_async._config import Settings
    from testvibe_async._wire import Endpoint, Request, Response

__all__ = ["Asker"]

TIMEOUT = 10.0
"""Seconds that an answer may take."""

ATTEMPTS = 3
"""How often a read is sent that is refused because of a rate."""

PAUSE = 1.0
"""Seconds until the next attempt, where the service does not say."""

MAX_PAUSE = 30.0


class Asker:
    """Sends requests to one service, with one key."""

    def __init__(self, settings: Settings) -> None:
        """Make it; no I/O is done."""
        self._http = HttpSession(settings, timeout=TIMEOUT, max_connections=1, session=None)
        self._routes: Mapping[str, Endpoint[Any]] = settings.endpoints
        self.reads: int = 0
        """How many requests were sent that read."""
        self.dispatches: int = 0
        """How many runs were dispatched, or may have been."""
        self.limits: list[ResponseError] = []
        """The refusals because of a rate."""

    async def read(self, request: Request[Any]) -> tuple[Request[Any], Response]:
        """Send a request that only reads.

        Returns:
            The request as it was sent, along the route of the settings, and the answer.

        Raises:
            TransportError: No whole answer came.
            MalformedResponseError: It is not HTTP, or too large.
        """
        assert request.method == "GET"
        if (route := self._routes.get(request.endpoint.name)) is not None:
            request = request.routed(route)
        attempt = 1
        while True:
            self.reads += 1
            response = await self._http.send(request)
            limit = _limit_of(request, response)
            if limit is None:
                return request, response
            self.limits.append(limit)
            if attempt == ATTEMPTS:
                return request, response
            attempt += 1
            await asyncio.sleep(min(limit.retry_after or PAUSE, MAX_PAUSE))

    async def dispatch_run(self, *, project: str, feature: str) -> tuple[Request[Any], Response]:
        """Dispatch a run, which costs no credits. It is sent once, whatever comes of it.

        Raises:
            NotSentError: It provably did not arrive.
            TransportError: It may have arrived.
            MalformedResponseError: It may have, too.
        """
        request = Endpoints.RUN_FEATURE.request(project=project, feature=feature)
        self.dispatches += 1
        return request, await self._http.send(request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def _limit_of(request: Request[Any], response: Response) -> ResponseError | None:
    """Return the error of an answer that limits a rate; None for any other."""
    try:
        raise_for_status(request, response)
    except RateLimitedError as error:
        return error
    except ResponseError:
        return None
    return None
