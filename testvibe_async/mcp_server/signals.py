"""Handlers of the signals that ask a process to stop.

Decides which signals those are, and restores the handlers that were there before.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["signals_to_stop"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def signals_to_stop(stop: Callable[[], object]) -> Generator[None]:
    """Have SIGTERM and SIGINT call a function in the event loop, in place of their handlers."""
    if sys.platform == "win32":  # pragma: no cover - asyncio takes no signals there
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
