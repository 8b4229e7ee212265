"""How a board reaches the terminal while it changes.

A live table on a terminal, a line for each change elsewhere. It decides when something is drawn;
how it looks is `view`'s to say. All of it happens in the event loop: no thread draws.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

import anyio
from rich.live import Live

from testvibe_async.cli import view

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rich.console import Console

    from testvibe_async.cli.board import Board
    from testvibe_async.cli.rows import Row

__all__ = ["drawn", "each_change", "lines"]

Careful: TypeAlias = "Callable[[Callable[[], object]], None]"
"""Calls a function, and ends the command where that raises."""

FRAME_SECONDS = 0.125

REMEMBERED_LINES = 40
"""How many of the lines above the table are printed again on a terminal that changed its size."""


@contextmanager
def lines(board: Board, console: Console) -> Generator[None]:
    """Print each change as a line, for as long as this is open."""

    def tell(row: Row) -> None:
        console.print(view.line(row, board.standing), soft_wrap=True)

    with each_change(board, tell):
        yield


@contextmanager
def drawn(board: Board, console: Console) -> Generator[None]:
    """Draw a board anew several times a second, for as long as this is open.

    What goes wrong is printed above the table as it comes, and stays. The table itself is gone at
    the end, so that what is said next stands on clear ground.
    """
    painter = _Painter(board, console)
    with each_change(board, painter.hear) as careful:
        painter.start(careful)
        try:
            yield
        finally:
            painter.stop()


@contextmanager
def each_change(board: Board, tell: Callable[[Row], object]) -> Generator[Careful]:
    """Call a function with each row that changed, for as long as this is open.

    Not within the hook but right after it, in a callback of the event loop. What is raised there,
    as where nobody reads the output any more, ends the body of this and is raised here.

    Returns:
        A function that calls another with the same care.
    """
    changed: deque[Row] = deque()
    errors: list[Exception] = []
    loop = asyncio.get_running_loop()

    def tell_all() -> None:
        while changed:
            tell(changed.popleft())

    def careful(call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised below
            errors.append(error)
            scope.cancel()

    def take_down(row: Row) -> None:
        changed.append(row)
        loop.call_soon(careful, tell_all)

    before, board.on_change = board.on_change, take_down
    try:
        with anyio.CancelScope() as scope:
            yield careful
        if errors:
            raise errors[0]
        tell_all()
    finally:
        board.on_change = before


class _Painter:
    """Keeps a live table on a terminal."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._console = console
        self._size = console.size
        self._above: deque[Row] = deque(maxlen=REMEMBERED_LINES)
        self._live = self._new_live()
        self._timer: asyncio.TimerHandle | None = None

    def hear(self, row: Row) -> None:
        """Print what went wrong above the table."""
        if row.is_bad:
            self._above.append(row)
            self._tell(row)

    def start(self, careful: Careful) -> None:
        """Draw the first time, and from then on again and again."""
        loop = asyncio.get_running_loop()

        def paint() -> None:
            self._paint()
            self._timer = loop.call_later(FRAME_SECONDS, careful, paint)

        self._live.start()
        paint()

    def stop(self) -> None:
        """Take the table away."""
        if self._timer is not None:
            self._timer.cancel()
        self._live.stop()

    def _paint(self) -> None:
        if self._console.size != self._size:
            self._begin_anew()
        self._live.refresh()

    def _begin_anew(self) -> None:
        """Clear a terminal that changed its size.

        It may have broken the lines of the table anew, and then the table can't be found again.
        """
        self._size = self._console.size
        self._live.stop()
        self._console.clear()
        self._live = self._new_live()
        self._live.start()
        for row in self._above:
            self._tell(row)

    def _tell(self, row: Row) -> None:
        text = view.headline(row)
        text.truncate(self._console.width, overflow="ellipsis")
        self._console.print(text)

    def _new_live(self) -> Live:
        return Live(
            get_renderable=lambda: self._board.draw(self._size.width, self._size.height),
            console=self._console,
            auto_refresh=False,
            transient=True,
        )
