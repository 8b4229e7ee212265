"""The progress of operations as text: a table, lines, and JSON events. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from testvibe_async.models import Phase
from testvibe_async.runner.limit import LIMITED
from testvibe_async.runner.words import UNSEEN, count_words, duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testvibe_async.cli.contact import Outage
    from testvibe_async.cli.progress import Progress, Row

_WIDE = 72
"""A terminal of fewer cells has no column for the operation: names say more than ids."""

_FIXED_LINES = 5
"""Lines that are no rows: the heading, a gap, the counts, an outage, the cursor's."""

_FEW_ROWS = 3
"""Minimum number of rows shown, however few lines the terminal has."""

_STYLES = {
    **dict.fromkeys(("passed", "generated"), "green"),
    **dict.fromkeys(("failed", "error"), "bold red"),
    **dict.fromkeys(("flaky", "quarantined", "cancelled", LIMITED, UNSEEN), "yellow"),
    **dict.fromkeys(("running", "generating"), "cyan"),
    **dict.fromkeys(("queued", "waiting", "in flight"), "dim"),
    "unknown": "bold magenta",
    "unacknowledged": "magenta",
}
"""The styles of words."""


def line_of(row: Row, progress: Progress) -> Text:
    """Return a change as one line, with the time and the number of results."""
    total = str(len(progress.rows))
    return Text.assemble(
        f"{_time(progress)}  {progress.over:>{len(total)}}/{total}  {row.operation:<10}  ",
        (f"{row.word:<10}", _style(row)),
        f"  {row.name}" + (f": {row.result}" if row.result else ""),
    )


def outage_line(outage: Outage, progress: Progress) -> Text:
    """Return an outage, or its end, as one line."""
    return Text(f"{_time(progress)}  {outage}", "bold yellow")


def counts_line(progress: Progress) -> str:
    """Return the number of operations in each state as one line."""
    return f"{_time(progress)}  {count_words(row.word for row in progress.rows)}"


def _time(progress: Progress) -> str:
    return f"{progress.elapsed:6.1f} s"


def change_event(row: Row, progress: Progress) -> dict[str, object]:
    """Return a change as a JSON event."""
    item = row.item.to_dict()
    return {
        "event": "change",
        "seconds": round(progress.elapsed, 3),
        "feature": row.item.feature_name,
        "config": row.item.config,
        "phase": str(row.snapshot.phase if row.snapshot else Phase.QUEUED),
        "status": row.word,
        **{name: item.get(name) for name in ("ref", "outcome", "error")},
    }


def outage_event(outage: Outage, progress: Progress) -> dict[str, object]:
    """Return an outage, or its end, as a JSON event."""
    return {
        "event": "reachable" if outage.is_over else "unreachable",
        "seconds": round(progress.elapsed, 3),
        "outageSeconds": round(outage.seconds, 3),
        "lastSeenUtc": outage.seen_at,
        "notSeen": 0 if outage.is_over else len(outage.in_flight),
        "message": str(outage),
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
    if left := progress.estimate(progress.rows, progress.clock()):
        sums += f"; about {duration(left)} left"
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
    is_active = row.snapshot is not None and row.snapshot.phase is not Phase.QUEUED
    return (0 if is_active else 1), 0.0


def _one_line(text: str, style: str) -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _style(row: Row) -> str:
    return _STYLES.get(row.word, "")
