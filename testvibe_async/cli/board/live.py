"""How a board reaches a terminal while it changes.

A live table, with what went wrong above it. It decides when something is drawn, never how it looks:
that is `table`. All of it happens in the event loop: no thread draws.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.live import Live

from testvibe_async.cli.board.changes import each_change
from testvibe_async.cli.board.contact import Outage
from testvibe_async.cli.board.row import Row
from testvibe_async.cli.board.table import headline, table_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from rich.console import Console

    from testvibe_async.cli.board.board import Board
    from testvibe_async.cli.board.changes import Guard, News

__all__ = ["live_table"]

FRAME_SECONDS = 0.125

LINES_ABOVE = 10
"""How many failures are printed above the table as they come; at the end all are."""


@contextmanager
def live_table(board: Board, console: Console) -> Generator[None]:
    """Redraw a board several times a second, for as long as this is open.

    Each failure is printed above the table as it comes, and stays. The table itself is removed at
    the end, so that what is printed next takes its place.
    """
    live = _LiveTable(board, console)
    with each_change(board, live.on_news) as guard:
        live.start(guard)
        try:
            yield
        finally:
            live.stop()


class _LiveTable:
    """Keeps a table on a terminal up to date."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._console = console
        self._size = console.size
        self._above: list[News] = []
        self._reasons: set[str] = set()
        self._live = self._new_live()
        self._timer: asyncio.TimerHandle | None = None

    def on_news(self, news: News) -> None:
        """Print above the table what has to be read and the table does not show for long."""
        if self._is_for_above(news):
            self._above.append(news)
            self._print_above(news)

    def _is_for_above(self, news: News) -> bool:
        if isinstance(news, Row):
            return news.is_bad and self._is_new(news)
        # The table itself shows an outage that goes on.
        return news.is_over or not isinstance(news, Outage)

    def _is_new(self, row: Row) -> bool:
        """Return whether it is worth a line: not the same error again, nor one of many failures."""
        is_new = row.error is None or row.result not in self._reasons
        self._reasons.add(row.result)
        failures = sum(isinstance(each, Row) for each in self._above)
        return is_new and failures < LINES_ABOVE

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

    def _print_above(self, news: News) -> None:
        text = headline(news)
        if isinstance(news, Row):
            text.truncate(self._console.width, overflow="ellipsis")
        self._console.print(text)

    def _new_live(self) -> Live:
        return Live(
            get_renderable=lambda: table_of(
                self._board.state, width=self._size.width, height=self._size.height
            ),
            console=self._console,
            auto_refresh=False,
            transient=True,
        )
