"""The web server before the service: what a dialect's answers before any operation is called.

It decides which requests reach the service, and by which path. It never reads their bodies.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from .answers import Answer, Refusal
from .pages import error_page, login_page
from .routes import ASSUMED, Route, find_route

if TYPE_CHECKING:
    from .clock import EmulatorClock
    from .dialect import Dialect
    from .requests import RecordedRequest

__all__ = ["WebServer"]

_LOGIN = "/account/login"
_ROUNDING = 1e-9


class WebServer:
    """The web server of a dialect; that of the documented service passes everything on."""

    def __init__(self, dialect: Dialect, clock: EmulatorClock) -> None:
        """Make a web server that has served no request yet."""
        self._dialect = dialect
        self._clock = clock
        self._burst = max(1.0, dialect.rate_limit or 1.0)
        self._left, self._left_at = self._burst, 0.0

    def find_route(self, method: str, path: str) -> Route | None:
        """Find the route of a request by its raw path, as the service gets it.

        Returns:
            The route; None if there is none, or not for this path.
        """
        inner = self._inner(path)
        return None if inner is None else find_route(method, inner)

    def answer(self, request: RecordedRequest, route: Route | None) -> Answer | None:
        """Answer a request without the service; None if the service answers it."""
        dialect, path = self._dialect, request.path
        if not path.startswith(f"{dialect.path_prefix}/"):
            return error_page(404, dialect.unrouted)
        if dialect.login is not None:
            return self._login(request)
        if dialect.adds_slash and not path.endswith("/"):
            query = f"?{urlencode(request.query)}" if request.query else ""
            return _redirect(308, f"{path}/{query}")
        return self._too_many() or self._unrouted(path, route)

    def _inner(self, path: str) -> str | None:
        dialect = self._dialect
        if not path.startswith(f"{dialect.path_prefix}/"):
            return None
        inner = path.removeprefix(dialect.path_prefix)
        if dialect.adds_slash:
            inner = inner.removesuffix("/")
        if dialect.decodes_slashes:
            inner = inner.replace("%2F", "/").replace("%2f", "/")
        return inner

    def _login(self, request: RecordedRequest) -> Answer:
        page = f"{self._dialect.path_prefix}{_LOGIN}"
        if self._dialect.login == "page" or request.path == page:
            return login_page()
        return _redirect(302, f"{page}?{urlencode({'ReturnUrl': request.path})}")

    def _too_many(self) -> Answer | None:
        """Refuse one request too many; None, and one less is left, if it may be served now."""
        rate = self._dialect.rate_limit
        if rate is None:
            return None
        now = self._clock.now()
        self._left = min(self._burst, self._left + (now - self._left_at) * rate)
        self._left_at = now
        if self._left < 1 - _ROUNDING:
            wait = math.ceil((1 - self._left) / rate)
            refusal = Refusal(429, f"At most {rate:g} requests a second are served.")
            return refusal.answer(**{"Retry-After": f"{wait}"})
        self._left -= 1
        return None

    def _unrouted(self, path: str, route: Route | None) -> Answer | None:
        dialect = self._dialect
        if route is None and dialect.decodes_slashes and "%2f" in path.casefold():
            return error_page(404, dialect.unrouted)
        if route is not None and route.operation in ASSUMED and dialect.assumed_routes != "present":
            return error_page(int(dialect.assumed_routes), dialect.unrouted)
        return None


def _redirect(status: int, location: str) -> Answer:
    return Answer(status, b"", content_type="", headers={"Location": location})
