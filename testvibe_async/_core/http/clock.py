"""The service's clock, as shown by the `Date` headers of its answers.

The local clock is read only to notice that the machine has slept: the event loop's clock stands
still meanwhile, and the service's does not.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING

from attrs import frozen

from testvibe_async._core.wire import parse_date

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

MAX_SAMPLE_SECONDS = 1.0
"""Maximum latency in seconds of an answer whose `Date` header counts."""

MAX_LEAD_CHANGE = 1.0
"""Change of the local clock's lead, in seconds, from which the machine has slept."""


def clock_lead() -> float:
    """Return the lead of the local clock over the one that stops while the machine sleeps."""
    return time.time() - time.monotonic()


@frozen
class Moment:
    """An instant whose age is known even if the machine sleeps."""

    at: float
    """The event loop's clock."""

    lead: float
    """The local clock's lead."""

    @classmethod
    def now(cls) -> Moment:
        """Return the present instant."""
        return cls(asyncio.get_running_loop().time(), clock_lead())

    @property
    def has_slept_since(self) -> bool:
        """True if the machine has slept since, or its clock was set: the age is then unknown."""
        return abs(time.time() - time.monotonic() - self.lead) > MAX_LEAD_CHANGE

    def is_older_than(self, seconds: float) -> bool:
        """Return whether more seconds have passed, or may have."""
        return self.has_slept_since or asyncio.get_running_loop().time() - self.at > seconds


class ServiceClock:
    """Translates instants of the event loop's clock into the service's time."""

    def __init__(self) -> None:
        self._date = ""
        self._answered = self._lead = 0.0
        self.answered_at: float = -inf
        """The loop's clock at the last answer, whatever it was."""
        self._parsed: tuple[str, datetime | None] = "", None
        """The last parsed header and its time: many answers have the same header."""

    def sample(
        self, headers: Mapping[str, str], *, sent: float, lead: float, answered: float
    ) -> None:
        """Store the `Date` of an answer, unless it may be old, or there is none.

        A slow answer's is old, and so is one that the machine slept over, or a cache's.

        Args:
            headers: The answer's headers. The date is parsed only when needed.
            sent: The loop's clock when the request was sent.
            lead: The local clock's lead at the same time.
            answered: The loop's clock when the answer had arrived.
        """
        self.answered_at = answered
        has_slept = abs(time.time() - time.monotonic() - lead) > MAX_LEAD_CHANGE  # with few calls
        is_old = has_slept or answered - sent > MAX_SAMPLE_SECONDS or headers.get("Age", "0") != "0"
        if not is_old and (date := headers.get("Date", "")):
            self._date, self._answered, self._lead = date, answered, lead

    def at(self, instant: float) -> datetime | None:
        """Return the service's time at an instant of the loop's clock.

        It is accurate to about a second, like HTTP dates. None if no prompt answer had a date, or
        if the machine has slept since the last one.
        """
        if self._parsed[0] != self._date:
            self._parsed = self._date, parse_date(self._date)
        date = self._parsed[1]
        if date is None or abs(clock_lead() - self._lead) > MAX_LEAD_CHANGE:
            return None
        try:
            return date - timedelta(seconds=self._answered - instant)
        except OverflowError:
            return None
