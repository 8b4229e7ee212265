"""Display of a command's progress: a live table, lines in a pipe, or JSON events.

Drawing is pure: functions from rows to text. `showing` surrounds it and decides when events are
reported. Everything runs in the event loop: no thread draws.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self, TypeAlias

import anyio
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from testvibe_async.cli.contact import Outage
from testvibe_async.cli.progress import Progress, Row
from testvibe_async.runner.generation_limit import LIMITED
from testvibe_async.runner.outcome import UNSEEN, count_words, duration

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from contextlib import AbstractContextManager

    from testvibe_async.cli.output import Output


FRAME_SECONDS = 0.125
"""Seconds between two frames of a table."""

REPORT_SECONDS = 0.5
"""Seconds between two reports of events."""

FEW = 20
"""Of so many operations a pipe gets a line for each change, of more one for each result."""

COUNTED_SECONDS = 30.0
"""Seconds between two lines of counts in a pipe, if nothing else changed."""

_WIDE = 72
"""A terminal of fewer cells has no column for the operation: names say more than ids."""

_FIXED_LINES = 5
"""Lines that are no rows: the heading, a gap, the counts, an outage, the cursor's."""

LINES_BESIDE_TABLE = 8
"""Number of a terminal's lines kept free of a table that stays on screen."""

_FEW_ROWS = 3
"""Minimum number of rows shown, however few lines the terminal has."""

_STYLES = {
    **dict.fromkeys(("passed", "generated"), "green"),
    **dict.fromkeys(("failed", "error"), "bold red"),
    **dict.fromkeys(("flaky", "quarantined", "cancelled", LIMITED, UNSEEN), "yellow"),
    **dict.fromkeys(("running", "generating"), "cyan"),
    **dict.fromkeys(("queued", "waiting"), "dim"),
    "unknown": "bold magenta",
    "unacknowledged": "magenta",
}
"""The styles of words."""

Event: TypeAlias = Row | Outage
"""An event to report: an operation that changed, an outage, or its end."""


@contextmanager
def showing(progress: Progress, output: Output) -> Generator[None]:
    """Show a progress while this is open.

    Args:
        progress: The progress to show.
        output: The output: a live table on a terminal, lines in a pipe, events with
            `--json=lines`, else nothing.
    """
    if output.has_lines:
        with _reporting(progress, lambda event: output.event(_event(event, progress))):
            yield
    elif output.is_json or output.is_quiet:
        with _reporting(progress):
            yield
    elif output.is_live:
        table = _Table(progress, output.console)
        with table, _reporting(progress, draw=table.draw, interval=FRAME_SECONDS):
            yield
    else:
        lines = _Lines(progress, output.console)
        with _reporting(progress, lines.report, lines.count):
            yield


def noting(progress: Progress, what: str, output: Output) -> AbstractContextManager[None]:
    """Note each outage while this is open, and the first dispatch that is not acknowledged.

    Args:
        progress: Knows of outages and dispatches.
        what: What the command does meanwhile.
        output: The output for the notes.
    """
    is_noted = False

    def note(event: Event) -> None:
        nonlocal is_noted
        if isinstance(event, Outage):
            output.note(f"{what}: {event}.")
        elif event.is_unacknowledged and not is_noted:
            is_noted = True
            output.note(f"{what}: {event.name} is not acknowledged yet.")

    return _reporting(progress, note)


@contextmanager
def _reporting(
    progress: Progress,
    report: Callable[[Event], object] = lambda _event: None,
    draw: Callable[[], object] = lambda: None,
    *,
    interval: float = REPORT_SECONDS,
) -> Generator[None]:
    """Report all events twice a second, and draw, for as long as this is open.

    An error of either, as where the reader has closed the pipe, ends the body of this and is raised
    here: in a hook of the client it would be logged and lost.
    """
    loop, errors, due_at = asyncio.get_running_loop(), list[Exception](), 0.0
    timer: asyncio.Handle

    def report_all() -> None:
        for row in progress.update():
            report(row)
        if (outage := progress.contact.notice(progress.in_flight)) is not None:
            report(outage)

    def frame() -> None:
        nonlocal timer, due_at
        timer = loop.call_later(interval, frame)
        try:
            if loop.time() >= due_at:
                due_at = loop.time() + REPORT_SECONDS
                report_all()
            draw()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised below
            timer.cancel()
            errors.append(error)
            scope.cancel()

    timer = loop.call_soon(frame)
    try:
        with anyio.CancelScope() as scope:
            yield
        if errors:
            raise errors[0]
        report_all()
    finally:
        timer.cancel()
        progress.update()


class _Table:
    """A table on a terminal; at the end it stays if the terminal has enough lines for all of it."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress, self._console = progress, console
        self._size: tuple[int, int] = console.size
        self._live = self._new_live()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, error: object, *_: object) -> None:
        rows, (width, height) = self._progress.rows, self._console.size
        self._live.stop()
        if error is None and len(rows) + LINES_BESIDE_TABLE <= height:
            self._console.print(rows_table(rows, now=self._progress.clock(), width=width))

    def draw(self) -> None:
        """Draw the table; redraw all of it if the terminal changed its size.

        It may have wrapped the lines of the table, and then rich can't find the table's start.
        """
        if self._console.size != self._size:
            self._size = self._console.size
            self._live.stop()
            self._console.clear()
            self._live = self._new_live()
            self._live.start()
        self._live.refresh()

    def _new_live(self) -> Live:
        return Live(
            get_renderable=lambda: table_of(
                self._progress, width=self._size[0], height=self._size[1]
            ),
            console=self._console,
            auto_refresh=False,
            transient=True,
        )


class _Lines:
    """Lines in a pipe."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress, self._console = progress, console
        self._counted_at = progress.clock()

    def report(self, event: Event) -> None:
        """Print a change; if there are many operations, only results."""
        if isinstance(event, Outage) or event.is_final or len(self._progress.rows) <= FEW:
            self._console.print(line_of(event, self._progress), soft_wrap=True)

    def count(self) -> None:
        """Print the counts at intervals, if there are many operations."""
        now = self._progress.clock()
        if now - self._counted_at >= COUNTED_SECONDS:
            self._counted_at = now
            rows = self._progress.rows
            if len(rows) > FEW:
                line = f"{_time(self._progress)}  {count_words(row.word for row in rows)}"
                self._console.print(line, soft_wrap=True)


def line_of(event: Event, progress: Progress) -> Text:
    """Return an event as one line, with the time and the number of results."""
    if isinstance(event, Outage):
        return Text(f"{_time(progress)}  {event}", "bold yellow")
    total = str(len(progress.rows))
    return Text.assemble(
        f"{_time(progress)}  {progress.over:>{len(total)}}/{total}  {event.operation:<10}  ",
        (f"{event.word:<10}", _style(event)),
        f"  {event.name}" + (f": {event.result}" if event.result else ""),
    )


def _time(progress: Progress) -> str:
    return f"{progress.elapsed:6.1f} s"


def _event(event: Event, progress: Progress) -> dict[str, object]:
    """Return an event as a JSON event."""
    seconds = {"seconds": round(progress.elapsed, 3)}
    if isinstance(event, Row):
        item = event.item.to_dict()
        return {
            "event": "change",
            **seconds,
            "feature": event.item.feature_name,
            "config": event.item.config,
            "phase": str(event.phase),
            "status": event.word,
            **{name: item.get(name) for name in ("ref", "outcome", "error")},
        }
    return {
        "event": "reachable" if event.is_over else "unreachable",
        **seconds,
        "outageSeconds": round(event.seconds, 3),
        "lastSeenUtc": event.seen_at,
        "notSeen": 0 if event.is_over else len(event.in_flight),
        "message": str(event),
    }


def table_of(progress: Progress, *, width: int, height: int) -> Group:
    """Return a table of the rows, with the number that is over and the counts beneath it.

    Args:
        progress: The operations.
        width: Cells that a line may take.
        height: Lines of the terminal. Where they are too few, the rows that matter most are shown:
            the last failures in up to half of them, then those active, then those queued, then
            those that ended last.
    """
    rows = shown = [row for row in progress.rows if row.is_shown]
    most = max(height - _FIXED_LINES, _FEW_ROWS)
    if len(rows) > most:
        ordered = sorted(rows, key=_urgency)
        bad = [row for row in ordered if row.is_bad][: most // 2]
        urgent = {id(row) for row in (bad + [row for row in ordered if row not in bad])[: most - 1]}
        shown = [row for row in rows if id(row) in urgent]
    hidden = [row for row in rows if row not in shown]
    more = f"… and {len(hidden)} more: {count_words(row.word for row in hidden)}"
    counts = count_words(row.word for row in progress.rows)
    sums = f"{progress.over} of {len(progress.rows)} in {duration(progress.elapsed)}: {counts}"
    return Group(
        rows_table(shown, now=progress.clock(), width=width),
        *([_one_line(more, "dim")] if hidden else []),
        *([Text(str(progress.outage), "bold yellow")] if progress.outage else []),
        Text(""),
        _one_line(sums, "bold"),
    )


def rows_table(rows: Sequence[Row], *, now: float, width: int) -> Table:
    """Return a table of rows, a line for each."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    is_wide = width >= _WIDE
    table.add_column("Feature", ratio=2)
    if is_wide:
        table.add_column("Operation", no_wrap=True, min_width=10)
    table.add_column("Status", no_wrap=True, min_width=10)
    table.add_column("Elapsed", no_wrap=True, min_width=7, justify="right")
    if has_results := any(row.result for row in rows):
        table.add_column("Result")
    for row in rows:
        table.add_row(
            _one_line(row.name, ""),
            *([Text(row.operation)] if is_wide else []),
            Text(row.word, _style(row)),
            Text(duration(row.elapsed(now))),
            *([_one_line(row.result, "red" if row.is_bad else "")] if has_results else []),
        )
    return table


def _urgency(row: Row) -> tuple[int, float]:
    if row.ended is not None:
        return 2, -row.ended
    return (1 if row.word == "queued" else 0), 0.0


def _one_line(text: str, style: str) -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _style(row: Row) -> str:
    return _STYLES.get(row.word, "")
