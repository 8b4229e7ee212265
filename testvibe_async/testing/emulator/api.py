"""The two sites: that of the API, and that of artifacts, on an origin of its own.

Decides the order of the checks: those of a middleware, the rate, the key, the route, those that
forbid more than the operations do, then those of the operation; and whether a link to an artifact
is valid, and which bytes of the file are sent. That site accepts no API key: a client that sends
one has leaked it. Neither touches a socket: see `origin`.
"""

from __future__ import annotations

import hmac
import math
import re
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import unquote

from .answers import Answer, Refusal, json_object
from .artifacts import artifact_path
from .operations import OPERATIONS, TAKES, Call, Route, find_route
from .origin import Exchange
from .project import as_number
from .requests import DOWNLOAD, RecordedRequest, RequestLog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .run import Run
    from .scenario import EmulatorClock
    from .service import Service

__all__ = ["Api", "ArtifactSite", "Middleware"]

_LISTS = frozenset({"list_runs", "list_features"})
_UNAUTHORIZED = "A valid API key is required (Authorization: Bearer tvb_…)."
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
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
        """Return an answer as it is sent: one of the service, of `before`, or of a fault."""
        return answer


class Throttle:
    """A rate of requests, up to one second's worth of them at once, and at least one."""

    def __init__(self, rate: float | None, clock: EmulatorClock) -> None:
        """Create it; a rate of None serves everything."""
        if rate is not None and not 0 < rate < math.inf:
            raise ValueError(f"rate_limit must be a number above 0, got {rate}.")
        self._rate = rate
        self._clock = clock
        self._left, self._left_at = max(1.0, rate or 1.0), 0.0

    def require_slot(self) -> None:
        """Count one request.

        Raises:
            Refusal: 429, with the whole seconds until the next slot.
        """
        if self._rate is None:
            return
        now = self._clock.now()
        gained = (now - self._left_at) * self._rate
        self._left, self._left_at = min(max(1.0, self._rate), self._left + gained), now
        if self._left < 1 - _ROUNDING:
            wait = math.ceil((1 - self._left) / self._rate)
            message = f"At most {self._rate:g} requests a second are served."
            raise Refusal(429, message, **{"Retry-After": f"{wait}"})
        self._left -= 1


class Api:
    """The site that answers operations."""

    def __init__(  # noqa: PLR0913 - each by name
        self,
        service: Service,
        *,
        api_key: str,
        lists: bool,
        strict: bool,
        rate_limit: float | None,
        middleware: Middleware | None,
        log: RequestLog,
    ) -> None:
        """Make the site.

        Args:
            service: The service that the operations act on.
            api_key: The only key that is valid.
            lists: True if `list_runs` and `list_features` have routes.
            strict: True to refuse what the contract does not have in a request.
            rate_limit: Requests a second that are served. None: any number.
            middleware: A layer between the clients and the service; None for none.
            log: The record of the requests.
        """
        self._service = service
        self._authorization = f"bearer {api_key}".encode()
        self._absent = frozenset[str]() if lists else _LISTS
        self._strict = strict
        self._throttle = Throttle(rate_limit, service.clock)
        self._middleware = middleware
        self._log = log

    def http_date(self) -> str:
        """Return the current time in the format of the `Date` header."""
        return self._service.clock.http_date()

    def receive(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Exchange:
        """Record a request, and find the operation that it asks for."""
        record = RecordedRequest.of(method, target, headers, body, at=self._service.clock.now())
        inner_path, inner_query = record.path, record.query
        if self._middleware is not None:
            inner_path, inner_query = self._middleware.inner(inner_path, inner_query)
        route = find_route(method, inner_path)
        if route is not None and route.operation not in self._absent:
            record.operation = route.operation
            self._resolve(record, route)
        else:
            route = None
        self._log.add(record)
        act = partial(self._act, record, route, inner_query)
        return Exchange(record, act, partial(self._write, record))

    def _write(self, record: RecordedRequest, answer: Answer) -> Answer:
        if self._middleware is None or answer.verbatim:
            return answer
        return self._middleware.after(record, answer)

    def _resolve(self, record: RecordedRequest, route: Route) -> None:
        """Record the run and the feature that the path names, if they exist."""
        project = self._service.projects.get((route.project or "").casefold())
        if project is None:
            return
        feature = project.find(route.feature) if route.feature is not None else None
        run = self._service.runs.get(as_number(route.run or "") or 0)
        if run is not None:
            record.run_id, record.feature = run.id, run.feature_name
        elif feature is not None:
            record.feature = feature.name

    def _act(
        self, record: RecordedRequest, route: Route | None, query: Mapping[str, str]
    ) -> Answer:
        own = None if self._middleware is None else self._middleware.before(record)
        if own is not None:
            return own
        try:
            return self._perform(record, route, query)
        except Refusal as refusal:
            return refusal.answer()

    def _perform(
        self, record: RecordedRequest, route: Route | None, query: Mapping[str, str]
    ) -> Answer:
        self._throttle.require_slot()
        self._authorize(record.headers)
        if route is None:
            raise Refusal(404, f"No operation has the path {record.path}.")
        if route.operation is None:
            allowed = ", ".join(route.allowed)
            message = f"{record.method} is not allowed here, only {allowed}."
            raise Refusal(405, message, Allow=allowed)
        if self._strict:
            _require_contract(record, route.operation, query)
        service = self._service
        call = Call(service, route, query, record.body, service.clock.now())
        return OPERATIONS[route.operation](call)

    def _authorize(self, headers: Mapping[str, str]) -> None:
        scheme, _, key = headers.get("Authorization", "").partition(" ")
        given = f"{scheme.casefold()} {key.strip()}".encode("utf-8", "replace")
        if not hmac.compare_digest(given, self._authorization):
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


class ArtifactSite:
    """The site that serves artifacts."""

    def __init__(self, service: Service, *, log: RequestLog) -> None:
        """Make the site.

        Args:
            service: The state with the runs and the links.
            log: The record of the requests.
        """
        self._service = service
        self._log = log

    def http_date(self) -> str:
        """Return the current time in the format of the `Date` header."""
        return self._service.clock.http_date()

    def receive(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Exchange:
        """Record a request."""
        record = RecordedRequest.of(method, target, headers, body, at=self._service.clock.now())
        record.operation, path = DOWNLOAD, unquote(record.path)
        run = self._run(path)
        if run is not None:
            record.run_id, record.feature = run.id, run.feature_name
        self._log.add(record)
        return Exchange(record, partial(self._act, record, path, run))

    def _act(self, record: RecordedRequest, path: str, run: Run | None) -> Answer:
        if "Authorization" in record.headers:
            return _plain(400, "This host takes no Authorization header: the key has leaked.")
        if record.method not in {"GET", "HEAD"}:
            return _plain(405, "Only GET and HEAD are allowed here.")
        if not self._service.links.is_valid(path, record.query):
            return _plain(403, "The signature does not match, or the link has expired.")
        files = [] if run is None else run.artifacts(self._service.clock.now())
        for file in files:
            if run is not None and path == artifact_path(run.id, file.path):
                return _serve(file.content, _TYPES[file.kind], record.headers)
        return _plain(404, "There is no such file.")

    def _run(self, path: str) -> Run | None:
        number = as_number("".join(path.split("/")[2:3]))
        return None if number is None else self._service.runs.get(number)


def _serve(content: bytes, content_type: str, headers: Mapping[str, str]) -> Answer:
    tag = f'"{sha256(content).hexdigest()[:16]}"'
    common = {"Accept-Ranges": "bytes", "ETag": tag}
    wanted = headers.get("Range", "") if headers.get("If-Range", tag) == tag else ""
    span = _span(wanted, len(content))
    if span is None:
        return Answer(200, content, content_type, common)
    if not span:
        unsatisfied = {"Content-Range": f"bytes */{len(content)}"}
        return Answer(416, b"", "text/plain", common | unsatisfied)
    part = {"Content-Range": f"bytes {span.start}-{span.stop - 1}/{len(content)}"}
    return Answer(206, content[span.start : span.stop], content_type, common | part)


def _span(wanted: str, size: int) -> range | None:
    """Return the bytes that a `Range` header asks for.

    Returns:
        An empty range if the file has no such bytes; None if the header is to be ignored.
    """
    match = _RANGE.fullmatch(wanted)
    if match is None or wanted == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    return range(min(int(first), size), min(int(last) + 1, size) if last else size)


def _plain(status: int, text: str) -> Answer:
    return Answer(status, f"{text}\n".encode(), "text/plain; charset=utf-8")
