"""How a board reaches the terminal while it changes.

A live table on a terminal, a line for each change elsewhere. It decides when something is drawn,
never how it looks: that is `view`. All of it happens in the event loop: no thread draws.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

import anyio
from rich.live import Live

from testvibe_async.cli import view
from testvibe_async.cli.outage import Notices, Outage

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rich.console import Console

    from testvibe_async.cli.board import Board, Row

__all__ = ["each_change", "lines", "live_table"]

Guard: TypeAlias = "Callable[[Callable[[], object]], None]"
"""Calls a function, and ends the command where that raises."""

FRAME_SECONDS = 0.125

OUTAGE_SECONDS = 1.0
"""How often it is asked whether the service answers."""

LINES_ABOVE = 10
"""How many failures are printed above the table as they come; at the end all are."""


@contextmanager
def lines(board: Board, console: Console) -> Generator[None]:
    """Print each change as a line, for as long as this is open."""

    def show(row: Row) -> None:
        console.print(view.line(row, board.state), soft_wrap=True)

    def tell(outage: Outage) -> None:
        console.print(view.outage_line(outage, board.state), soft_wrap=True)

    with each_change(board, show, tell):
        yield


@contextmanager
def live_table(board: Board, console: Console) -> Generator[None]:
    """Redraw a board several times a second, for as long as this is open.

    Each failure is printed above the table as it comes, and stays. The table itself is removed at
    the end, so that what is printed next takes its place.
    """
    table = _LiveTable(board, console)
    with each_change(board, table.on_change, table.on_outage) as guard:
        table.start(guard)
        try:
            yield
        finally:
            table.stop()


@contextmanager
def each_change(
    board: Board, show: Callable[[Row], object], tell: Callable[[Outage], object] | None = None
) -> Generator[Guard]:
    """Call a function with each row that changed, for as long as this is open.

    Another, if there is one, is called when an outage begins, goes on, or ends. Each is called in a
    callback of the event loop right after the hook: an error in a hook would be logged and lost.
    Its error, as where the reader has closed the pipe, ends the body of this and
    is raised here.

    Returns:
        A function that calls another with the same treatment of errors.
    """
    changed: deque[Row] = deque()
    errors: list[Exception] = []
    loop = asyncio.get_running_loop()

    def show_all() -> None:
        while changed:
            show(changed.popleft())

    def guard(call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised below
            errors.append(error)
            scope.cancel()

    def enqueue(row: Row) -> None:
        changed.append(row)
        loop.call_soon(guard, show_all)

    def watch_outages() -> None:
        if tell is not None and (notice := notices.next(board.outage, loop.time())) is not None:
            tell(notice)
        timers[:] = [loop.call_later(OUTAGE_SECONDS, guard, watch_outages)]

    notices = Notices()
    timers = [loop.call_later(OUTAGE_SECONDS, guard, watch_outages)]
    before, board.on_change = board.on_change, enqueue
    try:
        with anyio.CancelScope() as scope:
            yield guard
        if errors:
            raise errors[0]
        show_all()
    finally:
        timers.pop().cancel()
        board.on_change = before


class _LiveTable:
    """Keeps a table on a terminal up to date."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._console = console
        self._size = console.size
        self._above: deque[Row | Outage] = deque()
        self._reasons: set[str] = set()
        self._live = self._new_live()
        self._timer: asyncio.TimerHandle | None = None

    def on_change(self, row: Row) -> None:
        """Print a row above the table if it went wrong."""
        if row.is_bad and self._is_news(row):
            self._above.append(row)
            self._print_above(row)

    def _is_news(self, row: Row) -> bool:
        """Return whether it is a line worth: not the same error again, nor one of many failures."""
        is_new = row.error is None or row.result not in self._reasons
        self._reasons.add(row.result)
        return is_new and len(self._above) < LINES_ABOVE

    def on_outage(self, outage: Outage) -> None:
        """Print the end of an outage above the table, which shows it as long as it lasts."""
        if outage.is_over:
            self._above.append(outage)
            self._print_above(outage)

    def start(self, guard: Guard) -> None:
        """Draw the table now, and from then on once a frame."""
        loop = asyncio.get_running_loop()

        def draw() -> None:
            self._draw()
            self._timer = loop.call_later(FRAME_SECONDS, guard, draw)

        self._live.start()
        draw()

    def stop(self) -> None:
        """Remove the table."""
        if self._timer is not None:
            self._timer.cancel()
        self._live.stop()

    def _draw(self) -> None:
        if self._console.size != self._size:
            self._restart()
        self._live.refresh()

    def _restart(self) -> None:
        """Clear a terminal that changed its size, and start again.

        It may have wrapped the lines of the table, and then rich can't find the table's start.
        """
        self._size = self._console.size
        self._live.stop()
        self._console.clear()
        self._live = self._new_live()
        self._live.start()
        for each in self._above:
            self._print_above(each)

    def _print_above(self, what: Row | Outage) -> None:
        text = view.headline(what)
        text.truncate(self._console.width, overflow="ellipsis")
        self._console.print(text)

    def _new_live(self) -> Live:
        return Live(
            get_renderable=lambda: view.board(
                self._board.state, width=self._size.width, height=self._size.height
            ),
            console=self._console,
            auto_refresh=False,
            transient=True,
        )
