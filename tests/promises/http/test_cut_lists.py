"""Lists that are cut, where only a header or the status says so."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from tests.conftest import KEY
from testvibe_async import Client, IncompleteListError, Project


@asynccontextmanager
async def project_with(
    headers: Mapping[str, str], *, status: int = 200, pages: int = 1
) -> AsyncGenerator[Project]:
    """Serve ten features a page with these headers; the other pages are linked.

    Whatever else is asked for is an error of the test.
    """

    async def features(request: web.Request) -> web.Response:
        page = int(request.query.get("page", "1"))
        more = {"Link": f'<?page={page + 1}>; rel="next"'} if page < pages else {}
        rows = [{"id": 10 * page + row, "name": f"Feature {page}.{row}"} for row in range(10)]
        return web.json_response(rows, status=status, headers={**headers, **more})

    app = web.Application()
    app.router.add_get("/api/v1/ops/projects/p/features", features)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        async with Client(f"http://{host}:{port}", api_key=KEY, project="p") as client:
            yield client.project()
    finally:
        await runner.cleanup()


CUT: dict[str, tuple[dict[str, str], int]] = {
    "X-Total-Count": ({"X-Total-Count": "29"}, 200),
    "Content-Range": ({"Content-Range": "items 0-9/29"}, 200),
    "206 with a range": ({"Content-Range": "items 0-9/29"}, 206),
    "206 without the total": ({"Content-Range": "items 0-9/*"}, 206),
    "206 alone": ({}, 206),
}


@pytest.mark.parametrize("cut", CUT)
async def test_a_list_that_is_cut_is_incomplete(cut: str) -> None:
    """It says so, and a batch that needs all features dispatches none of them."""
    headers, status = CUT[cut]
    async with project_with(headers, status=status) as project:
        listing = await project.list_features()
        assert len(listing) == 10
        assert not listing.is_complete
        with pytest.raises(IncompleteListError):
            listing.require_complete()
        with pytest.raises(IncompleteListError):
            await project.run_features()


WHOLE = {
    "X-Total-Count": ({"X-Total-Count": "10"}, 200),
    "Content-Range": ({"Content-Range": "items 0-9/10"}, 200),
    "206 with a range": ({"Content-Range": "items 0-9/10"}, 206),
    "a range without the total": ({"Content-Range": "items 0-9/*"}, 200),
    "no numbers": ({"X-Total-Count": "many", "Content-Range": "items"}, 200),
}


@pytest.mark.parametrize("whole", WHOLE)
async def test_a_list_with_as_many_rows_as_it_counts_is_whole(whole: str) -> None:
    """Headers that say nothing more change nothing."""
    headers, status = WHOLE[whole]
    async with project_with(headers, status=status) as project:
        assert (await project.list_features()).is_complete


async def test_a_total_counts_the_rows_of_all_pages() -> None:
    """What is put together from pages is whole when it has as many rows as the service says."""
    async with project_with({"X-Total-Count": "30"}, pages=3) as project:
        listing = await project.list_features()
    assert len(listing) == 30
    assert listing.is_complete
