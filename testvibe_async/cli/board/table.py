"""How a board looks on a terminal: pure functions from rows to a table, a bar and counts.

It reads no clock and does no I/O. When it is drawn is decided in `live`; how operations look where
nothing can be redrawn, in `lines`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from testvibe_async import Phase
from testvibe_async.cli.board.row import Row
from testvibe_async.cli.words import UNSEEN, counted, duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from testvibe_async.cli.board.board import BoardState
    from testvibe_async.cli.board.changes import News

__all__ = ["STYLES", "counts", "headline", "table_of"]

STYLES = {
    "waiting": "dim",
    "queued": "dim",
    "generating": "cyan",
    "running": "cyan",
    "generated": "green",
    "passed": "green",
    "flaky": "yellow",
    "failed": "bold red",
    "error": "bold red",
    "unknown": "bold magenta",
    UNSEEN: "yellow",
    "cancelled": "yellow",
}
"""The styles of the known words, in the order in which they are counted."""

_FIXED_COLUMNS = 35
"""Cells that the table needs for all columns except the first and the last."""

_OPERATION_COLUMN = 12
"""Those of the operation, which a narrow terminal leaves out: names say more than ids."""

_RESULT_COLUMN = 19
"""Cells that the last column has on a wide terminal; on others, what it needs."""

_NARROW_RESULT_COLUMN = 9
"""Cells that the last column has at most on a narrow terminal: the names need the others."""

_WIDE = 72
"""A terminal of fewer cells is narrow."""

_FIXED_LINES = 4
"""Lines of the board that are no rows: the heading, a gap, the bar and the counts."""

OUTAGE_LINES = 2
"""Lines that an outage may take; on a narrow terminal its sentence is wrapped."""

_BAR_CELLS = 40
"""The length of the longest bar."""

_FEW_ROWS = 3
"""How many rows are shown at least, however few lines the terminal has."""

_LINES_ABOVE = 6
"""Lines that a board leaves to what was printed above it, where it can't show all rows anyway."""

_SHARE_OF_ENDED = 3
"""One of so many lines is for what is over, where not all rows have room."""

_HIGH = 20
"""A terminal of fewer lines is too low for that."""


def headline(news: News) -> Text:
    """Return one line that says what went wrong, to be printed above the table."""
    if not isinstance(news, Row):
        return Text(str(news), "yellow")
    what = news.name if news.ref is None else f"{news.name}, {news.operation}"
    return Text.assemble((news.word, _style(news)), f"  {what}: {news.result}".rstrip(": "))


def counts(rows: Sequence[Row], *, waiting: int = 0) -> str:
    """Return how many rows have each status, such as `2 running, 9 passed, 1 failed`."""
    number = Counter(row.word for row in rows)
    if waiting > 0:
        number["waiting"] = waiting
    known = [word for word in STYLES if word in number]
    return ", ".join(counted(number[word], word) for word in [*known, *(number.keys() - STYLES)])


def table_of(state: BoardState, *, width: int, height: int | None = None) -> Group:
    """Return a table of the rows, and beneath it a bar and the counts.

    Args:
        state: What to show.
        width: Cells that a line may take.
        height: Lines of the terminal. Where they are too few, the rows that matter most are shown:
            those active, then those queued, then those that ended last. None for all.
    """
    rows = state.rows
    room = len(rows) if height is None else _room(height, len(rows))
    if state.outage and height is not None:
        room = max(room - OUTAGE_LINES, _FEW_ROWS)
    shown, hidden = (rows, ()) if len(rows) <= room else _most_urgent(rows, room - 1)
    more = [_one_line(f"… and {len(hidden)} more: {counts(hidden)}", "dim")] if hidden else []
    drawn = _rows(shown, now=state.now, width=width)
    notice = [Text(str(state.outage), "bold yellow")] if state.outage else []
    return Group(
        drawn,
        *more,
        *notice,
        Text(""),
        _bar(state, width),
        _one_line(counts(rows, waiting=state.waiting), "bold"),
    )


def _room(height: int, wanted: int) -> int:
    """Return how many lines of a terminal are left for rows.

    Where not all rows have room, some lines are left to what is printed above. The cursor needs one
    in any case.
    """
    room = height - 1 - _FIXED_LINES
    if wanted > room and height >= _HIGH:
        room -= _LINES_ABOVE
    return max(room, _FEW_ROWS)


def _rows(rows: Sequence[Row], *, now: float, width: int) -> Table:
    results, fixed, is_wide = _RESULT_COLUMN, _FIXED_COLUMNS, width >= _WIDE
    texts = [row.result if is_wide else row.short_result for row in rows]
    if not is_wide:
        results = min(_longest(texts), _NARROW_RESULT_COLUMN)
        fixed -= _OPERATION_COLUMN
    has_results = is_wide or results > 0
    names = max(width - fixed - (max(results, len("Result")) if has_results else 0), 8)
    most = max(width - fixed - min(_longest(row.name for row in rows), names), results)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("Feature", no_wrap=True, max_width=names)
    if is_wide:
        table.add_column("Operation", no_wrap=True, min_width=10)
    table.add_column("Status", no_wrap=True, min_width=10)
    table.add_column("Elapsed", no_wrap=True, min_width=7, justify="right")
    if has_results:
        table.add_column("Result", no_wrap=True, min_width=results, max_width=most)
    for row, text in zip(rows, texts, strict=True):
        table.add_row(
            Text(row.name),
            *([Text(row.operation)] if is_wide else []),
            Text(row.word, _style(row)),
            Text(duration(row.elapsed(now))),
            *([Text(text, "red" if row.is_bad else "")] if has_results else []),
        )
    return table


def _longest(texts: Iterable[str]) -> int:
    return max((cell_len(text) for text in texts), default=0)


def _bar(state: BoardState, width: int) -> Table:
    """Return a progress bar, with the number that is left and the elapsed time beside it."""
    left = state.total - state.ended
    bar = ProgressBar(
        total=max(state.total, 1),
        completed=state.ended,
        width=max(min(_BAR_CELLS, width - _RESULT_COLUMN), 8),
        complete_style="bold red" if any(row.is_bad for row in state.rows) else "green",
        finished_style="bold red" if any(row.is_bad for row in state.rows) else "green",
    )
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column()
    grid.add_column(no_wrap=True)
    grid.add_row(bar, Text(f"{left} left, {duration(state.now - state.started)}"))
    return grid


def _most_urgent(rows: Sequence[Row], room: int) -> tuple[list[Row], list[Row]]:
    """Split the rows into those to show and the others, both in their own order.

    A share of the lines is for what ended last, so that results are seen as they come.
    """
    ranked = sorted(range(len(rows)), key=lambda place: _urgency(rows[place]))
    over = [place for place in ranked if rows[place].ended is not None]
    chosen = set(over[: room // _SHARE_OF_ENDED])
    chosen |= set([place for place in ranked if place not in chosen][: room - len(chosen)])
    shown = [row for place, row in enumerate(rows) if place in chosen]
    return shown, [row for place, row in enumerate(rows) if place not in chosen]


def _urgency(row: Row) -> tuple[int, float]:
    if row.ended is not None:
        return 2, -row.ended
    return (1 if row.phase is Phase.QUEUED else 0), 0.0


def _one_line(text: str, style: str) -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _style(row: Row) -> str:
    return STYLES.get(row.word, "")
