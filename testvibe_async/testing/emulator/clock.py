"""The emulator's own time: seconds since its start, and their formats on the wire.

It decides what "now" is, from the clock and the speed that the emulator was given. It never waits;
nothing else in the emulator reads a clock.
"""

from __future__ import annotations

import math
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EmulatorClock"]


class EmulatorClock:
    """Emulator seconds: 0.0 until the start, then the source's seconds times the speed."""

    def __init__(self, *, speed: float, epoch: float | None) -> None:
        """Make a clock that stands still until `start`.

        Args:
            speed: Emulator seconds per second of the source.
            epoch: The Unix time, in seconds, of emulator second 0.0. None: the wall time now.
        """
        if not 0 < speed < math.inf:
            raise ValueError(f"speed must be a number above 0, got {speed}.")
        self._speed = speed
        # A whole second, so that rounding a timestamp depends only on the scenario.
        self._epoch = int(time.time() if epoch is None else epoch)
        self._read: Callable[[], float] | None = None
        self._started_at = 0.0
        self._date = (-1, "")

    def start(self, read: Callable[[], float]) -> None:
        """Let time run from now on.

        Args:
            read: The source, in seconds from any origin.
        """
        self._read = read
        self._started_at = read()

    def now(self) -> float:
        """Return the emulator seconds since the start."""
        if self._read is None:
            return 0.0
        return (self._read() - self._started_at) * self._speed

    def unix(self, at: float) -> float:
        """Return the Unix time, in seconds, of an instant in emulator seconds."""
        return self._epoch + at

    def stamp(self, at: float) -> str:
        """Format an instant in emulator seconds for the API: ISO-8601, UTC, whole seconds."""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.unix(at)))

    def http_date(self) -> str:
        """Return the current time in the format of the `Date` header."""
        second = int(self.unix(self.now()))
        if second != self._date[0]:
            self._date = (second, formatdate(second, usegmt=True))
        return self._date[1]
