"""The host of the artifacts: it serves them by signed links, and must never receive the key.

It has a session of its own, which knows neither the key nor the headers, cookies and proxies of a
caller's session, and follows no redirect. A link's query is a secret: it is in no error, event or
log.
"""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from testvibe_async._core.config import is_loopback
from testvibe_async._core.http import failure_of
from testvibe_async._core.util import __version__
from testvibe_async.errors import (
    ClientClosedError,
    MalformedResponseError,
    NotFoundError,
    OutcomeUnknownError,
    RateLimitedError,
    ResponseError,
    ServerError,
)
from testvibe_async.events import Emitter, RequestFinished

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Mapping

    from testvibe_async._core.http import Transport
    from testvibe_async.models import Artifact

T = TypeVar("T")

OPERATION = "download_artifacts"
"""The name of a request to the host in events."""

EXPIRED = {401, 403, 404, 410}
"""The statuses with which hosts refuse a link that has expired."""

MAX_CONNECT_SECONDS = 10.0

BLOCK_BYTES = 2**16
"""Number of bytes that are read before they are passed on."""

BLOCK_SECONDS = 64.0
"""Maximum seconds for a block, so that at least 1 KiB a second must arrive."""

MAX_BYTES = 2**31
"""Maximum size in bytes of a file whose size the service does not give."""

_ERRORS: Mapping[int, type[ResponseError]] = {404: NotFoundError, 429: RateLimitedError}
_HEADERS = {
    "Accept-Encoding": "identity",
    "User-Agent": f"testvibe-async/{__version__}",
}


class ArtifactHost:
    """The host of the artifacts, without a key. Its session is opened at first use."""

    def __init__(
        self, transport: Transport, *, timeout: float, max_connections: int, hooks: Emitter
    ) -> None:
        """Create it; does no I/O.

        Args:
            transport: The transport to the service, whose links lead to the host.
            timeout: Seconds without a single byte after which a connection counts as lost.
            max_connections: Maximum number of connections at once.
            hooks: Notified of every request.
        """
        server = URL(transport.server)
        self._is_http = server.scheme == "http"
        self._is_local = is_loopback(server.host or "")
        self._transport = transport
        self._seconds = timeout
        self._connect_seconds = min(timeout / 2, MAX_CONNECT_SECONDS)
        # A limit here, not in aiohttp's connector: waiting for a slot does not count as the host's
        # time.
        self._places = asyncio.Semaphore(max_connections)
        self._hooks = hooks
        self._session: aiohttp.ClientSession | None = None

    def target(self, artifact: Artifact, listed_at: str) -> URL:
        """Return the address of an artifact's link.

        Args:
            artifact: The artifact.
            listed_at: The URL of the list that contains the artifact.

        Raises:
            MalformedResponseError: Nothing may be fetched from that address; the error says why,
                without the link.
        """
        url = _parsed(artifact.url or "")
        if url is None:
            problem = "the link is missing, or is no https:// address"
        elif url.scheme == "https" or (
            is_loopback(url.host or "") if self._is_local else self._is_http
        ):
            return url
        else:
            problem = f"the link would fetch the artifact from {url.host} unencrypted, by http://"
        raise _malformed(f"{problem}, at {artifact.path[:200]!r}", listed_at)

    async def blocks(
        self, target: URL, size_bytes: int | None
    ) -> AsyncGenerator[tuple[bytes, int | None]]:
        """Send one request, once, and yield the file in blocks, each with the total size.

        Args:
            target: The result of `target`.
            size_bytes: The size that the file must have; None if the service does not give it.

        Raises:
            NotSentError: The host could not be reached.
            OutcomeUnknownError: The connection was lost, or too little arrived in time.
            ResponseError: The answer is not a file.
            MalformedResponseError: The answer is not HTTP, or the file has another size.
            ClientClosedError: The client was closed before or meanwhile.
        """
        url = str(target.with_query(None).with_fragment(None))
        async with self._places:
            began, status, response = monotonic(), None, None
            try:
                request = self._open_session().get(target, allow_redirects=False)
                response = await self._guarded(request, url, self._connect_seconds + self._seconds)
                status = response.status
                if status != HTTPStatus.OK:
                    raise _refusal(status, response.headers, url)
                done, length = 0, response.content_length
                total = length if size_bytes is None else size_bytes
                most = MAX_BYTES if size_bytes is None else size_bytes
                while block := await self._block(response, url):
                    done += len(block)
                    if max(done, length or 0) > most:
                        raise _wrong_size(f"more than {most}", url)
                    yield block, total
                if size_bytes not in {None, done}:
                    raise _wrong_size(f"{done} in place of {size_bytes}", url)
            except OutcomeUnknownError:
                status = None
                raise
            finally:
                if response is not None:
                    response.close()
                seconds = monotonic() - began
                self._hooks.emit(
                    RequestFinished(OPERATION, "GET", url, status=status, seconds=seconds)
                )

    async def _block(self, response: aiohttp.ClientResponse, url: str) -> bytes:
        """Return the next block, shorter only at the end of the file, and empty after it."""
        block = bytearray()
        try:
            async with asyncio.timeout(BLOCK_SECONDS):
                while len(block) < BLOCK_BYTES and (
                    chunk := await self._guarded(response.content.readany(), url)
                ):
                    block += chunk
                return bytes(block)
        except TimeoutError:
            what = f"too slow: {len(block):,} bytes came in {BLOCK_SECONDS:g} s"
        raise OutcomeUnknownError(what, method="GET", url=url)

    async def _guarded(self, answer: Awaitable[T], url: str, seconds: float | None = None) -> T:
        """Wait for a part of an answer, for at most a number of seconds; None for the time-out.

        aiohttp's own `sock_read` does not suffice: it is dropped if a chunk can't be parsed, and
        restarts with each `100 Continue`.
        """
        try:
            async with asyncio.timeout(seconds or self._seconds):
                return await answer
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            failure = failure_of(
                error, method="GET", url=url, seconds=seconds or self._seconds, redact=_hide
            )
        if self._transport.is_closed:
            raise ClientClosedError
        raise failure from failure.__cause__

    def _open_session(self) -> aiohttp.ClientSession:
        if self._transport.is_closed:
            raise ClientClosedError
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                headers=_HEADERS,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_seconds),
            )
        return self._session

    async def aclose(self) -> None:
        """Close the session, which ends the downloads that are under way."""
        if self._session is not None:
            await self._session.close()


def _refusal(status: int, headers: Mapping[str, str], url: str) -> ResponseError:
    """Return the error for an answer without a file. Its body may hold the link, and is hidden."""
    message = "the artifact's host gives no file"
    if status in EXPIRED:
        message = "the artifact's host refuses the link, and refused new ones"
    elif 300 <= status < 400:  # noqa: PLR2004 - what HTTP calls a redirection
        message = "the artifact's host redirects, and redirects are not followed"
    wish = headers.get("Retry-After", "")
    return _ERRORS.get(status, ServerError if status >= 500 else ResponseError)(  # noqa: PLR2004
        message,
        status=status,
        method="GET",
        url=url,
        retry_after=float(wish) if re.fullmatch(r"[0-9]{1,9}", wish) else None,
    )


def _wrong_size(sizes: str, url: str) -> MalformedResponseError:
    return _malformed(f"the file has another size than it should have, in bytes: {sizes}", url)


def _malformed(problem: str, url: str) -> MalformedResponseError:
    return MalformedResponseError((problem,), status=HTTPStatus.OK, method="GET", url=url)


def _hide(_: str) -> str:
    """Hide all text that the host sent: it may hold the link."""
    return "its words may hold the link's secret"


def _parsed(link: str) -> URL | None:
    """Return a link unchanged, because it is signed; None if it is not an address on the web."""
    try:
        url = URL(link, encoded=True)
        (url.host or "").encode("idna")
        is_web = url.scheme in {"http", "https"} and url.host and url.port
    except ValueError:
        return None
    return (
        url if is_web and re.fullmatch(r"[!-~]+", link) and "@" not in url.raw_authority else None
    )
