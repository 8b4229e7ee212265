"""The next page of a list. Pure.

The service's documentation names no pages. This module decides, by a `Link` header and the members
`nextCursor`, `total` and `hasMore`, whether a list is only a part, and how to request the next
part. It requests it on the same server and route, or not at all.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import parse_qsl, urljoin, urlsplit

from attrs import evolve

from testvibe_async._core.util import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testvibe_async._core.wire.endpoints import Request
    from testvibe_async._core.wire.protocol import Response

T = TypeVar("T")

PARTIAL = 206
"""The status of a partial answer (RFC 9110, section 15.3.7)."""


def next_page(
    request: Request[T], response: Response, envelope: Mapping[str, object], *, rows: int
) -> Request[T] | str | None:
    """Return the request for the next page of a list.

    Args:
        request: The request for this page.
        response: The answer.
        envelope: The members around the answer's rows.
        rows: Number of rows so far, including earlier pages.

    Returns:
        The request; the reason why rows are missing that can't be requested; or None if none are
        missing.
    """
    members = {name.casefold(): value for name, value in envelope.items()}
    if link := _link(response.headers.get("Link", "")):
        return _followed(request, response, link)
    if _is_cursor(cursor := members.get("nextcursor")):
        return evolve(request, query={**request.query, "cursor": str(cursor)})
    totals = _totals_in(response)
    if isinstance(total := members.get("total"), int):
        totals.append(total)
    if any(total > rows for total in totals):
        return f"the service says that there are {plain(str(max(totals)))} rows, and sent {rows}"
    if members.get("hasmore") is True:
        return f"the service says that there are more rows than the {rows} that it sent"
    if response.status == PARTIAL and rows not in totals:
        return f"the service says that the {rows} rows that it sent are a part (206)"
    return None


def _totals_in(response: Response) -> list[int]:
    """Return the totals in the headers: `X-Total-Count`, and the number after a range's `/`."""
    last = response.headers.get("Content-Range", "").rpartition("/")[2]
    found = (response.headers.get("X-Total-Count", "").strip(), last.strip())
    return [int(text) for text in found if re.fullmatch(r"[0-9]{1,18}", text)]


def _link(header: str) -> str | None:
    """Return the target of `rel="next"` in a `Link` header (RFC 8288)."""
    for target, parameters in re.findall(r"<([^<>]*)>((?:\s*;[^,<]*)*)", header):
        if re.search(r";\s*rel\s*=\s*\"?([^\";]*\s)?next[\s\";]?", parameters, re.IGNORECASE):
            return cast("str", target)
    return None


def _is_cursor(value: object) -> bool:
    """Return whether a value is a cursor, which the last page lacks."""
    is_scalar = isinstance(value, str | int) and not isinstance(value, bool)
    return is_scalar and value not in {"", 0}


def _followed(request: Request[T], response: Response, link: str) -> Request[T] | str:
    """Return the request for the page that a link leads to, if it is the same call."""
    try:
        here, there = urlsplit(response.url), urlsplit(urljoin(response.url, link))
        query = dict(parse_qsl(there.query, keep_blank_values=True))
    except ValueError:
        return f"the link to its next page can't be read: {plain(link)}"
    # Only the query is taken from the link, so that the key goes to the same place as before.
    if (there.netloc, there.path) != (here.netloc, here.path):
        return f"its next page is elsewhere, and not asked for: {plain(link.partition('?')[0])}"
    return evolve(request, query=query)
