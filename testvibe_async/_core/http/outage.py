"""The outage of the service: nothing is answered, of all the traffic of one client.

Owns the facts about it: its beginning, its last failure, and whether it was announced. Polls,
dispatches and reads report to it, and ask it. `retry` decides what a failure means.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from math import inf
from typing import TYPE_CHECKING
from weakref import ref

from testvibe_async._core.http.retry import Outlook
from testvibe_async.errors import OutcomeUnknownError, UnauthorizedError
from testvibe_async.events import OutageEnded, OutageStarted

if TYPE_CHECKING:
    from collections.abc import Callable

    from testvibe_async._core.http.clock import ServiceClock
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


class Outage:
    """The failures in a row of one client; without failures, the service answers."""

    def __init__(self, server: str, hooks: Emitter) -> None:
        """Start with a service that answers.

        Args:
            server: The service's name, for the events.
            hooks: Notified when an outage begins and when it ends.
        """
        self._server = server
        self._hooks = hooks
        self.since: float | None = None
        """The loop's clock at the first of the failures in a row; None after an answer."""
        self.failure: VibeError | None = None
        """The last of these failures."""
        self.outlook: Outlook = Outlook.AWAY
        """The result that another request may bring after the last failure."""
        self.is_announced: bool = False
        """True from the announcement of the outage until the next answer."""
        self.ended: Callable[[], object] = lambda: None
        """Called at an answer after which all requests are sent again."""
        self._failures = 0
        self._probe_at = -inf

    @property
    def is_probing(self) -> bool:
        """True if so many requests in a row have failed that the poller sends probes alone."""
        return self._failures >= MIN_FAILURES

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
        self.failure, self.outlook = error, outlook
        self.since = asyncio.get_running_loop().time() if self.since is None else self.since

    def note_answer(self) -> None:
        """Note that the service answers."""
        if self.since is None:
            return
        since, was_probing = self.since, self.is_probing
        self.since = self.failure = None
        self._failures = 0
        if self.is_announced:
            self.is_announced = False
            seconds = asyncio.get_running_loop().time() - since
            self._hooks.emit(OutageEnded(self._server, seconds))
        if was_probing:
            self.ended()

    def announce(self, failures: int, since: float | None) -> None:
        """Announce the outage, unless it is too short, or was announced before.

        Args:
            failures: Number of failures in a row of one operation or call.
            since: The loop's clock at the first of them.
        """
        if failures < ANNOUNCED_FAILURES or self.is_announced or self.outlook is not Outlook.AWAY:
            return
        if self.failure is not None and self.has_lasted_since(since):
            self.is_announced = True
            self._hooks.emit(OutageStarted(self._server, self.failure))

    def note_silence(self, since: float) -> None:
        """Note that the requests under way since an instant are not answered, and announce it."""
        if self.since is None:
            what = f"no answer for {SILENCE_SECONDS:g} s"
            self.failure = OutcomeUnknownError(what, method="GET", url=self._server)
            self.since, self.outlook = since, Outlook.AWAY
        self.announce(ANNOUNCED_FAILURES, self.since)

    def has_lasted_since(self, instant: float | None) -> bool:
        """Return whether nothing was answered since an instant; None means never."""
        return instant is not None and self.since is not None and self.since <= instant

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


class SilenceWatch:
    """Announces an outage in which requests hang, unless its client is dropped unclosed."""

    def __init__(self, outage: Outage, throttle: Throttle, clock: ServiceClock) -> None:
        """Create it; it watches nothing yet.

        Args:
            outage: Notified.
            throttle: Knows whether a request is under way.
            clock: Knows when the last answer came.
        """
        self._outage = outage
        self._throttle = throttle
        self._clock = clock
        self._context = Context()
        self.timer: asyncio.TimerHandle | None = None
        """The next look; None if no request was under way at the last one."""

    def start(self, at: float) -> None:
        """Watch the request that starts at an instant of the loop's clock, and others after it."""
        self._look_at(at + SILENCE_SECONDS)

    def stop(self) -> None:
        """Watch nothing any more: the client closes."""
        if self.timer is not None:
            self.timer.cancel()

    def _look_at(self, at: float) -> None:
        watch: ref[SilenceWatch] = ref(self)
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
            self._outage.note_silence(since)
        self._look_at(due if due > now else now + SILENCE_SECONDS)


def _look(watch: ref[SilenceWatch]) -> None:
    if (living := watch()) is not None:
        living.look()
