"""The service's operations, and what its answers mean. Pure: no clock and no I/O.

Decides how a call becomes a request, and how a response becomes a value or an error. It never
decides whether to try again; `_policy` does.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast
from urllib.parse import quote, unquote

from attrs import evolve, field, frozen

from testvibe_async._wire import UnreadableError, read
from testvibe_async.errors import (
    ConfigError,
    ConflictError,
    FeatureBusyError,
    FeatureNotGeneratedError,
    ForbiddenError,
    GenerationInProgressError,
    InvalidRequestError,
    MalformedResponseError,
    NotFoundError,
    RateLimitedError,
    ResponseError,
    ServerError,
    UnauthorizedError,
)
from testvibe_async.models import (
    Artifact,
    Config,
    Diagnosis,
    DispatchedGeneration,
    DispatchedRun,
    ErrorDocument,
    Feature,
    Generation,
    GenerationLog,
    ProjectFile,
    ProjectInfo,
    Run,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "API_PATH",
    "ENDPOINTS",
    "Effect",
    "Endpoint",
    "Request",
    "Response",
    "custom_request",
    "decipher",
    "endpoint_overrides",
    "parse_date",
]

T = TypeVar("T")

API_PATH = "/api/v1/ops"
_P = "/projects/{project}"
_F = _P + "/features/{feature}"
_EXCERPT_LENGTH = 200

MAX_RETRY_AFTER = 1e9
"""Seconds: what a longer wish is taken for."""


class Effect(Enum):
    """What a call does at the service."""

    READS = auto()
    """Nothing: it may be repeated at will."""

    DISPATCHES = auto()
    """It starts work. Never repeated unless it provably did not arrive."""

    CHANGES = auto()
    """It changes what is stored. Repeated under the same rule as a dispatch."""


@frozen
class Endpoint(Generic[T]):
    """One operation of the service: a row of the table below."""

    name: str
    method: str
    path: str
    """Below `/api/v1/ops`, with `{placeholders}`."""

    answer: type[T]
    """What a success holds; `NoneType` where there is nothing to read."""

    effect: Effect = Effect.READS
    is_documented: bool = True
    """Whether method and path can be read in the service's documentation, or are assumed."""

    conflict: type[ConflictError] = ConflictError
    """What a 409 means here. It is never told from the message."""

    @property
    def unread(self) -> Endpoint[bytes]:
        """The same operation, whose answer is to be the body as it came."""
        return evolve(cast("Endpoint[bytes]", self), answer=bytes)

    def request(
        self,
        *,
        query: Mapping[str, str | int | None] | None = None,
        body: Mapping[str, object] | None = None,
        **parameters: str | int,
    ) -> Request[T]:
        """Build the request.

        Args:
            query: Query parameters; those that are None are left out.
            body: The JSON object to send; members that are None are left out.
            parameters: A value for each placeholder in the path.

        Raises:
            ConfigError: A parameter can't be part of a path.
        """
        return Request(
            endpoint=self,
            parameters={name: _segment(name, value) for name, value in parameters.items()},
            query={
                name: _utf8(name, str(value))
                for name, value in (query or {}).items()
                if value is not None
            },
            body=None if body is None else {k: v for k, v in body.items() if v is not None},
        )


@frozen
class Request(Generic[T]):
    """A call that is ready to be sent. It holds no key and no host."""

    endpoint: Endpoint[T]
    parameters: Mapping[str, str] = field(factory=dict[str, str])
    """The placeholders' values, percent-encoded, each as one path segment."""

    query: Mapping[str, str] = field(factory=dict[str, str])
    body: Mapping[str, object] | None = None
    patience: float | None = None
    """Seconds that the answer may take; None for as long as the client waits for any."""

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.endpoint.method

    @property
    def path(self) -> str:
        """The path below `/api/v1/ops`, percent-encoded."""
        return self.endpoint.path.format_map(self.parameters)

    @property
    def is_repeatable(self) -> bool:
        """Whether the service may see it twice without harm."""
        return self.endpoint.effect is Effect.READS

    def url(self, server: str) -> str:
        """Return where it goes, without the query."""
        return f"{server}{API_PATH}{self.path}"

    def routed(self, route: Endpoint[Any]) -> Request[T]:
        """Return the same request, sent along the route of another endpoint."""
        endpoint = evolve(self.endpoint, method=route.method, path=route.path)
        return evolve(self, endpoint=endpoint)


@frozen
class Response:
    """What came back, read to its end and not yet judged."""

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


def _segment(name: str, value: str | int) -> str:
    """Encode a value as exactly one path segment."""
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        message = f"{name} must be a name or a number that the service gave, not {value!r}"
        raise ConfigError(message)
    return _quoted(_utf8(name, str(value)))


@lru_cache(maxsize=1024)
def _quoted(text: str) -> str:
    encoded = quote(text, safe="")
    return encoded.replace(".", "%2E") if encoded in {".", ".."} else encoded


def _has_dots(path: str) -> bool:
    """Say whether a path has a segment that would lead elsewhere."""
    return any(unquote(segment) in {".", ".."} for segment in path.split("/"))


def _utf8(name: str, text: str) -> str:
    """Return a text, if it can be sent."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        message = f"{name} {text!r} holds half of a surrogate pair, which has no UTF-8"
        raise ConfigError(message) from error
    return text


LIST_PROJECTS = Endpoint("list_projects", "GET", "/projects", list[ProjectInfo])
GET_PROJECT = Endpoint("get_project", "GET", _P, ProjectInfo, is_documented=False)
LIST_FEATURES = Endpoint("list_features", "GET", _P + "/features", list[Feature])
GET_FEATURE = Endpoint("get_feature", "GET", _F, Feature)
CREATE_FEATURE = Endpoint(
    "create_feature",
    "POST",
    _P + "/features",
    Feature,
    effect=Effect.CHANGES,
    is_documented=False,
)
UPDATE_FEATURE = Endpoint(
    "update_feature", "PATCH", _F, type(None), effect=Effect.CHANGES, conflict=FeatureBusyError
)
DELETE_FEATURE = Endpoint(
    "delete_feature",
    "DELETE",
    _F,
    type(None),
    effect=Effect.CHANGES,
    is_documented=False,
    conflict=FeatureBusyError,
)
GENERATE_FEATURE = Endpoint(
    "generate_feature",
    "POST",
    _F + "/generate",
    DispatchedGeneration,
    effect=Effect.DISPATCHES,
    conflict=GenerationInProgressError,
)
GET_GENERATION_STATUS = Endpoint("get_generation_status", "GET", _F + "/generation", Generation)
GET_GENERATION_LOG = Endpoint("get_generation_log", "GET", _F + "/generation/log", GenerationLog)
CANCEL_GENERATION = Endpoint(
    "cancel_generation",
    "POST",
    _F + "/generation/cancel",
    type(None),
    effect=Effect.CHANGES,
    is_documented=False,
)
RUN_FEATURE = Endpoint(
    "run_feature",
    "POST",
    _F + "/run",
    DispatchedRun,
    effect=Effect.DISPATCHES,
    conflict=FeatureNotGeneratedError,
)
LIST_RUNS = Endpoint("list_runs", "GET", _P + "/runs", list[Run], is_documented=False)
GET_RUN = Endpoint("get_run", "GET", _P + "/runs/{run}", Run)
DIAGNOSE_RUN = Endpoint("diagnose_run", "GET", _P + "/runs/{run}/diagnosis", Diagnosis)
GET_RUN_ARTIFACTS = Endpoint(
    "get_run_artifacts", "GET", _P + "/runs/{run}/artifacts", list[Artifact]
)
LIST_FILES = Endpoint("list_files", "GET", _P + "/files", list[ProjectFile], is_documented=False)
READ_FILE = Endpoint("read_file", "GET", _P + "/files/content", ProjectFile)
WRITE_FILE = Endpoint("write_file", "PUT", _P + "/files/content", type(None), effect=Effect.CHANGES)
LIST_CONFIGS = Endpoint("list_configs", "GET", _P + "/configs", list[Config], is_documented=False)

ENDPOINTS: Mapping[str, Endpoint[Any]] = {
    endpoint.name: endpoint
    for endpoint in (
        LIST_PROJECTS,
        GET_PROJECT,
        LIST_FEATURES,
        GET_FEATURE,
        CREATE_FEATURE,
        UPDATE_FEATURE,
        DELETE_FEATURE,
        GENERATE_FEATURE,
        GET_GENERATION_STATUS,
        GET_GENERATION_LOG,
        CANCEL_GENERATION,
        RUN_FEATURE,
        LIST_RUNS,
        GET_RUN,
        DIAGNOSE_RUN,
        GET_RUN_ARTIFACTS,
        LIST_FILES,
        READ_FILE,
        WRITE_FILE,
        LIST_CONFIGS,
    )
}
"""The 20 operations that are requests. `wait_for_run` and `wait_for_generation` are waits."""

_ERRORS: Mapping[int, type[ResponseError]] = {
    400: InvalidRequestError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    429: RateLimitedError,
}


def decipher(request: Request[T], response: Response) -> T:
    """Return what a success holds.

    Raises:
        ResponseError: The answer is an error, or not the document that it should be.
    """
    if 200 <= response.status < 300:  # noqa: PLR2004 - what HTTP calls a success
        return _success(request, response)
    raise _error(request, response)


def _success(request: Request[T], response: Response) -> T:
    try:
        return read(response.body, request.endpoint.answer)
    except UnreadableError as error:
        raise MalformedResponseError(
            error.problems, status=response.status, method=request.method, url=response.url
        ) from error


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
    """Return the error's code and message, in the service's format or as far as they go."""
    if 300 <= response.status < 400:  # noqa: PLR2004 - what HTTP calls a redirection
        target = response.headers.get("Location", "nowhere").partition("?")[0]
        return None, f"redirects to {_plain(target)}, and redirects are not followed"
    try:
        document = read(response.body, ErrorDocument)
    except UnreadableError:
        excerpt = response.body[: 4 * _EXCERPT_LENGTH].decode(errors="replace")
        return None, _plain(excerpt) or "no body"
    return (_plain(document.error) if document.error else None), _plain(document.message)


def _plain(text: str) -> str:
    """Make text from outside fit for one line of a terminal or a log."""
    printable = "".join(char if char.isprintable() else " " for char in text[: 4 * _EXCERPT_LENGTH])
    return " ".join(printable.split())[:_EXCERPT_LENGTH]


def _retry_after(response: Response) -> float | None:
    """Read `Retry-After`, in seconds or as a date (RFC 9110, section 10.2.3)."""
    value = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value, re.ASCII):
        return min(float(value), MAX_RETRY_AFTER)
    if (date := parse_date(value)) is None:
        return None
    return max(0.0, (date - (response.date or response.received_at)).total_seconds())


def parse_date(value: str) -> datetime | None:
    """Read an HTTP date; None where it is none."""
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date


def custom_request(
    method: str,
    path: str,
    *,
    query: Mapping[str, str | int | None] | None = None,
    body: Mapping[str, object] | None = None,
) -> Request[Any]:
    """Build a request for a route that the table does not have.

    Raises:
        ConfigError: The method is no method, or the path is no path below `/api/v1/ops`.
    """
    if not re.fullmatch(r"[A-Z]+", method):
        message = f"the method must be a word such as 'GET', not {method!r}"
        raise ConfigError(message)
    if not re.fullmatch(r"(/[!-.0->@-z|~]+)+", path) or "#" in path or _has_dots(path):
        message = (
            f"the path must be one below /api/v1/ops, such as '/projects', percent-encoded and "
            f"without a query, not {path!r}"
        )
        raise ConfigError(message)
    effect = Effect.READS if method == "GET" else Effect.CHANGES
    endpoint: Endpoint[Any] = Endpoint("request", method, path, object, effect=effect)
    return endpoint.request(query=query, body=body)


def endpoint_overrides(routes: Mapping[str, str]) -> Mapping[str, Endpoint[Any]]:
    """Return the endpoints that have another route at this service.

    Args:
        routes: For each assumed operation its route, such as
            `{"list_runs": "GET /projects/{project}/history"}`.

    Raises:
        ConfigError: The operation is unknown or documented, or the route is no route.
    """
    return {name: _override(name, route) for name, route in routes.items()}


def _override(name: str, route: str) -> Endpoint[Any]:
    endpoint = ENDPOINTS.get(name)
    if endpoint is None or endpoint.is_documented:
        assumed = ", ".join(row.name for row in ENDPOINTS.values() if not row.is_documented)
        message = f"endpoints: {name!r} is not an operation whose route is assumed ({assumed})"
        raise ConfigError(message)
    method, _, path = route.partition(" ")
    wanted = set(re.findall(r"{\w+}", endpoint.path))
    is_route = re.fullmatch(r"[A-Z]+ (/([\w.~-]+|{\w+}))+", route, re.ASCII)
    if not is_route or _has_dots(path) or set(re.findall(r"{\w+}", path)) != wanted:
        message = (
            f"endpoints: {name!r} needs a method and a path with {' and '.join(sorted(wanted))}, "
            f"such as {endpoint.method + ' ' + endpoint.path!r}, not {route!r}"
        )
        raise ConfigError(message)
    return evolve(endpoint, method=method, path=path)
