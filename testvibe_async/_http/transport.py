"""All traffic with the service: calls in their turn, tried again where the policy says so.

Decides when a request goes out, whether it goes out again, and that none does once the client is
closed. How it goes over the wire is `_http`'s to say, what an answer means `_protocol`'s.
"""

from __future__ import annotations

import asyncio
import random
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import evolve

from testvibe_async._http.retry import RetryPolicy, pause_seconds, retry_delay
from testvibe_async._http.session import HttpSession
from testvibe_async._http.throttle import Throttle
from testvibe_async._util.waiting import offload
from testvibe_async._wire import decode, parse_date
from testvibe_async.errors import (
    ClientClosedError,
    ConfigError,
    NotSentError,
    ResponseError,
    TransportError,
)
from testvibe_async.events import Hooks, Paused, RequestFinished, RetryScheduled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import ClientSession

    from testvibe_async._config import Settings
    from testvibe_async._wire import Endpoint, Request, Response
    from testvibe_async.refs import Ref

__all__ = ["Delivery", "Transport"]

T = TypeVar("T")

PROMPT_SECONDS = 1.0
"""How long an answer may take whose date says what the service's clock said when it came."""


class Delivery:
    """How far one request that must not be repeated has come."""

    __slots__ = ("begun", "is_abandoned", "is_under_way", "may_have_arrived", "sent_time")

    def __init__(self) -> None:
        self.may_have_arrived: bool = False
        """Whether the service may have seen it, and acted."""

        self.sent_time: float = 0.0
        """When it was last sent, by the loop's clock."""

        self.is_under_way: bool = False
        """Whether it is in the hands of the dispatcher, sent or not."""

        self.is_abandoned: bool = False
        """Whether nobody wants it any more, so that it must not be sent again."""

        self.begun: Ref | None = None
        """The operation that the answer names, once it came."""


class Transport:
    """One HTTP session to one service, with one key, in one event loop."""

    def __init__(  # noqa: PLR0913 - what a client is made with, each by name
        self,
        settings: Settings,
        *,
        timeout: float,
        retry: RetryPolicy,
        max_connections: int,
        rate_limit: float | None,
        session: ClientSession | None,
        routes: Mapping[str, Endpoint[Any]],
        hooks: Hooks,
    ) -> None:
        self.server: str = settings.server
        self._http = HttpSession(
            settings, timeout=timeout, max_connections=max_connections, session=session
        )
        self._retry = retry
        self._single_try = evolve(retry, attempts=1)
        self._gate = Throttle(max_connections, rate_limit=rate_limit)
        self._routes = routes
        self._hooks = hooks
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last_date = ("", 0.0)
        self._closing = asyncio.Event()

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
            raise ConfigError(
                "this Client belongs to another event loop than the one that runs now; "
                "make one Client for each event loop"
            )

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
        delivery: Delivery | None = None,
        is_poll: bool = False,
    ) -> T:
        """Send a request in its turn and decode the answer.

        Args:
            request: What to ask.
            retries: Whether to try again where the policy says so.
            delivery: Told how far the request has come; once abandoned it is not sent again.
            is_poll: Whether it is one of the poller's, which queue apart from all others.

        Raises:
            TransportError: No whole answer came.
            ResponseError: The answer is an error, or unreadable.
            ClientClosedError: The client was closed before or meanwhile.
        """
        self.check_usable()
        if (route := self._routes.get(request.endpoint.name)) is not None:
            request = request.routed(route)
        delivery = delivery or Delivery()
        attempt = 1
        while True:
            try:
                return await self._attempt(request, delivery, is_poll=is_poll)
            except (TransportError, ResponseError) as error:
                if isinstance(error, TransportError):
                    error.attempts = attempt
                delay = retry_delay(
                    error,
                    attempt,
                    policy=self._retry if retries else self._single_try,
                    is_repeatable=request.is_repeatable,
                    random=random.random,
                )
                if delay is None or delivery.is_abandoned:
                    raise
                self._hooks.emit(
                    RetryScheduled(request.endpoint.name, error, attempt=attempt, delay=delay)
                )
            attempt += 1
            await self.sleep(delay)

    async def _attempt(self, request: Request[T], delivery: Delivery, *, is_poll: bool) -> T:
        await self._gate.enter(is_poll=is_poll)
        try:
            self.check_wanted(request, delivery)
            delivery.may_have_arrived = True
            delivery.sent_time = asyncio.get_running_loop().time()
            response = await self._observed(request, delivery.sent_time)
            is_unread = request.endpoint.answer is bytes
            size_bytes = 0 if is_unread else len(response.body)
            return await offload(size_bytes, decode, request, response)
        except (NotSentError, ResponseError) as error:
            delivery.may_have_arrived = _may_have_acted(error)
            if (seconds := pause_seconds(error)) is not None:
                self._gate.rest(seconds)
                self._hooks.emit(Paused(seconds, error))
            raise
        except TransportError as error:
            if self.is_closed:
                raise ClientClosedError from error
            raise
        finally:
            self._gate.leave()

    def check_wanted(self, request: Request[Any], delivery: Delivery) -> None:
        """Refuse to send what nobody wants any more, now that its turn has come."""
        if self.is_closed:
            raise ClientClosedError
        if delivery.is_abandoned:
            what = "not sent again: its caller was cancelled"
            raise NotSentError(what, method=request.method, url=self.url_of(request))

    async def _observed(self, request: Request[Any], started: float) -> Response:
        """Send a request, note what the service's clock says, and tell the hook."""
        loop = asyncio.get_running_loop()
        status = None
        try:
            response = await self._http.send(request)
            status, answered = response.status, loop.time()
            if answered - started <= PROMPT_SECONDS:
                self._last_date = response.headers.get("Date", ""), answered
            return response
        finally:
            if self._hooks.is_enabled(RequestFinished):
                self._hooks.emit(
                    RequestFinished(
                        request.endpoint.name,
                        request.method,
                        self.url_of(request),
                        status=status,
                        seconds=loop.time() - started,
                    )
                )

    def url_of(self, request: Request[Any]) -> str:
        """Return where a request goes, without its query."""
        return request.url(self.server)

    def service_time(self, at: float) -> datetime | None:
        """Return what the service's clock said at an instant of the loop's clock.

        It is good to about a second, as HTTP dates are. None where no prompt answer had a date.
        """
        text, answered = self._last_date
        date = parse_date(text)
        try:
            return None if date is None else date - timedelta(seconds=answered - at)
        except OverflowError:
            return None

    def refuse_calls(self) -> None:
        """Let every call from now on raise `ClientClosedError`, and those that wait for a turn."""
        self._closing.set()
        self._gate.open()

    async def aclose(self) -> None:
        """Close the session, unless it was passed in."""
        await self._http.aclose()


def _may_have_acted(error: NotSentError | ResponseError) -> bool:
    """Say whether the service may have done what was asked, for all that this answer shows."""
    if isinstance(error, NotSentError):
        return False
    return error.status < 300 or error.status >= 500  # noqa: PLR2004 - all but a clear refusal
