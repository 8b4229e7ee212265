"""The hold on dispatches while the service is away.

Decides when the dispatches of batches wait, instead of being sent into an outage. The hold begins
when the service is away for any dispatch, or with an announced outage. It ends once the service
answers a read, which one dispatch repeats for all of them. This module never dispatches.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from testvibe_async._core.http import Outlook, outlook_after
from testvibe_async._core.wire import Endpoints
from testvibe_async.errors import NotSentError, ResponseError, TransportError

if TYPE_CHECKING:
    from testvibe_async._core.dispatch.dispatch import Dispatch
    from testvibe_async._core.http import Transport
    from testvibe_async._core.wire import Request
    from testvibe_async.errors import VibeError

MIN_PATIENCE = 0.001
"""Seconds left to an outage that has lasted too long: enough for one more read."""

_OF_REQUESTS = (TransportError, ResponseError)


class Hold:
    """Holds dispatches back until the service answers, for one client."""

    def __init__(self, transport: Transport, *, max_outage: float) -> None:
        """Create it with a service that answers.

        Args:
            transport: Sends the reads.
            max_outage: Maximum seconds to wait for an answer.
        """
        self._transport = transport
        self._outage = transport.outage
        self._max_outage = max_outage
        self._held_since: float | None = None
        """The beginning of the outage for which dispatches are held, though it is not announced."""
        self._since = 0.0
        """The loop's clock at the beginning of the hold."""
        self._probing = asyncio.Lock()
        self._probes: int = 0
        """Number of probes that have ended, answered or not."""
        self._last_failure: TransportError | ResponseError | None = None
        self._failed_at = 0.0
        """The loop's clock at the end of the last probe."""

    def note_failure(self, error: VibeError) -> bool:
        """Note that a dispatch or a read failed; return True if an outage explains it."""
        is_away = self._transport.note_failure(error)
        if is_away:
            self._begin()
        return is_away

    @property
    def is_on(self) -> bool:
        """True if dispatches wait, since the service may be away, for them or for polls."""
        outage = self._outage
        return outage.is_announced or (
            outage.since is not None and outage.since == self._held_since
        )

    @property
    def is_given_up(self) -> bool:
        """True if no answer came within the maximum, nor since then."""
        return self._last_failure is not None and self._transport.answered_at < self._failed_at

    def _begin(self) -> None:
        """Begin the hold, or continue it: all waits for the end of an outage share one maximum."""
        since, now = self._outage.since, asyncio.get_running_loop().time()
        if since is None or self._held_since != since:
            self._held_since = since
            self._since = now if since is None or not self._outage.is_announced else since

    @property
    def error(self) -> NotSentError | None:
        """The error of a dispatch that stops waiting for the service; None if it answers."""
        cause = self._outage.failure if self.is_on else None
        if not isinstance(cause, _OF_REQUESTS):
            return None
        return _not_sent("before the time-out", cause)

    async def wait(self, dispatch: Dispatch[Any]) -> None:
        """Wait until the service answers a read, if it may be away.

        Args:
            dispatch: The dispatch that waits.

        Raises:
            NotSentError: The outage lasted too long.
            ClientClosedError: The client was closed.
        """
        if self.is_on:
            await self._wait(dispatch)

    async def _wait(self, dispatch: Dispatch[Any]) -> None:
        self._begin()
        probes = self._probes
        async with self._probing:
            if self._probes == probes:  # Else the result of a probe serves all that waited for it.
                self._last_failure = await self._probe(dispatch)
                self._failed_at = asyncio.get_running_loop().time()
                self._probes += 1
        if self._last_failure is not None:
            raise _not_sent(f"for {self._max_outage:g} s", self._last_failure)

    async def _probe(self, dispatch: Dispatch[Any]) -> TransportError | ResponseError | None:
        """Repeat a read until the service answers; return the last failure if it did not.

        The read concerns no feature: a proxy may refuse the paths of a single one for ever. But a
        gateway may serve no list of projects, so that a read within the project will do, too.
        """
        request: Request[Any] = Endpoints.LIST_PROJECTS.request()
        left = self._since + self._max_outage - asyncio.get_running_loop().time()
        project, feature = dispatch.project, dispatch.feature
        fallback: Request[Any]
        if Endpoints.LIST_RUNS.name in self._transport.answered:
            fallback = Endpoints.LIST_RUNS.request(project=project, query={"limit": 1})
        else:
            fallback = Endpoints.GET_GENERATION_STATUS.request(project=project, feature=feature)
        try:
            await self._transport.call_through_outage(
                request, max_outage=max(left, MIN_PATIENCE), has_answered=True, fallback=fallback
            )
        except (TransportError, ResponseError) as error:
            if outlook_after(error, has_answered=True) is Outlook.AWAY:
                return error
            self._outage.note_answer()  # A refusal of the key is an answer, too.
        return None


def _not_sent(how_long: str, cause: TransportError | ResponseError) -> NotSentError:
    """Return the error of a dispatch that waited for the service in vain."""
    what = f"not sent: no answer {how_long} ({cause.brief})"
    error = NotSentError(what, method=cause.method, url=cause.url)
    error.__cause__ = cause
    return error
