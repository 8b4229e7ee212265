"""The lines and JSON events that a pipe gets while a board changes."""

from __future__ import annotations

import asyncio
from io import StringIO

from rich.console import Console

from tests.surfaces.cli.board.test_live import dispatch, end
from tests.surfaces.cli.board.test_table import ended, row, shown, state_of
from testvibe_async.cli.board import Board
from testvibe_async.cli.lines import lines, row_line


async def test_lines_are_printed_outside_of_the_hook() -> None:
    """Printing, which may fail as into a closed pipe, is not done within the client's hook."""
    board = Board(asyncio.get_running_loop().time)
    printed = StringIO()
    with lines(board, Console(file=printed)):
        dispatch(board)
        assert printed.getvalue() == ""
        await asyncio.sleep(0)
        assert printed.getvalue() == "   0.0 s  0/1  run 214     queued      feature 12\n"
        end(board, "passed")
    assert printed.getvalue().endswith("1/1  run 214     passed      feature 12\n")


def test_line_shows_all_of_one_change() -> None:
    """A line has the time, how many are over, the operation, its state, and the result."""
    rows = [row(), ended(215, total=2, passed=1, failed=1)]
    assert shown(row_line(rows[0], state_of(rows, total=200))) == [
        "   2.5 s    1/200  run 214     queued      Feature 214"
    ]
    assert shown(row_line(rows[1], state_of(rows))) == [
        "   2.5 s  1/2  run 215     failed      Feature 215: 1 of 2 tests failed"
    ]
