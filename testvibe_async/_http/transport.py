"""All traffic with the service: each request waits for its slot, and is retried by policy.

Decides when a request goes out, whether it goes out again, and that none does once the client is
closed. `session` sends it, and `protocol` decides what an answer means.
"""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from attrs import evolve

from testvibe_async._config import require_seconds
from testvibe_async._http.clock import ServiceClock
from testvibe_async._http.pages import read_pages
from testvibe_async._http.patience import outlast
from testvibe_async._http.retry import (
    MAX_TOKENS,
    Outlook,
    RetryBudget,
    RetryPolicy,
    is_throttled,
    outlook_after,
    refused_seconds,
    retry_delay,
)
from testvibe_async._http.session import HttpSession
from testvibe_async._http.throttle import Throttle
from testvibe_async._telemetry import telemetry
from testvibe_async._util import escape, plain
from testvibe_async._util.waiting import OFFLOAD_BYTES, offload
from testvibe_async._wire import (
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
    ResponseError,
    TransportError,
    UnauthorizedError,
)
from testvibe_async.events import (
    Emitter,
    Paused,
    RequestFinished,
    Resumed,
    RetryScheduled,
    logger,
)
from testvibe_async.models import Listing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aiohttp import ClientSession

    from testvibe_async._config import Settings
    from testvibe_async._http.sending import Sending
    from testvibe_async._wire import Endpoint, Request, Response, UnreadableField

__all__ = ["Transport"]

T = TypeVar("T")

_WORDS = {"CaseResult": "Test", "RunSummary": "Summary", "SectionLog": "Section"}
"""What a person calls a model whose class has another name."""

MAX_WARNINGS = 100
"""The most warnings about answers that a client logs: a service could invent fields for ever."""


class Transport:
    """One HTTP session with one service, with one key, in one event loop."""

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
        hooks: Emitter,
    ) -> None:
        self.server: str = settings.server
        is_passed = settings.key_source == "argument"
        self._key_source = "the argument api_key" if is_passed else settings.key_source
        """The service's scheme and host, and path prefix."""
        self.clock: ServiceClock = ServiceClock()
        """The service's time, as far as its answers showed it."""
        self._http = HttpSession(
            settings, timeout=timeout, max_connections=max_connections, session=session
        )
        self.let_go: Callable[[], None] = self._http.let_go
        """Say that this task has decoded an answer: another large one may come in."""
        self._retry = retry
        # For polls: the next one follows anyway, and retries would only delay the others.
        self._single_try = evolve(retry, attempts=1)
        self._budget = RetryBudget()
        self._throttle = Throttle(max_connections, rate_limit=rate_limit)
        self._routes = routes
        self._hooks = hooks
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = asyncio.Event()
        self.is_closed: bool = False
        """Whether it refuses calls."""
        self._telemetry = telemetry()
        self.answered: set[str] = set()
        """The names of the calls that were answered well: those who decode an answer add to it."""
        self._warned: set[str] = set()
        """What was logged about answers, and is not again."""

    def __repr__(self) -> str:
        """Name the service, and nothing secret."""
        return f"<Transport to {self.server}>"

    @property
    def timeout(self) -> float:
        """Seconds that one request may take."""
        return self._http.timeout

    @property
    def is_open(self) -> bool:
        """Whether it was used and not closed since."""
        return self._loop is not None and not self.is_closed

    def bind(self) -> None:
        """Bind to the running event loop at first use.

        Raises:
            ClientClosedError: It was closed.
            ConfigError: It belongs to another event loop.
        """
        if self.is_closed:
            raise ClientClosedError
        # Sockets and futures belong to one loop: used from another they hang, far from the cause.
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
        self, request: Request[T], *, retries: bool = True, sending: Sending | None = None
    ) -> T:
        """Send a request and return what its answer holds; see `fetch`.

        Raises:
            ResponseError: The answer is an error, or unreadable.
        """
        response, value = await self._read(request, retries=retries, sending=sending)
        if _is_listing(value):
            await self._complete(value, request, response)
        return value

    async def call_through_outage(self, request: Request[T], *, max_outage: float | None) -> T:
        """Send a request that reads as often as it takes while the service is away; see `outlast`.

        Args:
            request: What to ask.
            max_outage: For how many seconds; None to try as the retry policy says.

        Raises:
            TransportError, ResponseError: Another try would not change it, or it lasted too long.
        """
        if max_outage is None:
            return await self.call(request)
        return await outlast(
            partial(self.call, request, retries=False),
            name=request.endpoint.name,
            server=self.server,
            hooks=self._hooks,
            outlook_after=partial(self.outlook_after, request=request),
            sleep=self.sleep,
            max_outage=require_seconds("max_outage", max_outage),
        )

    async def call_page(self, request: Request[Listing[T]], *, retries: bool = True) -> Listing[T]:
        """Send a request for a list, and return its first page alone.

        Args:
            request: What to ask.
            retries: Whether to try again where the policy says so.

        Raises:
            ResponseError: The answer is an error, or unreadable.
        """
        response, page = await self._read(request, retries=retries)
        if page.unreadable or next_page(request, response, page.extra, rows=len(page)):
            page.incomplete = incomplete(request, response, "one page is not all of it")
        return page

    async def _read(
        self,
        request: Request[T],
        *,
        retries: bool = True,
        sending: Sending | None = None,
    ) -> tuple[Response, T]:
        """Send a request and decode the answer."""
        unreadable: list[UnreadableField] = []
        try:
            response = await self.fetch(request, retries=retries, sending=sending, keeps_place=True)
            require_uncached(request, response)
            size = len(response.body)
            if size < OFFLOAD_BYTES:
                value = decode(request, response, unreadable=unreadable)
            else:
                value = await offload(decode, request, response, unreadable=unreadable)
        finally:
            self.let_go()
        self.answered.add(request.endpoint.name)
        if unreadable:
            self.warn_of(unreadable)
        return response, value

    def outlook_after(self, error: Exception, request: Request[Any]) -> Outlook:
        """Return what another try of a read may bring, after one that failed."""
        return outlook_after(error, has_answered=request.endpoint.name in self.answered)

    def warn_of(self, unreadable: Iterable[UnreadableField]) -> None:
        """Log the fields of an answer that could not be read, each once a client."""
        for field in unreadable:
            what = f"{_WORDS.get(field.model, field.model)}.{field.name}"
            fate = "is cut" if field.name == EXTRA else "can't be read and is left out"
            self._warn_once(what, f"{what} {fate}: {field.problem}")

    def warn_of_status(self, kind: str, status: str | None) -> None:
        """Log a status that is not documented and taken for one in flight, each once a client."""
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
        """Add the pages that follow to a list, and say in it where it has not all rows."""
        problem = await read_pages(listing, request, response, read=self._read)
        if problem is None:
            return
        listing.incomplete = incomplete(request, response, problem)
        # With a `limit` it is what was asked for.
        if str(len(listing)) != request.query.get("limit"):
            self._warn_once(request.endpoint.name, listing.incomplete.message)

    async def fetch(
        self,
        request: Request[Any],
        *,
        retries: bool = True,
        sending: Sending | None = None,
        is_poll: bool = False,
        keeps_place: bool = False,
    ) -> Response:
        """Send a request when its slot comes, and return the answer of a success, not decoded.

        Args:
            request: What to ask.
            retries: Whether to try again where the policy says so.
            sending: Told how far the request has come; once withdrawn it is not sent any more.
            is_poll: Whether it is one of the poller's, which queue separately.
            keeps_place: Whether a large answer keeps others waiting until it is decoded.

        Raises:
            TransportError: No whole answer came.
            ResponseError: The answer is an error.
            ClientClosedError: The client was closed before or meanwhile.
        """
        if self.is_closed or self._loop is not asyncio.get_running_loop():
            self.bind()
        if self._routes and (route := self._routes.get(request.endpoint.name)) is not None:
            request = request.routed(route)
        attempt, cost = 1, 0
        while True:
            try:
                response = await self._attempt(request, sending, is_poll=is_poll)
            except (TransportError, ResponseError) as error:
                policy = self._retry if retries else self._single_try
                delay, cost = self._delay_after(error, attempt, request, policy, sending)
            else:
                if self._budget.tokens < MAX_TOKENS:
                    self._budget.give_back(cost)
                if not keeps_place:
                    self.let_go()
                return response
            # It waits without its slot, and takes another turn in the queue: others may go on.
            attempt += 1
            await self.sleep(delay)

    def _delay_after(
        self,
        error: TransportError | ResponseError,
        attempt: int,
        request: Request[Any],
        policy: RetryPolicy,
        sending: Sending | None,
    ) -> tuple[float, int]:
        """Return the seconds to another attempt, and what it takes of the budget.

        Raises:
            TransportError, ResponseError: The error: there must be no other attempt.
        """
        if isinstance(error, TransportError):
            error.attempts = attempt
        if sending is not None and sending.is_withdrawn:
            raise error
        delay = retry_delay(
            error,
            attempt,
            policy=policy,
            is_repeatable=request.is_repeatable,
            random=random.random,
            patience_left=None if sending is None else sending.patience_left,
        )
        if delay is None:
            raise error
        # What must not be lost is retried in any case; its number is limited anyway.
        cost = self._budget.take(error) if request.is_repeatable else 0
        if cost is None:
            raise error
        self._hooks.emit(RetryScheduled(request.endpoint.name, error, attempt=attempt, delay=delay))
        return delay, cost

    async def _attempt(  # noqa: C901 - one attempt, step by step, with few calls
        self, request: Request[Any], sending: Sending | None, *, is_poll: bool
    ) -> Response:
        """Send a request once, when its slot comes."""
        await self._throttle.acquire(is_poll=is_poll)
        try:
            # The slot may have taken minutes, in which the caller left or the client closed.
            if self.is_closed or sending is not None:
                self.check_wanted(request, sending)
            response = await self._send(request, sending)
            if response.status not in SUCCESS:
                raise_for_status(request, response)
        except (NotSentError, ResponseError) as error:
            is_refusal = isinstance(error, NotSentError) or is_clear_refusal(error.status)
            if sending is not None and is_refusal:
                await sending.mark_refused(error)
            if isinstance(error, ResponseError):
                self._note_error(error)
            if isinstance(error, UnauthorizedError):
                error.name_source(self._key_source)
            raise
        except TransportError as error:
            # The session was closed below the request: the lost connection is not the reason.
            if self.is_closed:
                raise ClientClosedError from error
            raise
        except asyncio.CancelledError:
            self._throttle.abandon()
            raise
        else:
            if self._throttle.accept():
                self._hooks.emit(Resumed(self.server))
            return response
        finally:
            self._throttle.release()

    def _note_error(self, error: ResponseError) -> None:
        """Let the pace of all traffic follow from an answer that is an error.

        A limit is on the key, not on one request: where it is reached, others are refused too.
        """
        if not is_throttled(error):
            if self._throttle.accept():
                self._hooks.emit(Resumed(self.server))
            return
        self._telemetry.refusal()
        if (seconds := self._throttle.refuse(refused_seconds(error))) is not None:
            self._telemetry.pause(seconds)
            self._hooks.emit(Paused(seconds, error))

    async def _before_writing(self, request: Request[Any], sending: Sending | None) -> None:
        """Let a request be written that is still wanted, once what must come before it is done.

        Raises:
            VibeError: It must not be written.
        """
        if sending is not None:
            await sending.before_writing()
        self.check_wanted(request, sending)
        if sending is not None:
            sending.mark_written(asyncio.get_running_loop().time())

    def check_wanted(self, request: Request[Any], sending: Sending | None) -> None:
        """Refuse a request that may not be sent any more. Checked at first, and in its slot.

        Raises:
            ClientClosedError: The client was closed.
            NotSentError: It was withdrawn.
        """
        if self.is_closed:
            raise ClientClosedError
        if sending is not None and sending.is_withdrawn:
            what = "not sent: it was withdrawn"
            raise NotSentError(what, method=request.method, url=self.url_of(request))

    async def _send(self, request: Request[Any], sending: Sending | None) -> Response:
        """Send a request, sample the service's clock by it, and emit the event."""
        loop = asyncio.get_running_loop()
        sent, status = loop.time(), None
        is_read = sending is None and request.is_repeatable
        before_writing = None if is_read else partial(self._before_writing, request, sending)
        try:
            try:
                response = await self._http.send(request, before_writing=before_writing)
            except NotSentError:
                raise
            except (TransportError, ResponseError):
                if sending is not None:
                    sending.mark_answered(sent)
                raise
            if sending is not None:
                sending.mark_answered(sent)
            status = response.status
            self.clock.sample(response.headers.get("Date", ""), sent=sent, answered=loop.time())
            return response
        finally:
            seconds = loop.time() - sent
            if self._telemetry.is_recording:
                outcome = "no answer" if status is None else str(status)
                self._telemetry.request(request.endpoint.name, outcome, seconds)
            if self._hooks.is_enabled(RequestFinished):
                self._hooks.emit(
                    RequestFinished(
                        request.endpoint.name,
                        request.method,
                        self.url_of(request),
                        status=status,
                        seconds=seconds,
                    )
                )

    def url_of(self, request: Request[Any]) -> str:
        """Return where a request goes, without its query."""
        return request.url(self.server)

    def refuse_calls(self) -> None:
        """Let every call from now on raise `ClientClosedError`, and those that wait for a slot."""
        self.is_closed = True
        self._closing.set()
        self._throttle.let_all_through()

    async def aclose(self) -> None:
        """Close the session, unless it was passed in."""
        await self._http.aclose()


def _is_listing(value: object) -> TypeGuard[Listing[Any]]:
    return isinstance(value, Listing)
