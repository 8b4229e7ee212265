"""Reading all pages of a list, if the service splits it.

Decides when to stop: at the last page, at the requested limit, or if a page is not available. In
the last case, the list reports that it is incomplete. `_core.wire.paging` finds the next page.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from testvibe_async._core.wire import next_page
from testvibe_async.errors import RateLimitedError, ResponseError, ServerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from testvibe_async._core.wire import Request, Response
    from testvibe_async.models import Listing

MAX_PAGES = 1000
"""Maximum number of pages of one list."""

MAX_SECONDS = 120.0
"""Maximum seconds for requesting pages of one list; the last request may take longer."""


async def read_pages(
    listing: Listing[Any],
    request: Request[Listing[Any]],
    response: Response,
    *,
    read: Callable[[Request[Listing[Any]]], Awaitable[tuple[Response, Listing[Any]]]],
) -> str | None:
    """Add the rows of all further pages to the first page.

    Args:
        listing: The first page; rows are added to it, up to the requested `limit`.
        request: The request for the first page.
        response: The answer that holds the first page.
        read: Requests another page.

    Returns:
        The reason why rows are missing; None if none are.

    Raises:
        TransportError, ServerError, RateLimitedError: A page is not available now.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + MAX_SECONDS
    limit = int(request.query.get("limit", 0))
    faults, page = list(listing.unreadable), listing
    before: list[Any] = listing[:]
    pages = 1
    while following := next_page(request, response, page.extra, rows=len(listing)):
        if isinstance(following, str):
            return following
        if limit and len(listing) >= limit:
            del listing[limit:]
            return f"there are more rows than the {limit} that were asked for"
        if pages == MAX_PAGES or loop.time() > until:
            return f"it has more than {pages} pages"
        try:
            response, page = await read(following)
        except (ServerError, RateLimitedError):
            raise
        except ResponseError as error:
            return f"its next page can't be read: {error}"
        if page == before:
            return "its next page is the same again"
        listing.extend(page)
        faults.extend(page.unreadable)
        request, before, pages = following, page, pages + 1
    return f"{len(faults)} of its rows can't be read: {faults[0]}" if faults else None
