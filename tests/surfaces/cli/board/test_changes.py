"""When a board tells of its changes, and what an error of the teller does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

import pytest

from tests.surfaces.cli.board.test_live import dispatch, ref
from testvibe_async.cli.board import Board, Row, each_change

if TYPE_CHECKING:
    from testvibe_async.cli.board import Notice


@pytest.fixture
async def board() -> Board:
    return Board(asyncio.get_running_loop().time)


async def test_failing_reader_ends_the_wait(board: Board) -> None:
    """An error of the function ends the body, and is raised as it is."""

    def tell(_news: Row | Notice) -> None:
        raise BrokenPipeError

    async def body() -> None:
        with each_change(board, tell):
            dispatch(board)
            await asyncio.sleep(3600)

    with pytest.raises(BrokenPipeError):
        await body()
    assert asyncio.get_running_loop().time() < 1


async def test_error_of_the_body_comes_first(board: Board) -> None:
    """An error of the body is not hidden by changes that were not shown yet."""
    changes: list[Row | Notice] = []

    def body() -> NoReturn:
        with each_change(board, changes.append):
            dispatch(board)
            raise LookupError

    with pytest.raises(LookupError):
        body()
    assert changes == []


async def test_nothing_is_shown_afterwards(board: Board) -> None:
    """A closed context receives no changes."""
    changes: list[Row | Notice] = []
    with each_change(board, changes.append):
        dispatch(board)
    dispatch(board, 215)
    await asyncio.sleep(0)
    assert [news.ref for news in changes if isinstance(news, Row)] == [ref()]
