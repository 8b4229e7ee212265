"""The text of a command: what it prints, for whom, what it reads, and the questions that it asks.

A command hands its text to an `Output` and never asks who reads it: a terminal, a pipe, or a
program that reads JSON. Text from the service is printed as plain text everywhere: no control
character in it takes effect. Questions are asked only at a terminal, and on standard error, so that
standard output holds the result alone.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar, cast

import anyio
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from testvibe_async import ConfigError
from testvibe_async._core.util import COMMAND, OBEYED, escape, without_commands
from testvibe_async.cli.words import NAME

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable, Sequence

ValueT = TypeVar("ValueT")

NARROW = 60
"""A terminal of fewer cells has less room between columns."""

_NO_BREAK = "\0"
"""Stands for a space at which no line may break; no text that is printed has one."""


class _Console(Console):
    """A console that leaves it to `exits` to decide what a closed pipe means."""

    def on_broken_pipe(self) -> None:
        """Raise the `BrokenPipeError` that rich has just caught."""
        raise  # noqa: PLE0704 - rich calls this where it handles that error


class Output:
    """Standard output and standard error of one command."""

    def __init__(
        self,
        *,
        json: bool = False,
        lines: bool = False,
        quiet: bool = False,
        color: bool | None = None,
    ) -> None:
        """Make an output to this process's standard output and standard error.

        Args:
            json: True if only JSON goes to standard output.
            lines: True if the JSON is one object per line.
            quiet: True to print only what was requested.
            color: False for no colours; None for colours where standard output is a terminal that
                has them and `NO_COLOR` is not set.
        """
        self.is_json: bool = json or lines
        """True if only JSON goes to standard output."""

        self.has_lines = lines
        """True if the JSON is one object per line."""

        self.is_quiet = quiet
        """True if only results and errors are printed."""

        self.console: Console = _Console(no_color=True if color is False else None, highlight=False)
        """Standard output, for what is more than text; not with `is_json`."""

    @property
    def is_live(self) -> bool:
        """True if standard output is a terminal that can be redrawn, and should be."""
        can_draw = self.console.is_interactive and sys.stdout.isatty()
        return can_draw and not self.is_json and not self.is_quiet

    @property
    def width(self) -> int | None:
        """Maximum width of a line, in cells; None for a pipe or a file."""
        return self.console.width if self.console.is_terminal else None

    def document(self, value: object) -> None:
        """Print the JSON document of this command, with `--json`; else nothing.

        With `--json=lines` each member of a list is a line, and any other value is one.

        Args:
            value: See `serialize` of `testvibe_async._core.wire`.
        """
        if not self.has_lines:
            self._write_json(value, indent=2)
            return
        for each in cast("list[object]", value) if isinstance(value, list) else [value]:
            self.event(each)

    def event(self, value: object) -> None:
        """Print one JSON object as a line, with `--json`; else nothing."""
        self._write_json(value)

    def result(self, value: object, sentence: str) -> None:
        """Print what a command did: a sentence, or a JSON document."""
        self.document(value)
        self.say(sentence)

    def rows(
        self,
        values: Sequence[ValueT],
        columns: Sequence[str],
        row: Callable[[ValueT], Sequence[object]],
    ) -> None:
        """Print a list: a table for people, or a JSON document.

        Args:
            values: The members of the list.
            columns: See `table`.
            row: Returns the cells of a member.
        """
        self.document(values)
        self.table(columns, map(row, values))

    def table(
        self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, is_headed: bool = False
    ) -> None:
        """Print a table for people; in a pipe its rows alone, with a tab between the cells.

        For people a column is omitted if all its cells are empty.

        Args:
            columns: The names of the columns, for the terminal.
            rows: The cells; None is an empty one, an instant is shown in UTC to the minute.
            is_headed: True to print the names in a pipe too, where the cells do not say what they
                are.
        """
        if self.is_json:
            return
        cells = [[_cell(cell) for cell in row] for row in rows]
        if not self.console.is_terminal:
            cells = [[*columns], *cells] if is_headed else cells
            _write("".join("\t".join(row) + "\n" for row in cells))
            return
        gap = 2 if self.console.width >= NARROW else 1
        table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
        filled = [place for place in range(len(columns)) if any(row[place] for row in cells)]
        for place in filled:
            table.add_column(columns[place], overflow="fold")
        for row in cells:
            table.add_row(*(Text(row[place]) for place in filled))
        self.console.print(table)

    def text(self, text: str) -> None:
        """Print a text for people: escaped on a terminal, unchanged in a file.

        In a pipe it is unchanged too, except for workflow commands: a CI system may read it.
        """
        is_safe = self.console.is_terminal or _is_file()
        self.data(text if is_safe else without_commands(text))

    def data(self, text: str) -> None:
        """Print a text for programs: byte for byte, and escaped only on a terminal."""
        if self.is_json:
            return
        if self.console.is_terminal:
            _write(escape_lines(text) if text.endswith("\n") else escape_lines(text) + "\n")
        else:
            sys.stdout.flush()
            sys.stdout.buffer.write(text.encode(errors="surrogatepass"))
            sys.stdout.buffer.flush()

    def show(self, value: object, render: Callable[[int | None], Text]) -> None:
        """Print a value at length: text for people, see `details`, or a JSON document."""
        self.document(value)
        self.details(render)

    def details(self, render: Callable[[int | None], Text]) -> None:
        """Print styled text of many lines that was asked for; with `--json`, nothing.

        Args:
            render: Returns it for lines of so many cells; for None, for lines of any length.
        """
        if self.is_json:
            return
        if text := render(self.width):
            self.console.print(text, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a remark for people on standard output."""
        if not self.is_json and not self.is_quiet:
            _write(escape_lines(text) + "\n")

    def command(self, line: str) -> None:
        """Print a workflow command for a CI system, unchanged."""
        _write(line + "\n")

    def note(self, text: str) -> None:
        """Print a remark that is not the result, on standard error."""
        if not self.is_quiet:
            warn(text)

    def _write_json(self, value: object, *, indent: int | None = None) -> None:
        if self.is_json:
            _write(json_of(value, indent=indent, ascii_only=_is_ascii_only()) + "\n")


def warn(text: str) -> None:
    """Write to standard error, with `--quiet` and `--json` too."""
    sys.stderr.write(wrapped(escape_lines(text)) + "\n")


def json_of(value: object, *, indent: int | None = None, ascii_only: bool = False) -> str:
    """Return a value as JSON text that is harmless on a terminal.

    Args:
        value: See `serialize` of `testvibe_async._core.wire`.
        indent: Spaces for each level; None for one line.
        ascii_only: True to escape all characters beyond ASCII, for an output that can't show them.
    """
    # It brings cattrs, which takes long to import; few commands print JSON.
    from testvibe_async._core.wire import serialize  # noqa: PLC0415

    text = json.dumps(serialize(value), indent=indent, ensure_ascii=ascii_only, allow_nan=False)
    # The line ends are those of the indentation: within a string they are already escaped.
    return "\n".join(
        COMMAND.sub(_json_escape, OBEYED.sub(_json_escape, line)) for line in text.split("\n")
    )


def escape_lines(text: str) -> str:
    """Return a text of many lines, escaped for a terminal except for line ends and tabs."""
    return "\n".join("\t".join(map(escape, line.split("\t"))) for line in text.split("\n"))


def wrapped(text: str) -> str:
    """Return a text for standard error, wrapped between words on a terminal.

    What is to be copied stays whole: a line that begins with a space, and a command to the end of
    its line.
    """
    if not sys.stderr.isatty():
        return text
    width = max(get_terminal_size().columns, 20)
    return "\n".join(
        line if line.startswith(" ") else _filled(line, width) for line in text.split("\n")
    )


def _filled(line: str, width: int) -> str:
    words, name, command = line.partition(f"{NAME} ")
    whole = words + (name + command).replace(" ", _NO_BREAK)
    filled = fill(whole, width, break_long_words=False, break_on_hyphens=False)
    return filled.replace(_NO_BREAK, " ")


def _json_escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return escape(str(value))


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _is_file() -> bool:
    """Return True if standard output is a file, which nothing reads while it is written."""
    try:
        return stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):  # It is closed, or no stream of the operating system.
        return False


def _is_ascii_only() -> bool:
    """Return whether standard output lacks characters: Python's escapes would be no JSON."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return not encoding.lower().replace("-", "").startswith("utf")


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
