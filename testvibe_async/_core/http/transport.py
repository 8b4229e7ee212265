"""All traffic with the service: each request waits for its slot, and is retried by policy.

Decides when a request is sent, whether it is sent again, and that none is sent once the client is
closed. `session` sends it, and `protocol` decides what an answer means.
"""

from __future__ import annotations

import asyncio
import random
import time
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define

from testvibe_async._core.http.availability import Availability
from testvibe_async._core.http.clock import ServiceClock
from testvibe_async._core.http.pages import read_pages
from testvibe_async._core.http.retry import (
    MAX_TOKENS,
    RetryBudget,
    RetryPolicy,
    is_throttled,
    refused_seconds,
    retry_delay,
)
from testvibe_async._core.http.session import HttpSession
from testvibe_async._core.http.throttle import Throttle
from testvibe_async._core.util import escape, plain
from testvibe_async._core.util.waiting import OFFLOAD_BYTES, offload
from testvibe_async._core.wire import (
    EXTRA,
    SUCCESS,
    decode,
    incomplete,
    is_clear_refusal,
    next_page,
    raise_for_status,
    require_uncached,
)
from testvibe_async.errors import (
    ClientClosedError,
    ConfigError,
    NotSentError,
    OutcomeUnknownError,
    RateLimitedError,
    ResponseError,
    TransportError,
    UnauthorizedError,
    VibeError,
)
from testvibe_async.events import (
    Emitter,
    Paused,
    RequestFinished,
    Resumed,
    RetryScheduled,
    logger,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aiohttp import ClientSession

    from testvibe_async._core.config import Settings
    from testvibe_async._core.http.request_body import Sending
    from testvibe_async._core.wire import Endpoint, Request, Response, UnreadableField
    from testvibe_async.models import Listing

T = TypeVar("T")

_WORDS = {"CaseResult": "Test", "RunSummary": "Summary", "SectionLog": "Section"}
"""The name in messages of a model whose class has another name."""

MAX_WARNINGS = 100
"""Maximum number of warnings that a client logs about answers: they may have ever new fields."""


@define(eq=False)
class _Life:
    """The facts that a transport shares with those derived from it."""

    loop: asyncio.AbstractEventLoop | None = None
    """The event loop that it is bound to; None before its first use."""

    is_closed: bool = False


class Transport:
    """One HTTP session with one service, with one key, in one event loop."""

    def __init__(  # noqa: PLR0913 - what a client is made with, each by name
        self,
        settings: Settings,
        *,
        timeout: float,
        max_outage: float,
        retry: RetryPolicy,
        max_connections: int,
        rate_limit: float | None,
        session: ClientSession | None,
        user_agent: str | None,
        routes: Mapping[str, Endpoint[Any]],
        hooks: Emitter,
    ) -> None:
        self.server: str = settings.server
        """The service's scheme, host and path prefix."""
        is_passed = settings.key_source == "argument"
        self._key_source = "the argument api_key" if is_passed else settings.key_source
        self.clock: ServiceClock = ServiceClock()
        """The service's time, as shown by its answers."""
        self.timeout: float = timeout
        """Seconds that one request may take."""
        self._http = HttpSession(
            settings,
            max_connections=max_connections,
            session=session,
            user_agent=user_agent,
        )
        self.let_go: Callable[[], None] = self._http.let_go
        """Note that this task has decoded an answer, so that another large one may be read."""
        self.retry: RetryPolicy = retry
        """The policy for retrying failed calls."""
        self._budget = RetryBudget()
        self._throttle = Throttle(max_connections, rate_limit=rate_limit)
        self._routes = routes
        self._hooks = hooks
        self._life = _Life()
        self._closing = asyncio.Event()
        self.availability: Availability = Availability(
            settings.server,
            hooks,
            max_outage=max_outage,
            throttle=self._throttle,
            clock=self.clock,
        )
        """The availability of the service: whether it answers, and who may send a request."""
        self._warned: set[str] = set()
        """The warnings about answers that were logged, and are not repeated."""

    def __repr__(self) -> str:
        """Return a text that names the service, and contains no secret."""
        return f"<Transport to {self.server}>"

    @property
    def is_open(self) -> bool:
        """True if the transport was used and has not been closed since."""
        return self._life.loop is not None and not self._life.is_closed

    @property
    def is_closed(self) -> bool:
        """True if calls are refused."""
        return self._life.is_closed

    def with_options(self, *, timeout: float, retry: RetryPolicy) -> Transport:
        """Return a transport with other options that shares everything else, also its life.

        Whatever changes is in objects that both have, so that a shallow copy shares it.
        """
        derived = copy(self)
        derived.timeout, derived.retry = timeout, retry
        return derived

    def bind(self) -> None:
        """Bind to the running event loop at first use.

        Raises:
            ClientClosedError: The transport was closed.
            ConfigError: The transport belongs to another event loop.
        """
        life = self._life
        if life.is_closed:
            raise ClientClosedError
        if life.loop is not None and life.loop is asyncio._get_running_loop():  # noqa: SLF001
            return
        # Sockets and futures belong to one loop: used from another they hang, far from the cause.
        loop = running_loop()
        if life.loop is None:
            life.loop = loop
        elif life.loop is not loop:
            raise ConfigError(
                "this Client belongs to another event loop than the one that runs now; "
                "make one Client for each event loop"
            )

    async def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds.

        Raises:
            ClientClosedError: The client was closed meanwhile.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return
        raise ClientClosedError

    async def call(self, request: Request[T], *, retries: bool = True) -> T:
        """Send a request and return the decoded answer, of a list with all pages; see `read`."""
        response, value = await self.read(request, retries=retries)
        if request.endpoint.is_list:
            await self._complete(cast("Listing[Any]", value), request, response)
        return value

    async def call_page(self, request: Request[Listing[T]], *, retries: bool = True) -> Listing[T]:
        """Send a request for a list, and return its first page alone.

        Args:
            request: The request.
            retries: True to retry as the policy allows.

        Raises:
            ResponseError: The answer is an error, or unreadable.
        """
        response, page = await self.read(request, retries=retries)
        if page.unreadable or next_page(request, response, page.extra, rows=len(page)):
            page.incomplete = incomplete(request, response, "one page is not all of it")
        return page

    async def read(
        self,
        request: Request[T],
        *,
        retries: bool = True,
        sending: Sending | None = None,
    ) -> tuple[Response, T]:
        """Send a request and decode the answer, of a list its first page.

        Args:
            request: The request.
            retries: True to retry as the policy allows.
            sending: Receives the progress of the request; once withdrawn, it is not sent any more.

        Raises:
            TransportError: No complete answer came.
            ResponseError: The answer is an error, or unreadable.
            ClientClosedError: The client was closed before or meanwhile.
        """
        unreadable: list[UnreadableField] = []
        fetch = self.fetch if retries else self.fetch_once
        try:
            response = await fetch(request, sending=sending)
        except BaseException:
            self.let_go()
            raise
        try:
            require_uncached(request, response)
            size = len(response.body)
            if size < OFFLOAD_BYTES:
                value = decode(request, response, unreadable=unreadable)
            else:
                value = await offload(decode, request, response, unreadable=unreadable)
        except ResponseError as error:
            error.note_headers(self._http.without_key(response.headers))
            raise
        finally:
            self.let_go()
        self.availability.note_good_answer(request.endpoint.name)
        if unreadable:
            self.warn_of(unreadable)
        return response, value

    def note_retry(
        self, request: Request[Any], error: VibeError, *, attempt: int, delay: float
    ) -> None:
        """Emit the event of a request that is sent again."""
        self._hooks.emit(RetryScheduled(request.endpoint.name, error, attempt, delay))

    def warn_of(self, unreadable: Iterable[UnreadableField]) -> None:
        """Log the fields of an answer that could not be read, each once per client."""
        for field in unreadable:
            what = f"{_WORDS.get(field.model, field.model)}.{field.name}"
            fate = "is cut" if field.name == EXTRA else "can't be read and is left out"
            self._warn_once(what, f"{what} {fate}: {field.problem}")

    def warn_of_status(self, kind: str, status: str | None) -> None:
        """Log an undocumented status that is treated as in flight, each once per client."""
        word = plain(status or "")
        self._warn_once(
            f"{kind} {word}",
            f"the status {word!r} of a {kind} is not documented; the service names no end, so it "
            "is taken for in flight",
        )

    def _warn_once(self, key: str, text: str) -> None:
        if key not in self._warned and len(self._warned) < MAX_WARNINGS:
            self._warned.add(key)
            logger.warning("%s", escape(text))

    async def _complete(
        self, listing: Listing[Any], request: Request[Any], response: Response
    ) -> None:
        """Add the further pages to a list, and note in the list whether rows are missing."""
        problem = await read_pages(listing, request, response, read=self.read)
        if problem is None:
            return
        listing.incomplete = incomplete(request, response, problem)
        # With a `limit`, a list of that length is what the caller requested.
        if str(len(listing)) != request.query.get("limit"):
            self._warn_once(request.endpoint.name, listing.incomplete.explained)

    async def fetch(
        self, request: Request[Any], *, sending: Sending | None = None, is_poll: bool = False
    ) -> Response:
        """Send a request, and again as the retry policy says; see `fetch_once`."""
        attempt, cost = 1, 0
        while True:
            try:
                response = await self.fetch_once(request, sending=sending, is_poll=is_poll)
            except (TransportError, ResponseError) as error:
                delay, cost = self._delay_after(error, attempt, request, sending)
            else:
                if cost:
                    self._budget.give_back(cost - 1)
                return response
            # The request waits without its slot, and then queues again, so that others may
            # continue.
            attempt += 1
            await self.sleep(delay)

    def _delay_after(
        self,
        error: TransportError | ResponseError,
        attempt: int,
        request: Request[Any],
        sending: Sending | None,
    ) -> tuple[float, int]:
        """Return the seconds until another attempt, and its cost in the budget.

        Raises:
            TransportError, ResponseError: The error, if there must be no other attempt.
        """
        if isinstance(error, TransportError):
            error.attempts = attempt
        if sending is not None and sending.is_withdrawn:
            raise error
        delay = retry_delay(
            error,
            attempt,
            policy=self.retry,
            is_repeatable=request.endpoint.is_repeatable,
            random=random.random,
            patience_left=None if sending is None else sending.patience_left,
        )
        if delay is None:
            raise error
        # A request that must not be lost is retried in any case: its attempts are limited anyway,
        # and in a batch its patience.
        cost = self._budget.take(error) if request.endpoint.is_repeatable else 0
        if cost is None:
            raise error
        self.note_retry(request, error, attempt=attempt, delay=delay)
        return delay, cost

    async def fetch_once(
        self,
        request: Request[Any],
        *,
        sending: Sending | None = None,
        is_poll: bool = False,
        on_sent: Callable[[], object] | None = None,
    ) -> Response:
        """Send a request once a slot is free, and return the undecoded answer of a success.

        Call `let_go` once the answer is decoded.

        Args:
            request: The request.
            sending: Receives the progress of the request; once withdrawn, it is not sent any more.
            is_poll: True for one of the poller's requests, which queue separately.
            on_sent: Called once it has its slot.

        Raises:
            TransportError: No complete answer came.
            ResponseError: The answer is an error.
            ClientClosedError: The client was closed before or meanwhile.
        """
        # With few calls, as each request comes here: `bind` has the errors.
        life = self._life
        if life.loop is None or life.is_closed or life.loop is not asyncio._get_running_loop():  # noqa: SLF001
            self.bind()
        loop = asyncio.get_running_loop()
        if self._routes and (route := self._routes.get(request.endpoint.name)) is not None:
            request = request.routed(route)
        await self._throttle.acquire(is_poll=is_poll)
        sent, lead = loop.time(), time.time() - time.monotonic()
        is_read = sending is None and request.endpoint.is_repeatable and request.body is None
        is_measured = self._hooks.is_enabled(RequestFinished)
        try:
            self._note_slot(sent, on_sent)
            response = await self._http.send(
                request,
                timeout=self.timeout,
                before_writing=None if is_read else partial(self._before_writing, request, sending),
                on_finished=partial(self._note_finished, request, sent) if is_measured else None,
            )
            self.clock.sample(response.headers, sent=sent, lead=lead, answered=loop.time())
            if response.status not in SUCCESS:
                raise_for_status(request, response)
        except (TransportError, ResponseError) as error:
            self._throttle.abandon()
            await self._note_failure(error, sending, sent)
            # The session was closed below the request: the lost connection is not the cause.
            if life.is_closed and isinstance(error, OutcomeUnknownError):
                raise ClientClosedError from error
            raise
        except (asyncio.CancelledError, VibeError):  # It was not written, for another reason.
            self._throttle.abandon()
            raise
        else:
            self._note_success(sending, sent)
            return response
        finally:
            self._throttle.release()

    def _note_slot(self, sent: float, on_sent: Callable[[], object] | None) -> None:
        """Note that a request has its slot."""
        if self._life.is_closed:  # To wait for the slot may have taken minutes.
            raise ClientClosedError
        if self.availability.timer is None:
            self.availability.watch(sent)
        if on_sent is not None:
            on_sent()

    def _note_finished(self, request: Request[Any], sent: float, status: int | None) -> None:
        """Emit the event of a request that has ended, whatever its result."""
        name, method, url = request.endpoint.name, request.method, self.url_of(request)
        seconds = asyncio.get_running_loop().time() - sent
        self._hooks.emit(RequestFinished(name, method, url, status=status, seconds=seconds))

    def _note_success(self, sending: Sending | None, sent: float) -> None:
        """Note that a request was answered with a success."""
        if sending is not None:
            sending.mark_answered(sent)
        if self._budget.tokens < MAX_TOKENS:
            self._budget.give_back(1)
        if self._throttle.accept(asyncio.get_running_loop().time()):
            self._hooks.emit(Resumed(self.server))

    async def _note_failure(
        self, error: TransportError | ResponseError, sending: Sending | None, sent: float
    ) -> None:
        """Note that a request was not answered with a success."""
        if isinstance(error, ResponseError):
            self._note_error(error)
        is_sent = not isinstance(error, NotSentError)
        if sending is not None and is_sent:
            sending.mark_answered(sent)
        if sending is not None and (not is_sent or _is_refused(error)):
            await sending.mark_refused(error)
        if isinstance(error, UnauthorizedError):
            error.name_source(self._key_source)

    def _note_error(self, error: ResponseError) -> None:
        """Adapt the pace of all traffic to an answer that is an error.

        A limit applies to the key, not to one request: once it is reached, others are refused too.
        """
        if not is_throttled(error):
            if self._throttle.accept(asyncio.get_running_loop().time()):
                self._hooks.emit(Resumed(self.server))
            return
        if (seconds := self._throttle.refuse(refused_seconds(error))) is not None:
            self._hooks.emit(Paused(seconds, error))

    async def _before_writing(self, request: Request[Any], sending: Sending | None) -> None:
        """Check that a request is still wanted, after the steps that must precede its writing.

        Raises:
            VibeError: The request must not be written.
        """
        if sending is not None:
            await sending.before_writing()
        self.check_wanted(request, sending)
        if sending is not None:
            sending.mark_written(asyncio.get_running_loop().time())

    def check_wanted(self, request: Request[Any], sending: Sending | None) -> None:
        """Refuse a request that may not be sent any more. Checked at first, and before writing.

        Raises:
            ClientClosedError: The client was closed.
            NotSentError: The request was withdrawn.
        """
        if self._life.is_closed:
            raise ClientClosedError
        if sending is not None and sending.is_withdrawn:
            what = "it was withdrawn"
            raise NotSentError(what, method=request.method, url=self.url_of(request))

    def url_of(self, request: Request[Any]) -> str:
        """Return a request's URL, without its query."""
        return request.url(self.server)

    def refuse_calls(self) -> None:
        """Make all calls raise `ClientClosedError` from now on, even those that wait for a slot."""
        self._life.is_closed = True
        self._closing.set()
        self._throttle.let_all_through()
        self.availability.stop()

    async def aclose(self) -> None:
        """Close the session, unless the caller passed it in."""
        await self._http.aclose()


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop.

    Raises:
        ConfigError: None runs.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigError(
            "use this client in a coroutine that asyncio runs, as asyncio.run(main()) does: here "
            "no event loop of asyncio runs"
        ) from None


def _is_refused(error: TransportError | ResponseError) -> bool:
    """Return whether an answer shows that the service did not act: its own refusal, or a limit."""
    if isinstance(error, RateLimitedError):
        return True
    return isinstance(error, ResponseError) and is_clear_refusal(error.status, error.code)
