"""The host of the artifacts: it serves them by signed links, and must never see the key.

It has a session of its own, which knows neither the key nor the
headers, cookies and proxies of a session that was passed in, and follows no redirect. A link's
query is a secret: it is in no error, event or log.
"""

from __future__ import annotations

import asyncio
import random
import re
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from testvibe_async._config import is_loopback
from testvibe_async._http import RetryPolicy, retry_delay
from testvibe_async._util import __version__
from testvibe_async.errors import (
    ClientClosedError,
    MalformedResponseError,
    NotSentError,
    OutcomeUnknownError,
    ResponseError,
    TransportError,
)
from testvibe_async.events import Hooks, RequestFinished, RetryScheduled

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

__all__ = ["Answer", "ArtifactHost", "without_secret"]

T = TypeVar("T")

OPERATION = "download_artifacts"
MAX_CONNECT_SECONDS = 10.0
BUFFER_BYTES = 256 * 1024

LEAST_RATE = 1024
"""How many bytes a second have to come at least, on average over `RATE_SECONDS`."""

RATE_SECONDS = 30.0
"""For how long a host may be waited for before its rate is judged."""

_HEADERS = {
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "User-Agent": f"testvibe-async/{__version__}",
}


class Answer:
    """The answer of the host: its head, and a body that is not read yet."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        url: str,
        guard: Callable[[Awaitable[bytes], str], Awaitable[bytes]],
    ) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        """The headers, found by name in any case."""
        self.url = url
        """Where it comes from, without the query."""
        self._content = response.content
        self._guard = guard
        self._waited = 0.0
        self._came = 0

    async def read(self) -> bytes:
        """Return what has come of the body, at least a byte; none at its end.

        Raises:
            OutcomeUnknownError: The connection was lost, or too little came in time.
            ClientClosedError: The client was closed meanwhile.
        """
        clock = asyncio.get_running_loop().time
        asked = clock()
        chunk = await self._guard(self._content.readany(), self.url)
        # What a slow disk takes is not the host's time.
        self._waited += clock() - asked
        self._came += len(chunk)
        if chunk and self._waited >= RATE_SECONDS:
            self._require_rate()
        return chunk

    def _require_rate(self) -> None:
        """Judge what came since the last time, and count anew."""
        if self._came < LEAST_RATE * self._waited:
            what = (
                f"too slow: {self._came:,} bytes came in {self._waited:.0f} s, "
                f"and {LEAST_RATE:,} a second are the least"
            )
            raise OutcomeUnknownError(what, method="GET", url=self.url)
        self._waited, self._came = 0.0, 0


class ArtifactHost:
    """The host of the artifacts, without a key. Its session is opened at first use."""

    def __init__(  # noqa: PLR0913 - what a client is made with, each by name
        self,
        server: str,
        *,
        timeout: float,
        retry: RetryPolicy,
        max_connections: int,
        hooks: Hooks,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """Make it; no I/O is done.

        Args:
            server: The service's scheme and host.
            timeout: Seconds without a single byte after which a connection counts as lost.
            retry: How a download that failed on the way is repeated.
            max_connections: How many connections there are at once.
            hooks: Notified of every request and every retry.
            sleep: Lets seconds pass, or raises because the client is closed.
        """
        host = URL(server).host or ""
        self._is_local = is_loopback(host)
        self._takes_http = server.startswith("http://") and not self._is_local
        self._seconds = timeout
        self._connect_seconds = min(timeout / 2, MAX_CONNECT_SECONDS)
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_seconds)
        self._connections = asyncio.Semaphore(max_connections)
        self._retry = retry
        self._hooks = hooks
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    def target(self, link: str | None) -> URL:
        """Return where a link leads.

        Raises:
            ValueError: Nothing may be fetched from there; it says why, without the link.
        """
        if link is None:
            raise ValueError("there is no link")
        url = _parsed(link)
        if url is None or url.scheme not in {"http", "https"} or not url.host:
            raise ValueError("the link is no https:// address")
        is_at_home = self._is_local and is_loopback(url.host)
        if url.scheme == "http" and not self._takes_http and not is_at_home:
            raise ValueError(
                f"the link would fetch the artifact from {url.host} unencrypted, by http://"
            )
        return url

    @asynccontextmanager
    async def get(self, target: URL, headers: Mapping[str, str]) -> AsyncGenerator[Answer]:
        """Send one request, once, and give the answer while its body comes.

        Args:
            target: Where to; see the method of that name.
            headers: What to send beside the usual ones.

        Raises:
            NotSentError: The host could not be reached.
            OutcomeUnknownError: The connection was lost, or too little came in time.
            MalformedResponseError: What came is not HTTP.
            ClientClosedError: The client was closed before or meanwhile.
        """
        url = without_secret(target)
        async with self._connections:
            began, status, response = monotonic(), None, None
            try:
                request = self._open_session().get(
                    target, headers=headers, allow_redirects=False, timeout=self._timeout
                )
                response = await self._guarded(request, url, self._connect_seconds + self._seconds)
                status = response.status
                yield Answer(response, url, self._guarded)
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

    async def _guarded(self, answer: Awaitable[T], url: str, seconds: float | None = None) -> T:
        """Wait for a part of an answer, for so many seconds at most.

        aiohttp's own `sock_read` does not do: it is dropped where a chunk can't be parsed, and
        starts again with each `100 Continue`. Its errors are not quoted, and only those of the
        operating system are chained: the others may hold the whole link.
        """
        cause: OSError | None = None
        failure: TransportError | ResponseError
        try:
            async with asyncio.timeout(seconds or self._seconds):
                return await answer
        except aiohttp.ConnectionTimeoutError:
            what = f"no connection within {self._connect_seconds:g} s"
            failure = NotSentError(what, method="GET", url=url)
        except TimeoutError:
            what = f"nothing came for {self._seconds:g} s"
            failure = OutcomeUnknownError(what, method="GET", url=url)
        except aiohttp.ClientConnectorError as error:
            failure = NotSentError(f"could not connect: {error}", method="GET", url=url)
            cause = error
        except (aiohttp.ClientResponseError, HttpProcessingError):
            failure = MalformedResponseError(("not HTTP",), status=0, method="GET", url=url)
        except ValueError:
            failure = NotSentError("the host's name can't be looked up", method="GET", url=url)
        except (aiohttp.ClientError, OSError) as error:
            what = f"the connection was lost ({type(error).__name__})"
            failure = OutcomeUnknownError(what, method="GET", url=url)
            cause = error if isinstance(error, OSError) else None
        if self._is_closed:
            raise ClientClosedError
        raise failure from cause

    async def back_off(self, error: TransportError | ResponseError, attempt: int) -> None:
        """Wait until another attempt may be made.

        Args:
            error: What came of the last one. It is raised where there must not be another.
            attempt: Its number, from 1.
        """
        delay = retry_delay(
            error, attempt, policy=self._retry, is_repeatable=True, random=random.random
        )
        if isinstance(error, TransportError):
            error.attempts = attempt
        if delay is None:
            raise error
        self._hooks.emit(RetryScheduled(OPERATION, error, attempt=attempt, delay=delay))
        await self._sleep(delay)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._is_closed:
            raise ClientClosedError
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),  # `get` sees to it
                headers=_HEADERS,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=BUFFER_BYTES,
            )
        return self._session

    async def aclose(self) -> None:
        """End the downloads that are under way, and close the session."""
        self._is_closed = True
        if self._session is not None:
            await self._session.close()


def without_secret(target: URL) -> str:
    """Return where a link leads, without the query that signs it."""
    return str(target.with_query(None).with_fragment(None))


def _parsed(link: str) -> URL | None:
    """Return a link unchanged, because it is signed; None where it is not a URL."""
    try:
        url = URL(link, encoded=True)
        is_whole = re.fullmatch(r"[!-~]+", link) and url.port and url.raw_authority.isascii()
    except ValueError:
        return None
    return url if is_whole and "@" not in url.raw_authority else None
