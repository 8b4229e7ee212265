"""Whether the service answers no poll at all. Pure: no clock and no I/O.

During an outage one poll asks for all: it is a probe, and what is due meanwhile waits for what
comes of it. So an outage costs no more requests than the traffic before it, however many operations
are in flight, and the first answer brings all of them back at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from testvibe_async._http import Outlook
from testvibe_async.errors import UnauthorizedError

if TYPE_CHECKING:
    from testvibe_async.errors import VibeError

__all__ = ["Outage", "fails_all"]

MIN_FAILURES = 10
"""After how many failed polls in a row, of any operations, the others are not tried any more.

A service at which every second poll fails has as many in a row once in a thousand polls.
"""


def fails_all(error: VibeError, outlook: Outlook) -> bool:
    """Say whether a poll failed as all would: the service is away, or refuses the key.

    A refusal for too many requests is an answer: the throttle deals with it.
    """
    is_key_refused = outlook is Outlook.REFUSED and isinstance(error, UnauthorizedError)
    return outlook is Outlook.AWAY or is_key_refused


class Outage:
    """The polls of one client that failed in a row, and the probe that is under way."""

    def __init__(self, interval: float) -> None:
        """Start with a service that answers.

        Args:
            interval: Seconds between two polls of a run: so long a probe is waited for.
        """
        self._interval = interval
        self._probes = 0
        self._probed_at = 0.0
        self.failures: int = 0
        """How many polls have failed in a row, whatever operations they were of."""
        self.since: float | None = None
        """When the first of these failed, by the loop's clock; None where the last was answered."""
        self.last_failure: VibeError | None = None
        self.last_outlook: Outlook = Outlook.AWAY
        """What another poll may bring after that."""
        self.is_announced: bool = False
        """Whether the hook was notified of it."""

    @property
    def is_on(self) -> bool:
        """Whether so many polls failed in a row that others need not be tried."""
        return self.failures >= MIN_FAILURES

    def note(self, error: VibeError, outlook: Outlook, now: float) -> None:
        """Take note of a poll that failed as all would; see `fails_all`."""
        self.failures += 1
        self.last_failure, self.last_outlook = error, outlook
        self.since = now if self.since is None else self.since

    def end(self) -> None:
        """Take note of a poll that was answered."""
        self.failures = 0
        self.last_failure = self.since = None
        self.is_announced = False

    def has_lasted_since(self, instant: float | None) -> bool:
        """Say whether no poll was answered since an instant; None is never."""
        return instant is not None and self.since is not None and self.since <= instant

    def may_probe(self, now: float) -> bool:
        """Say whether another probe may be sent: none is under way, or it hangs."""
        return not self.is_probed or now - self._probed_at >= self._interval

    @property
    def is_probed(self) -> bool:
        """Whether a probe is under way."""
        return self._probes > 0

    def begin_probe(self, now: float) -> None:
        """Note that a probe is sent."""
        self._probes += 1
        self._probed_at = now

    def end_probe(self) -> None:
        """Note that a probe was answered, or failed."""
        self._probes -= 1
