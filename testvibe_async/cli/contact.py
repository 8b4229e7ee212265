"""The contact of a command with the service: whether it answers, and takes dispatches.

The client announces outages. Decides how one is worded, since when nothing was seen, and when a
rate limit counts as one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from testvibe_async import Hooks, RateLimitedError
from testvibe_async.runner.words import clock_time, counted, duration

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from testvibe_async import Ref, VibeError
    from testvibe_async.events import OutageStarted, RequestFinished, RetryScheduled

LIMITED_SECONDS = 6.0
"""Seconds without a good answer after which a rate limit is an outage: two polls of a run."""


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
        lasted = duration(self.seconds)
        if self.is_over:
            return f"the service answers again, after {lasted}"
        what = self.what if self.seconds < 1 else f"{self.what} for {lasted}"
        kinds = {ref.kind for ref in self.in_flight}
        unseen = counted(len(self.in_flight), kinds.pop() if len(kinds) == 1 else "operation")
        since = f" since {clock_time(self.seen_at)}" if self.seen_at else ""
        missed = f"; {unseen} not seen{since}" if self.in_flight else ""
        return f"{what}{missed}; trying again"


class Contact:
    """Observed reachability of the service."""

    error: VibeError | None = None
    """The error with which the client announced the present outage; None without one."""

    refusal: RateLimitedError | None = None
    """The rate limit that the last dispatch met; None if the dispatch was accepted."""

    _seen_at: datetime | None = None
    """The time of the last good answer, by this machine's clock."""

    _is_limited = False
    """True if the last answer was a refusal for its rate limit."""

    _is_stopped = False

    _outage: Outage | None = None
    """The outage at the last call of `notice`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Create it; nothing is known of the service yet.

        Args:
            clock: Returns the present, in seconds, such as the event loop's `time`.
        """
        self._clock = clock
        self._answered_at = clock()

    @property
    def hooks(self) -> Hooks:
        """The hooks to make the client with."""
        return Hooks(
            on_dispatched=self._note_dispatch,
            on_request=self._note_request,
            on_outage_started=self._note_outage,
            on_outage_ended=self._note_answer,
            on_retry=self._note_retry,
        )

    def start(self) -> None:
        """Count the time without an answer from now on: none was due before."""
        self._answered_at = self._clock()

    def stop(self) -> None:
        """Note no further outage: from here on nothing is polled."""
        self._is_stopped = True

    @property
    def failure(self) -> str | None:
        """Short description of the last failure; None if the last answer was good."""
        if self._is_limited:
            return "the service has been rate-limiting"
        if self.error is None:
            return None
        status: int | None = getattr(self.error, "status", None)
        if status is None:
            return "not reachable"
        what = "pages that are not its own" if status < 500 else "nothing but errors"  # noqa: PLR2004
        return f"the service has answered with {what} ({status})"

    def outage(self, in_flight: Collection[Ref]) -> Outage | None:
        """Return the outage at this moment; None if the service answers.

        Args:
            in_flight: The operations that are polled.
        """
        what, seconds = self.failure, self._clock() - self._answered_at
        if what is None or (self.error is None and seconds <= LIMITED_SECONDS):
            return None
        return Outage(seconds=seconds, seen_at=self._seen_at, what=what, in_flight=in_flight)

    def notice(self, in_flight: Collection[Ref]) -> Outage | None:
        """Return an outage that began or ended since the last call.

        Args:
            in_flight: The operations that are polled.
        """
        before, self._outage = self._outage, self.outage(in_flight)
        if before is not None and self._outage is None:
            return evolve(before, is_over=True)
        return self._outage if before is None else None

    def _note_dispatch(self, _event: object) -> None:
        self.refusal = None

    def _note_retry(self, event: RetryScheduled) -> None:
        if isinstance(event.error, RateLimitedError) and event.error.method == "POST":
            self.refusal = event.error

    def _note_request(self, event: RequestFinished) -> None:
        """Note an answer; a refusal may not be the service's own, nor anything during an outage."""
        if self.error is not None or event.operation == "download_artifacts":  # Of another host.
            return
        self._is_limited = event.status == 429  # noqa: PLR2004 - too many requests
        if event.status is not None and event.status < 400:  # noqa: PLR2004 - no refusal
            self._note_answer(event)

    def _note_answer(self, _event: object) -> None:
        self.error, self._is_limited = None, False
        self._answered_at = self._clock()
        self._seen_at = datetime.now(UTC)

    def _note_outage(self, event: OutageStarted) -> None:
        if not self._is_stopped:
            self.error = event.error
