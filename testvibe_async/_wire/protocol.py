"""What the service's answers mean. Pure: no clock and no I/O.

Decides how a response becomes a value or an error. It never decides what is asked (`endpoints`
does), nor whether to try again (`_http.retry` does).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import field, frozen

from testvibe_async._util import LONGEST, plain
from testvibe_async._wire.convert import read
from testvibe_async._wire.json import UnreadableError
from testvibe_async.errors import (
    ForbiddenError,
    InvalidRequestError,
    MalformedResponseError,
    NotFoundError,
    RateLimitedError,
    ResponseError,
    ServerError,
    UnauthorizedError,
)
from testvibe_async.models import ErrorDocument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testvibe_async._wire.endpoints import Request

__all__ = [
    "Response",
    "decode",
    "is_clear_refusal",
    "malformed",
    "parse_date",
    "raise_for_status",
]

T = TypeVar("T")

MAX_RETRY_AFTER = 1e9
"""The most seconds that a `Retry-After` counts for."""


@frozen
class Response:
    """A response, read to its end and not decoded yet."""

    status: int
    headers: Mapping[str, str]
    """The headers, found by name in any case."""

    body: bytes = field(repr=False)
    url: str
    """Where it came from, without the query."""

    received_at: datetime

    @property
    def date(self) -> datetime | None:
        """When it was answered by the service's clock; None where it does not say."""
        return parse_date(self.headers.get("Date", ""))


_ERRORS: Mapping[int, type[ResponseError]] = {
    400: InvalidRequestError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    429: RateLimitedError,
}


def decode(request: Request[T], response: Response) -> T:
    """Return the value that a success holds; `raise_for_status` comes before.

    Raises:
        MalformedResponseError: It is not the document that it should be.
    """
    try:
        return read(response.body, request.endpoint.answer)
    except UnreadableError as error:
        raise malformed(request, response, *error.problems) from error


def raise_for_status(request: Request[Any], response: Response) -> None:
    """Raise the error that an answer is, unless it is a success.

    Raises:
        ResponseError: The class says which, and what a 409 means is the endpoint's to say.
    """
    if not 200 <= response.status < 300:  # noqa: PLR2004 - what HTTP calls a success
        raise _error(request, response)


def is_clear_refusal(status: int) -> bool:
    """Say whether a status shows that the service did not do what was asked: 300 to 499.

    A success did it, and behind a 5xx it may have been done.
    """
    return 300 <= status < 500  # noqa: PLR2004 - redirections, and errors of the client


def malformed(request: Request[Any], response: Response, *problems: str) -> MalformedResponseError:
    """Return the error for a success whose content is not what was asked for."""
    return MalformedResponseError(
        problems, status=response.status, method=request.method, url=response.url
    )


def _error(request: Request[Any], response: Response) -> ResponseError:
    kind = _ERRORS.get(response.status, ServerError if response.status >= 500 else ResponseError)  # noqa: PLR2004
    if response.status == 409:  # noqa: PLR2004
        kind = request.endpoint.conflict
    code, message = _said(response)
    return kind(
        message,
        status=response.status,
        code=code,
        method=request.method,
        url=response.url,
        retry_after=_retry_after(response),
    )


def _said(response: Response) -> tuple[str | None, str]:
    """Return an error's code and message, from the service's format or what else there is."""
    if 300 <= response.status < 400:  # noqa: PLR2004 - what HTTP calls a redirection
        target = response.headers.get("Location", "nowhere").partition("?")[0]
        return None, f"redirects to {plain(target)}, and redirects are not followed"
    try:
        document = read(response.body, ErrorDocument)
    except UnreadableError:
        excerpt = response.body[: 4 * LONGEST].decode(errors="replace")
        return None, plain(excerpt) or "no body"
    return (plain(document.error) if document.error else None), plain(document.message)


def _retry_after(response: Response) -> float | None:
    """Read `Retry-After`, in seconds or as a date (RFC 9110, section 10.2.3)."""
    value = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value, re.ASCII):
        return min(float(value), MAX_RETRY_AFTER)
    if (date := parse_date(value)) is None:
        return None
    return max(0.0, (date - (response.date or response.received_at)).total_seconds())


def parse_date(value: str) -> datetime | None:
    """Read an HTTP date; None where it can't be read."""
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date
