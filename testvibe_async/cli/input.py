"""Input of a command: a text from a file or standard input, and the answer to a question.

Questions are asked only at a terminal, and on standard error, so that standard output holds the
result alone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, TypeAlias

import anyio
from cyclopts import Parameter

from testvibe_async import ConfigError

__all__ = ["TextFile", "ask", "confirm", "name_of", "read_text"]

TextFile: TypeAlias = Annotated[Path, Parameter(name=("--file", "-f"), allow_leading_hyphen=True)]
"""The type of an option that names a file with a text; `-` for standard input.

The `StdioPath` of cyclopts would do the same, but needs Python 3.12.
"""


def read_text(path: Path) -> str:
    """Return a text with unchanged line ends.

    Args:
        path: The file to read; `-` for standard input.

    Raises:
        ConfigError: It can't be read, or is not UTF-8.
    """
    try:
        if str(path) == "-":
            return sys.stdin.buffer.read().decode()
        return path.read_bytes().decode()
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name_of(path)} is no text in UTF-8 (byte {error.start})") from error


def name_of(path: Path) -> str:
    """Return what to call the source of a text in a message."""
    return "standard input" if str(path) == "-" else str(path)


def ask(question: str) -> str:
    """Ask a question, and return the line that was typed; empty at the end of the input."""
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline()


async def confirm(question: str, *, instead: str = "pass --yes") -> bool:
    """Ask a question, and return True if the answer is a whole line that means yes.

    Args:
        question: The question to ask.
        instead: The advice for a command that has no person to ask.

    Raises:
        ConfigError: Standard input or standard error is no terminal, or no person watches it.
    """
    for name, stream in (("input", sys.stdin), ("error", sys.stderr)):
        if not stream.isatty():
            raise ConfigError(
                f"this asks {question!r}, and standard {name} is no terminal: {instead}"
            )
    # Some CI systems give their jobs a terminal, at which no person sits.
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        raise ConfigError(f"this asks {question!r}, and a CI system does not answer: {instead}")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return (await _line()).strip().casefold() in {"y", "yes"}


async def _line() -> str:
    """Read a line without blocking the event loop, so that Ctrl-C ends it; empty at the end."""
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
