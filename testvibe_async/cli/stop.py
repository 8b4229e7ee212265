"""What Ctrl-C and SIGTERM do to a command that has dispatched something.

It decides what the first, the second and the third signal cancel. What a command that was stopped
says is decided in `watch` and `ending`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from testvibe_async.cli.exits import ENDING, ExitCode

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Stop", "interruptible"]


@contextmanager
def interruptible() -> Generator[Stop]:
    """Make Ctrl-C cancel the task that opens this; execution continues after the block.

    The first signal cancels the task, the second cancels all tasks, and the third has Python's own
    effect. SIGTERM, SIGHUP and SIGQUIT do the same, and exit after the block. A cancellation by
    something else is raised as usual. asyncio's own handling is not enough: its second Ctrl-C
    raises at any point of the program. Where the event loop takes no signals, as on Windows, they
    are left as they are.
    """
    stop = Stop()
    if not stop.install():
        yield stop
        return
    try:
        yield stop
    except asyncio.CancelledError:
        if stop.signal is None:
            raise
        stop.task.uncancel()
        if stop.signal != signal.SIGINT:
            sys.exit(stop.exit_code)
    finally:
        stop.restore()


class Stop:
    """The handlers of signals that stop a task."""

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self.signal: signal.Signals | None = None
        """The first that came."""
        self._loop = asyncio.get_running_loop()
        self._before = {each: signal.getsignal(each) for each in (signal.SIGINT, *ENDING)}

    @property
    def name(self) -> str:
        """What people call the first signal."""
        first = self.signal or signal.SIGINT
        return "Ctrl-C" if first is signal.SIGINT else first.name

    @property
    def exit_code(self) -> ExitCode | None:
        """The exit code of a command that a signal stopped; None where none came."""
        match self.signal:
            case None:
                return None
            case signal.SIGINT:
                return ExitCode.INTERRUPTED
            case number:
                return ExitCode(128 + number)

    def install(self) -> bool:
        """Handle signals from now on, and return whether the event loop can."""
        try:
            for each in self._before:
                self._loop.add_signal_handler(each, self._on_signal, each)
        except (NotImplementedError, RuntimeError, ValueError):
            return False
        return True

    def restore(self) -> None:
        """Put the handlers in place that were there before."""
        for each, handler in self._before.items():
            self._loop.remove_signal_handler(each)
            signal.signal(each, handler)

    def _on_signal(self, number: signal.Signals) -> None:
        if self.signal is None:
            self.signal = number
            self.task.cancel()
            return
        self.restore()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
