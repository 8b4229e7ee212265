"""The board: each operation of a command as it was last seen, and the live table of all.

The door of this room. What is decided where:

- `row`: the one word for an operation's state
- `board`: what becomes of it with each event of a client and each item of a batch
- `contact`: whether the service answers, and the sentence where it does not
- `suspensions`: which lists the service lacks at the moment, and the sentence for that
- `changes`: when a change, an outage or a suspended list is told, in whatever form
- `table`, `live`: how a terminal shows all of it, and when it is drawn
- `log_tail`: how often the logs of generations are read
"""

from __future__ import annotations

from testvibe_async.cli.board.board import Board, BoardState
from testvibe_async.cli.board.changes import Notice, each_change
from testvibe_async.cli.board.contact import Outage
from testvibe_async.cli.board.live import live_table
from testvibe_async.cli.board.log_tail import following_logs
from testvibe_async.cli.board.row import Row
from testvibe_async.cli.board.table import STYLES, table_of

__all__ = [
    "STYLES",
    "Board",
    "BoardState",
    "Notice",
    "Outage",
    "Row",
    "each_change",
    "following_logs",
    "live_table",
    "table_of",
]
