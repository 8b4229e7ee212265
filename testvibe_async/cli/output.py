"""What a command says, and to whom: people at a terminal, people behind a pipe, or programs.

A command tells an `Output` what there is to say and never asks who listens. What came from the
service is shown as plain text everywhere: no control character in it takes effect.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from testvibe_async.cli.words import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Output", "clean_lines"]


class _Console(Console):
    """A console that leaves it to the command's end to say what a closed pipe means."""

    def on_broken_pipe(self) -> None:
        """Raise the `BrokenPipeError` that rich has just caught."""
        raise  # noqa: PLE0704 - rich calls this where it handles that error


class Output:
    """Where a command's words go."""

    def __init__(
        self, *, json: bool = False, quiet: bool = False, color: bool | None = None
    ) -> None:
        """Make an output to this process's standard output and standard error.

        Args:
            json: Whether only JSON goes to standard output.
            quiet: Whether to say nothing that was not asked for.
            color: False for no colours; None for colours where standard output is a terminal that
                has them and `NO_COLOR` is not set.
        """
        self.is_json = json
        """Whether only JSON goes to standard output."""

        self.is_quiet = quiet
        """Whether people are told nothing, but for what went wrong."""

        self.console = _Console(no_color=True if color is False else None, highlight=False)
        """Standard output, for what is more than text; not with `is_json`."""

    @property
    def is_live(self) -> bool:
        """Whether standard output is a terminal that can be drawn on, and is to be."""
        can_draw = self.console.is_interactive and sys.stdout.isatty()
        return can_draw and not self.is_json and not self.is_quiet

    def document(self, value: object) -> None:
        """Print the one JSON document of this command, with `--json`; else nothing.

        Args:
            value: See `documents.serialize`.
        """
        self._write_json(value, indent=2)

    def event(self, value: object) -> None:
        """Print one JSON object as a line, with `--json`; else nothing."""
        self._write_json(value)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table for people; in a pipe its rows alone, with a tab between the cells.

        Args:
            columns: The names of the columns, for the terminal.
            rows: The cells; None is an empty one, an instant is told in UTC to the minute.
        """
        if self.is_json:
            return
        cells = [[_cell(cell) for cell in row] for row in rows]
        if not self.console.is_terminal:
            self._write("".join("\t".join(row) + "\n" for row in cells))
            return
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in cells:
            table.add_row(*(Text(cell) for cell in row))
        self.console.print(table)

    def text(self, text: str) -> None:
        """Print a text that was asked for: as it is in a pipe, harmless on a terminal."""
        if self.is_json:
            return
        if self.console.is_terminal:
            self._write(clean_lines(text) if text.endswith("\n") else clean_lines(text) + "\n")
        else:
            sys.stdout.flush()
            sys.stdout.buffer.write(text.encode(errors="surrogatepass"))
            sys.stdout.buffer.flush()

    def say(self, text: str) -> None:
        """Tell people something, on standard output."""
        if not self.is_json and not self.is_quiet:
            self._write(clean_lines(text) + "\n")

    def note(self, text: str) -> None:
        """Tell people something that is not the result, on standard error."""
        if not self.is_quiet:
            sys.stderr.write(clean_lines(text) + "\n")

    def _write_json(self, value: object, *, indent: int | None = None) -> None:
        if not self.is_json:
            return
        # It brings along what reads the service's answers; few commands print JSON.
        from testvibe_async.cli.documents import json_of  # noqa: PLC0415

        self._write(json_of(value, indent=indent, ascii_only=_is_narrow()) + "\n")

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return clean(str(value))


def clean_lines(text: str) -> str:
    """Return a text of many lines with all that a terminal might obey escaped, but for tabs."""
    return "\n".join("\t".join(map(clean, line.split("\t"))) for line in text.split("\n"))


def _is_narrow() -> bool:
    """Say whether standard output lacks characters: an escape of Python's own is no JSON."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return not encoding.lower().replace("-", "").startswith("utf")
