"""The availability of a service, as all the traffic of one client shows it.

The one place for these facts: since when and why it is away, whether that was announced, which
routes have answered, and who may send a request meanwhile. Polls, dispatches and reads report to
it, and ask it. `pace` knows whether the service limits the rate, and `retry` what a failure means.
This module sends nothing.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from math import inf
from typing import TYPE_CHECKING
from weakref import ref

from testvibe_async._core.http.retry import Outlook, outlook_after
from testvibe_async.errors import (
    LedgerError,
    NotSentError,
    OutcomeUnknownError,
    ResponseError,
    TransportError,
    UnauthorizedError,
)
from testvibe_async.events import OutageEnded, OutageStarted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from testvibe_async._core.http.clock import ServiceClock
    from testvibe_async._core.http.retry import Failures
    from testvibe_async._core.http.throttle import Throttle
    from testvibe_async.errors import VibeError
    from testvibe_async.events import Emitter

ANNOUNCED_FAILURES = 2
"""Number of failures in a row, of one operation or call, at which an outage is announced."""

MIN_FAILURES = 10
"""Number of failures in a row, of any requests, after which the poller sends probes alone.

A service at which every second request fails reaches that number once in a thousand requests.
"""

SILENCE_SECONDS = 10.0
"""Seconds without any answer to the requests under way after which an outage is announced."""

MAX_LATE_SECONDS = 1.0
"""Seconds by which a timer may be late in a process that was not stopped."""

FIRST_SECONDS = 30.0
"""Maximum seconds for which a service is waited for that has never answered."""

MIN_PATIENCE = 0.001
"""Seconds left to an outage that has lasted too long: enough for one more read."""


class Availability:
    """The availability of one service for one client."""

    def __init__(
        self,
        server: str,
        hooks: Emitter,
        *,
        max_outage: float,
        throttle: Throttle,
        clock: ServiceClock,
    ) -> None:
        """Start with a service that is taken to answer.

        Args:
            server: The service's name, for the events.
            hooks: Notified when an outage begins and when it ends.
            max_outage: Seconds of uninterrupted failures after which a wait ends with an error.
            throttle: Knows whether a request is under way.
            clock: Knows when the last answer came.
        """
        self._server = server
        self._hooks = hooks
        self._max_outage = max_outage
        self._throttle = throttle
        self._clock = clock
        self.since: float | None = None
        """The loop's clock at the first of the failures in a row; None after an answer."""
        self.failure: VibeError | None = None
        """The last of these failures."""
        self.outlook: Outlook = Outlook.AWAY
        """The result that another request may bring after the last failure."""
        self.is_announced: bool = False
        """True from the announcement of the outage until the next answer."""
        self.answered: set[str] = set()
        """The names of calls with a good answer."""
        self.returned: Callable[[], object] = lambda: None
        """Called at an answer after which all requests are sent again."""
        self._answered_at = -inf
        """The loop's clock at the last good answer."""
        self._away: set[str] = set()
        """The names of such calls whose last answer shows that the service is away."""
        self._failures = 0
        self.is_probing: bool = False
        """True if so many requests in a row have failed that the poller sends probes alone."""
        self._probe_at = -inf
        self._held_since: float | None = None
        """The beginning of the outage for which dispatches are held, though it is not announced."""
        self._hold_began = 0.0
        self._waiting = asyncio.Lock()
        self._waits: int = 0
        """Number of waits for an answer that have ended, answered or not."""
        self._last_failure: TransportError | ResponseError | None = None
        self._failed_at = 0.0
        """The loop's clock at the end of the last such wait."""
        self._context = Context()
        self.timer: asyncio.TimerHandle | None = None
        """The next look for silence; None if no request was under way at the last one."""

    @property
    def max_outage(self) -> float:
        """Seconds of uninterrupted failures after which a wait ends with an error."""
        return self.bounded(self._max_outage)

    def bounded(self, seconds: float) -> float:
        """Return the seconds to wait for the end of an outage: few if nothing ever answered."""
        return min(seconds, FIRST_SECONDS) if self._clock.answered_at == -inf else seconds

    def note_good_answer(self, name: str) -> None:
        """Note a good answer to a call: the route exists, and the service is not away."""
        self.answered.add(name)
        self._answered_at = self._clock.answered_at
        self._away.discard(name)
        if self.since is not None:
            self.note_answer()

    def note_answer(self) -> None:
        """Note that the service answers, if with a refusal."""
        if self.since is None:
            return
        since, was_probing = self.since, self.is_probing
        self.since = self.failure = None
        self._failures, self.is_probing = 0, False
        if self.is_announced:
            self.is_announced = False
            seconds = asyncio.get_running_loop().time() - since
            self._hooks.emit(OutageEnded(self._server, seconds))
        if was_probing:
            self.returned()

    def note_failure(self, error: VibeError, outlook: Outlook) -> None:
        """Note a failed request: it counts if any other request would have failed as well.

        The service is then away, or refuses the key. Any other error is an answer, even a refusal
        for its rate limit, which the throttle handles.
        """
        is_key_refused = outlook is Outlook.REFUSED and isinstance(error, UnauthorizedError)
        if outlook is not Outlook.AWAY and not is_key_refused:
            self.note_answer()
            return
        self._failures += 1
        self.is_probing = self._failures >= MIN_FAILURES
        self.failure, self.outlook = error, outlook
        self.since = asyncio.get_running_loop().time() if self.since is None else self.since

    def judge(self, error: Exception, name: str, *, has_answered: bool = False) -> Outlook:
        """Return what another attempt of a read may bring after a failed one, and note its route.

        While a route that has answered is away, a page on any other route is no sign of a wrong
        address.

        Args:
            error: The failure.
            name: The name of the call.
            has_answered: True if a foreign answer is an outage in any case.
        """
        has_answered = has_answered or name in self.answered or bool(self._away)
        outlook = outlook_after(error, has_answered=has_answered)
        if outlook is Outlook.AWAY and name in self.answered:
            self._away.add(name)
        return outlook

    def has_lasted_since(self, instant: float) -> bool:
        """Return whether nothing was answered since an instant."""
        return self.since is not None and self.since <= instant

    def announce(self, failures: Failures) -> None:
        """Announce the outage, unless it is too short, or was announced before.

        Args:
            failures: The failures in a row of one operation or call.
        """
        if failures.count >= ANNOUNCED_FAILURES:
            self._announce(failures.since)

    def _announce(self, since: float) -> None:
        if self.is_announced or self.outlook is not Outlook.AWAY:
            return
        if self.failure is not None and self.has_lasted_since(since):
            self.is_announced = True
            self._hooks.emit(OutageStarted(self._server, self.failure))

    # Polls: during an outage, one of all the operations in flight is sent each interval.

    def begin_probe(self, now: float, *, interval: float, slack: float) -> bool:
        """Return whether a poll is to be sent as the next probe of an outage.

        A probe may take as long as a request may; another one follows after an interval. All other
        polls fail like the last request. An outage therefore costs no more requests than the
        traffic before it, however many operations are in flight.

        Args:
            now: The loop's clock.
            interval: Seconds between two probes.
            slack: Seconds by which a probe may be early.
        """
        if now < self._probe_at - slack:
            return False
        self._probe_at = max(self._probe_at, now - slack) + interval
        return True

    # Dispatches of batches: they wait instead of being sent into an outage.

    def note_dispatch_failure(self, error: VibeError) -> bool:
        """Note that a dispatch, or the read before it, failed; return whether it was an outage.

        Dispatches are held then. As long as the service has answered nothing, a page means that its
        address is wrong.
        """
        outlook = outlook_after(error, has_answered=bool(self.answered))
        if outlook is not Outlook.AWAY or isinstance(error, LedgerError):
            return False
        self.note_failure(error, outlook)
        self._begin_hold()
        return True

    @property
    def holds_dispatches(self) -> bool:
        """True if dispatches wait, since the service may be away, for them or for polls."""
        return self.is_announced or (self.since is not None and self.since == self._held_since)

    @property
    def is_given_up(self) -> bool:
        """True if no answer came within the maximum, nor since then."""
        return self._last_failure is not None and self._answered_at < self._failed_at

    def _begin_hold(self) -> None:
        """Begin the hold, or continue it: all waits for the end of an outage share one maximum."""
        since, now = self.since, asyncio.get_running_loop().time()
        if since is None or self._held_since != since:
            self._held_since = since
            self._hold_began = now if since is None or not self.is_announced else since

    @property
    def error(self) -> NotSentError | None:
        """The error of a dispatch that stops waiting for the service; None if it answers."""
        cause = self.failure if self.holds_dispatches else None
        if not isinstance(cause, TransportError | ResponseError):
            return None
        return _not_sent("before the time-out", cause)

    async def wait(self, read: Callable[[float], Awaitable[object]]) -> None:
        """Wait until the service answers, if dispatches are held. One call reads for all.

        Args:
            read: Repeats a read until the service answers, for at most a number of seconds.

        Raises:
            NotSentError: The outage lasted too long.
            ClientClosedError: The client was closed.
        """
        if not self.holds_dispatches:
            return
        self._begin_hold()
        waits = self._waits
        async with self._waiting:
            if self._waits == waits:  # Else the result of one wait serves all.
                self._last_failure = await self._read(read)
                self._failed_at = asyncio.get_running_loop().time()
                self._waits += 1
        if self._last_failure is not None:
            raise _not_sent(f"for {self.max_outage:g} s", self._last_failure)

    async def _read(
        self, read: Callable[[float], Awaitable[object]]
    ) -> TransportError | ResponseError | None:
        """Read until the service answers; return the last failure if it did not."""
        left = self._hold_began + self.max_outage - asyncio.get_running_loop().time()
        try:
            await read(max(left, MIN_PATIENCE))
        except (TransportError, ResponseError) as error:
            if outlook_after(error, has_answered=True) is Outlook.AWAY:
                return error
            self.note_answer()  # A refusal of the key is an answer, too.
        return None

    # Silence: an outage in which requests hang.

    def watch(self, at: float) -> None:
        """Watch the request that starts at an instant of the loop's clock, and others after it."""
        self._look_at(at + SILENCE_SECONDS)

    def stop(self) -> None:
        """Watch nothing any more: the client closes."""
        if self.timer is not None:
            self.timer.cancel()

    def _look_at(self, at: float) -> None:
        # A client that is dropped unclosed takes this with it.
        watch: ref[Availability] = ref(self)
        loop = asyncio.get_running_loop()
        self.timer = loop.call_at(at, _look, watch, context=self._context)

    def look(self) -> None:
        """Announce an outage if nothing was answered for too long, and set the next timer."""
        assert self.timer is not None
        now, planned = asyncio.get_running_loop().time(), self.timer.when()
        if self._throttle.is_idle:
            self.timer = None
            return
        since = max(self._throttle.busy_since, self._clock.answered_at)
        due = since + SILENCE_SECONDS
        # Later still if the machine slept, or the process was stopped.
        if due <= now <= planned + MAX_LATE_SECONDS:
            if self.since is None:
                what = f"no answer for {SILENCE_SECONDS:g} s"
                self.failure = OutcomeUnknownError(what, method="GET", url=self._server)
                self.since, self.outlook = since, Outlook.AWAY
            self._announce(self.since)
        self._look_at(due if due > now else now + SILENCE_SECONDS)


def _look(watch: ref[Availability]) -> None:
    if (living := watch()) is not None:
        living.look()


def _not_sent(how_long: str, cause: TransportError | ResponseError) -> NotSentError:
    """Return the error of a dispatch that waited for the service in vain."""
    what = f"no answer {how_long} ({cause.brief})"
    error = NotSentError(what, method=cause.method, url=cause.url)
    error.__cause__ = cause
    return error
