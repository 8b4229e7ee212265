"""Text that goes out of a command and comes in: safe to print, read from files, asked of a person.

Text from the service is printed as plain text everywhere: no control character in it takes effect.
Questions are asked only at a terminal, and on standard error, so that standard output holds the
result alone. The reasons of results and errors are worded in `testvibe_async.reports.reasons`.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, TypeAlias

import anyio
from cyclopts import Parameter

from testvibe_async import BatchItem, ConfigError, Run, VibeError, WaitTimeoutError
from testvibe_async._core.util import COMMAND, OBEYED, escape
from testvibe_async.runner.words import NAME

if TYPE_CHECKING:
    import re

    from testvibe_async import Diagnosis
    from testvibe_async.models import Snapshot


Item: TypeAlias = "BatchItem[Snapshot]"
"""A feature with a configuration: to be dispatched, in flight, or over."""


def reason(error: VibeError | OSError) -> str:
    """Return why something went wrong, in few words, without an address."""
    if isinstance(error, OSError) and not isinstance(error, VibeError):
        return escape(f"{error.filename or 'this machine'}: {error.strerror or error}")
    # Its import is needed only where something went wrong.
    from testvibe_async.reports.reasons import why  # noqa: PLC0415

    return escape(why(error))


def item_reason(item: Item) -> str:
    """Return why an item has its verdict, in few words."""
    if item.error is not None:
        return reason(item.error)
    from testvibe_async.reports.reasons import reason_of  # noqa: PLC0415 - see above

    return escape(reason_of(item))


def tests_of(run: Run | Diagnosis) -> str:
    """Return how the tests of a run went, such as `1 of 3 tests failed`; empty if unknown."""
    ended = Run(run_id=run.run_id, status=run.status, summary=run.summary)
    if run.summary is None or not run.summary.total or not ended.is_finished:
        return ""
    return item_reason(BatchItem(feature="", outcome=ended))


def is_lost(item: Item) -> bool:
    """Return whether an error other than the time-out ended the wait for an item."""
    return item.error is not None and not isinstance(item.error, WaitTimeoutError)


def warn(text: str) -> None:
    """Write to standard error, with `--quiet` and `--json` too.

    A terminal gets lines that end between words. What is to be copied stays whole: a line that
    begins with a space, and a command to the end of its line.
    """
    lines = escape_lines(text).split("\n")
    if sys.stderr.isatty():
        width = max(get_terminal_size().columns, 20)
        lines = [line if line.startswith(" ") else _filled(line, width) for line in lines]
    sys.stderr.write("\n".join(lines) + "\n")


def _filled(line: str, width: int) -> str:
    words, name, command = line.partition(f"{NAME} ")
    whole = words + (name + command).replace(" ", _NO_BREAK)
    filled = fill(whole, width, break_long_words=False, break_on_hyphens=False)
    return filled.replace(_NO_BREAK, " ")


_NO_BREAK = "\0"
"""Stands for a space at which no line may break; no text that is printed has one."""


def json_of(value: object, *, indent: int | None = None) -> str:
    """Return a value as JSON text for standard output that is harmless on a terminal.

    Args:
        value: See `serialize` of `testvibe_async._core.wire`.
        indent: Spaces for each level; None for one line.
    """
    # Where the encoding lacks characters, Python's own escapes would be no JSON.
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    is_narrow = not encoding.lower().replace("-", "").startswith("utf")
    # It brings cattrs, which takes long to import; few commands print JSON.
    from testvibe_async._core.wire import serialize  # noqa: PLC0415

    text = json.dumps(serialize(value), indent=indent, ensure_ascii=is_narrow, allow_nan=False)
    # The line ends are those of the indentation: within a string they are already escaped.
    return "\n".join(
        COMMAND.sub(_json_escape, OBEYED.sub(_json_escape, line)) for line in text.split("\n")
    )


def _json_escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def escape_lines(text: str) -> str:
    """Return a text of many lines, escaped for a terminal except for line ends and tabs."""
    return "\n".join("\t".join(map(escape, line.split("\t"))) for line in text.split("\n"))


STDIN = "-"
"""The name of standard input, where a file or a ref is asked for."""

TextFile: TypeAlias = Annotated[Path, Parameter(name=("--file", "-f"), allow_leading_hyphen=True)]
"""The type of an option that names a file with a text; `-` for standard input.

The `StdioPath` of cyclopts would do the same, but needs Python 3.12.
"""


Yes: TypeAlias = Annotated[bool, Parameter(name=("--yes", "-y"))]
"""The type of an option that answers a question beforehand."""


def read_text(path: Path) -> str:
    """Return a text with unchanged line ends.

    Args:
        path: The file to read; `-` for standard input.

    Raises:
        ConfigError: It can't be read, or is not UTF-8.
    """
    try:
        if str(path) == STDIN:
            return sys.stdin.buffer.read().decode()
        return path.read_bytes().decode()
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        name = "standard input" if str(path) == STDIN else path
        raise ConfigError(f"{name} is no text in UTF-8 (byte {error.start})") from error


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
    why = [
        f"standard {name} is no terminal"
        for name, stream in (("input", sys.stdin), ("error", sys.stderr))
        if not stream.isatty()
    ]
    # Some CI systems give their jobs a terminal, at which no person sits.
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        why.append("this is a job of a CI system")
    if why:
        raise ConfigError(f"{question} This needs confirmation, but {why[0]}: {instead}")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return (await _line()).strip().casefold() in {"y", "yes"}


async def _line() -> str:
    """Read a line without blocking the event loop, so that Ctrl-C ends it; empty at the end."""
    if sys.platform == "win32":  # There only sockets can be waited for.
        return sys.stdin.readline()
    # Opened anew, since a terminal discards what it has at Ctrl-C, so that a read may block; and
    # the shell shares the other one.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
    try:
        terminal = os.open(os.ttyname(sys.stdin.fileno()), flags)
    except OSError:  # After `su`, it belongs to another user.
        terminal = os.dup(sys.stdin.fileno())
    try:
        line = b""
        while not line.endswith(b"\n"):
            await anyio.wait_readable(terminal)
            with suppress(BlockingIOError):
                if not (part := os.read(terminal, 1024)):
                    return ""
                line += part
        return line.decode(errors="replace")
    finally:
        os.close(terminal)
