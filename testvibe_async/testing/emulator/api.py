"""The site of the API: it turns raw requests into operations.

It decides the order of the checks: those of the web server, the key, the route, those that forbid
more than the operations do, then those of the operation. It never touches a socket: see `origin`.
"""

from __future__ import annotations

import hmac
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from .answers import Answer, Refusal, invalid_request, not_found, unauthorized
from .call import Call
from .dialect import Dialect
from .dialect_answers import in_dialect
from .operations import OPERATIONS
from .origin import Exchange
from .project import as_number
from .requests import RecordedRequest, RequestLog
from .strictness import check_body, check_query, require_json_body
from .web_server import WebServer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .routes import Route
    from .service import Service

__all__ = ["Api"]

_LISTS = frozenset({"list_runs", "list_features"})


class Api:
    """The site that answers operations."""

    def __init__(
        self, service: Service, *, api_key: str, lists: bool, strict: bool, log: RequestLog
    ) -> None:
        """Make the site.

        Args:
            service: What the operations act on.
            api_key: The only key that is valid.
            lists: True if `list_runs` and `list_features` have routes.
            strict: True to refuse what the contract does not have in a request.
            log: The record of the requests.
        """
        self._service = service
        self._authorization = f"bearer {api_key}".encode()
        self._absent = frozenset[str]() if lists else _LISTS
        self._strict = strict
        self._log = log
        self._dialect = service.scenario.dialect
        self._differs = self._dialect != Dialect()
        self._web_server = WebServer(self._dialect, service.clock)

    def http_date(self) -> str:
        """Return the current time in the format of the `Date` header."""
        return self._service.clock.http_date()

    def receive(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Exchange:
        """Record a request, and find the operation that it asks for."""
        path, _, query_string = target.partition("?")
        query = dict(parse_qsl(query_string, keep_blank_values=True)) if query_string else {}
        route = self._web_server.find_route(method, path)
        if route is not None and route.operation in self._absent:
            route = None
        record = RecordedRequest(
            operation=None if route is None else route.operation,
            method=method,
            path=path,
            query=query,
            headers=headers,
            body=body,
            at=self._service.clock.now(),
        )
        if route is not None:
            self._resolve(record, route)
        self._log.add(record)
        act = partial(self._act, record, route)
        if not self._differs:
            return Exchange(record, act)
        return Exchange(record, act, partial(in_dialect, dialect=self._dialect, request=record))

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

    def _act(self, record: RecordedRequest, route: Route | None) -> Answer:
        try:
            own = self._web_server.answer(record, route) if self._differs else None
            if own is not None:
                return own
            self._authorize(record.headers)
            if route is None:
                raise not_found(f"No operation has the path {record.path}.")
            if route.operation is None:
                return _method_refusal(record.method, route)
            self._check(record, route.operation)
            service = self._service
            call = Call(service, route, record.query, record.body, service.clock.now())
            return OPERATIONS[route.operation](call)
        except Refusal as refusal:
            return refusal.answer()

    def _check(self, record: RecordedRequest, operation: str) -> None:
        """Refuse what the contract does not have, as far as that is wanted."""
        dialect = self._dialect
        if dialect.requires_json_body:
            require_json_body(record, status=415)
        if dialect.refuses_limit and "limit" in record.query:
            raise invalid_request("The query parameter 'limit' is unknown.")
        if self._strict:
            require_json_body(record, status=400)
            check_query(record, operation, dialect)
            check_body(record, operation)

    def _authorize(self, headers: Mapping[str, str]) -> None:
        scheme, _, key = headers.get("Authorization", "").partition(" ")
        given = f"{scheme.casefold()} {key.strip()}".encode("utf-8", "replace")
        if not hmac.compare_digest(given, self._authorization):
            raise unauthorized()


def _method_refusal(method: str, route: Route) -> Answer:
    allowed = ", ".join(route.allowed)
    refusal = Refusal(405, f"{method} is not allowed here, only {allowed}.")
    return refusal.answer(Allow=allowed)
