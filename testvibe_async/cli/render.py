"""The five outputs of a command: a terminal, a pipe, results alone, JSON, and JSON lines.

One is chosen when a command starts (`renderer_for`), and nobody asks afterwards which it is: each
has the same methods, and prints the levels of text that it has. While a command works, it is given
each `change` and each `outage`; at the end the outcome is `finished`. A `table` is for people, and
a `document` for programs.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from testvibe_async._core.util import escape, without_commands
from testvibe_async.cli import display
from testvibe_async.cli.text import escape_lines, json_of, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Sequence

    from testvibe_async.cli.closing import Block, Level
    from testvibe_async.cli.contact import Outage
    from testvibe_async.cli.progress import Progress, Row
    from testvibe_async.runner.outcome import Outcome

ValueT = TypeVar("ValueT")

NARROW = 60
"""A terminal of fewer cells has less room between columns."""

FRAME_SECONDS = 0.125
"""Seconds between two frames of a live table."""

REPORT_SECONDS = 0.5
"""Seconds between two reports of changes, where nothing is drawn."""

FEW = 20
"""Of so many operations a pipe gets a line for each change, of more one for each result."""

COUNTED_SECONDS = 30.0
"""Seconds between two lines of counts in a pipe, if nothing else changed."""

LINES_BESIDE_TABLE = 8
"""Number of a terminal's lines kept free of a table that stays on screen."""


class Renderer:
    """Results alone, and why an exit code is red, as with `--quiet`; the base of the others."""

    interval: float = REPORT_SECONDS
    """Seconds between two reports of changes, each with a frame."""

    levels: Collection[Level] = ("result", "warning")
    """The levels that are printed."""

    has_estimate: bool = False
    """True if the time that is left is shown."""

    _gap = ""
    """The line before a block: an empty one, unless nothing else is printed."""

    def __init__(self, console: Console) -> None:
        self.console = console
        """Standard output."""

    @property
    def width(self) -> int | None:
        """Maximum width of a line, in cells; None for a pipe or a file."""
        return self.console.width if self.console.is_terminal else None

    def document(self, value: object) -> None:
        """Print the JSON document of this command, any value that `serialize` takes."""

    def change(self, row: Row, progress: Progress) -> None:
        """Show an operation that changed."""

    def outage(self, outage: Outage, progress: Progress) -> None:
        """Show an outage that began, or ended."""

    def frame(self, progress: Progress) -> None:
        """Show the present state of operations, at an interval."""

    def live(self, progress: Progress, title: str) -> AbstractContextManager[None]:
        """Show the present state of operations, with their number in words, while this is open."""
        del progress, title
        return nullcontext()

    def finished(self, outcome: Outcome, *, is_cut: bool = False) -> None:
        """Print the outcome of operations, and the next commands.

        Args:
            outcome: The outcome.
            is_cut: True if an error ends the command, which is reported by itself.
        """
        dispatched = [each for each in outcome.items if each.ref is not None]
        if dispatched and not outcome.is_waited_for and not is_cut:
            rows = [(each.feature_name, each.config, each.ref) for each in dispatched]
            self.table(("Feature", "Config", "Operation"), rows)
        is_explained = is_cut or not outcome.is_waited_for
        for level, text in _blocks(outcome, self.width, is_cut=is_cut):
            is_explained = is_explained or level != "remark" or level in self.levels
            self._block(level, text)
        if outcome.exit_code and not is_explained:
            warn(outcome.line)

    def _block(self, level: Level, text: Text) -> None:
        if level not in self.levels:
            return
        if level in {"result", "remark"}:
            self.console.print(Text.assemble(self._gap, text), soft_wrap=True)
            self._gap = "\n"
        else:
            warn(self._gap * ("\n" in text.plain) + text.plain)

    def table(
        self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, is_headed: bool = False
    ) -> None:
        """Print a table for people; in a pipe its rows alone, with a tab between the cells.

        On a terminal a column is omitted if all its cells are empty.

        Args:
            columns: The names of the columns, for the terminal.
            rows: The cells; None is an empty one, an instant is shown in UTC to the minute.
            is_headed: True to print the names in a pipe too, where the cells do not say what they
                are.
        """
        if "result" not in self.levels:
            return
        cells = [[_cell(cell) for cell in row] for row in rows]
        if self.width is None:
            cells = [[*columns], *cells] if is_headed else cells
            _write("".join("\t".join(row) + "\n" for row in cells))
            return
        gap = 2 if self.width >= NARROW else 1
        table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
        filled = [place for place in range(len(columns)) if any(row[place] for row in cells)]
        for place in filled:
            table.add_column(columns[place], overflow="fold")
        for row in cells:
            table.add_row(*(Text(row[place]) for place in filled))
        self.console.print(table)

    def rows(
        self,
        values: Sequence[ValueT],
        columns: Sequence[str],
        row: Callable[[ValueT], Sequence[object]],
    ) -> None:
        """Print a list: a table, or a document; `row` returns the cells of a member."""
        self.document(values)
        self.table(columns, map(row, values))

    def show(self, value: object, render: Callable[[int | None], Text]) -> None:
        """Print a value at length: styled text for lines of so many cells, or a document."""
        self.document(value)
        if "result" in self.levels and (text := render(self.width)):
            self.console.print(text, soft_wrap=True)

    def result(self, value: object, sentence: str) -> None:
        """Print what a command did: a sentence, or a document."""
        self.document(value)
        self.say(sentence)

    def text(self, text: str) -> None:
        """Print a text for people: escaped on a terminal, unchanged in a file.

        In a pipe it is unchanged too, except for workflow commands: a CI system may read it.
        """
        is_safe = self.console.is_terminal or _is_file()
        self.data(text if is_safe else without_commands(text))

    def data(self, text: str) -> None:
        """Print a text for programs: byte for byte, and escaped only on a terminal."""
        if "result" not in self.levels:
            return
        if self.console.is_terminal:
            _write(escape_lines(text).removesuffix("\n") + "\n")
        else:
            sys.stdout.flush()
            sys.stdout.buffer.write(text.encode(errors="surrogatepass"))
            sys.stdout.buffer.flush()

    def say(self, text: str) -> None:
        """Print a remark for people on standard output."""
        if "remark" in self.levels:
            _write(escape_lines(text) + "\n")

    def note(self, text: str) -> None:
        """Print a remark that is not the result, on standard error."""
        if "note" in self.levels:
            warn(text)


class Pipe(Renderer):
    """A line for each change, for a log that people read."""

    levels: Collection[Level] = ("result", "remark", "note", "warning")
    _counted_at = 0.0
    _gap = "\n"

    def change(self, row: Row, progress: Progress) -> None:
        """Print a change; if there are many operations, only results."""
        if row.is_final or len(progress.rows) <= FEW:
            self.console.print(display.line_of(row, progress), soft_wrap=True)

    def outage(self, outage: Outage, progress: Progress) -> None:
        """Print that the service is away, or answers again."""
        self.console.print(display.outage_line(outage, progress), soft_wrap=True)

    def frame(self, progress: Progress) -> None:
        """Print the counts at intervals, if there are many operations."""
        if progress.elapsed - self._counted_at >= COUNTED_SECONDS:
            self._counted_at = progress.elapsed
            if len(progress.rows) > FEW:
                self.console.print(display.counts_line(progress), soft_wrap=True)

    @contextmanager
    def live(self, progress: Progress, title: str) -> Generator[None]:
        """Fold the lines that are printed while this is open, in a log of GitHub."""
        del progress
        if os.environ.get("GITHUB_ACTIONS") != "true":
            yield
            return
        _write(f"::group::{title}\n")
        try:
            yield
        finally:
            _write("::endgroup::\n")


class Terminal(Pipe):
    """A live table on a terminal; at the end it stays if there are enough lines for all of it."""

    interval = FRAME_SECONDS
    has_estimate = True
    _live: Live
    _size: tuple[int, int]

    def change(self, row: Row, progress: Progress) -> None:
        """Leave it to the next frame."""

    def outage(self, outage: Outage, progress: Progress) -> None:
        """Leave it to the next frame."""

    @contextmanager
    def live(self, progress: Progress, title: str) -> Generator[None]:
        """Show a table of the operations while this is open."""
        del title
        self._start(progress)
        try:
            yield
        except BaseException:
            self._live.stop()
            raise
        rows, (width, height) = progress.rows, self.console.size
        self._live.stop()
        if len(rows) + LINES_BESIDE_TABLE <= height:
            self.console.print(display.rows_table(rows, now=progress.clock(), width=width))

    def _start(self, progress: Progress) -> None:
        self._size = width, height = self.console.size
        self._live = Live(
            get_renderable=lambda: display.table_of(progress, width=width, height=height),
            console=self.console,
            auto_refresh=False,
            transient=True,
        )
        self._live.start()

    def frame(self, progress: Progress) -> None:
        """Draw the table; redraw all of it if the terminal changed its size.

        It may have wrapped the lines of the table, and then rich can't find the table's start.
        """
        if self.console.size != self._size:
            self._live.stop()
            self.console.clear()
            self._start(progress)
        self._live.refresh()


class Json(Renderer):
    """One document on standard output, and nothing else."""

    def __init__(self, console: Console, *, is_quiet: bool) -> None:
        super().__init__(console)
        self.levels: Collection[Level] = {"warning"} if is_quiet else {"note", "warning"}

    def document(self, value: object) -> None:
        """Print one document."""
        _write(json_of(value, indent=2) + "\n")

    def finished(self, outcome: Outcome, *, is_cut: bool = False) -> None:
        """Print the document of an outcome; what is left is said on standard error too."""
        if not is_cut:
            self.document(self._document(outcome))
        for level, text in _blocks(outcome, None, is_cut=is_cut):
            if level == "warning":
                warn(text.plain)

    def _document(self, outcome: Outcome) -> dict[str, Any]:
        return outcome.document


class JsonLines(Json):
    """An object a line: each change and outage as it comes, each member of a list."""

    def change(self, row: Row, progress: Progress) -> None:
        """Print a change."""
        self._line(display.change_event(row, progress))

    def outage(self, outage: Outage, progress: Progress) -> None:
        """Print that the service is away, or answers again."""
        self._line(display.outage_event(outage, progress))

    def document(self, value: object) -> None:
        """Print each member of a list as a line, or any other value as one."""
        for each in cast("list[object]", value) if isinstance(value, list) else [value]:
            self._line(each)

    def _document(self, outcome: Outcome) -> dict[str, Any]:
        document = outcome.document
        if outcome.is_waited_for:  # Of the others there were events.
            document["items"] = [each for each in document["items"] if each["ref"] is None]
        return {"event": "end", **document}

    def _line(self, value: object) -> None:
        _write(json_of(value) + "\n")


def _blocks(outcome: Outcome, width: int | None, *, is_cut: bool) -> list[Block]:
    # A command without operations does not load it.
    from testvibe_async.cli.closing import blocks  # noqa: PLC0415

    return blocks(outcome, width=width, is_cut=is_cut)


class _Console(Console):
    """A console that leaves it to `exits` to decide what a closed pipe means."""

    def on_broken_pipe(self) -> None:
        """Raise the `BrokenPipeError` that rich has just caught."""
        raise  # noqa: PLE0704 - rich calls this where it handles that error


def new_console(*, color: bool | None = None) -> Console:
    """Return standard output; `color` is False for none, None where the terminal has them."""
    return _Console(no_color=True if color is False else None, highlight=False)


def renderer_for(
    *, json: bool = False, lines: bool = False, quiet: bool = False, color: bool | None = None
) -> Renderer:
    """Choose the output of a command.

    Args:
        json: True if only JSON goes to standard output.
        lines: True if the JSON is one object per line.
        quiet: True to print only what was requested.
        color: False for no colours; None for colours where standard output is a terminal that has
            them and `NO_COLOR` is not set.
    """
    console = new_console(color=color)
    if lines or json:
        return (JsonLines if lines else Json)(console, is_quiet=quiet)
    if quiet:
        return Renderer(console)
    return (Terminal if console.is_interactive and sys.stdout.isatty() else Pipe)(console)


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
