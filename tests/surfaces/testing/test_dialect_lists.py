"""Lists in a dialect: pages, cursors, their order, and their limit."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from testvibe_async.testing import Dialect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .conftest import Caller, Reply

LISTS = ["", "/P/features", "/P/runs", "/P/runs/214/artifacts", "/P/files", "/P/configs"]
"""The paths of all lists, below that of the projects."""


async def ask(call: Caller, url: str, **headers: str) -> Reply:
    """Send a GET with the key to a full URL, or to a path of the host."""
    headers["Authorization"] = f"Bearer {call.emulator.api_key}"
    return await call.send("GET", url, headers=headers)


def next_of(reply: Reply, paging: str) -> Any:
    """Return the link or cursor of the next page, wherever the dialect has it; None at the end."""
    match paging:
        case "link":
            assert isinstance(reply.document, list)
            link = reply.headers.get("Link")
            found = None if link is None else re.fullmatch(r'<(http://.+)>; rel="next"', link)
            assert (found is None) == (link is None)
            return None if found is None else found[1]
        case "cursor":
            assert set(reply.document) == {"items", "nextCursor"}
            return reply.document["nextCursor"]
        case _:
            assert set(reply.document) == {"value", "nextLink"}
            return reply.document["nextLink"]


def rows_of(reply: Reply) -> list[Any]:
    """Return the rows of a page, whatever its shape."""
    assert reply.status == 200, reply.body
    if reply.body.startswith(b"["):
        return list[Any](reply.document)
    member = "items" if "items" in reply.document else "value"
    return list[Any](reply.document[member])


async def walk(call: Caller, path: str, paging: str) -> list[list[Any]]:
    """Return the rows of all pages of a list, from its first page on."""
    first = f"{call.emulator.url}/api/v1/ops/projects/{call.emulator.project_id}{path}"
    pages: list[list[Any]] = []
    url: str | None = first
    while url is not None:
        reply = await ask(call, url)
        pages.append(rows_of(reply))
        url = next_of(reply, paging)
        if url is not None and paging == "cursor":
            url = f"{first}{'&' if '?' in first else '?'}cursor={url}"
    return pages


@pytest.mark.parametrize("paging", ["link", "cursor", "next_link"])
async def test_a_list_is_cut_into_pages_that_can_be_followed(
    emulate: Callable[..., Awaitable[Caller]], paging: Any
) -> None:
    """45 features are three pages, each row once and in order; no page after the last is named."""
    call = await emulate(shop=False, scenario={"dialect": Dialect(paging=paging)})
    ids = [call.emulator.add_feature(f"F{number}").id for number in range(45)]
    pages = await walk(call, "/features", paging)
    assert [len(page) for page in pages] == [20, 20, 5]
    assert [row["id"] for page in pages for row in page] == ids


@pytest.mark.parametrize("paging", ["link", "cursor", "next_link"])
async def test_the_last_page_may_be_full(
    emulate: Callable[..., Awaitable[Caller]], paging: Any
) -> None:
    """A list of exactly one page has no other; an empty list is one page."""
    call = await emulate(shop=False, scenario={"dialect": Dialect(paging=paging, page_size=3)})
    assert await walk(call, "/features", paging) == [[]]
    for number in range(3):
        call.emulator.add_feature(f"F{number}")
    assert [len(page) for page in await walk(call, "/features", paging)] == [3]


@pytest.mark.parametrize(("paging", "more", "last"), [("has_more", True, False), ("total", 3, 3)])
async def test_a_list_may_be_cut_with_nothing_to_follow(
    emulate: Callable[..., Awaitable[Caller]], paging: Any, more: object, last: object
) -> None:
    """`hasMore` or `total` says that the page is not all; a cursor is ignored."""
    call = await emulate(shop=False, scenario={"dialect": Dialect(paging=paging, page_size=2)})
    member = "hasMore" if paging == "has_more" else "total"
    for name in ("a", "b", "c"):
        call.emulator.add_feature(name)
    for query in ("", "?cursor=after-2"):
        page = await call.get(f"/features{query}")
        assert page == {"items": page["items"], member: more}
        assert [row["name"] for row in page["items"]] == ["a", "b"]
    await call("DELETE", "/features/a")
    assert (await call.get("/features"))[member] == (last if paging == "has_more" else 2)


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("paging", ["link", "cursor", "next_link", "has_more", "total"])
async def test_every_list_has_pages(
    emulate: Callable[..., Awaitable[Caller]], paging: Any, path: str
) -> None:
    """Each operation that lists answers with one row, where a page has one."""
    call = await emulate(
        scenario={"dialect": Dialect(paging=paging, page_size=1), "failing_runs": 1}
    )
    call.emulator.add_project("Second")
    for run_id in (await call.run(), await call.run()):
        call.emulator.finish_run(run_id, "failed")
    url = "/api/v1/ops/projects" + path.replace("P", call.emulator.project_id)
    reply = await ask(call, url)
    assert len(rows_of(reply)) == 1
    if paging in {"link", "cursor", "next_link"}:
        assert next_of(reply, paging) is not None


async def test_a_next_link_keeps_the_query_and_the_host_that_was_asked(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """Behind a proxy the link leads through the proxy; `feature` and `limit` stay."""
    call = await emulate(scenario={"dialect": Dialect(paging="next_link", page_size=1)})
    for feature in ("Checkout", "Checkout", "Returns"):
        await call.run(feature)
    path = f"/api/v1/ops/projects/{call.emulator.project_id}/runs"
    reply = await ask(call, f"{path}?feature=check%6Fut&limit=7", Host="proxy.example:81")
    link = next_of(reply, "next_link")
    assert link == f"http://proxy.example:81{path}?feature=checkout&limit=7&cursor=after-1"
    pages = await walk(call, "/runs?feature=checkout", "next_link")
    assert [row["runId"] for page in pages for row in page] == [215, 214]


@pytest.mark.parametrize(("limit", "sizes"), [(2, [2, 2, 2, 1]), (5, [3, 3, 1])])
async def test_a_limit_makes_smaller_pages_never_larger_ones(
    emulate: Callable[..., Awaitable[Caller]], limit: int, sizes: list[int]
) -> None:
    """`limit` is the size of a page, up to that of the dialect; all runs are still there."""
    call = await emulate(scenario={"dialect": Dialect(paging="link", page_size=3)})
    ids = [await call.run() for _ in range(7)]
    pages = await walk(call, f"/runs?limit={limit}", "link")
    assert [len(page) for page in pages] == sizes
    assert [row["runId"] for page in pages for row in page] == ids[::-1]


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "cursor=x", "cursor=after-", "cursor="])
async def test_a_page_that_can_not_be_is_refused(
    emulate: Callable[..., Awaitable[Caller]], query: str
) -> None:
    """A wrong limit, and a cursor that no page had, are answered with 400."""
    call = await emulate(scenario={"dialect": Dialect(paging="cursor")})
    assert (await call("GET", f"/runs?{query}")).error == (400, "invalid_request")


async def test_runs_may_come_oldest_first(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """The order is that of their dispatch, so that `limit`, also the default, cuts the newest."""
    call = await emulate(scenario={"dialect": Dialect(oldest_first=True)})
    ids = [await call.run() for _ in range(53)]
    assert [row["runId"] for row in await call.get("/runs")] == ids[:50]
    assert [row["runId"] for row in await call.get("/runs?limit=2")] == ids[:2]
    assert [row["runId"] for row in await call.get("/runs?limit=60")] == ids
    features = [row["id"] for row in await call.get("/features")]
    assert features == sorted(features)


async def test_pages_may_come_oldest_first(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """The first page has the oldest runs."""
    dialect = Dialect(paging="link", page_size=2, oldest_first=True)
    call = await emulate(scenario={"dialect": dialect})
    ids = [await call.run() for _ in range(3)]
    pages = await walk(call, "/runs", "link")
    assert [[row["runId"] for row in page] for page in pages] == [ids[:2], ids[2:]]


async def test_a_limit_may_be_refused(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """`limit` is answered with 400, whatever it is; without it, runs are listed."""
    call = await emulate(scenario={"dialect": Dialect(refuses_limit=True)})
    await call.run()
    refused = await call("GET", "/runs?limit=50&feature=Checkout")
    assert refused.error == (400, "invalid_request")
    assert "'limit'" in refused.document["message"]
    assert len(await call.get("/runs?feature=Checkout")) == 1
