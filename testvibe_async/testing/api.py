"""The two sites: the API, and the artifacts, on an origin of their own.

Decides the order of the checks: middleware, rate, key, route, the checks that forbid more than the
operations do, then the operation's own; and whether a link to an artifact
is valid. The site of artifacts accepts no API key: a client that sends one has leaked it. Neither
touches a socket: see `origin`.
"""

from __future__ import annotations

import hmac
import math
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote

import attrs

from .answers import Answer, Refusal, json_object
from .operations import OPERATIONS, TAKES, Call, Route, find_route
from .origin import Exchange
from .requests import DOWNLOAD, RecordedRequest
from .service import Service, artifact_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .run import Run

LISTS = frozenset({"list_runs", "list_features"})
"""The lists that show operations in flight."""

_UNAUTHORIZED = "A valid API key is required (Authorization: Bearer tvb_…)."
_TYPES = {"trace": "application/zip", "screenshot": "image/png", "report": "text/html"}
_ROUNDING = 1e-9


class Middleware:
    """The part between the clients and the emulated service, such as a gateway.

    This one passes everything on. Override a method to make a service that differs:

    For example::

        class Gateway(Middleware):
            def after(self, request, answer):
                return Answer(answer.status, answer.body, headers={"X-Served-By": "gateway"})
    """

    path_prefix: str = ""
    """The path before `/api/v1/ops`; `Emulator.url` includes it."""

    def inner(self, path: str, query: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
        """Return the raw path and the query as the service gets them."""
        return path.removeprefix(self.path_prefix), query

    def before(self, request: RecordedRequest) -> Answer | None:  # noqa: ARG002
        """Answer a request in place of the service; None to pass it on."""
        return None

    def after(self, request: RecordedRequest, answer: Answer) -> Answer:  # noqa: ARG002
        """Return the answer to send, in place of one of the service, of `before`, or of a fault."""
        return answer


@attrs.define(kw_only=True)
class Api:
    """The site that answers operations."""

    service: Service
    api_key: str
    has_lists: bool
    """True if `list_runs` and `list_features` have routes."""
    is_strict: bool
    """True to refuse what the contract does not have in a request."""
    rate_limit: float | None
    """Requests a second, up to that many at once, and at least one; None for any number."""
    middleware: Middleware
    _free_at: float = attrs.field(default=0.0, init=False)
    """The time at which all slots of the rate are free again, in emulator seconds."""

    def __attrs_post_init__(self) -> None:
        """Refuse a rate that is none."""
        if self.rate_limit is not None and not 0 < self.rate_limit < math.inf:
            raise ValueError(f"rate_limit must be a number above 0, got {self.rate_limit}.")

    def receive(self, record: RecordedRequest) -> Exchange:
        """Find the operation that a request asks for, and the run or feature that it names."""
        path, query = self.middleware.inner(record.path, record.query)
        route = find_route(record.method, path)
        if route is not None and route.operation in LISTS and not self.has_lists:
            route = None
        if route is not None:
            record.operation = route.operation
            self._name_parts(record, route.names)
        act = partial(self._act, record, route, query)
        return Exchange(record, act, partial(self._write, record))

    def _name_parts(self, record: RecordedRequest, names: Mapping[str, str]) -> None:
        """Record the run and the feature that a path names, if they exist."""
        project = self.service.find_project(names.get("project", ""))
        feature = None if project is None else project.find(names.get("feature", ""))
        run = self.service.find_run(names.get("run", ""))
        if run is not None:
            record.run_id, record.feature = run.id, run.feature_name
        elif feature is not None:
            record.feature = feature.name

    def _write(self, record: RecordedRequest, answer: Answer) -> Answer:
        return answer if answer.verbatim else self.middleware.after(record, answer)

    def _act(
        self, record: RecordedRequest, route: Route | None, query: Mapping[str, str]
    ) -> Answer:
        try:
            return self.middleware.before(record) or self._perform(record, route, query)
        except Refusal as refusal:
            return refusal.answer()

    def _perform(
        self, record: RecordedRequest, route: Route | None, query: Mapping[str, str]
    ) -> Answer:
        if self.rate_limit is not None:
            self._take_slot(self.rate_limit)
        self._authorize(record.headers)
        if route is None:
            raise Refusal(404, f"No operation has the path {record.path}.")
        if route.operation is None:
            allowed = ", ".join(route.allowed)
            message = f"{record.method} is not allowed here, only {allowed}."
            raise Refusal(405, message, Allow=allowed)
        if self.is_strict:
            _require_contract(record, route.operation, query)
        call = Call(self.service, route.names, query, record.body, self.service.clock.now())
        return OPERATIONS[route.operation](call)

    def _take_slot(self, rate: float) -> None:
        """Count one request.

        Raises:
            Refusal: 429, with the whole seconds until the next slot.
        """
        now = self.service.clock.now()
        free_at = max(now, self._free_at) + 1 / rate
        wait = free_at - now - max(1.0, rate) / rate
        if wait > _ROUNDING:
            message = f"At most {rate:g} requests a second are served."
            raise Refusal(429, message, **{"Retry-After": f"{math.ceil(wait)}"})
        self._free_at = free_at

    def _authorize(self, headers: Mapping[str, str]) -> None:
        scheme, _, key = headers.get("Authorization", "").partition(" ")
        given = f"{scheme.casefold()} {key.strip()}".encode("utf-8", "replace")
        if not hmac.compare_digest(given, f"bearer {self.api_key}".encode()):
            raise Refusal(401, _UNAUTHORIZED)


def _require_contract(request: RecordedRequest, operation: str, query: Mapping[str, str]) -> None:
    """Refuse what the contract does not have in a request; most services ignore it.

    Raises:
        Refusal: 400; it names the first.
    """
    content_type = request.headers.get("Content-Type", "").partition(";")[0].strip()
    has_json = bool(request.body) and content_type.casefold() == "application/json"
    if request.method == "POST" and not has_json:
        raise Refusal(400, "A POST needs a JSON body, with the Content-Type application/json.")
    is_read = request.method == "GET"
    members = json_object(request.body) if request.body else {}
    for name in query.keys() - (TAKES[operation] if is_read else ()):
        raise Refusal(400, f"The query parameter {name!r} is unknown.")
    for name in members.keys() - (() if is_read else TAKES[operation]):
        raise Refusal(400, f"The field {name!r} of the body is unknown.")


def receive_download(service: Service, record: RecordedRequest) -> Exchange:
    """Find the run whose artifact a request asks for."""
    record.operation, path = DOWNLOAD, unquote(record.path)
    run = service.find_run("".join(path.split("/")[2:3]))
    if run is not None:
        record.run_id, record.feature = run.id, run.feature_name
    return Exchange(record, partial(_download, service, record, path, run), lambda answer: answer)


def _download(service: Service, record: RecordedRequest, path: str, run: Run | None) -> Answer:
    if "Authorization" in record.headers:
        return _plain(400, "This host takes no Authorization header: the key has leaked.")
    if record.method not in {"GET", "HEAD"}:
        return _plain(405, "Only GET and HEAD are allowed here.")
    if not service.links.is_valid(path, record.query):
        return _plain(403, "The signature does not match, or the link has expired.")
    for file in run.artifacts(service.clock.now()) if run else ():
        if run and path == artifact_path(run.id, file.path):
            return Answer(200, file.content, _TYPES[file.kind])
    return _plain(404, "There is no such file.")


def _plain(status: int, text: str) -> Answer:
    return Answer(status, f"{text}\n".encode(), "text/plain; charset=utf-8")
