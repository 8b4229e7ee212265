"""All traffic with the service, by aiohttp: a request goes out, a response comes back.

`send` is the seam: one request, one response read to its end, or one of our errors. `call` is what
everybody above uses: it takes its turn, sends, deciphers, and tries again where the policy says so.
What an answer means is not decided here.
"""

from __future__ import annotations

import asyncio
import json
import random
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
from attrs import evolve
from multidict import CIMultiDict
from yarl import URL

from testvibe_async import _policy
from testvibe_async._artifact_host import ArtifactHost
from testvibe_async._endpoints import API_PATH, Endpoint, Request
from testvibe_async._limits import Gate
from testvibe_async._protocol import Response, decipher, parse_date
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


class Flight:
    """How far a request that must not be repeated has come."""

    __slots__ = ("is_abandoned", "may_have_arrived", "sent_at")

    def __init__(self) -> None:
        self.may_have_arrived = False
        """Whether the service may have seen it, and acted."""

        self.sent_at = 0.0
        """When it was last sent, by the loop's clock."""

        self.is_abandoned = False
        """Whether nobody wants it any more, so that it must not be sent again."""


class Transport:
    """One HTTP session to one service, with one key, in one event loop."""

    def __init__(  # noqa: PLR0913 - what a client is made with, each by name
        self,
        settings: Settings,
        *,
        timeout: float,
        retry: _policy.RetryPolicy,
        max_connections: int,
        rate_limit: float | None,
        session: aiohttp.ClientSession | None,
        routes: Mapping[str, Endpoint[Any]],
        hooks: Hooks,
    ) -> None:
        self.server = settings.server
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
        self._retry = retry
        self._single_try = evolve(retry, attempts=1)
        self._gate = Gate(max_connections, rate_limit=rate_limit, sleep=self.sleep)
        self._max_connections = max_connections
        self._session = session
        self._owns_session = session is None
        self._routes = routes
        self._hooks = hooks
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last_date = ("", 0.0)
        self._closing = asyncio.Event()
        self.artifact_host = ArtifactHost(
            settings.server,
            timeout=timeout,
            retry=retry,
            max_connections=max_connections,
            hooks=hooks,
            sleep=self.sleep,
        )
        """Whoever serves artifacts, without the key, and without a session that was passed in."""

    def __repr__(self) -> str:
        """Name the service, and nothing secret."""
        return f"<Transport to {self.server}>"

    @property
    def is_closed(self) -> bool:
        """Whether it refuses calls."""
        return self._closing.is_set()

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

    async def sleep(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            ClientClosedError: The client was closed meanwhile.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return
        raise ClientClosedError

    async def call(
        self,
        request: Request[T],
        *,
        retries: bool = True,
        flight: Flight | None = None,
        is_look: bool = False,
    ) -> T:
        """Send a request in its turn and decipher the answer.

        Args:
            request: What to ask.
            retries: Whether to try again where the policy says so.
            flight: Told how far the request has come; once abandoned it is not sent again.
            is_look: Whether it is one of the poller's, which queue apart from all others.

        Raises:
            TransportError: No whole answer came.
            ResponseError: The answer is an error, or unreadable.
            ClientClosedError: The client was closed before or meanwhile.
        """
        self.check_usable()
        if (route := self._routes.get(request.endpoint.name)) is not None:
            request = request.routed(route)
        flight = flight or Flight()
        attempt = 1
        while True:
            try:
                return await self._attempt(request, flight, is_look=is_look)
            except (TransportError, ResponseError) as error:
                if isinstance(error, TransportError):
                    error.attempts = attempt
                delay = _policy.retry_delay(
                    error,
                    attempt,
                    policy=self._retry if retries else self._single_try,
                    is_repeatable=request.is_repeatable,
                    random=random.random,
                )
                if delay is None or flight.is_abandoned:
                    raise
                self._hooks.emit(
                    RetryScheduled(request.endpoint.name, error, attempt=attempt, delay=delay)
                )
            attempt += 1
            await self.sleep(delay)

    async def _attempt(self, request: Request[T], flight: Flight, *, is_look: bool) -> T:
        await self._gate.enter(is_look=is_look)
        try:
            self._check_wanted(request, flight)
            flight.may_have_arrived = True
            flight.sent_at = asyncio.get_running_loop().time()
            return decipher(request, await self._observed(request, flight.sent_at))
        except (NotSentError, ResponseError) as error:
            flight.may_have_arrived = _may_have_acted(error)
            if (seconds := _policy.pause_seconds(error)) is not None:
                self._gate.rest(seconds)
                self._hooks.emit(Paused(seconds, error))
            raise
        except TransportError as error:
            if self.is_closed:
                raise ClientClosedError from error
            raise
        finally:
            self._gate.leave()

    def _check_wanted(self, request: Request[Any], flight: Flight) -> None:
        """Refuse to send what nobody wants any more, now that its turn has come."""
        if self.is_closed:
            raise ClientClosedError
        if flight.is_abandoned:
            what = "not sent again: its caller was cancelled"
            raise NotSentError(what, method=request.method, url=self.url_of(request))

    async def _observed(self, request: Request[Any], started: float) -> Response:
        """Send a request, note what the service's clock says, and tell the hook."""
        loop = asyncio.get_running_loop()
        status = None
        try:
            response = await self.send(request)
            status = response.status
            self._last_date = response.headers.get("Date", ""), loop.time()
            return response
        finally:
            if self._hooks.is_heard(RequestFinished):
                self._hooks.emit(
                    RequestFinished(
                        request.endpoint.name,
                        request.method,
                        self.url_of(request),
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
        url = self.url_of(request)
        method = request.method
        # A path that is put on a URL costs a third of parsing the whole anew.
        target = self._root.with_path(API_PATH + request.path, encoded=True)
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
            raise NotSentError(f"could not connect: {error}", method=method, url=url) from error
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

    def url_of(self, request: Request[Any]) -> str:
        """Return where a request goes, without its query."""
        return request.url(self.server)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers=self._headers,
                connector=aiohttp.TCPConnector(limit=self._max_connections),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        if self._session.closed:
            message = "the aiohttp session that this Client was given is closed"
            raise ConfigError(message)
        return self._session

    def service_time(self, at: float) -> datetime | None:
        """Return what the service's clock said at an instant of the loop's clock.

        It is good to about a second, as HTTP dates are. None where no answer had a date.
        """
        text, answered = self._last_date
        date = parse_date(text)
        return None if date is None else date - timedelta(seconds=answered - at)

    def refuse_calls(self) -> None:
        """Let every call from now on raise `ClientClosedError`, and those that wait for a turn."""
        self._closing.set()
        self._gate.open()

    async def aclose(self) -> None:
        """Close the sessions, but for one that was passed in."""
        try:
            await self.artifact_host.aclose()
        finally:
            if self._owns_session and self._session is not None:
                await self._session.close()


def _may_have_acted(error: NotSentError | ResponseError) -> bool:
    """Say whether the service may have done what was asked, for all that this answer shows."""
    if isinstance(error, NotSentError):
        return False
    return error.status < 300 or error.status >= 500  # noqa: PLR2004 - all but a clear refusal


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


class _JsonBody(aiohttp.BytesPayload):
    """A JSON object as the body of a request."""

    def __init__(self, document: Mapping[str, object]) -> None:
        try:
            encoded = _encoder.encode(document).encode()
        except (TypeError, ValueError, RecursionError) as error:
            message = f"the request's body can't be sent as JSON: {error}"
            raise ConfigError(message) from error
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
