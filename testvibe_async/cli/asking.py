"""Questions that a command asks before it does what can't be undone, or what costs.

It decides whom to ask: only somebody at a terminal, and on standard error, so that standard output
stays the result's.
"""

from __future__ import annotations

import sys

import anyio

from testvibe_async import ConfigError

__all__ = ["is_wanted"]


async def is_wanted(question: str) -> bool:
    """Ask a question, and say whether the answer is yes. Ctrl-C ends it, as it does any wait.

    Raises:
        ConfigError: There is nobody to ask.
    """
    if not sys.stdin.isatty():
        message = f"this asks {question!r}, and standard input is no terminal: pass --yes"
        raise ConfigError(message)
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.platform != "win32":  # There only sockets can be waited for.
        await anyio.wait_readable(sys.stdin)
    return sys.stdin.readline().strip().casefold() in {"y", "yes"}
