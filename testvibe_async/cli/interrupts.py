"""Ctrl-C and SIGTERM, for a command that has something to put in order before it ends.

It decides what each of them does: the first lets the command end as it would like to, the second
cuts short whatever it still waits for, the third is Python's own. asyncio's way is not enough: its
second Ctrl-C raises wherever the program happens to be, and may start the waiting anew.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from testvibe_async.cli.exits import ExitCode

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["interruptible"]


@contextmanager
def interruptible() -> Generator[None]:
    """Have Ctrl-C cancel the task that opens this; what stands behind this then goes on.

    SIGTERM does the same, but ends the program after that. What somebody else cancelled is raised
    as ever. Where the event loop takes no signals, as on Windows, they are left as they are.
    """
    stop = _Stop()
    if not stop.listen():
        yield
        return
    try:
        yield
    except asyncio.CancelledError:
        if stop.signal is None:
            raise
        stop.task.uncancel()
        if stop.signal == signal.SIGTERM:
            sys.exit(ExitCode.TERMINATED)
    finally:
        stop.listen_no_more()


class _Stop:
    """What the signals do to a task."""

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self.signal: signal.Signals | None = None
        """The first that came."""
        self._loop = asyncio.get_running_loop()
        self._before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}

    def listen(self) -> bool:
        """Say whether signals can be heard, and hear them from now on."""
        try:
            for each in self._before:
                self._loop.add_signal_handler(each, self._hear, each)
        except (NotImplementedError, RuntimeError, ValueError):
            return False
        return True

    def listen_no_more(self) -> None:
        """Leave the signals to whoever had them before."""
        for each, handler in self._before.items():
            self._loop.remove_signal_handler(each)
            signal.signal(each, handler)

    def _hear(self, number: signal.Signals) -> None:
        if self.signal is None:
            self.signal = number
            self.task.cancel()
            return
        self.listen_no_more()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
