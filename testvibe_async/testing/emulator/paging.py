"""The pages of a list: which rows one has, and how it says that there are more.

Pure. A cursor is the number of rows before its page, so that rows which are added meanwhile can
come twice, as in many a real service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

import attrs

from .answers import invalid_request
from .project import as_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .dialect import Dialect
    from .requests import RecordedRequest

__all__ = ["DEFAULT_LIMIT", "Page", "page_of"]

DEFAULT_LIMIT = 50
"""Most rows of a list without pages where the query has no `limit`."""
_CURSOR = "after-"


@attrs.frozen
class Page:
    """One page, as it is sent."""

    document: object
    headers: Mapping[str, str]


def page_of(rows: list[object], dialect: Dialect, request: RecordedRequest) -> Page:
    """Return the page of a list that a request asks for.

    Args:
        rows: All rows, in the order of the list.
        dialect: A dialect that has pages.
        request: The request; its `cursor` and `limit` count.

    Raises:
        Refusal: 400, for a cursor that no page had.
    """
    start = _start(request.query.get("cursor")) if dialect.follows_cursors else 0
    limit = as_number(request.query.get("limit", "")) or dialect.page_size
    end = start + min(limit, dialect.page_size)
    page = rows[start:end]
    cursor = f"{_CURSOR}{end}" if end < len(rows) else None
    url = None if cursor is None else _url(request, cursor)
    headers: dict[str, str] = {}
    match dialect.paging:
        case "cursor":
            return Page({"items": page, "nextCursor": cursor}, headers)
        case "next_link":
            return Page({"value": page, "nextLink": url}, headers)
        case "has_more":
            return Page({"items": page, "hasMore": cursor is not None}, headers)
        case "total":
            return Page({"items": page, "total": len(rows)}, headers)
        case _:
            return Page(page, headers if url is None else {"Link": f'<{url}>; rel="next"'})


def _start(cursor: str | None) -> int:
    if cursor is None:
        return 0
    start = as_number(cursor.removeprefix(_CURSOR)) if cursor.startswith(_CURSOR) else None
    if start is None:
        raise invalid_request(f"No page has the cursor {cursor!r}.")
    return start


def _url(request: RecordedRequest, cursor: str) -> str:
    """Return the URL of a page on the host that the client has asked, which may be a proxy."""
    query = urlencode({**request.query, "cursor": cursor})
    return f"http://{request.headers['Host']}{request.path}?{query}"
