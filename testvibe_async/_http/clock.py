"""The service's clock, as shown by the `Date` headers of its answers.

The local clock is read only to notice that the machine has slept: the event loop's clock stands
still meanwhile, and the service's goes on.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from attrs import field, frozen

from testvibe_async._wire import parse_date

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Moment", "ServiceClock"]

MAX_SAMPLE_SECONDS = 1.0
"""Maximum latency in seconds of an answer whose `Date` header counts: a slow answer's is old."""

MAX_SHIFT_SECONDS = 1.0
"""Difference in seconds of two clocks' progress from which the machine has slept meanwhile."""


def _shift() -> float:
    """Return how far the local clock is ahead of the one that stops while the machine sleeps."""
    return time.time() - time.monotonic()


@frozen
class Moment:
    """An instant of the event loop's clock, which tells later whether the machine has slept."""

    at: float = field(factory=lambda: asyncio.get_running_loop().time())
    """The loop's clock."""

    _shift: float = field(factory=_shift)

    @property
    def has_slept_since(self) -> bool:
        """True if the machine has slept, or its clock was set: the loop's clock shows no age."""
        return abs(_shift() - self._shift) > MAX_SHIFT_SECONDS

    def is_older_than(self, seconds: float) -> bool:
        """Return whether more seconds have passed, or may have."""
        return asyncio.get_running_loop().time() - self.at > seconds or self.has_slept_since


class ServiceClock:
    """Translates instants of the event loop's clock into the service's time."""

    def __init__(self) -> None:
        self._date = ""
        self._answered = Moment(0.0)
        self._parsed: tuple[str, datetime | None] = "", None
        """The last parsed header and its time: many answers have the same header."""

    def sample(self, date: str, *, sent: Moment) -> None:
        """Store the `Date` header of an answer that comes now, unless it was slow or has none.

        Args:
            date: The header; empty if there is none. It is parsed only when needed.
            sent: The moment when the request was sent.
        """
        if date and not sent.is_older_than(MAX_SAMPLE_SECONDS):
            self._date, self._answered = date, Moment()

    def at(self, instant: float) -> datetime | None:
        """Return the service's time at an instant of the loop's clock.

        It is accurate to about a second, like HTTP dates. None if no prompt answer had a date, or
        if the machine has slept since the last one.
        """
        if self._answered.has_slept_since:
            return None
        if self._parsed[0] != self._date:
            self._parsed = self._date, parse_date(self._date)
        date = self._parsed[1]
        try:
            return None if date is None else date - timedelta(seconds=self._answered.at - instant)
        except OverflowError:
            return None
