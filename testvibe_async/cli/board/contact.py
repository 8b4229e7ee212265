"""Whether the service is seen, and the sentence for it where it is not.

It decides from the answers to requests, and from the client's own outages: it alone knows which
answers are not the service's. An outage begins with the last good answer. It is reported once the
client says so, or it has lasted for an interval of failures, or for two without any answer, as
where connections are accepted and nothing comes. It reads no clock and prints nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, frozen

from testvibe_async.cli.words import clock_time, duration, plural

if TYPE_CHECKING:
    from datetime import datetime

    from testvibe_async import VibeError
    from testvibe_async.events import PollFailed, RequestFinished

__all__ = ["Contact", "Outage", "OutageNotices"]

POLL_SECONDS = 3.0
"""Seconds between two polls of a run."""

_SLOWEST = 10 / 3
"""How many times longer the intervals of a generation become."""

_DOWNLOADS = "download_artifacts"
"""Requests to another host, which say nothing of the service."""

_TOO_MANY = 429

PAUSED_SECONDS = 5.0
"""Seconds without a tick after which this process was stopped; there is a tick a second."""

REPEATED_SECONDS = 30.0
"""How often an outage that goes on is told of again, where nothing is redrawn."""


@frozen(kw_only=True)
class Outage:
    """A time in which the service does not answer."""

    seconds: float
    """How long it has lasted."""

    seen_at: datetime | None
    """When the last good answer came; None where none has come yet."""

    what: str
    """What the service does instead of answering, in a few words."""

    unseen: int
    """How many operations are in flight, and so not seen."""

    unseen_word: str
    """`run`, or what else these are."""

    is_over: bool = False
    """Whether the service answers again."""

    def __str__(self) -> str:
        """Return the sentence."""
        if self.is_over:
            return f"the service answers again, after {duration(self.seconds, short=True)}"
        since = f" since {clock_time(self.seen_at)}" if self.seen_at else ""
        missed = f"; {plural(self.unseen, self.unseen_word)} not seen{since}" if self.unseen else ""
        return f"{self.what} for {duration(self.seconds, short=True)}{missed}; trying again"


class Contact:
    """What is known of whether the service answers. Instants are seconds of one clock."""

    def __init__(self, now: float) -> None:
        self._good = self._last = self._ticked = now
        self._failing_since: float | None = None
        self._what = "not reachable"
        self._is_paused = self._is_away = False
        self.seen_at: datetime | None = None
        """When the last good answer came."""
        self._before: tuple[float, datetime | None] = self._good, None
        """The good answer before that one."""
        self.failures: int = 0
        """How many requests have failed since then."""

    def note(self, event: RequestFinished, *, now: float, at: datetime) -> None:
        """Take in the end of a request."""
        if event.operation == _DOWNLOADS:
            return
        self._last = now
        status = event.status
        if status is not None and status < 500 and status != _TOO_MANY:  # noqa: PLR2004 - 5xx
            if not self._is_away:
                self._before = self._good, self.seen_at
                self._see(now, at)
            return
        self.failures += 1
        self._failing_since = self._failing_since or now
        if status is None:
            self._what = "not reachable"
        elif status == _TOO_MANY:
            self._what = "the service is too busy"
        else:
            self._what = f"the service answers with nothing but errors ({status})"

    def _see(self, now: float, at: datetime) -> None:
        self._good, self.seen_at = now, at
        self._failing_since, self.failures = None, 0

    def doubt(self, event: PollFailed) -> None:
        """Take back that the last answer was good, where the poll that it answered has failed."""
        if not event.is_final:
            self._good, self.seen_at = self._before

    def lose(self, error: VibeError) -> None:
        """Note that an outage started, by what came in place of the last answer."""
        self._is_away = True
        status: int | None = getattr(error, "status", None)
        if self._failing_since is None and status is not None:
            self._what = f"the service answers with pages that are not its own ({status})"

    def find(self, now: float, at: datetime) -> None:
        """Note that the outage ended."""
        self._is_away = False
        self._see(now, at)

    def tick(self, now: float) -> None:
        """Note that this process runs: after a pause of it, silence counts anew.

        A process that was stopped, or a machine that slept, asked for nothing meanwhile.
        """
        if now - self._ticked > PAUSED_SECONDS:
            self._last = now
        self._ticked = now

    def pause(self) -> None:
        """Take note that the service asked for a pause."""
        self._is_paused = True

    def resume(self) -> None:
        """Take note that the service accepts requests again."""
        self._is_paused = False

    def outage(self, now: float, *, runs: int, generations: int) -> Outage | None:
        """Return the outage at this moment; None where the service answers.

        Args:
            now: The moment.
            runs: How many runs are in flight.
            generations: How many generations are.
        """
        what = self._trouble(now, is_polled=bool(runs + generations), has_runs=runs > 0)
        if what is None:
            return None
        word = "run" if not generations else "operation" if runs else "generation"
        return Outage(
            seconds=now - self._good,
            seen_at=self.seen_at,
            what=what,
            unseen=runs + generations,
            unseen_word=word,
        )

    def _trouble(self, now: float, *, is_polled: bool, has_runs: bool) -> str | None:
        if self._is_paused:
            return "the service asked for a pause: nothing sent"
        if self._is_away:
            return self._what
        if self._failing_since is not None:
            return self._what if now - self._good >= POLL_SECONDS else None
        silence = 2 * POLL_SECONDS * (1 if has_runs else _SLOWEST)
        return "not reachable" if is_polled and now - self._last > silence else None


class OutageNotices:
    """Decides when to tell of an outage: at its begin, every half minute, and at its end."""

    def __init__(self) -> None:
        self._last: Outage | None = None
        self._told_at = 0.0

    def next(self, outage: Outage | None, now: float) -> Outage | None:
        """Return what to tell at a moment; None for nothing."""
        before, self._last = self._last, outage
        if outage is None:
            return evolve(before, is_over=True) if before is not None else None
        if before is not None and now - self._told_at < REPEATED_SECONDS:
            return None
        self._told_at = now
        return outage
