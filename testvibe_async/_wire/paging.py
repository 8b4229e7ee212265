"""The next page of a list. Pure.

The service's documentation names no pages. This module decides, by the usual signs of other
services, whether a list is only a part, and how to request the next part. It requests it on the
same server and route, or not at all.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import parse_qsl, urljoin, urlsplit

from attrs import evolve

from testvibe_async._util import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from testvibe_async._wire.endpoints import Request
    from testvibe_async._wire.protocol import Response

T = TypeVar("T")

MORE = {"hasmore", "hasnext", "hasnextpage", "morerows", "istruncated", "truncated"}
"""Members whose value `true` means that there are more rows, in lower case."""


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
    members = dict(_members(envelope))
    for link in (_link(response.headers.get("Link", "")), *_links(members)):
        if link:
            return _followed(request, response, link)
    for name, value in members.items():
        if (parameter := _parameter(name)) and _is_cursor(value):
            return evolve(request, query={**request.query, parameter: str(value)})
    totals = [
        value
        for name, value in members.items()
        if name.startswith("total") and isinstance(value, int) and "page" not in name
    ]
    totals += _totals_in(response)
    if any(total > rows for total in totals):
        return f"the service says that there are {plain(str(max(totals)))} rows, and sent {rows}"
    if any(value is True for name, value in members.items() if name in MORE):
        return f"the service says that there are more rows than the {rows} that it sent"
    if response.status == PARTIAL and rows not in totals:
        return f"the service says that the {rows} rows that it sent are a part (206)"
    return None


def _totals_in(response: Response) -> list[int]:
    """Return the totals in the headers: `X-Total-Count`, and the number after a range's `/`."""
    last = response.headers.get("Content-Range", "").rpartition("/")[2]
    found = (response.headers.get("X-Total-Count", "").strip(), last.strip())
    return [int(text) for text in found if re.fullmatch(r"[0-9]{1,18}", text)]


def _members(envelope: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Iterate over the members around the rows, also one level down, by simplified names."""
    for name, value in envelope.items():
        yield _simplified(name), value
        if isinstance(value, dict):
            for inner, member in cast("dict[str, object]", value).items():
                yield _simplified(inner), member


def _simplified(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold()).removeprefix("odata")


def _link(header: str) -> str | None:
    """Return the target of `rel="next"` in a `Link` header (RFC 8288)."""
    for target, parameters in re.findall(r"<([^<>]*)>((?:\s*;[^,<]*)*)", header):
        if re.search(r";\s*rel\s*=\s*\"?([^\";]*\s)?next[\s\";]?", parameters, re.IGNORECASE):
            return cast("str", target)
    return None


def _links(members: Mapping[str, object]) -> Iterator[str]:
    """Iterate over the members that hold the address of the next page."""
    for name, value in members.items():
        if name.startswith("next"):
            text = cast("dict[str, Any]", value).get("href") if isinstance(value, dict) else value
            if isinstance(text, str) and re.match(r"https?://|[/?]", text):
                yield text


def _parameter(name: str) -> str | None:
    """Return the query parameter that takes the value of a member: `nextCursor` goes to `cursor`.

    Names of two words are spelled as such services spell them.
    """
    if name.startswith("next") or name.endswith("cursor") or name == "continuationtoken":
        bare = name.removeprefix("next").removeprefix("end") or "cursor"
        return {"pagetoken": "pageToken", "continuationtoken": "continuationToken"}.get(bare, bare)
    return None


def _is_cursor(value: object) -> bool:
    """Return whether a value can be a cursor or page number, which the last page lacks."""
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
