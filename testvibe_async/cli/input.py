"""Questions that a command asks before it does what can't be undone, or what costs.

It decides whom to ask: only somebody at a terminal, and on standard error, so that standard output
stays the result's.
"""

from __future__ import annotations

import os
import sys

import anyio

from testvibe_async import ConfigError

__all__ = ["is_wanted"]


async def is_wanted(question: str) -> bool:
    """Ask a question, and say whether the answer is yes: a whole line that says so.

    Raises:
        ConfigError: There is nobody to ask.
    """
    for name, stream in (("input", sys.stdin), ("error", sys.stderr)):
        if not stream.isatty():
            raise ConfigError(
                f"this asks {question!r}, and standard {name} is no terminal: pass --yes"
            )
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return (await _line()).strip().casefold() in {"y", "yes"}


async def _line() -> str:
    """Read a line, waiting as all else here does, so that Ctrl-C ends it. Empty at the end."""
    if sys.platform == "win32":  # There only sockets can be waited for.
        return sys.stdin.readline()
    line = b""
    while not line.endswith(b"\n"):
        await anyio.wait_readable(sys.stdin)
        part = os.read(sys.stdin.fileno(), 1024)
        if not part:
            return ""
        line += part
    return line.decode(errors="replace")
