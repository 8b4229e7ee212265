"""Detection of an outage: no poll is answered, of any operation. This module sends nothing.

During an outage, one poll an interval is sent, as a probe for all operations. All other due polls
fail at once, like the last one. An outage therefore costs no more requests than the traffic before
it, however many operations are in flight. The first answer ends it for all of them.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from testvibe_async._http import Outlook
from testvibe_async.errors import UnauthorizedError

if TYPE_CHECKING:
    from testvibe_async._http import OutageNotice
    from testvibe_async._polling.state import OperationState
    from testvibe_async.errors import VibeError

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
    """The failed polls in a row of one client, and its probes."""

    def __init__(self, interval: float, notice: OutageNotice, *, slack: float = 0.0) -> None:
        """Start with a service that answers.

        Args:
            interval: Seconds between two probes.
            notice: Announces the outage.
            slack: Seconds by which a probe may be early.
        """
        self._interval = interval
        self._slack = slack
        self._notice = notice
        self._probe_at = -inf
        self._failures = 0
        self.since: float | None = None
        """The loop's clock at the first of the failures in a row; None after an answer."""
        self.last_failure: VibeError | None = None
        self.last_outlook: Outlook = Outlook.AWAY
        """The result that another poll may bring after the last failure."""

    @property
    def is_on(self) -> bool:
        """True if enough polls in a row have failed that only probes are sent."""
        return self._failures >= MIN_FAILURES

    def note_failure(self, error: VibeError, outlook: Outlook, now: float) -> None:
        """Count a poll that failed as any other would; see `fails_all`."""
        self._failures += 1
        self.last_failure, self.last_outlook = error, outlook
        self.since = now if self.since is None else self.since

    def note_answer(self) -> bool:
        """Note that the service answers; return whether that ends an outage."""
        was_on, self._failures = self.is_on, 0
        self.last_failure = self.since = None
        if self._notice.is_on:  # An answer that is an error is one, too.
            self._notice.end()
        return was_on

    def announce(self, state: OperationState[Any], error: VibeError) -> None:
        """Announce the outage at an operation's second failure without an answer in between."""
        if self.since is None or self.last_outlook is not Outlook.AWAY:
            return
        if state.failures > 1 and self.has_lasted_since(state.failing_since):
            self._notice.begin(error, since=self.since)

    def has_lasted_since(self, instant: float | None) -> bool:
        """Return whether no poll was answered since an instant; None means never."""
        return instant is not None and self.since is not None and self.since <= instant

    def begin_probe(self, now: float) -> bool:
        """Return whether a poll is to be sent during an outage, as the next probe.

        A probe may take as long as a request may; another one follows after an interval.
        """
        if now < self._probe_at - self._slack:
            return False
        self._probe_at = max(self._probe_at, now - self._slack) + self._interval
        return True
