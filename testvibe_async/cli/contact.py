"""The contact of a command with the service: whether it answers, and takes dispatches.

The client announces when an outage begins and ends. Some seconds of failures are reported as well:
a rate limit is no outage.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from testvibe_async import RateLimitedError
from testvibe_async.cli.words import clock_time, duration, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from testvibe_async import Ref, VibeError
    from testvibe_async.events import OutageStarted, RequestFinished, RetryScheduled

FAILING_SECONDS = 6.0
"""Seconds of failures after which they are reported, even if they are no outage."""


@frozen(kw_only=True)
class Outage:
    """A time in which the service does not answer."""

    seconds: float
    """Duration of the outage, in seconds."""

    seen_at: datetime | None
    """The time of the last good answer; None if there was none yet."""

    what: str
    """Short description of the failure."""

    in_flight: Collection[Ref]
    """The operations that can't be observed."""

    is_over: bool = False
    """True if the service answers again."""

    def __str__(self) -> str:
        """Return the sentence."""
        lasted = duration(self.seconds, short=True)
        if self.is_over:
            return f"the service answers again, after {lasted}"
        kinds = {ref.kind for ref in self.in_flight}
        unseen = plural(len(self.in_flight), kinds.pop() if len(kinds) == 1 else "operation")
        since = f" since {clock_time(self.seen_at)}" if self.seen_at else ""
        missed = f"; {unseen} not seen{since}" if self.in_flight else ""
        return f"{self.what} for {lasted}{missed}; trying again"


class Contact:
    """Observed reachability of the service."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Create it; nothing is known of the service yet.

        Args:
            clock: Returns the present, in seconds, such as the event loop's `time`.
        """
        self._clock = clock
        self._answered_at = clock()
        self._seen_at: datetime | None = None
        """The time of the last good answer, by this machine's clock."""
        self.failure: str | None = None
        """Description of the last failure; None if the last answer was good."""
        self._is_announced = False
        self.refusal: RateLimitedError | None = None
        """The rate limit that the last dispatch met; None if the dispatch was accepted."""
        self.error: VibeError | None = None
        """The error with which the client announced the last outage."""
        self._outage: Outage | None = None
        """The outage at the last call of `notice`."""

    def start(self) -> None:
        """Count the seconds without an answer from now on: nothing was requested before."""
        self.error, self._answered_at = None, self._clock()

    def stop(self) -> None:
        """Take this moment for the present from now on: from here on nothing is polled."""
        now = self._clock()
        self._clock = lambda: now

    def outage(self, in_flight: Collection[Ref]) -> Outage | None:
        """Return the outage at this moment; None if the service answers.

        Args:
            in_flight: The operations that are polled.
        """
        seconds, what = self._clock() - self._answered_at, self.failure
        if what is None or not (self._is_announced or seconds > FAILING_SECONDS):
            return None
        return Outage(seconds=seconds, seen_at=self._seen_at, what=what, in_flight=in_flight)

    def notice(self, in_flight: Collection[Ref]) -> Outage | None:
        """Return an outage that began or ended since the last call, within the last second.

        Args:
            in_flight: The operations that are polled.
        """
        before, self._outage = self._outage, self.outage(in_flight)
        if before is not None and self._outage is None:
            return evolve(before, is_over=True)
        return self._outage if before is None else None

    def note_dispatch(self, _event: object) -> None:
        """Note that the service takes dispatches."""
        self.refusal = None

    def note_retry(self, event: RetryScheduled) -> None:
        """Note a dispatch that is rate-limited."""
        is_dispatch = event.operation in {"run_feature", "generate_feature"}
        if is_dispatch and isinstance(event.error, RateLimitedError):
            self.refusal = event.error

    def note_request(self, event: RequestFinished) -> None:
        """Note an answer, or that there was none."""
        if event.operation == "download_artifacts":  # From another host.
            return
        match event.status:
            case None:
                self.failure = "not reachable"
            case 429:
                self.failure = "the service is rate-limiting"
            case status if status >= 500:  # noqa: PLR2004 - it failed
                self.failure = f"the service answers with nothing but errors ({status})"
            case _:
                if not self._is_announced:  # Else it is no answer of the service's own.
                    self.note_answer()

    def note_answer(self, _event: object = None) -> None:
        """Note a good answer."""
        self._is_announced, self.failure = False, None
        self._answered_at = self._clock()
        self._seen_at = datetime.now(UTC)

    def note_outage(self, event: OutageStarted) -> None:
        """Note that the client announces an outage."""
        self._is_announced, self.error = True, event.error
        status: int | None = getattr(event.error, "status", None)
        if status is None:
            self.failure = "not reachable"
        elif self.failure is None:  # It was taken for a good answer.
            self.failure = f"the service answers with pages that are not its own ({status})"
