"""The one importer of aiohttp on the client's side: a request goes out, a response comes back.

`send` is the seam: one request, one response read to its end, or one of our errors. `call` is what
everybody above uses: it takes its turn, sends, deciphers, and tries again where the policy says so.
What an answer means is not decided here.
"""

from __future__ import annotations

import asyncio
import json
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
from attrs import evolve
from yarl import URL

from testvibe_async import _policy
from testvibe_async._limits import Gate
from testvibe_async._protocol import Effect, Endpoint, Request, Response, decipher
from testvibe_async._version import __version__
from testvibe_async.errors import (
    ClientClosedError,
    ConfigError,
    MalformedResponseError,
    NotSentError,
    OutcomeUnknownError,
    ResponseError,
    TransportError,
)
from testvibe_async.events import Hooks, Paused, RequestFinished, RetryScheduled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testvibe_async.settings import Settings

__all__ = ["Flight", "Transport"]

T = TypeVar("T")

API_PATH = "/api/v1/ops"
MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_CONNECT_SECONDS = 10.0

_NEVER_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class Flight:
    """Whether a request may have reached the service by now."""

    __slots__ = ("may_have_arrived",)

    def __init__(self) -> None:
        self.may_have_arrived = False


class Transport:
    """One HTTP session to one service, with one key, in one event loop."""

    def __init__(  # noqa: PLR0913 - what a client is made with, each by name
        self,
        settings: Settings,
        *,
        timeout: float,
        retry: _policy.RetryPolicy,
        max_connections: int,
        session: aiohttp.ClientSession | None,
        routes: Mapping[str, Endpoint[Any]],
        hooks: Hooks,
    ) -> None:
        self.server = settings.server
        self._key = settings.api_key
        self._timeout = timeout
        self._retry = retry
        self._gate = Gate(max_connections)
        self._max_connections = max_connections
        self._session = session
        self._owns_session = session is None
        self._routes = routes
        self._hooks = hooks
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last_answer: tuple[Response, float] | None = None
        self.is_closed = False

    def __repr__(self) -> str:
        """Name the service, and nothing secret."""
        return f"<Transport to {self.server}>"

    @property
    def is_open(self) -> bool:
        """Whether it was used and not closed since."""
        return self._loop is not None and not self.is_closed

    def check_usable(self) -> None:
        """Bind to the running event loop at first use.

        Raises:
            ClientClosedError: It was closed.
            ConfigError: It belongs to another event loop.
        """
        if self.is_closed:
            raise ClientClosedError
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            message = (
                "this Client belongs to another event loop than the one that runs now; "
                "make one Client for each event loop"
            )
            raise ConfigError(message)

    async def call(
        self, request: Request[T], *, attempts: int | None = None, flight: Flight | None = None
    ) -> T:
        """Send a request in its turn and decipher the answer.

        Args:
            request: What to ask.
            attempts: How often to try; None for what the retry policy says.
            flight: Told when the request may have arrived, and when it provably has not.

        Raises:
            TransportError: No whole answer came.
            ResponseError: The answer is an error, or unreadable.
            ClientClosedError: The client was closed before or meanwhile.
        """
        self.check_usable()
        if (route := self._routes.get(request.endpoint.name)) is not None:
            request = request.routed(route)
        policy = self._retry if attempts is None else evolve(self._retry, attempts=attempts)
        attempt = 1
        while True:
            try:
                return await self._attempt(request, flight)
            except (TransportError, ResponseError) as error:
                if isinstance(error, TransportError):
                    error.attempts = attempt
                delay = _policy.retry_delay(
                    error,
                    attempt,
                    policy=policy,
                    is_repeatable=request.endpoint.effect is Effect.READS,
                    random=random.random,
                )
                if delay is None:
                    raise
                self._hooks.emit(
                    RetryScheduled(request.endpoint.name, error, attempt=attempt, delay=delay)
                )
            await asyncio.sleep(delay)
            attempt += 1

    async def _attempt(self, request: Request[T], flight: Flight | None) -> T:
        async with self._gate.slot():
            if self.is_closed:
                raise ClientClosedError
            flight = flight or Flight()
            flight.may_have_arrived = True
            try:
                return decipher(request, await self._timed(request))
            except (NotSentError, ResponseError) as error:
                flight.may_have_arrived = _may_have_acted(error)
                if (seconds := _policy.pause_seconds(error)) is not None:
                    self._gate.pause(seconds)
                    self._hooks.emit(Paused(seconds, error))
                raise

    async def _timed(self, request: Request[Any]) -> Response:
        loop = asyncio.get_running_loop()
        started = loop.time()
        status = None
        try:
            response = await self.send(request)
            status = response.status
            self._last_answer = response, loop.time()
        except TransportError as error:
            if self.is_closed:
                raise ClientClosedError from error
            raise
        else:
            return response
        finally:
            self._hooks.emit(
                RequestFinished(
                    request.endpoint.name,
                    request.method,
                    self._url(request),
                    status=status,
                    seconds=loop.time() - started,
                )
            )

    async def send(self, request: Request[Any]) -> Response:
        """Send one request, once, and read the response to its end.

        Raises:
            NotSentError: The service provably never saw it.
            OutcomeUnknownError: Anything else went wrong on the way.
            MalformedResponseError: What came is not HTTP, or larger than 64 MiB.
        """
        url = self._url(request)
        method = request.method
        try:
            async with self._open_session().request(
                method,
                URL(url, encoded=True).with_query(request.query),
                data=None if request.body is None else _encode(request.body),
                headers=self._headers(request),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=self._timeout, sock_connect=min(self._timeout, MAX_CONNECT_SECONDS)
                ),
            ) as response:
                body = await _read(response, url)
                return Response(
                    status=response.status,
                    headers=response.headers,
                    body=body.replace(self._key.encode(), b"tvb_..."),
                    url=url,
                    received_at=datetime.now(UTC),
                )
        except _NEVER_CONNECTED as error:
            raise NotSentError(f"could not connect: {error}", method=method, url=url) from error
        except TimeoutError as error:
            what = f"no answer within {self._timeout:g} s"
            raise OutcomeUnknownError(what, method=method, url=url) from error
        except aiohttp.ClientResponseError as error:
            problem = f"not HTTP: {error.message}"
            raise MalformedResponseError((problem,), status=0, method=method, url=url) from error
        except (aiohttp.ClientError, OSError) as error:
            what = f"the connection was lost ({error or type(error).__name__})"
            raise OutcomeUnknownError(what, method=method, url=url) from error

    def _url(self, request: Request[Any]) -> str:
        return f"{self.server}{API_PATH}{request.path}"

    def _headers(self, request: Request[Any]) -> dict[str, str]:
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Accept": "application/json",
            "User-Agent": f"testvibe-async/{__version__}",
        }
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        return headers

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._max_connections),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        if self._session.closed:
            message = "the aiohttp session that this Client was given is closed"
            raise ConfigError(message)
        return self._session

    def service_time(self, at: float) -> datetime:
        """Return what the service's clock said at an instant of the loop's clock.

        It is good to about a second, as HTTP dates are, and known after the first answer.
        """
        assert self._last_answer is not None
        response, answered = self._last_answer
        return response.answered_at - timedelta(seconds=answered - at)

    def refuse_calls(self) -> None:
        """Let every call from now on raise `ClientClosedError`."""
        self.is_closed = True

    async def aclose(self) -> None:
        """Close the session, unless it was passed in."""
        if self._owns_session and self._session is not None:
            await self._session.close()


def _may_have_acted(error: NotSentError | ResponseError) -> bool:
    """Say whether the service may have done what was asked, for all that this answer shows."""
    if isinstance(error, NotSentError):
        return False
    return error.status < 300 or error.status >= 500  # noqa: PLR2004 - all but a clear refusal


def _encode(body: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        message = f"the request's body can't be sent as JSON: {error}"
        raise ConfigError(message) from error


async def _read(response: aiohttp.ClientResponse, url: str) -> bytes:
    """Read a body to its end, but not beyond what an answer may hold."""
    chunks: list[bytes] = []
    size = 0
    while chunk := await response.content.readany():
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            response.close()
            problem = f"the body is larger than {MAX_BODY_BYTES // 2**20} MiB"
            raise MalformedResponseError(
                (problem,), status=response.status, method=response.method, url=url
            )
    return b"".join(chunks)
