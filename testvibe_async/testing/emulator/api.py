"""The site of the API: it turns raw requests into operations.

It decides the order of the checks: those of a middleware, the rate, the key, the route, those that
forbid more than the operations do, then those of the operation. It never touches a socket: see
`origin`.
"""

from __future__ import annotations

import hmac
import math
from functools import partial
from typing import TYPE_CHECKING

from .answers import Answer, Refusal, json_object
from .operations import OPERATIONS, TAKES, Call, Route, find_route
from .origin import Exchange
from .project import as_number
from .requests import RecordedRequest, RequestLog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .scenario import EmulatorClock
    from .service import Service

__all__ = ["Api", "Middleware"]

_LISTS = frozenset({"list_runs", "list_features"})
_UNAUTHORIZED = "A valid API key is required (Authorization: Bearer tvb_…)."
_ROUNDING = 1e-9


class Middleware:
    """The part between the clients and the emulated service, such as a gateway.

    This one passes everything on. Override a method to make a service that differs:

    ```python
    class Gateway(Middleware):
        def after(self, request, answer):
            return Answer(answer.status, answer.body, headers={"X-Served-By": "gateway"})
    ```
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
        """Make it; a rate of None serves everything."""
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
            service: What the operations act on.
            api_key: The only key that is valid.
            lists: True if `list_runs` and `list_features` have routes.
            strict: True to refuse what the contract does not have in a request.
            rate_limit: Requests a second that are served. None: any number.
            middleware: What stands before the service. None: nothing.
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
