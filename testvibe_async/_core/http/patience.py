"""Reads that are repeated until an outage of the service ends.

Decides when such a read is sent again, and when its last error is raised. `availability` receives
each failure, and announces the outage.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, TypeVar

from testvibe_async._core.config import require_seconds
from testvibe_async._core.http.retry import Failures, Outlook, refused_seconds
from testvibe_async.errors import ResponseError, TransportError

if TYPE_CHECKING:
    from testvibe_async._core.http.transport import Transport
    from testvibe_async._core.wire import Request

T = TypeVar("T")

FIRST_INTERVAL = 0.5
"""Seconds between two attempts in an outage, before the interval grows."""


async def call_through_outage(
    transport: Transport,
    request: Request[T],
    *,
    max_outage: float | None,
    has_answered: bool = False,
    fallback: Request[T] | None = None,
) -> T:
    """Send a read repeatedly until an outage of the service ends.

    Args:
        transport: Sends the requests.
        request: The request.
        max_outage: Seconds of uninterrupted failures after which the last error is raised; None to
            follow the retry policy.
        has_answered: True if a foreign answer is an outage, even without an earlier good answer
            from the same route.
        fallback: A read that is sent after each failure of the other; its answer also counts.

    Raises:
        TransportError, ResponseError: Another attempt would not help, or the outage lasted too
            long.
    """
    if max_outage is None:
        return await transport.call(request)
    max_outage = require_seconds("max_outage", max_outage)
    availability, loop = transport.availability, asyncio.get_running_loop()
    began = loop.time()
    failures = Failures(began)
    while True:
        try:
            return await _call_either(transport, request, fallback)
        except (TransportError, ResponseError) as error:
            outlook = availability.judge(error, request.endpoint.name, has_answered=has_answered)
            # A read that waits out a rate limit keeps its caller waiting just as long.
            is_busy = outlook is Outlook.BUSY
            availability.note_failure(error, Outlook.AWAY if is_busy else outlook)
            failures.add(error, now=loop.time())  # Not before the outage's own.
            shortest = refused_seconds(error) or 0.0
            seconds = loop.time() - began + shortest
            longest = availability.bounded(max_outage)
            if not failures.are_tolerated(outlook, seconds=seconds, max_outage=longest):
                raise
            availability.announce(failures)
            jitter = (1 + random.random()) / 2  # noqa: S311 - spreads load, guards nothing
            delay = max(jitter * failures.interval_after(FIRST_INTERVAL), shortest)
            transport.note_retry(request, error, attempt=failures.count, delay=delay)
        await transport.sleep(delay)


async def _call_either(transport: Transport, request: Request[T], fallback: Request[T] | None) -> T:
    """Send a read once, and another one if it fails; return the first answer."""
    try:
        return await transport.call(request, retries=False)
    except (TransportError, ResponseError):
        if fallback is None:
            raise
    return await transport.call(fallback, retries=False)
