"""How an emulated service differs from the documented one: a middleware for our own tests.

Each field of `Dialect` is one difference, and its default is the documented service. `DIALECTS` has
one of each family that is likely: each form of a time, an id or an error is a row of `rooms/wire`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlencode

from attrs import field, frozen

from tests.support.dialects.writing import ODD, login_page, written
from testvibe_async._core.wire import openapi_document
from testvibe_async.testing import Answer, Middleware, RecordedRequest
from testvibe_async.testing.answers import JSON_TYPE, Refusal
from testvibe_async.testing.operations import find_route

ASSUMED = {
    definition["operationId"]
    for methods in openapi_document()["paths"].values()
    for method, definition in methods.items()
    if method != "parameters" and definition["x-basis"] == "assumed"
}
_LOGIN = "/account/login"
_ALL = str(10**9)

UNROUTED = Answer(404, b"", content_type="")
"""The answer to a route that is not there."""


@frozen(kw_only=True)
class Dialect(Middleware):
    """How a service differs; the defaults do not. The fields can be combined."""

    paging: Literal["link", "cursor", "has_more", "total"] | None = None
    """How lists are paged. None: each is one bare array.

    - `link`: bare arrays, with a header `Link: <URL>; rel="next"`;
    - `cursor`: `{"items": […], "nextCursor": "…"}`, to be sent back as `?cursor=`;
    - `has_more`: `{"items": […], "hasMore": true}`: the next page can't be asked for;
    - `total`: `{"items": […], "total": 57}`: nor can it here.
    """
    page_size: int = 20
    oldest_first: bool = False
    """True if runs are listed in the order of their dispatch, so that a `limit` cuts the newest."""
    refuses_limit: bool = False
    case: Literal["lower", "title"] = "lower"
    """How words are spelled: `in_progress`, or `InProgress`."""
    words: Mapping[str, str] = field(factory=dict[str, str])
    """Other words for documented statuses and conclusions; those of single tests stay."""
    shows_end: bool = True
    """False if `finishedUtc` and `overallConclusion` stay null."""
    ids_as_text: bool = False
    dispatch_shape: Literal["flat", "data", "kind"] = "flat"
    """Where a dispatch has its ids: at the top; in `{"data": {…}}`; or in `{"run": {…}}`."""
    dispatch_status: int = 202
    dispatch_lag: float = 0.0
    """Seconds for which what was dispatched is answered with 404."""
    times: Literal["seconds", "seven_digits", "empty"] = "seconds"
    odd_fields: frozenset[str] = frozenset()
    """Optional fields of another type than the documented one: some of `ODD`."""
    errors: Literal["code", "problem", "iis"] = "code"
    rate_limit: float | None = None
    """Requests a second that are served; an option of the emulator."""
    rate_limit_answer: Literal["429", "403_retry_after"] = "429"
    path_prefix: str = ""
    """The path before `/api/v1/ops`."""
    decodes_slashes: bool = False
    """True if `%2F` is a slash to the routes."""
    adds_slash: bool = False
    """True if a path without a slash at its end is redirected to the one with it."""
    login: Literal["page", "redirect"] | None = None
    """How each request is sent to a login form."""
    assumed_routes: Literal["present", "404"] = "present"
    content_type: str = JSON_TYPE

    @property
    def options(self) -> dict[str, Any]:
        """The options of an emulator that differs so."""
        limit = self.rate_limit
        return {"middleware": self, "rate_limit": limit, "dispatch_lag": self.dispatch_lag}

    @property
    def cuts_lists(self) -> bool:
        """True if a list is cut as it is written, so that the operation has to return all rows."""
        return self.paging is not None or self.oldest_first

    @property
    def follows_cursors(self) -> bool:
        """True if the query parameter `cursor` asks for a later page."""
        return self.paging in {"link", "cursor"}

    def inner(self, path: str, query: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
        if not path.startswith(f"{self.path_prefix}/"):
            return "", query
        path = path.removeprefix(self.path_prefix)
        if self.adds_slash:
            path = path.removesuffix("/")
        if self.decodes_slashes:
            path = path.replace("%2F", "/").replace("%2f", "/")
        if self.follows_cursors:
            query = {name: value for name, value in query.items() if name != "cursor"}
        if self.cuts_lists and path.endswith("/runs"):
            query = {**query, "limit": _ALL}
        return path, query

    def before(self, request: RecordedRequest) -> Answer | None:
        if not request.path.startswith(f"{self.path_prefix}/"):
            return UNROUTED
        if self.login is not None:
            return self._login(request)
        if self.adds_slash and not request.path.endswith("/"):
            query = f"?{urlencode(request.query)}" if request.query else ""
            return _redirect(308, f"{request.path}/{query}")
        return self._refusal(request) or self._unrouted(request)

    def _refusal(self, request: RecordedRequest) -> Answer | None:
        if self.refuses_limit and "limit" in request.query:
            return Refusal(400, "The query parameter 'limit' is unknown.").answer()
        return None

    def _unrouted(self, request: RecordedRequest) -> Answer | None:
        route = find_route(request.method, self.inner(request.path, {})[0])
        if route is None and self.decodes_slashes and "%2f" in request.path.casefold():
            return UNROUTED
        if route and route.operation in ASSUMED and self.assumed_routes != "present":
            return UNROUTED
        return None

    def after(self, request: RecordedRequest, answer: Answer) -> Answer:
        return written(answer, self, request)

    def _login(self, request: RecordedRequest) -> Answer:
        page = f"{self.path_prefix}{_LOGIN}"
        if self.login == "page" or request.path == page:
            return login_page()
        return _redirect(302, f"{page}?{urlencode({'ReturnUrl': request.path})}")


def _redirect(status: int, location: str) -> Answer:
    return Answer(status, b"", content_type="", headers={"Location": location})


_END_WORDS = {
    "passed": "ready",
    "failed": "timed_out",
    "generated": "ready",
    "cancelled": "stopped",
    "success": "fine",
    "failure": "broken",
}

DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        # Lists. A page of 5 rows, so that those of the shop have several.
        "paged-by-link": Dialect(paging="link", page_size=5),
        "paged-by-cursor": Dialect(paging="cursor", page_size=5),
        "cut-with-has-more": Dialect(paging="has_more", page_size=5),
        "cut-with-total": Dialect(paging="total", page_size=5),
        "oldest-first": Dialect(oldest_first=True),
        "limit-refused": Dialect(refuses_limit=True),
        # Words.
        "title-case": Dialect(case="title"),
        "other-end-words": Dialect(words=_END_WORDS),
        "other-end-words-alone": Dialect(words=_END_WORDS | {"completed": "done"}, shows_end=False),
        # Ids, and the answer to a dispatch.
        "ids-as-text": Dialect(ids_as_text=True),
        "dispatch-in-data": Dialect(dispatch_shape="data"),
        "dispatch-by-kind": Dialect(dispatch_shape="kind"),
        "dispatch-200": Dialect(dispatch_status=200),
        "dispatch-lag": Dialect(dispatch_lag=4.0),
        # Times, and fields of another type.
        "times-with-seven-digits": Dialect(times="seven_digits"),
        "times-empty": Dialect(times="empty"),
        "odd-fields": Dialect(odd_fields=frozenset(ODD)),
        # Errors and limits.
        "errors-as-problem": Dialect(errors="problem"),
        "errors-of-iis": Dialect(errors="iis"),
        "rate-limit-403-retry-after": Dialect(rate_limit=5, rate_limit_answer="403_retry_after"),
        # The web server before the service.
        "path-prefix": Dialect(path_prefix="/testvibe"),
        "slashes-decoded": Dialect(decodes_slashes=True),
        "slash-added": Dialect(adds_slash=True),
        "login-page": Dialect(login="page"),
        "login-redirect": Dialect(login="redirect"),
        "documented-routes-404": Dialect(assumed_routes="404"),
        "text-plain": Dialect(content_type="text/plain; charset=utf-8"),
    }
)
"""Dialects by name, each with one difference from the documented service."""
