"""The progress of a board where nothing can be redrawn: a line for each change, as text or JSON.

It decides how a change, an outage and a suspended list look in a pipe, and the members of the JSON
events. When they come is decided in `board`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.text import Text

from testvibe_async.cli.board import STYLES, Outage, Row, each_change

if TYPE_CHECKING:
    from collections.abc import Generator

    from rich.console import Console

    from testvibe_async.cli.board import Board, BoardState, Notice
    from testvibe_async.cli.output import Output

__all__ = ["events", "lines"]


@contextmanager
def lines(board: Board, console: Console) -> Generator[None]:
    """Print each change as a line, for as long as this is open."""

    def show(news: Row | Notice) -> None:
        state = board.state
        text = row_line(news, state) if isinstance(news, Row) else notice_line(news, state)
        console.print(text, soft_wrap=True)

    with each_change(board, show):
        yield


@contextmanager
def events(board: Board, output: Output) -> Generator[None]:
    """Print each change as a JSON object a line, for as long as this is open."""

    def show(news: Row | Notice) -> None:
        members = _row_event(news) if isinstance(news, Row) else _notice_event(news)
        output.event({"event": members.pop("event"), "seconds": round(board.elapsed, 3), **members})

    with each_change(board, show):
        yield


def row_line(row: Row, state: BoardState) -> Text:
    """Return one line with the state of a row."""
    total = str(state.total)
    return Text.assemble(
        f"{_time(state)}  {state.ended:>{len(total)}}/{total}  {row.operation:<10}  ",
        (f"{row.word:<10}", STYLES.get(row.word, "")),
        f"  {row.name}" + (f": {row.result}" if row.result else ""),
    )


def notice_line(notice: Notice, state: BoardState) -> Text:
    """Return one line on an outage or a suspended list."""
    return Text(
        f"{_time(state)}  {notice}", "bold yellow" if isinstance(notice, Outage) else "yellow"
    )


def _time(state: BoardState) -> str:
    return f"{state.now - state.started:6.1f} s"


def _row_event(row: Row) -> dict[str, object]:
    return {
        "event": "change",
        "feature": row.feature,
        "config": row.config,
        "phase": str(row.phase),
        "status": row.word,
        "log": row.note or None,
        "ref": row.ref,
        "outcome": None if row.ended is None else row.snapshot,
        "error": row.error,
    }


def _notice_event(notice: Notice) -> dict[str, object]:
    if isinstance(notice, Outage):
        return {
            "event": "reachable" if notice.is_over else "unreachable",
            "outageSeconds": round(notice.seconds, 3),
            "lastSeenUtc": notice.seen_at,
            "notSeen": 0 if notice.is_over else notice.unseen,
            "message": str(notice),
        }
    return {
        "event": "listResumed" if notice.is_over else "listSuspended",
        "list": notice.operation,
        "suspendedSeconds": round(notice.seconds, 3),
        "error": None if notice.is_over else notice.error,
        "message": str(notice),
    }
