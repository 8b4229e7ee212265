"""What the terminal shows of operations: pure functions from rows to text and tables.

It reads no clock, does no I/O and knows no client, so that every command can use it. Whatever came
from the service is shown as plain text: neither markup nor control characters in it take effect.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from typing import TYPE_CHECKING

from attrs import frozen
from rich.console import Group
from rich.table import Table
from rich.text import Text

from testvibe_async import Generation, Phase, Run, RunRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testvibe_async import CaseResult, Ref

__all__ = ["Row", "board", "clean", "counts", "failures", "in_flight", "line"]

_STYLES = {
    "queued": "dim",
    "generating": "cyan",
    "running": "cyan",
    "generated": "green",
    "passed": "green",
    "failed": "bold red",
    "cancelled": "yellow",
}
"""How the known words are shown, in the order in which they are counted."""

_FIXED_COLUMNS = 54
"""Cells that the table needs for all columns but the first."""

_FIXED_LINES = 3
"""Lines of the table that are no rows."""

_ERROR_LINES = 3
"""How much of an error is shown: what was expected, and where."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


@frozen(kw_only=True)
class Row:
    """One operation, as it was last seen. Instants are seconds of one clock."""

    ref: Ref
    feature: str
    """The feature's name."""

    phase: Phase = Phase.QUEUED
    status: str | None = None
    """The service's own word; None before it was asked."""

    snapshot: object = None
    """The `Run` or `Generation` that was last seen; None before the first look."""

    began: float
    """When it was dispatched."""

    ended: float | None = None
    """When it was seen to be over; None while it is not."""

    @property
    def operation(self) -> str:
        """What it is: `run 214`, or `generation`, whose id is too long for a table."""
        return str(self.ref) if isinstance(self.ref, RunRef) else self.ref.kind

    @property
    def word(self) -> str:
        """How it stands: `queued`, and from then on the service's own word."""
        if self.phase is Phase.QUEUED or self.status is None:
            return self.phase.value
        return clean(self.status)

    @property
    def result(self) -> str:
        """What is known of how it went, in a few words; empty where nothing is yet."""
        if isinstance(self.snapshot, Run):
            return _run_result(self.snapshot)
        if isinstance(self.snapshot, Generation):
            return _generation_result(self.snapshot)
        return ""

    def elapsed(self, now: float) -> float:
        """Return the seconds since the dispatch, up to the end where it is over."""
        return (now if self.ended is None else self.ended) - self.began


def clean(text: str) -> str:
    """Return a text without its colours, and with all else that a terminal might obey escaped."""
    return _UNPRINTABLE.sub(_escape, _COLOURS.sub("", text))


def line(row: Row, at: float) -> Text:
    """Return one line that tells how a row stands, for an output that can't be drawn anew.

    Args:
        row: The row.
        at: Seconds since the command began.
    """
    result = f": {row.result}" if row.result else ""
    return Text.assemble(
        f"{at:5.1f} s  {row.operation:<10}  ",
        (f"{row.word:<10}", _style(row)),
        f"  {clean(row.feature)}{result}",
    )


def board(rows: Sequence[Row], *, now: float, width: int, height: int | None = None) -> Group:
    """Return a table of the rows, and beneath it what they add up to.

    Args:
        rows: The rows, in the order to show them.
        now: The present, by the clock of the rows.
        width: Cells that a line may take.
        height: Lines that all may take. Where they are too few, the rows that matter most are
            shown: those at work, then those in the queue, then those that ended last. None: all.
    """
    room = len(rows) if height is None else height - _FIXED_LINES
    shown, hidden = (rows, ()) if len(rows) <= room else _most_urgent(rows, max(room - 1, 1))
    more = [_one_line(f"… and {len(hidden)} more: {counts(hidden)}", "dim")] if hidden else []
    table = _table(shown, now=now, width=width)
    return Group(table, *more, Text(""), _one_line(counts(rows), "bold"))


def counts(rows: Sequence[Row]) -> str:
    """Return how many rows stand how, such as `2 running, 9 passed, 1 failed`."""
    number = Counter(row.word for row in rows)
    known = [word for word in _STYLES if word in number]
    return ", ".join(f"{number[word]} {word}" for word in [*known, *(number.keys() - _STYLES)])


def failures(rows: Sequence[Row], *, width: int | None = None) -> Text:
    """Return the failed tests with the beginnings of their errors, run by run.

    Args:
        rows: The operations; only runs that failed are told of.
        width: Cells that a line may take; None for lines as long as they are.
    """
    lines: list[tuple[str, str]] = []
    for row in rows:
        if isinstance(row.snapshot, Run) and _has_failed(row):
            lines.append((f"{clean(row.feature)}, {row.operation}", "bold"))
            for test in row.snapshot.failures:
                lines.append((f"  {clean(test.name)}", "red"))
                lines += [(_indented(part, width), "") for part in _error_lines(test)]
    return Text("\n").join(Text(*line) for line in lines)


def in_flight(rows: Sequence[Row], *, width: int | None = None) -> Text:
    """Return the names of the operations that are not over, one a line.

    Args:
        rows: The operations.
        width: Cells that a line may take; None for lines as long as they are.
    """
    lines = [Text(clean(f"  {row.ref}  {row.feature}")) for row in rows if row.ended is None]
    if width is not None:
        for each in lines:
            each.truncate(width, overflow="ellipsis")
    return Text("\n").join(lines)


def _table(rows: Sequence[Row], *, now: float, width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("Feature", no_wrap=True, max_width=max(width - _FIXED_COLUMNS, 8))
    table.add_column("Operation", no_wrap=True, min_width=10)
    table.add_column("Status", no_wrap=True, min_width=10)
    table.add_column("Elapsed", no_wrap=True, min_width=7, justify="right")
    table.add_column("Result", no_wrap=True, min_width=19)
    for row in rows:
        table.add_row(
            Text(clean(row.feature)),
            Text(row.operation),
            Text(row.word, _style(row)),
            Text(f"{row.elapsed(now):.1f} s"),
            Text(row.result, "red" if _has_failed(row) else ""),
        )
    return table


def _most_urgent(rows: Sequence[Row], room: int) -> tuple[list[Row], list[Row]]:
    """Part the rows into those to show and the rest, both in the order in which they came."""
    ranked = sorted(range(len(rows)), key=lambda place: _urgency(rows[place]))
    chosen = set(ranked[:room])
    shown = [row for place, row in enumerate(rows) if place in chosen]
    return shown, [row for place, row in enumerate(rows) if place not in chosen]


def _urgency(row: Row) -> tuple[int, float]:
    rank = {Phase.ACTIVE: 0, Phase.QUEUED: 1, Phase.FINISHED: 2}[row.phase]
    return rank, -(row.ended or 0.0)


def _run_result(run: Run) -> str:
    if run.summary is None or not run.is_finished:
        return ""
    if run.summary.failed:
        return f"{run.summary.failed} of {_tests(run.summary.total)} failed"
    if run.summary.passed < run.summary.total:
        return f"{run.summary.passed} of {_tests(run.summary.total)} passed"
    return f"{_tests(run.summary.total)} passed"


def _generation_result(generation: Generation) -> str:
    if not generation.sections:
        return ""
    over = sum(section.conclusion is not None for section in generation.sections)
    return f"{over} of {_count(len(generation.sections), 'section')}"


def _tests(number: int) -> str:
    return _count(number, "test")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _has_failed(row: Row) -> bool:
    return row.ended is not None and row.status == "failed"


def _error_lines(test: CaseResult) -> list[str]:
    """Return the first lines of an error, with a sign where there are more."""
    text = (test.error or "no error given").expandtabs()
    lines = [clean(part).rstrip() for part in text.splitlines() if part.strip()]
    if len(lines) > _ERROR_LINES:
        lines[_ERROR_LINES - 1 :] = [f"{lines[_ERROR_LINES - 1]} …"]
    return lines


def _indented(text: str, width: int | None) -> str:
    if width is None:
        return f"    {text}"
    return textwrap.fill(text, max(width, 20), initial_indent=" " * 4, subsequent_indent=" " * 6)


def _one_line(text: str, style: str) -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _style(row: Row) -> str:
    return _STYLES.get(row.word, "")


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
