"""Where the next page of a list is: by a link, a cursor, or nowhere."""

from typing import Any

import pytest
from attrs import evolve

from tests.rooms.wire.documents import URL as PROJECT
from tests.rooms.wire.documents import answer
from testvibe_async._wire import Endpoints, Request, next_page

URL = f"{PROJECT}/features"
REQUEST = Endpoints.LIST_FEATURES.request(project="p", query={"kind": "a"})


def following(
    envelope: dict[str, Any] | None = None, *, link: str = "", rows: int = 20
) -> dict[str, str] | str | None:
    """Return the query of the next page, or what `next_page` says in its place."""
    response = evolve(answer(200, Link=link), url=URL)
    found = next_page(REQUEST, response, envelope or {}, rows=rows)
    if not isinstance(found, Request):
        return found
    assert found.path == REQUEST.path
    return dict(found.query)


@pytest.mark.parametrize("link", [f'<{URL}?page=1>; rel="prev"', f"<{URL}>", "nothing", "<>; rel="])
@pytest.mark.parametrize(
    "envelope",
    [
        {},
        {"total": 20},
        {"total": 19, "hasMore": False, "nextCursor": None},
        {"next": None, "page": {"number": 1, "totalPages": 7}},
        {"nextCursor": "", "nextPage": 0},
        {"pagination": {"next_cursor": None, "has_more": False}},
        {"nextReview": {"href": None}},
    ],
)
def test_a_list_without_marks_is_whole(envelope: dict[str, Any], link: str) -> None:
    """Marks that say that nothing follows are none, and no other link than `next` leads on."""
    assert following(envelope, link=link) is None


@pytest.mark.parametrize(
    "link",
    [
        f'<{URL}?page=2>; rel="next"',
        f'<{URL}?page=1>; rel="prev", <{URL}?page=2>; rel="next"; title="x"',
        f"<{URL}?page=2>;rel=next",
        f'<{URL}?page=2>; title="a"; REL="last next"',
        '<?page=2>; rel="next"',
        '</api/v1/ops/projects/p/features?page=2>; rel="next"',
    ],
)
def test_a_link_header_is_followed(link: str) -> None:
    """Its query is the next page's, on the same route."""
    assert following(link=link) == {"page": "2"}


@pytest.mark.parametrize(
    ("envelope", "query"),
    [
        ({"nextLink": f"{URL}?$skip=20"}, {"$skip": "20"}),
        ({"@odata.nextLink": f"{URL}?$skiptoken=x"}, {"$skiptoken": "x"}),
        ({"_links": {"next": {"href": "?page=2"}}}, {"page": "2"}),
        ({"links": {"next": "?page=2"}}, {"page": "2"}),
        ({"nextCursor": "abc"}, {"kind": "a", "cursor": "abc"}),
        ({"next_cursor": 7}, {"kind": "a", "cursor": "7"}),
        ({"endCursor": "abc"}, {"kind": "a", "cursor": "abc"}),
        ({"meta": {"cursor": "abc"}}, {"kind": "a", "cursor": "abc"}),
        ({"nextPage": 2}, {"kind": "a", "page": "2"}),
        ({"nextPageToken": "t"}, {"kind": "a", "pageToken": "t"}),
        ({"continuationToken": "t"}, {"kind": "a", "continuationToken": "t"}),
    ],
)
def test_a_cursor_or_a_link_is_followed(envelope: dict[str, Any], query: dict[str, str]) -> None:
    """A cursor goes into the query beside what was asked, a link's query takes its place."""
    assert following(envelope) == query


@pytest.mark.parametrize(
    ("envelope", "what"),
    [
        ({"total": 132}, "the service says that there are 132 rows, and sent 20"),
        ({"totalCount": 132}, "there are 132 rows, and sent 20"),
        ({"hasMore": True}, "more rows than the 20 that it sent"),
        ({"page": {"hasNextPage": True}}, "more rows than the 20 that it sent"),
        ({"next": "https://elsewhere.example/x?page=2"}, "its next page is elsewhere"),
        ({"next": "/api/v1/ops/projects/other/features?page=2"}, "its next page is elsewhere"),
        ({"next": "https://elsewhere.example/api/v1/ops/projects/p/features?p=2"}, "is elsewhere"),
        ({"next": "https://[x/?page=2"}, "can't be read"),
    ],
)
def test_what_can_not_be_followed_is_said(envelope: dict[str, Any], what: str) -> None:
    """A list that is a part is never taken for the whole, and the key goes nowhere else."""
    said = following(envelope)
    assert isinstance(said, str)
    assert what in said


def test_a_total_counts_the_rows_of_all_pages() -> None:
    """On the last page the rows of those before are there already."""
    assert following({"total": 132}, rows=132) is None
