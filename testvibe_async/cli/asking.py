"""Questions that a command asks before it does what can't be undone.

It decides whom to ask: only somebody at a terminal, and on standard error, so that standard output
stays the result's.
"""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from testvibe_async import ConfigError

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["is_wanted"]


def is_wanted(question: str) -> bool:
    """Ask a question, and say whether the answer is yes.

    Raises:
        ConfigError: There is nobody to ask.
    """
    if not sys.stdin.isatty():
        message = "this asks first, and standard input is no terminal: pass --yes"
        raise ConfigError(message)
    with _interruptible():
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().casefold() in {"y", "yes"}


@contextmanager
def _interruptible() -> Generator[None]:
    """Have Ctrl-C end a question at once: asyncio would wait for the answer first."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
