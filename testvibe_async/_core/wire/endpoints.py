"""The service's operations: their routes, and the construction of requests. Pure.

Decides which request is sent, to which path, and the meaning of a 409 of each operation. It never
decides the content of an answer; `protocol` does. `openapi.json` describes all operations as a
document, and states for each part whether it is documented or assumed. No request or answer depends
on `openapi.json`.
"""

from __future__ import annotations

import json
import re
from enum import Enum, auto
from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, get_origin
from urllib.parse import quote, unquote

from attrs import Factory, define, evolve, field, frozen

from testvibe_async._core.util import API_PATH
from testvibe_async.errors import (
    ConfigError,
    ConflictError,
    FeatureBusyError,
    FeatureNotGeneratedError,
    GenerationInProgressError,
)
from testvibe_async.models import (
    Artifact,
    Config,
    Diagnosis,
    DispatchedGeneration,
    DispatchedRun,
    Feature,
    Generation,
    GenerationLog,
    Listing,
    ProjectFile,
    ProjectInfo,
    Run,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

MAX_BYTES = 2**20
"""Maximum number of bytes read of an answer: a status, a dispatch or an acknowledgement."""

MAX_BYTES_OF: Mapping[Any, int] = {
    **dict.fromkeys((Feature, Run, Diagnosis, ProjectFile, GenerationLog, object), 4 * 2**20),
    Listing: 64 * 2**20,
}
"""The same for larger answers: the results of many tests, a file, a log; rows.

The service writes files of up to 256 KB.
"""

NO_QUERY: Mapping[str, str] = {}
"""The query of most requests, which share it."""

_METHODS = "GET|POST|PUT|PATCH|DELETE"
_P = "/projects/{project}"
_F = _P + "/features/{feature}"


class Effect(Enum):
    """The effect of a call at the service."""

    READS = auto()
    """No effect: the call may be repeated at will."""

    DISPATCHES = auto()
    """The call starts work. It is never repeated unless it provably had no effect."""

    CHANGES = auto()
    """The call changes stored data. It is repeated under the same rule as a dispatch."""


def _max_bytes(endpoint: Endpoint[Any]) -> int:
    return MAX_BYTES_OF.get(get_origin(endpoint.answer) or endpoint.answer, MAX_BYTES)


def _is_list(endpoint: Endpoint[Any]) -> bool:
    return get_origin(endpoint.answer) is Listing


def _is_read(endpoint: Endpoint[Any]) -> bool:
    return endpoint.effect is Effect.READS


@frozen
class Endpoint(Generic[T]):
    """One operation of the service: a row of the table below."""

    name: str
    method: str
    path: str
    """The path below `/api/v1/ops`, with `{placeholders}`."""

    answer: type[T]
    """The type of a success; `NoneType` if there is nothing to read."""

    effect: Effect = Effect.READS
    is_documented: bool = True
    """True if method and path are in the service's documentation; False if they are assumed."""

    conflict: type[ConflictError] = ConflictError
    """The error for a 409. The message never decides that."""

    max_bytes: int = field(init=False, default=Factory(_max_bytes, takes_self=True))
    """Maximum number of bytes read of a success, on the wire and unpacked."""

    is_list: bool = field(init=False, default=Factory(_is_list, takes_self=True))
    """True if the answer has rows, perhaps on several pages."""

    is_repeatable: bool = field(init=False, default=Factory(_is_read, takes_self=True))
    """True if the service may receive the request twice without harm."""

    @property
    def route(self) -> str:
        """The method and path, such as `GET /projects/{project}/runs`."""
        return f"{self.method} {self.path}"

    def request(
        self,
        *,
        query: Mapping[str, str | int | None] | None = None,
        body: Mapping[str, object] | None = None,
        **parameters: str | int,
    ) -> Request[T]:
        """Build the request.

        Args:
            query: Query parameters; None values are left out.
            body: The JSON object to send; None members are left out. A POST without one sends `{}`.
            parameters: A value for each placeholder in the path.

        Raises:
            ConfigError: A parameter can't be part of a path.
        """
        members = _given(body) if body else body
        return Request(
            endpoint=self,
            path=API_PATH + self.path.format_map(_segments(parameters)),
            query={name: _utf8(name, str(value)) for name, value in _given(query).items()}
            if query
            else NO_QUERY,
            # A POST always has a body, since a service may insist.
            body={} if members is None and self.method == "POST" else members,
        )


@define  # See `Response`.
class Request(Generic[T]):
    """A call that is ready to be sent. It contains no key and no host."""

    endpoint: Endpoint[T]
    path: str
    """The path, percent-encoded."""

    query: Mapping[str, str] = NO_QUERY
    body: Mapping[str, object] | None = None
    timeout: float | None = None
    """Seconds that the answer may take; None for the client's own time-out."""

    is_uncached: bool = False
    """True if the answer must come from the service itself, and not from a cache."""

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.endpoint.method

    @property
    def parameters(self) -> Mapping[str, str]:
        """The placeholders' values, percent-encoded, each as one path segment."""
        places = (API_PATH + self.endpoint.path).split("/")
        pairs = zip(places, self.path.split("/"), strict=True)
        return {place[1:-1]: segment for place, segment in pairs if place.startswith("{")}

    def url(self, server: str) -> str:
        """Return the request's URL, without the query."""
        return server + self.path

    def routed(self, route: Endpoint[Any]) -> Request[T]:
        """Return the same request, sent along the route of another endpoint."""
        endpoint = evolve(self.endpoint, method=route.method, path=route.path)
        path = API_PATH + route.path.format_map(self.parameters)
        return evolve(self, endpoint=endpoint, path=path)


def _segments(values: Mapping[str, object]) -> dict[str, str]:
    """Encode each value as exactly one path segment."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
            raise ConfigError(
                f"{name} must be a name or a number that the service gave, not {value!r}"
            )
    return {
        name: str(value) if type(value) is int else _quoted(name, str(value))
        for name, value in values.items()
    }


@lru_cache(maxsize=1024)
def _quoted(name: str, text: str) -> str:
    encoded = quote(_utf8(name, text), safe="")
    return encoded.replace(".", "%2E") if encoded in {".", ".."} else encoded


def _given(members: Mapping[str, T | None]) -> dict[str, T]:
    """Return the members that are not None."""
    return {name: member for name, member in members.items() if member is not None}


def _has_dots(path: str) -> bool:
    """Return whether a path has a segment that would lead elsewhere."""
    return any(unquote(segment) in {".", ".."} for segment in path.split("/"))


def _utf8(name: str, text: str) -> str:
    """Return a text, if it can be sent."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{name} {text!r} holds half of a surrogate pair, which has no UTF-8"
        ) from error
    return text


class Endpoints:
    """The 20 operations that are requests. `wait_for_run` and `wait_for_generation` are waits."""

    LIST_PROJECTS = Endpoint("list_projects", "GET", "/projects", Listing[ProjectInfo])
    GET_PROJECT = Endpoint("get_project", "GET", _P, ProjectInfo, is_documented=False)
    LIST_FEATURES = Endpoint("list_features", "GET", _P + "/features", Listing[Feature])
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
    GET_GENERATION_LOG = Endpoint(
        "get_generation_log", "GET", _F + "/generation/log", GenerationLog
    )
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
    LIST_RUNS = Endpoint("list_runs", "GET", _P + "/runs", Listing[Run], is_documented=False)
    GET_RUN = Endpoint("get_run", "GET", _P + "/runs/{run}", Run)
    DIAGNOSE_RUN = Endpoint("diagnose_run", "GET", _P + "/runs/{run}/diagnosis", Diagnosis)
    GET_RUN_ARTIFACTS = Endpoint(
        "get_run_artifacts", "GET", _P + "/runs/{run}/artifacts", Listing[Artifact]
    )
    LIST_FILES = Endpoint(
        "list_files", "GET", _P + "/files", Listing[ProjectFile], is_documented=False
    )
    READ_FILE = Endpoint("read_file", "GET", _P + "/files/content", ProjectFile)
    WRITE_FILE = Endpoint(
        "write_file", "PUT", _P + "/files/content", type(None), effect=Effect.CHANGES
    )
    LIST_CONFIGS = Endpoint(
        "list_configs", "GET", _P + "/configs", Listing[Config], is_documented=False
    )


ENDPOINTS: Mapping[str, Endpoint[Any]] = {
    name.lower(): endpoint for name, endpoint in vars(Endpoints).items() if name.isupper()
}
"""The endpoints by name."""


def custom_request(
    method: str,
    path: str,
    *,
    query: Mapping[str, str | int | None] | None = None,
    body: Mapping[str, object] | None = None,
) -> Request[Any]:
    """Build a request for a route that is not in the table.

    Raises:
        ConfigError: The method is not a method, or the path is not a path below `/api/v1/ops`.
    """
    if not re.fullmatch(r"[A-Z]+", method):
        raise ConfigError(f"the method must be a word such as 'GET', not {method!r}")
    if not re.fullmatch(r"(/[!-.0->@-z|~]+)+", path) or "#" in path or _has_dots(path):
        raise ConfigError(
            f"the path must be one below /api/v1/ops, such as '/projects', percent-encoded and "
            f"without a query, not {path!r}"
        )
    effect = Effect.READS if method == "GET" else Effect.CHANGES
    endpoint: Endpoint[Any] = Endpoint("request", method, path, object, effect=effect)
    return endpoint.request(query=query, body=body)


def endpoint_overrides(routes: Mapping[str, str]) -> Mapping[str, Endpoint[Any]]:
    """Return the endpoints that have another route at this service.

    Args:
        routes: The route of each overridden assumed operation, such as
            `{"list_runs": "GET /projects/{project}/history"}`.

    Raises:
        ConfigError: The operation is unknown or documented, or the route is not a route. Or the
            method is not GET for a read, or GET for a change.
    """
    return {name: _override(name, route) for name, route in routes.items()}


def _override(name: str, route: str) -> Endpoint[Any]:
    endpoint = ENDPOINTS.get(name)
    if endpoint is None or endpoint.is_documented:
        assumed = ", ".join(row.name for row in ENDPOINTS.values() if not row.is_documented)
        raise ConfigError(
            f"endpoints: {name!r} is not an operation whose route is assumed ({assumed})"
        )
    method, _, path = str(route).partition(" ")
    wanted = set(re.findall(r"{\w+}", endpoint.path))
    is_route = re.fullmatch(rf"({_METHODS}) (/([\w.~-]+|{{\w+}}))+", str(route), re.ASCII)
    if not is_route or _has_dots(path) or set(re.findall(r"{\w+}", path)) != wanted:
        raise ConfigError(
            f"endpoints: {name!r} needs a method and a path with {' and '.join(sorted(wanted))}, "
            f"such as {endpoint.route!r}, not {route!r}"
        )
    # Reads are polled and retried at will, and a GET is repeated by any part of the network.
    if (method == "GET") != (endpoint.effect is Effect.READS):
        needed = "reads, so its method must be" if method != "GET" else "acts, so it must not be"
        raise ConfigError(f"endpoints: {name!r} {needed} GET: {route!r}")
    return evolve(endpoint, method=method, path=path)


@cache
def openapi_document() -> Mapping[str, Any]:
    """Return the OpenAPI 3.1 document of all operations. It is shared: never change it.

    Each operation, parameter, body, answer, field and link has a member `x-basis`, which is
    `documented` or `assumed`.
    """
    content = files("testvibe_async._core.wire").joinpath("openapi.json").read_bytes()
    return cast("dict[str, Any]", json.loads(content))
