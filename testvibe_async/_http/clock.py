"""The service's clock, as the `Date` headers of its answers show it. It reads no clock itself."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from testvibe_async._wire import parse_date

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["ServiceClock"]

MAX_SAMPLE_SECONDS = 1.0
"""Longest latency at which a `Date` header is used as a sample: a slow answer's date is old."""


class ServiceClock:
    """Translates instants of the event loop's clock into the service's time."""

    def __init__(self) -> None:
        self._date = ""
        self._answered = 0.0
        self._parsed: tuple[str, datetime | None] = "", None
        """The last header that was parsed: many answers have the same."""

    def sample(self, date: str, *, sent: float, answered: float) -> None:
        """Keep the `Date` header of an answer, unless it has none or was slow.

        Args:
            date: The header; empty where there is none. It is parsed only when it is needed.
            sent: When the request was sent, by the loop's clock.
            answered: When the answer had come, by the loop's clock.
        """
        if date and answered - sent <= MAX_SAMPLE_SECONDS:
            self._date, self._answered = date, answered

    def at(self, instant: float) -> datetime | None:
        """Return the service's time at an instant of the loop's clock.

        It is good to about a second, as HTTP dates are. None where no prompt answer had a date.
        """
        if self._parsed[0] != self._date:
            self._parsed = self._date, parse_date(self._date)
        date = self._parsed[1]
        try:
            return None if date is None else date - timedelta(seconds=self._answered - instant)
        except OverflowError:
            return None
