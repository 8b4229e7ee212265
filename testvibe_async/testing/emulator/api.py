"""The site of the API: it turns raw requests into operations.

It decides the order of the checks: the key, then the route, then those of the operation. It never
touches a socket: see `origin`.
"""

from __future__ import annotations

import hmac
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from .answers import Answer, Refusal, not_found, unauthorized
from .call import Call
from .operations import OPERATIONS
from .origin import Exchange
from .project import as_number
from .requests import RecordedRequest, RequestLog
from .routes import Route, find_route

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .service import Service

__all__ = ["Api"]

_LISTS = frozenset({"list_runs", "list_features"})


class Api:
    """The site that answers operations."""

    def __init__(self, service: Service, *, api_key: str, lists: bool, log: RequestLog) -> None:
        """Make the site.

        Args:
            service: What the operations act on.
            api_key: The only key that is valid.
            lists: True if `list_runs` and `list_features` have routes.
            log: The record of the requests.
        """
        self._service = service
        self._authorization = f"bearer {api_key}".encode()
        self._absent = frozenset[str]() if lists else _LISTS
        self._log = log

    def http_date(self) -> str:
        """Return the current time in the format of the `Date` header."""
        return self._service.clock.http_date()

    def receive(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Exchange:
        """Record a request, and find the operation that it asks for."""
        path, _, query_string = target.partition("?")
        query = dict(parse_qsl(query_string, keep_blank_values=True)) if query_string else {}
        route = find_route(method, path)
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
        return Exchange(record, partial(self._act, record, route))

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
            self._authorize(record.headers)
            if route is None:
                raise not_found(f"No operation has the path {record.path}.")
            if route.operation is None:
                return _method_refusal(record.method, route)
            service = self._service
            call = Call(service, route, record.query, record.body, service.clock.now())
            return OPERATIONS[route.operation](call)
        except Refusal as refusal:
            return refusal.answer()

    def _authorize(self, headers: Mapping[str, str]) -> None:
        scheme, _, key = headers.get("Authorization", "").partition(" ")
        given = f"{scheme.casefold()} {key.strip()}".encode("utf-8", "replace")
        if not hmac.compare_digest(given, self._authorization):
            raise unauthorized()


def _method_refusal(method: str, route: Route) -> Answer:
    allowed = ", ".join(route.allowed)
    refusal = Refusal(405, f"{method} is not allowed here, only {allowed}.")
    return refusal.answer(Allow=allowed)
