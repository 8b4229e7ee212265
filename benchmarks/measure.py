"""What a piece of work costs the process that it is done in. Linux with glibc only.

- CPU: the user and system time of the whole process, from the first dispatch to the last outcome.
- Memory: how far the peak of the resident set lies above what was resident before. The kernel
  keeps the peak; `/proc/self/clear_refs` resets it. What the imports left free in the heap, some
  hundred KiB, goes back to the kernel first: else the work could fill it unseen, and the less work
  there is, the larger a part of it. It is what an operator sees, kernel buffers excepted;
  tracemalloc would tell of Python's objects only, and slow down what is measured.
- Stalls: how long the event loop did not look for events, at most: a timer that fell due at the
  start of that time, or an answer that came, waited to its end. The selector takes it down in two
  looks at the clock a turn. A timer of its own would wake a process that has nothing to do, and
  cost more than what is measured: 7 ms of CPU a second.
"""

from __future__ import annotations

import ctypes
import gc
import re
import selectors
import time
from array import array
from pathlib import Path
from typing import Any

__all__ = ["Meter", "StallSelector"]

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


class Meter:
    """Measures from `start` to `stop`, and takes down which outcome was seen when."""

    def __init__(self, selector: StallSelector) -> None:
        """Make it.

        Args:
            selector: The running event loop's.
        """
        self._runs = array("q")
        self._seen_at = array("d")
        self._statuses: list[str] = []
        self._selector = selector
        self._cpu = self._began = 0.0
        self._resident = 0

    def seen(self, run_id: int, status: str) -> None:
        """Take down that the waiter has an outcome, now."""
        self._seen_at.append(time.monotonic())
        self._runs.append(run_id)
        self._statuses.append(status)

    def start(self) -> None:
        """Measure from here."""
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        self._resident = _resident("VmRSS")
        _RESET.write_text("5")
        self._selector.restart()
        self._began, self._cpu = time.monotonic(), time.process_time()

    def stop(self) -> dict[str, Any]:
        """Return what was measured."""
        cpu, seconds = time.process_time() - self._cpu, time.monotonic() - self._began
        return {
            "cpu": cpu,
            "seconds": seconds,
            "peak_bytes": _resident("VmHWM") - self._resident,
            "longest_stall": self._selector.stop(),
            "seen": [list(row) for row in zip(self._runs, self._seen_at, self._statuses)],  # noqa: B905
        }


class StallSelector(selectors.DefaultSelector):
    """A selector that knows for how long it was not asked, at most."""

    def __init__(self) -> None:
        super().__init__()
        self.restart()

    def restart(self) -> None:
        """Forget what was, in the middle of a turn of the event loop."""
        self._longest = 0.0
        self._answered = time.monotonic()

    def stop(self) -> float:
        """Return the seconds of the longest turn, of which the present one may be the longest."""
        return max(self._longest, time.monotonic() - self._answered)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for events, and take down how long the turn of the event loop before took."""
        self._longest = self.stop()
        ready = super().select(timeout)
        self._answered = time.monotonic()
        return ready


def _resident(field: str) -> int:
    """Return a field of the process's memory, in bytes."""
    match = re.search(rf"^{field}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1]) * 1024
