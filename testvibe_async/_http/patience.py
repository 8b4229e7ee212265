"""A call that outlasts an outage: it is retried for as long as the waits tolerate an outage.

Decides nothing of its own: `retry` does, as for the polls.
"""

from __future__ import annotations

import asyncio
import random
from math import inf
from typing import TYPE_CHECKING, TypeVar

from testvibe_async._http.retry import (
    Outlook,
    is_same_failure,
    is_tolerated,
    outage_interval,
    refused_seconds,
)
from testvibe_async.errors import ResponseError, TransportError
from testvibe_async.events import OutageEnded, OutageStarted, RetryScheduled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from testvibe_async.errors import VibeError
    from testvibe_async.events import Emitter

T = TypeVar("T")

INTERVAL = 0.5
"""Seconds between two attempts, before the interval grows."""

PASSING = {Outlook.AWAY, Outlook.BUSY}
"""Outlooks after failures that an outage explains."""

ANNOUNCED_FAILURES = 2
"""Number of failures in a row at which an outage is announced."""


class OutageNotice:
    """The announcement of an outage: once, however many calls and polls observe it."""

    def __init__(self, server: str, hooks: Emitter) -> None:
        """Start with a service that answers.

        Args:
            server: The service's name, for the events.
            hooks: Notified when an outage begins and when it ends.
        """
        self._server = server
        self._hooks = hooks
        self.since: float = 0.0
        """The loop's clock at the first failure of the outage that was announced last."""
        self.error: VibeError | None = None
        """The failure with which it was announced."""
        self._ended_at = -inf
        self.is_on: bool = False
        """True from the announcement of an outage until the next good answer."""

    def begin(self, error: VibeError, *, since: float) -> None:
        """Announce an outage, unless one was announced since the first failure.

        Args:
            error: The last failure.
            since: The loop's clock at the first failure.
        """
        if not self.is_on and since >= self._ended_at:
            self.is_on, self.since, self.error = True, since, error
            self._hooks.emit(OutageStarted(self._server, error))

    def end(self) -> None:
        """Announce the end of the outage that was announced."""
        self.is_on, self._ended_at = False, asyncio.get_running_loop().time()
        self._hooks.emit(OutageEnded(self._server, self._ended_at - self.since))


async def outlast(  # noqa: PLR0913 - each by name
    call: Callable[[], Awaitable[T]],
    *,
    name: str,
    notice: OutageNotice,
    hooks: Emitter,
    outlook_after: Callable[[Exception], Outlook],
    sleep: Callable[[float], Awaitable[None]],
    max_outage: float,
) -> T:
    """Retry a call until the service answers.

    Args:
        call: Makes the call once.
        name: The call's name, for the events.
        notice: Announces an outage.
        hooks: Notified of each further attempt.
        outlook_after: Returns the result that another attempt may bring.
        sleep: Waits, unless the client closes.
        max_outage: Seconds of uninterrupted failures after which the last error is raised.

    Raises:
        TransportError, ResponseError: Another attempt would not help, or the outage lasted too
            long.
    """
    loop = asyncio.get_running_loop()
    failures = equal_failures = 0
    since, last = loop.time(), None
    while True:
        try:
            return await call()
        except (TransportError, ResponseError) as error:
            equal_failures = equal_failures + 1 if is_same_failure(error, last) else 1
            failures, last = failures + 1, error
            outlook = outlook_after(error)
            if not is_tolerated(
                outlook,
                equal_failures=equal_failures,
                seconds=loop.time() - since,
                max_outage=max_outage,
            ):
                raise
            # An answer that is not the service's most likely shows that the address is wrong.
            if failures >= ANNOUNCED_FAILURES and outlook in PASSING:
                notice.begin(error, since=since)
            jitter = (1 + random.random()) / 2  # noqa: S311 - spreads load, guards nothing
            delay = jitter * outage_interval(INTERVAL, failures)
            delay = max(delay, refused_seconds(error) or 0.0)
            hooks.emit(RetryScheduled(name, error, failures, delay))
        await sleep(delay)
