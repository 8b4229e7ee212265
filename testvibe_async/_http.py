"""One request over HTTP, by aiohttp: it goes out with the key, its response is read to its end.

`send` is the seam: a response, or one of our errors, and neither holds the key. When a request is
sent, and whether again, is `_transport`'s to say.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

import aiohttp
from attrs import evolve
from multidict import CIMultiDict
from yarl import URL

from testvibe_async._protocol import Response
from testvibe_async._version import __version__
from testvibe_async.errors import (
    ConfigError,
    MalformedResponseError,
    NotSentError,
    OutcomeUnknownError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testvibe_async._endpoints import Request
    from testvibe_async.settings import Settings

__all__ = ["HttpSession"]

MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_CONNECT_SECONDS = 10.0
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
    """A connection was lost, in a form that aiohttp does not answer by sending again."""


async def _send_once(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a PUT or DELETE by itself, where a kept connection is lost.

    It takes them for idempotent, as it does a GET, for which the repetition is welcome.
    """
    try:
        return await send(request)
    except _NEVER_CONNECTED:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _LostError(str(error) or type(error).__name__) from error


def _once_in(session: aiohttp.ClientSession) -> tuple[aiohttp.ClientMiddlewareType, ...]:
    """Return the session's middlewares, none of which a request's own would keep, and ours."""
    return (*session._middlewares, _send_once)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


class HttpSession:
    """A session with one service and one key: one of our own, or one that was passed in."""

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
        self._key = settings.api_key
        self._key_as_sent = settings.api_key.encode()
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
        path, method = request.path, request.method
        url = self._server + path
        # A path that is put on a URL costs a third of parsing the whole anew.
        target = self._root.with_path(path, encoded=True)
        timeout = self._timeout
        if request.patience is not None:
            timeout = evolve(timeout, total=min(request.patience, self._seconds))
        try:
            session = self._open_session()
            async with session.request(
                method,
                target.with_query(request.query) if request.query else target,
                data=None if request.body is None else _JsonBody(request.body),
                headers=None if self._owns_session else self._headers,
                allow_redirects=False,
                middlewares=_once_in(session) if method in _AIOHTTP_REPEATS else None,
                raise_for_status=False,
                timeout=timeout,
            ) as response:
                return self._whole(response, await _read(response, url), url)
        except _NEVER_CONNECTED as error:
            what = f"could not connect: {_why_not_connected(error)}"
            raise NotSentError(what, method=method, url=url) from error
        except TimeoutError as error:
            what = f"no answer within {timeout.total:g} s"
            raise OutcomeUnknownError(what, method=method, url=url) from error
        except aiohttp.ClientResponseError as error:
            problem = " ".join(f"not HTTP: {self._redacted(error.message)}".split())
        except (aiohttp.ClientError, OSError) as error:
            what = f"the connection was lost ({error or type(error).__name__})"
            raise OutcomeUnknownError(what, method=method, url=url) from error
        # Out here it is not chained to aiohttp's error, which holds the key in its headers.
        raise MalformedResponseError((problem,), status=0, method=method, url=url)

    def _whole(self, response: aiohttp.ClientResponse, body: bytes, url: str) -> Response:
        """Return a response without the key, should the service have echoed it."""
        headers: Mapping[str, str] = response.headers
        if response.status >= 300:  # noqa: PLR2004 - only there are headers quoted
            headers = CIMultiDict(
                (name, self._redacted(value)) for name, value in response.headers.items()
            )
        return Response(
            status=response.status,
            headers=headers,
            body=body.replace(self._key_as_sent, _REDACTED_AS_SENT),
            url=url,
            received_at=datetime.now(UTC),
        )

    def _redacted(self, text: str) -> str:
        return text.replace(self._key, REDACTED)

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


def _check_session(session: object) -> None:
    if session is not None and not hasattr(session, "request"):
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
