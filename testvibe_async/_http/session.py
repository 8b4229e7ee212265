"""One request over HTTP, by aiohttp: it is sent with the key, its response is read to the end.

`send` is the seam: it returns a response, or raises one of our errors, and neither holds the key.
It never decides when a request is sent, nor whether again; `transport` does.
"""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from attrs import evolve
from multidict import CIMultiDict
from yarl import URL

from testvibe_async._util import __version__, plain
from testvibe_async._wire import Response, is_clear_refusal
from testvibe_async.errors import (
    ConfigError,
    MalformedResponseError,
    NotSentError,
    OutcomeUnknownError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from testvibe_async._config import Settings
    from testvibe_async._wire import Request

__all__ = ["HttpSession"]

MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_CONNECT_SECONDS = 10.0
MIN_REDACTED_CHARACTERS = 16
"""How long a key is that answers are searched for: a short one may be part of any word in them."""

REDACTED = "tvb_..."
_REDACTED_AS_SENT = REDACTED.encode()

_AIOHTTP_REPEATS = {"PUT", "DELETE", "HEAD", "OPTIONS", "TRACE"}
"""The methods that aiohttp repeats by itself, as it does GET, and we do not."""


_NEVER_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
)


class _LostError(aiohttp.ClientError):
    """A request that may have arrived failed. No retry logic knows this class, or repeats it."""


class _SendOnce:
    """The innermost middleware of a request that may act: lets it out once.

    aiohttp repeats PUT and DELETE, which it takes for idempotent, and a middleware of a session
    that was passed in may repeat anything. What provably had no effect may go out again.
    """

    def __init__(self) -> None:
        self.may_have_acted = False

    async def __call__(
        self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if self.may_have_acted:
            raise _LostError("the answer was lost, and the session may not send it again")
        self.may_have_acted = True
        try:
            response = await send(request)
        except _NEVER_CONNECTED:
            self.may_have_acted = False
            raise
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            raise _LostError(_why_lost(error)) from None
        self.may_have_acted = not is_clear_refusal(response.status)
        return response


class HttpSession:
    """A session with one service and one key: our own, or one that was passed in."""

    def __init__(
        self,
        settings: Settings,
        *,
        timeout: float,
        max_connections: int,
        session: aiohttp.ClientSession | None,
    ) -> None:
        """Make it; no I/O is done.

        Args:
            settings: The service and the key.
            timeout: Seconds that one request may take.
            max_connections: How many connections there are at once, in a session of our own.
            session: The session to use; it is not closed. None for one of our own.
        """
        _check_session(session)
        self._server = settings.server
        self._root = URL(settings.server)
        self._prefix = self._root.raw_path.rstrip("/")
        self._echoes = _spellings(settings.api_key)
        self._headers = {
            "Authorization": f"Bearer {settings.api_key}",
            "Accept": "application/json",
            "User-Agent": f"testvibe-async/{__version__}",
        }
        self._seconds = timeout
        self._timeout = aiohttp.ClientTimeout(
            total=timeout, sock_connect=min(timeout / 2, MAX_CONNECT_SECONDS)
        )
        self._max_connections = max_connections
        self._session = session
        self._owns_session = session is None

    async def send(self, request: Request[Any]) -> Response:
        """Send one request, once, and read the response to its end.

        Raises:
            NotSentError: The service provably never saw it.
            OutcomeUnknownError: Anything else went wrong on the way.
            MalformedResponseError: What came is not HTTP, or larger than 64 MiB.
        """
        method, path = request.method, request.path
        url = self._server + path
        session = self._open_session()
        middlewares = _middlewares(session)
        once = (
            _SendOnce() if method in _AIOHTTP_REPEATS or (middlewares and method != "GET") else None
        )
        failure: MalformedResponseError | OutcomeUnknownError
        try:
            # A path that is put on a URL costs a third of parsing the whole anew.
            target = self._root.with_path(self._prefix + path, encoded=True)
            async with session.request(
                method,
                target.with_query(request.query) if request.query else target,
                data=None if request.body is None else _JsonBody(request.body),
                headers=None if self._owns_session else self._headers,
                allow_redirects=False,
                middlewares=(*middlewares, once) if once else None,
                raise_for_status=False,
                timeout=self._timeout_of(request),
            ) as response:
                return self._whole(response, await _read(response, url), url)
        except _NEVER_CONNECTED as error:
            why = _why_not_connected(error)
            if once is None or not once.may_have_acted:
                what = f"could not connect: {why}"
                raise NotSentError(what, method=method, url=url) from error
            what = f"sent, and then sent again in vain by a middleware of the session: {why}"
            raise OutcomeUnknownError(what, method=method, url=url) from error
        except TimeoutError as error:
            what = f"no answer within {self._timeout_of(request).total:g} s"
            raise OutcomeUnknownError(what, method=method, url=url) from error
        except (aiohttp.ClientResponseError, HttpProcessingError) as error:
            problem = f"not HTTP: {plain(self._redacted(error.message.partition(chr(10))[0]))}"
            failure = MalformedResponseError((problem,), status=0, method=method, url=url)
        except (aiohttp.ClientError, OSError) as error:
            what = f"the connection was lost ({_why_lost(error)})"
            failure = OutcomeUnknownError(what, method=method, url=url)
            if isinstance(error, OSError):
                raise failure from error
        # Out here it is not chained to aiohttp's error, which may hold the key in some header.
        raise failure

    def _timeout_of(self, request: Request[Any]) -> aiohttp.ClientTimeout:
        if request.timeout is None:
            return self._timeout
        return evolve(self._timeout, total=min(request.timeout, self._seconds))

    def _whole(self, response: aiohttp.ClientResponse, body: bytes, url: str) -> Response:
        """Return a response without the key, should the service have echoed it."""
        headers: Mapping[str, str] = response.headers
        if response.status >= 300:  # noqa: PLR2004 - only there are headers quoted
            headers = CIMultiDict(
                (name, self._redacted(value)) for name, value in response.headers.items()
            )
        for echo in self._echoes:
            body = body.replace(echo.encode(), _REDACTED_AS_SENT)
        return Response(
            status=response.status,
            headers=headers,
            body=body,
            url=url,
            received_at=datetime.now(UTC),
        )

    def _redacted(self, text: str) -> str:
        for echo in self._echoes:
            text = text.replace(echo, REDACTED)
        return text

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers=self._headers,
                connector=aiohttp.TCPConnector(limit=self._max_connections),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        if self._session.closed:
            raise ConfigError("the aiohttp session that this Client was given is closed")
        return self._session

    async def aclose(self) -> None:
        """Close the session, unless it was passed in."""
        if self._owns_session and self._session is not None:
            await self._session.close()


def _spellings(key: str) -> set[str]:
    """Return a key as answers may repeat it: JSON may escape what is no letter and no digit."""
    if len(key) < MIN_REDACTED_CHARACTERS:
        return set()
    as_json = json.dumps(key)[1:-1]
    dotnet = re.sub(r"[\"&'+<>\\`]", lambda found: f"\\u{ord(found[0]):04X}", key)
    return {key, as_json, as_json.replace("/", r"\/"), dotnet}


def _middlewares(session: aiohttp.ClientSession) -> Sequence[aiohttp.ClientMiddlewareType]:
    """Return a session's own middlewares, which a request that brings any would go without."""
    return session._middlewares  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def _check_session(session: object) -> None:
    if session is not None and not isinstance(session, aiohttp.ClientSession):
        raise ConfigError(f"session must be an aiohttp.ClientSession, not {session!r}")
    if getattr(session, "auth", None) is not None:
        raise ConfigError(
            "the aiohttp session has an auth= of its own, and the API key goes in its place: "
            "pass a session without"
        )


def _why_not_connected(error: aiohttp.ClientError) -> str:
    """Say in the operating system's words why there is no connection."""
    cause = getattr(error, "os_error", None)
    if cause is None or isinstance(error, aiohttp.ClientSSLError):
        return str(error)
    return os.strerror(cause.errno) if (cause.errno or 0) > 0 else cause.strerror or str(cause)


def _why_lost(error: Exception) -> str:
    """Say why a connection was lost, without anything that came over it: that may hold the key."""
    if isinstance(error, _LostError):
        return str(error)
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    if isinstance(error, aiohttp.ClientPayloadError):
        return "before the end of the body"
    return "closed by the other side"


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


class _JsonBody(aiohttp.BytesPayload):
    """A JSON object as the body of a request."""

    def __init__(self, document: Mapping[str, object]) -> None:
        try:
            encoded = _encoder.encode(document).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"the request's body can't be sent as JSON: {error}") from error
        super().__init__(encoded, content_type="application/json")


async def _read(response: aiohttp.ClientResponse, url: str) -> bytes:
    """Read a body to its end, but not beyond what an answer may hold."""
    whole = BytesIO()
    while chunk := await response.content.readany():
        whole.write(chunk)
        if whole.tell() > MAX_BODY_BYTES:
            response.close()
            problem = f"the body is larger than {MAX_BODY_BYTES // 2**20} MiB"
            raise MalformedResponseError(
                (problem,), status=response.status, method=response.method, url=url
            )
    return whole.getvalue()  # Not copied, unlike what is joined out of chunks.
