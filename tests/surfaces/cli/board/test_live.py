"""How a board is drawn on a terminal while it changes."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from io import StringIO

import pytest
from rich.console import Console

from testvibe_async import Phase, RunRef, Transition
from testvibe_async.cli.board import Board, live_table
from testvibe_async.cli.board.live import FRAME_SECONDS, LINES_ABOVE
from testvibe_async.events import Dispatched, Emitter


def ref(number: int = 214) -> RunRef:
    return RunRef(server="http://s", project="p", run_id=number, feature_id=12)


def dispatch(board: Board, *numbers: int) -> None:
    for number in numbers or (214,):
        Emitter(board.hooks).emit(Dispatched(ref(number)))


def end(board: Board, status: str, number: int = 214) -> None:
    board.update(ref(number), Transition(Phase.FINISHED, status, datetime.now(UTC)))


@pytest.fixture
async def board() -> Board:
    return Board(asyncio.get_running_loop().time)


@pytest.fixture
def terminal() -> Console:
    return Console(file=StringIO(), force_terminal=True, width=80, height=24)


def text_of(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def frames_of(console: Console) -> list[str]:
    return text_of(console).split("\r\x1b[2K")


async def test_table_is_drawn_anew_while_time_goes_by(board: Board, terminal: Console) -> None:
    """Each frame shows the time at that moment."""
    dispatch(board)
    with live_table(board, terminal):
        await asyncio.sleep(2.1)
    frames = text_of(terminal)
    assert "0.0 s" in frames
    assert "1.0 s" in frames
    assert "2.0 s" in frames
    assert "3.0 s" not in frames


async def test_table_is_removed_at_the_end(board: Board, terminal: Console) -> None:
    """The cursor is back, and the next output takes the table's place."""
    with live_table(board, terminal):
        dispatch(board)
        assert text_of(terminal).startswith("\x1b[?25l")
        await asyncio.sleep(1)
    shown, _, left = text_of(terminal).rpartition("\x1b[?25h")
    assert "run 214" in shown
    assert "run 214" not in left
    assert "\x1b[2K" in left


async def test_table_is_removed_after_an_error(board: Board, terminal: Console) -> None:
    """An error leaves no table behind either."""
    dispatch(board)
    with pytest.raises(LookupError), live_table(board, terminal):
        raise LookupError
    left = text_of(terminal).rpartition("\x1b[?25h")[2]
    assert "\x1b[2K" in left
    assert "run 214" not in left


async def test_failures_are_printed_above_as_they_come(board: Board, terminal: Console) -> None:
    """A failure has its own line above the table from then on; a success has none."""
    dispatch(board, 214, 215)
    with live_table(board, terminal):
        end(board, "failed", 214)
        end(board, "passed", 215)
        await asyncio.sleep(1)
    assert text_of(terminal).count("feature 12, run 214") == 1
    assert "feature 12, run 215" not in text_of(terminal)


async def test_only_the_first_failures_are_printed_above(board: Board, terminal: Console) -> None:
    """Of many failures some are printed as they come; all are at the end of the command."""
    dispatch(board, *range(60))
    with live_table(board, terminal):
        for number in range(60):
            end(board, "failed", number)
        await asyncio.sleep(1)
    assert text_of(terminal).count("failed\x1b[0m  feature 12, run ") == LINES_ABOVE


async def test_failure_at_the_very_end_is_printed_once(board: Board, terminal: Console) -> None:
    """A failure right before the end is printed before the table is removed."""
    dispatch(board)
    with live_table(board, terminal):
        end(board, "failed")
    assert text_of(terminal).count("feature 12, run 214") == 1


async def test_resized_terminal_is_cleared_and_drawn_anew(board: Board, terminal: Console) -> None:
    """On a terminal of another size nothing of the old table is left, and no failure is lost."""
    dispatch(board, 214, 215)
    with live_table(board, terminal):
        end(board, "failed", 214)
        await asyncio.sleep(FRAME_SECONDS)
        terminal.size = (60, 12)
        await asyncio.sleep(2 * FRAME_SECONDS)
    before, _, after = text_of(terminal).partition("\x1b[2J\x1b[H")
    assert "feature 12, run 214" in before
    assert "feature 12, run 214" in after
    assert "queued" in after
    widths = [len(re.sub(r"\x1b\[[\d;?]*\w", "", line)) for line in after.splitlines()]
    assert max(widths) <= 60


async def test_no_frame_is_higher_than_the_terminal(board: Board, terminal: Console) -> None:
    """With 200 operations on 24 lines the table leaves room for what is above it."""
    dispatch(board, *range(200))
    with live_table(board, terminal):
        await asyncio.sleep(1)
    assert 10 < max(frame.count("\n") for frame in frames_of(terminal)) <= 18


async def test_terminal_that_is_closed_ends_the_wait(board: Board) -> None:
    """Drawing that fails ends the body with that error."""

    class Gone(StringIO):
        def write(self, text: str, /) -> int:
            if "run 214" in text:
                raise OSError(5, "Input/output error")
            return len(text)

    async def body() -> None:
        console = Console(file=Gone(), force_terminal=True, width=80, height=24)
        with live_table(board, console):
            dispatch(board)
            await asyncio.sleep(3600)

    with pytest.raises(OSError, match="Input/output"):
        await body()
