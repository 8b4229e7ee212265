"""The meaning of the service's answers. Pure: no clock and no I/O.

Decides how a response becomes a value or an error, and which bytes of it are the API key. It never
decides which requests are sent (`endpoints` does), nor whether to retry (`_core.http.retry` does).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define, field

from testvibe_async._core.util import LONGEST, plain
from testvibe_async._core.wire.convert import read
from testvibe_async._core.wire.values import NO_DOCUMENT, UnreadableError, parse, web_page
from testvibe_async.errors import (
    EndpointNotFoundError,
    ForbiddenError,
    IncompleteListError,
    InvalidRequestError,
    MalformedResponseError,
    NotFoundError,
    RateLimitedError,
    ResponseError,
    ServerError,
    UnauthorizedError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testvibe_async._core.wire.endpoints import Request
    from testvibe_async._core.wire.extra import UnreadableField
    from testvibe_async.errors import VibeError

T = TypeVar("T")

ACCEPTED = 202
"""The documented status of an answer to a dispatch."""

SUCCESS = range(200, 300)
"""The statuses that HTTP calls a success."""

MAX_ERROR_BYTES = 2**20
"""Maximum number of bytes that are read of an error's answer."""

LIMITING_CODES = {"rate_limited", "rate_limit_exceeded", "too_many_requests"}
"""The codes of a 403 that has the meaning of a 429."""

_FROM_CACHE = "it comes from a cache on the way"

MIN_KEY_CHARACTERS = 16
"""Minimum length of a key that answers are searched for: a short one may be part of any word."""

REDACTED = "tvb_..."

MAX_RETRY_AFTER = 1e9
"""Maximum seconds of a `Retry-After`; a longer one is reduced to this."""


@define  # Frozen, each would take twice as long to make.
class Response:
    """A response, read to its end and not decoded yet."""

    status: int
    headers: Mapping[str, str]
    """The headers, found by name in any case."""

    body: bytes = field(repr=False)
    url: str
    """The URL of the answer, without the query."""

    received_at: datetime
    body_problem: str | None = None
    """The reason why an error's body was not read; None if it was."""

    @property
    def date(self) -> datetime | None:
        """The service's time of the answer; None if it is not given."""
        return parse_date(self.headers.get("Date", ""))


_ERRORS: Mapping[int, type[ResponseError]] = {
    400: InvalidRequestError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    429: RateLimitedError,
}


def decode(
    request: Request[T], response: Response, *, unreadable: list[UnreadableField] | None = None
) -> T:
    """Return the value in a success; call `raise_for_status` first.

    Args:
        request: The request.
        response: The answer.
        unreadable: Receives the fields that were left out, since they can't be read.

    Raises:
        MalformedResponseError: The answer is not the expected document.
    """
    try:
        return read(response.body, request.endpoint.answer, unreadable=unreadable)
    except UnreadableError as error:
        raise malformed(request, response, *error.problems) from error


def raise_for_status(request: Request[Any], response: Response) -> None:
    """Raise the error that an answer represents, unless it is a success.

    Raises:
        ResponseError: The class depends on the status; the endpoint decides the meaning of a 409.
    """
    if response.status not in SUCCESS:
        raise _error(request, response)


def require_uncached(request: Request[Any], response: Response) -> None:
    """Check that an answer comes from no cache, if the request asked for that.

    Raises:
        MalformedResponseError: It does: its `Age` is the time spent in a cache.
    """
    age = response.headers.get("Age", "0").strip()
    if request.is_uncached and age not in {"", "0"}:
        raise malformed(request, response, f"{_FROM_CACHE} (Age: {plain(age)})")


def is_from_cache(error: ResponseError) -> bool:
    """Return whether `require_uncached` raised an error: another answer may be current."""
    return _has_problem(error, _FROM_CACHE)


def shows_acceptance(error: VibeError) -> bool:
    """Return whether an answer without an id shows that the service executed a dispatch.

    A page or an empty body with another status than the documented one may be a proxy's.
    """
    status = getattr(error, "status", None)
    return status == ACCEPTED if _has_problem(error, *NO_DOCUMENT) else status in SUCCESS


def _has_problem(error: VibeError, *starts: str) -> bool:
    """Return whether a problem of an unreadable answer starts with one of some texts."""
    return isinstance(error, MalformedResponseError) and any(
        problem.startswith(starts) for problem in error.problems
    )


def is_clear_refusal(status: int | None, code: str | None) -> bool:
    """Return whether an answer shows that the service did not execute the request.

    Only its own error body does. A redirect, a proxy's page and a 5xx prove nothing, and neither do
    the statuses that a gateway sends after it has passed a request on.
    """
    if status is None or code is None:
        return False
    return 400 <= status < 500 and status not in {408, 425, 499}  # noqa: PLR2004


def malformed(request: Request[Any], response: Response, *problems: str) -> MalformedResponseError:
    """Return the error for a success whose content is not the requested document."""
    return MalformedResponseError(
        problems, status=response.status, method=request.method, url=response.url
    )


def too_large(request: Request[Any], status: int) -> str:
    """Describe an answer that exceeds the maximum size, and what to do."""
    if status not in SUCCESS:
        return f"it is larger than {_mib(MAX_ERROR_BYTES)}, the most that is read of an error"
    endpoint = request.endpoint
    advice = "check that the server's address is the service's"
    if endpoint.name == "list_runs":
        advice = "ask for fewer of them with a limit"
    return (
        f"it is larger than {_mib(endpoint.max_bytes)}, the most that is read of an answer to "
        f"{endpoint.name}; {advice}"
    )


def _mib(size_bytes: int) -> str:
    return f"{size_bytes // 2**20} MiB"


def incomplete(request: Request[Any], response: Response, problem: str) -> IncompleteListError:
    """Return the error for a list that must not be treated as complete."""
    name = request.endpoint.name
    # The words suit all surfaces: a command has no `list_features`.
    rows = name.removeprefix("list_").removeprefix("get_").replace("_", " ")
    error = IncompleteListError(
        f"the list of {rows} is incomplete: {problem}",
        hint="name the features, and it is not needed" if name == "list_features" else "",
        status=response.status,
        method=request.method,
        url=response.url,
        is_from_service=True,
    )
    error.operation = name
    return error


def _error(request: Request[Any], response: Response) -> ResponseError:
    own_words = _own_words(response)
    code, message = _said(response) if own_words is None else (None, own_words)
    if _lacks_endpoint(request, response.status, code):
        message = _lacking(request)
    asked_seconds = retry_after(response)
    error = _kind_of_error(request, response.status, code, asked_seconds)(
        message,
        headers=response.headers,
        hint=_hint(request, response.status, code),
        status=response.status,
        code=code,
        method=request.method,
        url=response.url,
        retry_after=asked_seconds,
    )
    if own_words is not None:
        error.is_quoted = False
    if isinstance(error, EndpointNotFoundError):
        error.operation, error.route = request.endpoint.name, request.endpoint.route
    return error


def _kind_of_error(
    request: Request[Any], status: int, code: str | None, retry_after: float | None
) -> type[ResponseError]:
    if status == 409:  # noqa: PLR2004
        return request.endpoint.conflict
    if _lacks_endpoint(request, status, code):
        return EndpointNotFoundError
    # The documentation does not say how rates are limited. A 403 with a time to retry can only be a
    # rate limit.
    if status == 403 and (retry_after is not None or code in LIMITING_CODES):  # noqa: PLR2004
        return RateLimitedError
    return _ERRORS.get(status, ServerError if status >= 500 else ResponseError)  # noqa: PLR2004


def _lacks_endpoint(request: Request[Any], status: int, code: str | None) -> bool:
    """Return whether the server, and not the service, answers that there is no such call.

    The service's own refusals have a code.
    """
    return not request.endpoint.is_documented and code is None and status in {404, 405}


def _lacking(request: Request[Any]) -> str:
    """Describe the route that the service lacks."""
    route = request.endpoint.route
    return f"this service has nothing at {route}, a route that is assumed, not documented"


def _hint(request: Request[Any], status: int, code: str | None) -> str:
    """Return what an error most likely means, where its message can't know it."""
    if status not in {404, 405}:
        return ""
    if _lacks_endpoint(request, status, code):
        # A repository must not decide what a key changes: its file may name routes of reads alone.
        file = (
            ".testvibe-async.toml" if request.endpoint.is_repeatable else "your own settings file"
        )
        endpoint = request.endpoint
        route = f"{endpoint.name} = '{endpoint.method} /…'"
        return f"put {route} under [endpoints] in {file}"
    if request.endpoint.name == "list_features":
        return (
            "either there is no project of that id, or this service has no list of features: then "
            "name them"
        )
    if "%2F" in request.path:
        return "some servers take the / in a name for a part of the path: use the id instead"
    return "check the server's address, as this is not its own answer" if code is None else ""


def _own_words(response: Response) -> str | None:
    """Describe an error without a text to quote; None if it has one."""
    if 300 <= response.status < 400:  # noqa: PLR2004 - what HTTP calls a redirection
        target = response.headers.get("Location", "nowhere").partition("?")[0]
        return f"it redirects to {plain(target)}, which is not followed: the key would go along"
    if response.body_problem is not None:
        return f"the rest of the answer was not read: {response.body_problem}"
    if not response.body.strip():
        return "the answer has no body"
    page = web_page(response.body)
    return None if page is None else f"the answer is {page}"


def _said(response: Response) -> tuple[str | None, str]:
    """Return an error's code and message, from the service's format or any other."""
    try:
        document = parse(response.body)
    except UnreadableError:
        return None, plain(response.body[: 4 * LONGEST].decode(errors="replace"))
    if isinstance(document, str):
        return None, plain(document)
    code, message = _code_and_message(document)
    return (plain(code) or None), (
        plain(message) or plain(response.body[: 4 * LONGEST].decode(errors="replace"))
    )


def _code_and_message(document: object) -> tuple[str, str]:
    """Find the code and the message in an error's document; empty if there is none.

    The service's form is `{"error": "<code>", "message": "<text>"}`. Other frameworks' own errors
    have other forms: both members in an object, in capitals, or as `title` and `detail` (RFC 9457).
    """
    if not isinstance(document, dict):
        return "", ""
    members = {
        str(name).casefold(): value for name, value in cast("dict[str, object]", document).items()
    }
    if isinstance(members.get("error"), dict):
        code, message = _code_and_message(members["error"])
        return code, message
    texts = [_text_of(members, name) for name in ("message", "title", "detail")]
    code = _text_of(members, "error") or _text_of(members, "code")
    return code, ": ".join(dict.fromkeys(filter(None, texts)))


def _text_of(members: Mapping[str, object], name: str) -> str:
    value = members.get(name)
    return value if isinstance(value, str) else ""


def retry_after(response: Response) -> float | None:
    """Read `Retry-After`, in seconds or as a date (RFC 9110, section 10.2.3)."""
    value = response.headers.get("Retry-After", "").strip()
    if not value:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", value, re.ASCII):
        return min(float(value), MAX_RETRY_AFTER)
    if (date := parse_date(value)) is None:
        return None
    return max(0.0, (date - (response.date or response.received_at)).total_seconds())


def parse_date(value: str) -> datetime | None:
    """Read an HTTP date; None if it can't be read."""
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date


_ESCAPE = re.compile(rb"\\u00[2-7]|%[2-7][0-9A-Fa-f]|&#")
"""An escape of JSON, of a link or of a page, for a character that a key may have."""


def _spellings(char: int) -> bytes:
    """Return a pattern for one character of a key, plain or escaped."""
    plain_form = re.escape(bytes([char]))
    # The pattern ignores case for the digits of escapes; the key itself does not.
    return rb"(?:(?-i:%b)|\\u00%02x|%%%02x|&#0*%d;|&#x0*%02x;)" % (
        plain_form,
        char,
        char,
        char,
        char,
    )


class Redactor:
    """Removes the API key from answers before decoding, so that no decoded value contains it.

    A key may be spelled with the escapes of JSON, links or pages. Usual writers escape none of the
    letters, digits and `_` of a key, so only an answer with such an escape is searched for them,
    and only one of up to 1 MiB, as those are that an error quotes.
    """

    def __init__(self, key: str) -> None:
        self._key = key.encode() if len(key) >= MIN_KEY_CHARACTERS else b""
        self._spelled = re.compile(b"".join(map(_spellings, self._key)), re.IGNORECASE)

    def redact(self, body: bytes) -> bytes:
        """Return a body with `tvb_...` in place of the key."""
        if not self._key:
            return body
        body = body.replace(self._key, REDACTED.encode())
        if len(body) > MAX_ERROR_BYTES or not _ESCAPE.search(body):
            return body
        return self._spelled.sub(REDACTED.encode(), body)

    def redact_text(self, text: str) -> str:
        """Return a text with `tvb_...` in place of the key."""
        return self.redact(text.encode(errors="surrogateescape")).decode(errors="surrogateescape")
