"""Lists in pages: put together where they can be, and told apart from whole ones where not."""

import logging
from typing import Any

import pytest

from tests.conftest import client_of
from tests.support.dialects import Dialect
from testvibe_async import IncompleteListError, Project, ServerError, Verdict
from testvibe_async.testing import Emulator, Fault


def paged(paging: Any, **more: Any) -> Emulator:
    """Return an emulator with lists of 5 rows a page."""
    return Emulator(middleware=Dialect(paging=paging, page_size=5, **more))


@pytest.mark.parametrize("paging", ["link", "cursor", "next_link"])
async def test_pages_are_put_together(paging: str) -> None:
    """A list in pages is the same as a whole one, and says that it is complete."""
    async with Emulator() as whole, client_of(whole) as client:
        expected = [row.id for row in await client.project().list_features()]
    async with paged(paging) as emulator, client_of(emulator) as client:
        features = await client.project().list_features()
        assert [row.id for row in features] == expected
        assert features.is_complete
        assert features.require_complete() is features
        assert emulator.count("list_features") == -(-len(expected) // 5)


@pytest.mark.parametrize("paging", ["has_more", "total"])
async def test_what_can_not_be_followed_is_incomplete(
    paging: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The first page says so, once in the log, and whatever needs all of it raises."""
    async with paged(paging) as emulator, client_of(emulator) as client:
        project = client.project()
        await project.list_features()
        features = await project.list_features()
        assert (len(features), features.is_complete) == (5, False)
        with pytest.raises(
            IncompleteListError, match="list of features is incomplete: the service"
        ):
            features.require_complete()
        with pytest.raises(IncompleteListError, match="name the features"):
            await project.run_features()
        with pytest.raises(IncompleteListError):
            await project.generate_features()
        assert (len(emulator.runs), len(emulator.generations)) == (0, 0)
    texts = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert [text[:36] for text in texts] == ["the list of features is incomplete: "]


@pytest.mark.parametrize("paging", ["link", "cursor", "next_link"])
async def test_a_batch_of_all_is_of_all_pages(paging: str) -> None:
    """Every feature that has tests runs, on whatever page it is."""
    async with paged(paging) as emulator, client_of(emulator) as client:
        items = await client.project().run_features()
        assert len(items) == len(emulator.runs) == 15
        assert {item.verdict for item in items} <= {Verdict.SUCCEEDED, Verdict.FAILED}


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
        with pytest.raises(ServerError):
            await client.project().list_features()


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
        for number in range(1200):
            page = b'{"rows": [{"id": %d}], "nextCursor": "on"}' % number
            emulator.fail("list_features", Fault.body(page), times=1)
        features = await client.project().list_features()
        assert len(features) == emulator.count("list_features") == 1000
        assert "it has more than 1000 pages" in str(features.incomplete)


async def test_rows_that_can_not_be_read_are_missing(project: Project, emulator: Emulator) -> None:
    """A row without an id makes the list incomplete, and the others are there."""
    emulator.fail("list_features", Fault.edit(lambda rows: [*rows[:3], {"id": None}, *rows[3:]]))
    features = await project.list_features()
    assert len(features) > 3
    assert "1 of its rows can't be read: missing or null at $[3].id" in str(features.incomplete)
    with pytest.raises(IncompleteListError):
        await project.run_features()


@pytest.mark.parametrize("paging", ["link", "cursor", "total", None])
async def test_polling_by_lists_copes_with_pages(paging: str | None) -> None:
    """Many runs are polled by few requests where pages can be followed; none is lost anywhere."""
    dialect = Dialect(paging=paging, page_size=20)  # type: ignore[arg-type]
    async with Emulator(middleware=dialect) as emulator, client_of(emulator) as client:
        project = client.project()
        operations = [await project.run_feature("Checkout") for _ in range(60)]
        before = len(emulator.requests)
        runs = await client.gather(*operations)
        asked = (len(emulator.requests) - before) / len(runs)
        assert [run.status for run in runs] == [
            emulator.runs[operation.run_id].status for operation in operations
        ]
    assert asked < {"link": 3, "cursor": 3, None: 2, "total": 25}[paging]
