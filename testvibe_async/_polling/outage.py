"""Detection of an outage: no poll is answered, of any operation. This module sends nothing.

During an outage, one poll at a time serves as a probe for all operations. Due operations wait for
the probe's result. An outage therefore costs no more requests than the traffic before it, however
many operations are in flight. The first answer ends it for all of them at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testvibe_async._http import Outlook
from testvibe_async.errors import UnauthorizedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from testvibe_async._http import OutageNotice
    from testvibe_async._polling.polled import PolledOperation
    from testvibe_async._polling.state import OperationState
    from testvibe_async.errors import VibeError

__all__ = ["Outage", "fails_all"]

MIN_FAILURES = 10
"""Number of failed polls in a row, of any operations, after which only probes are sent.

A service at which every second poll fails reaches that number once in a thousand polls.
"""


def fails_all(error: VibeError, outlook: Outlook) -> bool:
    """Return whether a poll failed as any other would: the service is away, or refuses the key.

    A rate-limit refusal is an answer: the throttle handles it.
    """
    is_key_refused = outlook is Outlook.REFUSED and isinstance(error, UnauthorizedError)
    return outlook is Outlook.AWAY or is_key_refused


class Outage:
    """The failed polls in a row of one client, its probes, and the waiting operations."""

    def __init__(self, interval: float, notice: OutageNotice) -> None:
        """Start with a service that answers.

        Args:
            interval: Seconds between two polls of a run, and the time to wait for a probe.
            notice: Announces the outage.
        """
        self._interval = interval
        self._notice = notice
        self._probes = 0
        self._probed_at = 0.0
        self._failures = 0
        self.since: float | None = None
        """The loop's clock at the first of the failures in a row; None after an answer."""
        self.last_failure: VibeError | None = None
        self.last_outlook: Outlook = Outlook.AWAY
        """The result that another poll may bring after the last failure."""
        self.waiting: list[PolledOperation[Any]] = []
        """Due operations that wait for the result of a probe."""

    @property
    def is_on(self) -> bool:
        """True if enough polls in a row have failed that only probes are sent."""
        return self._failures >= MIN_FAILURES

    def note_failure(self, error: VibeError, outlook: Outlook, now: float) -> None:
        """Count a poll that failed as any other would; see `fails_all`."""
        self._failures += 1
        self.last_failure, self.last_outlook = error, outlook
        self.since = now if self.since is None else self.since

    def note_answer(self) -> list[PolledOperation[Any]] | None:
        """Note that the service answers; return what waited, None if there was no outage."""
        if self.since is None:
            return None
        waiting = self.waiting if self.is_on else None
        self.waiting, self._failures = [], 0
        self.last_failure = self.since = None
        if self._notice.is_on:  # An answer that is an error is one, too.
            self._notice.end()
        return waiting

    def announce(self, state: OperationState[Any], error: VibeError) -> None:
        """Announce the outage at an operation's second failure without an answer in between."""
        if self.since is None or self.last_outlook is not Outlook.AWAY:
            return
        if state.failures > 1 and self.has_lasted_since(state.failing_since):
            self._notice.begin(error, since=self.since)

    def has_lasted_since(self, instant: float | None) -> bool:
        """Return whether no poll was answered since an instant; None means never."""
        return instant is not None and self.since is not None and self.since <= instant

    def wait(self, due: Iterable[PolledOperation[Any]], now: float) -> bool:
        """Queue operations for a probe; return whether to send one.

        A probe is to be sent if none is under way, or if the last one has run for an interval.

        Args:
            due: The operations.
            now: The present time.
        """
        self.waiting.extend(due)
        return not self.is_probed or now - self._probed_at >= self._interval

    @property
    def is_probed(self) -> bool:
        """True while a probe is under way."""
        return self._probes > 0

    def begin_probe(self, now: float) -> PolledOperation[Any] | None:
        """Return the operation to probe with; None if the outage has ended or none waits."""
        if not self.waiting or not self.is_on:
            return None
        self._probes += 1
        self._probed_at = now
        return self.waiting.pop()

    def end_probe(self) -> None:
        """Note that a probe was answered, or failed."""
        self._probes -= 1
