"""The service's clock, as shown by the `Date` headers of its answers. No local clock is read."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from testvibe_async._wire import parse_date

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["ServiceClock"]

MAX_SAMPLE_SECONDS = 1.0
"""Maximum latency in seconds of an answer whose `Date` header counts: a slow answer's is old."""


class ServiceClock:
    """Translates instants of the event loop's clock into the service's time."""

    def __init__(self) -> None:
        self._date = ""
        self._answered = 0.0
        self._parsed: tuple[str, datetime | None] = "", None
        """The last parsed header and its time: many answers have the same header."""

    def sample(self, date: str, *, sent: float, answered: float) -> None:
        """Store the `Date` header of an answer, unless the answer was slow or has none.

        Args:
            date: The header; empty if there is none. It is parsed only when needed.
            sent: The loop's clock when the request was sent.
            answered: The loop's clock when the answer had arrived.
        """
        if date and answered - sent <= MAX_SAMPLE_SECONDS:
            self._date, self._answered = date, answered

    def at(self, instant: float) -> datetime | None:
        """Return the service's time at an instant of the loop's clock.

        It is accurate to about a second, like HTTP dates. None if no prompt answer had a date.
        """
        if self._parsed[0] != self._date:
            self._parsed = self._date, parse_date(self._date)
        date = self._parsed[1]
        try:
            return None if date is None else date - timedelta(seconds=self._answered - instant)
        except OverflowError:
            return None
