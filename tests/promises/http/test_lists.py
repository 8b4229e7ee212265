"""Lists in pages, lists that are cut, and rows that can not be read."""

import json
import re
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from tests.conftest import client_of
from tests.support.dialects import Dialect
from tests.support.peer import http, peer
from tests.support.raising import raised
from testvibe_async import Project, errors
from testvibe_async.testing import Emulator, Fault


def paged(paging: Any, **more: Any) -> Emulator:
    """Return an emulator with lists of 5 rows a page."""
    return Emulator(middleware=Dialect(paging=paging, page_size=5, **more))


@pytest.mark.parametrize("paging", ["link", "cursor"])
async def test_pages_are_put_together(paging: str) -> None:
    """A list in pages is the same as a whole one, and says that it is complete."""
    async with Emulator() as whole, client_of(whole) as client:
        expected = [row.id for row in await client.project().list_features()]
    async with paged(paging) as emulator, client_of(emulator) as client:
        features = await client.project().list_features()
        assert [row.id for row in features] == expected
        assert features.is_complete
        assert features.require_complete() is features
        items = await client.project().run_features()
        assert len(items) == len(emulator.runs) == 15
        assert emulator.count("list_features") == 2 * -(-len(expected) // 5)


async def test_a_limit_ends_the_pages() -> None:
    """As many rows as asked for, and no more requests than that takes."""
    async with paged("link") as emulator, client_of(emulator) as client:
        project = client.project()
        for _ in range(12):
            await project.run_feature("Checkout")
        before = emulator.count("list_runs")
        runs = await project.list_runs(limit=7)
        assert [run.run_id for run in runs] == sorted(emulator.runs, reverse=True)[:7]
        assert not runs.is_complete
        assert emulator.count("list_runs") - before == 2


async def test_a_page_that_is_refused_leaves_the_list_incomplete() -> None:
    """The rows before it are there; the error of a service that is down is raised."""
    async with paged("cursor") as emulator, client_of(emulator) as client:
        emulator.fail("list_features", Fault.status(400), skip=1)
        features = await client.project().list_features()
        assert len(features) == 5
        assert "its next page can't be read" in str(features.incomplete)
    async with paged("cursor") as emulator, client_of(emulator) as client:
        emulator.fail("list_features", Fault.status(500), skip=1)
        await raised(errors.ServerError, client.project().list_features())


async def test_a_page_that_comes_again_ends_the_list() -> None:
    """A service that does not know the cursor sends its first page for ever."""
    async with paged("cursor") as emulator, client_of(emulator) as client:
        emulator.fail("list_features", Fault.body(b'{"rows": [{"id": 1}], "nextCursor": "x"}'))
        features = await client.project().list_features()
        assert "its next page is the same again" in str(features.incomplete)
        assert emulator.count("list_features") == 2


async def test_pages_without_end_are_bounded() -> None:
    """A service that always has one more page is left after a thousand, or two minutes."""
    async with paged("cursor") as emulator, client_of(emulator) as client:
        ids = count()
        page = Fault.edit(lambda _: {"rows": [{"id": next(ids)}], "nextCursor": "on"})
        emulator.fail("list_features", page)
        features = await client.project().list_features()
        assert len(features) == emulator.count("list_features") == 1000
        assert "it has more than 1000 pages" in str(features.incomplete)


async def test_rows_that_can_not_be_read_are_missing(project: Project, emulator: Emulator) -> None:
    """A row without an id makes the list incomplete, and the others are there."""
    emulator.fail("list_features", Fault.edit(lambda rows: [*rows[:3], {"id": None}, *rows[3:]]))
    features = await project.list_features()
    assert len(features) == len(emulator.features)
    assert len(features.unreadable) == 1
    assert "1 of its rows can't be read: missing or null at $[3].id" in str(features.incomplete)
    await raised(errors.IncompleteListError, project.run_features())


def listing(headers: list[str], *, status: int = 200, pages: int = 1) -> Callable[[bytes], bytes]:
    """Return what serves ten features a page with these headers; the other pages are linked."""

    def answer(head: bytes) -> bytes:
        assert b"/projects/p/features" in head
        asked = re.search(rb"page=(\d+)", head)
        page = int(asked[1]) if asked else 1
        more = [f'Link: <?page={page + 1}>; rel="next"'] if page < pages else []
        rows = [{"id": 10 * page + row, "name": f"Feature {page}.{row}"} for row in range(10)]
        return http(status, json.dumps(rows).encode(), *headers, *more)

    return answer


LISTS: dict[str, tuple[list[str], int, int, bool]] = {
    "X-Total-Count of more": (["X-Total-Count: 29"], 200, 1, False),
    "Content-Range of more": (["Content-Range: items 0-9/29"], 200, 1, False),
    "206 with a range of more": (["Content-Range: items 0-9/29"], 206, 1, False),
    "206 without the total": (["Content-Range: items 0-9/*"], 206, 1, False),
    "206 alone": ([], 206, 1, False),
    "X-Total-Count": (["X-Total-Count: 10"], 200, 1, True),
    "Content-Range": (["Content-Range: items 0-9/10"], 200, 1, True),
    "206 with a range": (["Content-Range: items 0-9/10"], 206, 1, True),
    "a range without the total": (["Content-Range: items 0-9/*"], 200, 1, True),
    "no numbers": (["X-Total-Count: many", "Content-Range: items"], 200, 1, True),
    "a total of all pages": (["X-Total-Count: 30"], 200, 3, True),
}
"""Headers, status and number of pages of a list of ten rows a page, and whether it is whole."""


@pytest.mark.parametrize("name", LISTS)
async def test_a_list_says_whether_it_is_whole(name: str) -> None:
    """By its status and headers, if those say it; a batch that needs all features dispatches none.

    A total counts the rows of all pages.
    """
    headers, status, pages, is_whole = LISTS[name]
    answer = listing(headers, status=status, pages=pages)
    async with peer(answer) as service, service.client() as client:
        features = await client.project().list_features()
        assert (len(features), features.is_complete) == (10 * pages, is_whole)
        if not is_whole:
            with pytest.raises(errors.IncompleteListError):
                features.require_complete()
            await raised(errors.IncompleteListError, client.project().run_features())
