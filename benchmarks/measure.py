"""What a piece of work costs the process that it is done in. Linux with glibc only.

- CPU: the user and system time of the whole process, from the first dispatch to the last outcome.
- Memory: how far the peak of the resident set lies above what was resident before. The kernel
  keeps the peak; `/proc/self/clear_refs` resets it. What the imports left free in the heap, some
  hundred KiB, goes back to the kernel first: else the work could fill it unseen, and the less work
  there is, the larger a part of it. It is what an operator sees, kernel buffers excepted;
  tracemalloc would tell of Python's objects only, and slow down what is measured.
- Stalls: a callback is due every 20 ms, and the longest that it was late is how long nothing else
  could run either. It costs each contender the same: less than 1 ms of CPU a second.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import re
import time
from array import array
from pathlib import Path
from typing import Any

__all__ = ["Meter"]

TICK_SECONDS = 0.02
_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


class Meter:
    """Measures from `start` to `stop`, and takes down which outcome was seen when."""

    def __init__(self) -> None:
        self._runs = array("q")
        self._seen_at = array("d")
        self._statuses: list[str] = []
        self._ticker = Ticker()
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
        self._ticker.start()
        self._began, self._cpu = time.monotonic(), time.process_time()

    def stop(self) -> dict[str, Any]:
        """Return what was measured."""
        cpu, seconds = time.process_time() - self._cpu, time.monotonic() - self._began
        return {
            "cpu": cpu,
            "seconds": seconds,
            "peak_bytes": _resident("VmHWM") - self._resident,
            "longest_stall": self._ticker.stop(),
            "seen": [list(row) for row in zip(self._runs, self._seen_at, self._statuses)],  # noqa: B905
        }


class Ticker:
    """Knows for how long the event loop served nobody, at most."""

    def __init__(self) -> None:
        self._longest = 0.0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to tick."""
        self._due = asyncio.get_running_loop().time()
        self._tick()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._longest = max(self._longest, now - self._due)
        self._due = now + TICK_SECONDS
        self._timer = loop.call_at(self._due, self._tick)

    def stop(self) -> float:
        """Stop, and return the longest stall in seconds."""
        assert self._timer is not None
        self._timer.cancel()
        return self._longest


def _resident(field: str) -> int:
    """Return a field of the process's memory, in bytes."""
    match = re.search(rf"^{field}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1]) * 1024
