"""One HTTP request with aiohttp: it is sent with the key, and its response is read to the end.

`send` is the seam: it returns a response, or raises one of this package's errors, and neither
contains the key. This module never decides when a request is sent, nor whether it is retried;
`transport` does.
"""

from __future__ import annotations

import asyncio
import os
import zlib
from datetime import UTC, datetime
from errno import ECONNABORTED
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies, proxy_bypass

import aiohttp
from multidict import CIMultiDict, istr
from yarl import URL

from testvibe_async._core.config import is_loopback
from testvibe_async._core.http.failures import failure_of
from testvibe_async._core.http.request_body import NEVER_CONNECTED, RequestBody
from testvibe_async._core.http.response_body import Bodies, TooLargeError, UnknownEncodingError
from testvibe_async._core.util import __version__, plain
from testvibe_async._core.util.waiting import OFFLOAD_BYTES, cancelling, offload
from testvibe_async._core.wire import MAX_ERROR_BYTES, SUCCESS, Redactor, Response, too_large
from testvibe_async.errors import (
    ConfigError,
    LedgerError,
    MalformedResponseError,
    OutcomeUnknownError,
    VibeError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from testvibe_async._core.config import Settings
    from testvibe_async._core.wire import Request

MAX_CONNECT_SECONDS = 10.0

PRODUCT = f"testvibe-async/{__version__}"
"""This package in the header `User-Agent`."""


class HttpSession:
    """A session with one service and one key: the client's own, or one that was passed in."""

    def __init__(
        self,
        settings: Settings,
        *,
        max_connections: int,
        session: aiohttp.ClientSession | None,
        user_agent: str | None = None,
    ) -> None:
        """Create it; does no I/O.

        Args:
            settings: The service and the key.
            max_connections: Maximum number of connections at once, in the client's own session.
            session: The session to use; it is not closed. None to create one.
            user_agent: The caller's part of the header `User-Agent`; None for none.
        """
        self._server = settings.server
        self._root = URL(settings.server)
        _check_session(session, self._root)
        self._prefix = self._root.raw_path.rstrip("/")
        self._redactor = Redactor(settings.api_key)
        self._headers: Mapping[str, str] = {  # As `istr`, aiohttp need not lower each name.
            istr("Authorization"): f"Bearer {settings.api_key}",
            istr("Accept"): "application/json",
            istr("Accept-Encoding"): "gzip",
            istr("User-Agent"): " ".join(filter(None, (user_agent, PRODUCT))),
        }
        self._max_connections = max_connections
        self._session = session
        self._owns_session = session is None
        self._bodies = Bodies()
        self.let_go = self._bodies.let_go
        """Note that this task has decoded the answer, so that another large one may be read."""

    async def send(
        self,
        request: Request[Any],
        *,
        timeout: float,
        before_writing: Callable[[], Awaitable[None]] | None = None,
        on_finished: Callable[[int | None], None] | None = None,
    ) -> Response:
        """Send one request, once, and read the response to its end.

        Args:
            request: The request. The session can't send it again, unless `before_writing` is None.
            timeout: Seconds that the request may take, unless it sets fewer itself.
            before_writing: Awaited once the request has its connection, before the first byte is
                written. An exception from it stops the request. None for a read.
            on_finished: Called at the end, with the status of the answer if one came.

        Raises:
            NotSentError: The service provably never received the request.
            OutcomeUnknownError: Any other failure in transit.
            MalformedResponseError: The answer is not HTTP, or larger than the endpoint allows.
            VibeError: `before_writing` raised it.
        """
        method, path = request.endpoint.method, request.path
        url = self._server + path
        session = self._session
        if session is None or session.closed:
            session = self._open_session()
        seconds = timeout if request.timeout is None else min(timeout, request.timeout)
        body = None if before_writing is None else RequestBody(request.body, before_writing)
        status: int | None = None
        try:
            # Setting the path on a URL costs a third of parsing the whole URL.
            target = self._root.with_path(self._prefix + path, encoded=True)
            response = await session.request(
                method,
                target.with_query(request.query) if request.query else target,
                data=body,
                headers=None
                if self._owns_session and not request.is_uncached
                else self._headers_of(request),
                # For a read, which has no type, aiohttp would copy all headers.
                skip_auto_headers=("Content-Type",) if body and request.body is None else None,
                allow_redirects=False,
                auto_decompress=False,  # `response_body` does
                raise_for_status=False,
                timeout=_timeout(seconds, timeout),
            )
            status = response.status
            try:
                return await self._received(request, response, url, seconds)
            finally:
                # A read is released at the end of its answer; `async with` would do it twice.
                if body is not None or not response.closed:
                    response.release()
                    await response.wait_for_close()
        except VibeError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError):
                if cancelling():
                    raise
                # A session that is closed cancels what requests share, such as a name's lookup.
                error = ConnectionAbortedError(ECONNABORTED, os.strerror(ECONNABORTED))
            failure = self._failure(error, request, body, seconds)
            if isinstance(failure, OutcomeUnknownError):
                failure.status = status
        finally:
            if body is not None:
                body.end()
            if on_finished is not None:
                on_finished(status)
        # Out here, the failure is not chained to aiohttp's error, which may hold the key in a
        # header.
        raise failure from failure.__cause__

    def _failure(
        self, error: Exception, request: Request[Any], body: RequestBody | None, seconds: float
    ) -> VibeError:
        """Return the error for a request without a complete answer."""
        if body is not None and isinstance(body.refusal, VibeError):
            return body.refusal
        method, url = request.method, self._server + request.path
        if body is not None and body.is_held and isinstance(error, TimeoutError):
            what = f"its ledger did not store the row within {seconds:g} s"
            return LedgerError(what, method=method, url=url)
        if isinstance(error, ValueError) and "AUTH" in str(error):
            return ConfigError(
                f"the aiohttp session has a login for {self._root.host} of its own (trust_env and "
                ".netrc), and the API key goes in its place: pass a session without"
            )
        is_sent = None if body is None else body.may_be_sent(error)
        if (
            is_sent
            and body is not None
            and (body.is_repeated or isinstance(error, NEVER_CONNECTED))
        ):
            # The error belongs to a second attempt.
            what = "the session may not send it again"
            return OutcomeUnknownError(what, method=method, url=url)
        return failure_of(
            error,
            method=method,
            url=url,
            seconds=seconds,
            redact=self._redactor.redact_text,
            is_sent=is_sent,
        )

    def _headers_of(self, request: Request[Any]) -> Mapping[str, str] | None:
        """Return the headers of a request besides the session's."""
        headers = None if self._owns_session else self._headers
        return {**(headers or {}), "Cache-Control": "no-cache"} if request.is_uncached else headers

    async def _received(
        self, request: Request[Any], response: aiohttp.ClientResponse, url: str, seconds: float
    ) -> Response:
        """Read an answer to its end. Of an error with an unreadable body, only the status counts.

        Raises:
            MalformedResponseError: A success is too large, or encoded in an unknown way.
        """
        status = response.status
        try:
            body = await self._bodies.read(
                response.content,
                response.headers,
                most=request.endpoint.max_bytes if status in SUCCESS else MAX_ERROR_BYTES,
                timeout=seconds,
            )
        except TooLargeError:
            problem = too_large(request, status)
        except UnknownEncodingError as error:
            problem = f"it is encoded as {plain(str(error))!r}, and gzip was asked for"
        except (EOFError, zlib.error):
            raise aiohttp.ClientPayloadError from None
        else:
            if status in SUCCESS and len(body) < OFFLOAD_BYTES:  # nearly all of them
                redacted, at = self._redactor.redact(body), datetime.now(UTC)
                return Response(status, response.headers, redacted, url, at)
            if status not in SUCCESS:
                self.let_go()
            try:
                return await self._whole(response, body, url)
            except BaseException:
                self.let_go()
                raise
        response.close()  # It is not drained, which would be to read it after all.
        if status in SUCCESS:
            raise MalformedResponseError((problem,), status=status, method=request.method, url=url)
        return await self._whole(response, b"", url, body_problem=problem)

    async def _whole(
        self,
        response: aiohttp.ClientResponse,
        body: bytes,
        url: str,
        *,
        body_problem: str | None = None,
    ) -> Response:
        """Return a response without the key, should the service have echoed it."""
        headers: Mapping[str, str] = response.headers
        if response.status not in SUCCESS:
            headers = self.without_key(headers)
        return Response(
            status=response.status,
            headers=headers,
            body=self._redactor.redact(body)
            if len(body) < OFFLOAD_BYTES
            else await offload(self._redactor.redact, body),
            url=url,
            received_at=datetime.now(UTC),
            body_problem=body_problem,
        )

    def without_key(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return headers for an error, which must not contain the key."""
        return CIMultiDict(
            (name, self._redactor.redact_text(value)) for name, value in headers.items()
        )

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
        """Close the session, unless the caller passed it in."""
        if self._owns_session and self._session is not None:
            await self._session.close()


@lru_cache(maxsize=64)
def _timeout(seconds: float, usual: float) -> aiohttp.ClientTimeout:
    """Return aiohttp's form of a request's time-out; `usual` is the client's own."""
    return aiohttp.ClientTimeout(total=seconds, sock_connect=min(usual / 2, MAX_CONNECT_SECONDS))


def _check_session(session: object, server: URL) -> None:
    """Refuse a session with which the key could not be sent, or would be sent elsewhere."""
    if session is None:
        return
    if not isinstance(session, aiohttp.ClientSession):
        raise ConfigError(f"session must be an aiohttp.ClientSession, not {session!r}")
    if session.auth is not None:
        raise ConfigError(
            "the aiohttp session has an auth= of its own, and the API key goes in its place: "
            "pass a session without"
        )
    # A proxy of an https server sees nothing of the traffic.
    if server.scheme == "http" and is_loopback(server.host or "") and _has_proxy(session, server):
        raise ConfigError(
            f"the aiohttp session would send the API key for {server.host} to a proxy, in the "
            "clear: pass a session without proxy= and trust_env=True, or put the host in NO_PROXY"
        )


def _has_proxy(session: aiohttp.ClientSession, server: URL) -> bool:
    """Return whether a session sends requests for an http server to a proxy."""
    if getattr(session, "_default_proxy", None) is not None:
        return True
    host = server.host or ""
    return session.trust_env and "http" in getproxies() and not proxy_bypass(host)
