"""When something new is told of a board: a change, an outage, a suspended list.

It decides the moments, and that an error of what tells it ends the wait. In what form it is told is
decided in `live` and `lines`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

import anyio

from testvibe_async.cli.board.contact import Outage, OutageNotices
from testvibe_async.cli.board.row import Row
from testvibe_async.cli.board.suspensions import Suspension

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from testvibe_async.cli.board.board import Board

__all__ = ["Guard", "News", "Notice", "each_change"]

Guard: TypeAlias = "Callable[[Callable[[], object]], None]"
"""Calls a function, and ends the command where that raises."""

Notice: TypeAlias = Outage | Suspension
"""What is told of the service: that it does not answer, or lacks a list; and the end of that."""

News: TypeAlias = Row | Notice
"""What is told of a board: an operation that changed, or something of the service."""

NOTICE_SECONDS = 1.0
"""How often it is asked whether there is a notice."""


@contextmanager
def each_change(board: Board, tell: Callable[[News], object]) -> Generator[Guard]:
    """Call a function with each row that changed and each notice, for as long as this is open.

    It is called in a callback of the event loop right after the hook: an error in a hook would be
    logged and lost. Its error, as where the reader has closed the pipe, ends the body of this and
    is raised here.

    Returns:
        A function that calls another with the same treatment of errors.
    """
    changed: deque[Row] = deque()
    errors: list[Exception] = []
    loop = asyncio.get_running_loop()

    def tell_all() -> None:
        while changed:
            tell(changed.popleft())

    def guard(call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised below
            errors.append(error)
            scope.cancel()

    def enqueue(row: Row) -> None:
        changed.append(row)
        loop.call_soon(guard, tell_all)

    def tell_notices() -> None:
        board.contact.tick(loop.time())
        if (outage := outages.next(board.outage, loop.time())) is not None:
            tell(outage)
        for suspension in board.suspensions.news(loop.time()):
            tell(suspension)
        timers[:] = [loop.call_later(NOTICE_SECONDS, guard, tell_notices)]

    outages = OutageNotices()
    timers = [loop.call_later(NOTICE_SECONDS, guard, tell_notices)]
    before, board.on_change = board.on_change, enqueue
    try:
        with anyio.CancelScope() as scope:
            yield guard
        if errors:
            raise errors[0]
        tell_all()
    finally:
        timers.pop().cancel()
        board.on_change = before
