"""The CPU, memory and stalls of one process. Linux with glibc only.

- CPU: the user and system time of the whole process, from the first dispatch to the last outcome.
- Memory: the peak of the resident set above what was resident before. The kernel keeps the peak;
  `/proc/self/clear_refs` resets it. The heap that the imports left free, some hundred KiB, goes
  back to the kernel first: otherwise the work could fill it uncounted, which matters more the less
  work there is. It is what an operator sees, except kernel buffers; tracemalloc would count only
  Python's objects, and slow down what is measured.
- Stalls: the longest time in which the event loop did not check for events. A timer due at its
  start, or an answer that came, waited until its end. The selector measures it by reading the clock
  twice an iteration, that of the process's CPU time, which other programs on the machine don't
  move. A timer would wake an idle process, and cost more than what is measured: 7 ms of CPU a
  second. The garbage collector's passes are told apart, by `gc.callbacks`: how long they take
  depends on all objects of a program, and the program decides when they come.
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
    """A measurement from `start` to `stop`, with the time at which each outcome was seen."""

    def __init__(self, selector: StallSelector) -> None:
        """Make a meter.

        Args:
            selector: The running event loop's.
        """
        self._runs = array("q")
        self._seen_at = array("d")
        self._statuses: list[str] = []
        self._selector = selector
        self._cpu = self._started_at = 0.0
        self._resident = 0

    def seen(self, run_id: int, status: str) -> None:
        """Record that the waiter has an outcome, now."""
        self._seen_at.append(time.monotonic())
        self._runs.append(run_id)
        self._statuses.append(status)

    def start(self) -> None:
        """Start to measure."""
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        self._resident = _resident("VmRSS")
        _RESET.write_text("5")
        self._selector.restart()
        self._started_at, self._cpu = time.monotonic(), time.process_time()

    def stop(self) -> dict[str, Any]:
        """Stop, and return what was measured."""
        cpu, seconds = time.process_time() - self._cpu, time.monotonic() - self._started_at
        return {
            "cpu": cpu,
            "seconds": seconds,
            "peak_bytes": _resident("VmHWM") - self._resident,
            **self._selector.stop(),
            "seen": [list(row) for row in zip(self._runs, self._seen_at, self._statuses)],  # noqa: B905
        }


class StallSelector(selectors.DefaultSelector):
    """A selector that records the longest time between two of its calls."""

    def __init__(self) -> None:
        super().__init__()
        self._pass_began = 0.0
        self.restart()
        gc.callbacks.append(self._note_pass)

    def restart(self) -> None:
        """Start again, within an iteration of the event loop."""
        self._longest = self._longest_without_passes = self._longest_pass = 0.0
        self._passes = self._passes_now = 0.0
        self._returned_at = time.process_time()

    def stop(self) -> dict[str, float]:
        """Return what was recorded in seconds, including the current iteration."""
        self._note_iteration()
        return {
            "longest_stall": self._longest,
            "longest_stall_without_passes": self._longest_without_passes,
            "longest_pass": self._longest_pass,
            "passes": self._passes,
        }

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Record how long the last iteration of the event loop took, and wait for events."""
        self._note_iteration()
        ready = super().select(timeout)
        self._returned_at, self._passes_now = time.process_time(), 0.0
        return ready

    def _note_iteration(self) -> None:
        seconds = time.process_time() - self._returned_at
        self._longest = max(self._longest, seconds)
        without = seconds - self._passes_now
        self._longest_without_passes = max(self._longest_without_passes, without)

    def _note_pass(self, phase: str, _: dict[str, int]) -> None:
        now = time.process_time()
        if phase == "start":
            self._pass_began = now
            return
        seconds = now - self._pass_began
        self._longest_pass = max(self._longest_pass, seconds)
        self._passes += seconds
        self._passes_now += seconds


def _resident(field: str) -> int:
    """Return a memory field of the process's status, in bytes."""
    match = re.search(rf"^{field}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1]) * 1024
