"""The board: what a client's hooks tell it, and how it is shown while it changes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from testvibe_async import (
    Dispatched,
    Feature,
    Generation,
    GenerationRef,
    Phase,
    RunRef,
    StatusChanged,
    Transition,
)
from testvibe_async.cli.live import Board, shown

if TYPE_CHECKING:
    from testvibe_async import Event, Ref
    from testvibe_async.cli.view import Row

RUN = RunRef(server="http://s", project="p", run_id=214, feature_id=12)
GENERATION = GenerationRef(server="http://s", project="p", request_id="r", feature_id=15)


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> Board:
    return Board(clock)


def emit(board: Board, event: Event) -> None:
    board.hooks.emit(event)


def change(phase: Phase, status: str, snapshot: object = None) -> Transition[object]:
    return Transition(phase, status, datetime.now(UTC), snapshot)


def only_row(board: Board) -> Row:
    (row,) = board.rows
    return row


def test_dispatch_adds_a_row_of_the_features_name(board: Board, clock: Clock) -> None:
    """A dispatched operation is queued from then on, under its feature's name."""
    board.name([Feature(12, "Checkout")])
    clock.now = 103.0
    emit(board, Dispatched(RUN))
    row = only_row(board)
    assert (row.ref, row.feature, row.word, row.began) == (RUN, "Checkout", "queued", 103.0)
    assert board.elapsed == 3.0


@pytest.mark.parametrize("ref", [RUN, GENERATION])
def test_operation_that_was_not_dispatched_here_has_a_row_too(board: Board, ref: Ref) -> None:
    """The first transition of an operation that was attached adds its row."""
    emit(board, StatusChanged(ref, change(Phase.ACTIVE, "running")))
    row = only_row(board)
    assert row.feature in {"feature 12", "feature 15"}
    assert row.word == "running"


def test_end_stops_the_clock_of_a_row(board: Board, clock: Clock) -> None:
    """An operation's time runs until it is first seen to be over."""
    emit(board, Dispatched(RUN))
    clock.now = 105.0
    emit(board, StatusChanged(RUN, change(Phase.FINISHED, "passed")))
    clock.now = 109.0
    board.update(RUN, change(Phase.FINISHED, "passed"))
    assert only_row(board).elapsed(clock()) == 5.0


def test_news_are_told_once(board: Board) -> None:
    """What changes neither phase nor status is taken in, and not told as a change."""
    told: list[str] = []
    board.on_change = lambda row: told.append(row.word)
    emit(board, Dispatched(GENERATION))
    for snapshot in (None, Generation(15), Generation(15, "Checkout")):
        board.update(GENERATION, change(Phase.ACTIVE, "generating", snapshot))
    assert told == ["queued", "generating"]
    assert only_row(board).snapshot == Generation(15, "Checkout")


async def test_lines_are_printed_outside_of_the_hook(board: Board) -> None:
    """Printing that fails, as into a closed pipe, never disturbs the client that told the news."""
    console = Console(file=StringIO())
    with shown(board, console, live=False):
        emit(board, Dispatched(RUN))
        assert text_of(console) == ""
        await asyncio.sleep(0)
        assert text_of(console) == "  0.0 s  run 214     queued      feature 12\n"
        emit(board, StatusChanged(RUN, change(Phase.ACTIVE, "running")))
    assert text_of(console).endswith("running     feature 12\n")


def test_live_board_is_gone_before_the_whole_is_printed(board: Board) -> None:
    """At the end the cursor is back, and the table is printed once more to stay."""
    console = Console(file=StringIO(), force_terminal=True, width=80, height=24)
    with shown(board, console, live=True):
        emit(board, Dispatched(RUN))
        assert text_of(console).endswith("\x1b[?25l")
    drawn, _, left = text_of(console).partition("\x1b[?25h")
    assert "run 214" in drawn
    assert left.count("run 214") == 1


def test_live_board_is_gone_after_an_error(board: Board) -> None:
    """An error leaves no table behind, and the cursor is back."""
    console = Console(file=StringIO(), force_terminal=True, width=80, height=24)
    emit(board, Dispatched(RUN))
    with pytest.raises(LookupError), shown(board, console, live=True):
        raise LookupError
    left = text_of(console).rpartition("\x1b[?25h")[2]
    assert "\x1b[2K" in left
    assert "run 214" not in left


def text_of(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()
