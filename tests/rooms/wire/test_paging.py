"""Where the next page of a list is: by a link, a cursor, or nowhere."""

from typing import Any

import pytest
from attrs import evolve

from tests.rooms.wire.documents import URL as PROJECT
from tests.rooms.wire.documents import answer
from testvibe_async._core.wire import Endpoints, Request, next_page

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
        {"nextCursor": "", "total": "132"},
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
    ("link", "what"),
    [
        ("https://elsewhere.example/x?page=2", "its next page is elsewhere"),
        ("/api/v1/ops/projects/other/features?page=2", "its next page is elsewhere"),
        ("https://elsewhere.example/api/v1/ops/projects/p/features?p=2", "is elsewhere"),
        ("https://[x/?page=2", "can't be read"),
    ],
)
def test_what_can_not_be_followed_is_said(link: str, what: str) -> None:
    """The key goes nowhere else."""
    said = following(link=f'<{link}>; rel="next"')
    assert isinstance(said, str)
    assert what in said
