"""The states of a dispatch, and what follows from each: read it from top to bottom.

The service has no idempotency key, and a generation costs credits. A dispatch is therefore sent
again only if it provably had no effect; a run also if, once it can't take effect any more, nothing
that could be it is to be seen. An answer that was lost is settled by the candidates that the
service shows. Each function is one state: it does its I/O, and returns the next one.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Any, assert_never

from testvibe_async._core.dispatch.dispatch import OUTAGE_TRIES, State
from testvibe_async._core.dispatch.evidence import ref_of
from testvibe_async._core.dispatch.kinds import OutdatedError
from testvibe_async._core.dispatch.record import INTENT_SECONDS, ClaimedError
from testvibe_async._core.dispatch.settlement import Searcher, known_state
from testvibe_async._core.dispatch.unknown import NOT_ASKED, unknown_error
from testvibe_async._core.http import call_through_outage
from testvibe_async._core.polling import own_copy
from testvibe_async._core.wire import Endpoints, malformed, retry_after, shows_acceptance
from testvibe_async.errors import (
    ClientClosedError,
    ConfigError,
    DispatchUnknownError,
    NotSentError,
    ResponseError,
    VibeError,
)
from testvibe_async.ledger import RowState, age_of, describe, request_of

if TYPE_CHECKING:
    from testvibe_async._core.dispatch.dispatch import Dispatch
    from testvibe_async._core.wire import Request, Response
    from testvibe_async.ledger import Row
    from testvibe_async.operations import ClientParts
    from testvibe_async.refs import Ref

SEARCH_DELAYS = (0.0, 2.0, 5.0)
"""Seconds before each search: the service may need a moment to show an accepted operation."""

LATER_DELAYS = (5.0, 10.0, 20.0, inf)
"""Seconds before each further search, until the request has expired."""

SEARCH_SECONDS = 120.0
"""Maximum seconds for these searches in total, including retries and pauses."""

OUTAGE_SECONDS = 1.0
"""Minimum seconds of a wait that was an outage: otherwise the first probe was answered."""

MAX_RESENDS = 1
"""Number of times that one call sends a request again that expired without effect."""


class Machine:
    """Carries dispatches of one client from state to state."""

    def __init__(self, parts: ClientParts) -> None:
        self._parts = parts
        self._transport = parts.transport
        self._availability = parts.transport.availability
        self._searcher = Searcher(parts)
        self.is_closing: bool = False
        """True once the client closes."""
        self.aclose = self._searcher.aclose

    async def run(self, dispatch: Dispatch[Any]) -> None:
        """Carry a dispatch until its operation is known.

        Raises:
            DispatchUnknownError: It is unknown whether the dispatch took effect.
            VibeError: It had no effect.
        """
        try:
            while dispatch.state is not State.STARTED:
                match dispatch.state:
                    case State.RECALL:
                        dispatch.state = await self._recall(dispatch)
                    case State.PREPARE:
                        dispatch.state = await self._attempt(dispatch)
                    case State.SETTLE:
                        dispatch.state = await self._settle(dispatch)
                    case State.EXPIRE:
                        dispatch.state = await self._expire(dispatch)
                    case State.SEND | State.SENT | State.IDLE | State.UNKNOWN:
                        raise AssertionError(dispatch.state)  # Within `_attempt`, or not under way.
                    case _:
                        assert_never(dispatch.state)
        except (asyncio.CancelledError, ClientClosedError) as error:
            # A caller's cancellation does not reach this point once it was sent; a shutdown's does.
            if dispatch.is_awaited:
                why = "the client was closed" if self.is_closing else "its task was cancelled"
                raise dispatch.unknown(f"{why} before its operation was found") from error
            await dispatch.mark_refused(self.not_sent(dispatch, "withdrawn before it was sent"))
            raise

    async def _recall(self, dispatch: Dispatch[Any]) -> State:
        """Decide by the ledger's last row of the dispatch what is next."""
        row = await dispatch.record.read(self._transport.server, dispatch.project)
        if row is None:
            return State.PREPARE
        require_same(dispatch, row)
        match row.state:
            case RowState.DISPATCHED | RowState.FINISHED:
                return State.STARTED
            case RowState.NOT_STARTED:
                return State.PREPARE
            case RowState.INTENDED | RowState.LOST | RowState.ACCEPTED:
                return State.SETTLE
            case RowState.UNKNOWN | RowState.DROPPED:
                raise unknown_error(dispatch) if row.error is None else own_copy(row.error)
            case RowState.PLANNED:
                raise AssertionError(row)  # `require_same` has refused it.
            case _:
                assert_never(row.state)

    async def _attempt(self, dispatch: Dispatch[Any]) -> State:
        """Read what the dispatch needs, and send it; an outage delays that.

        Raises:
            NotSentError, ResponseError: The service is away for too long; or only missing tests are
                to be generated, and it is unknown whether the feature has tests.
        """
        async with dispatch.gate:
            dispatch.tries_left -= 1
            is_patient = dispatch.patience is not None
            if is_patient and self._availability.holds_dispatches:
                await self._wait(dispatch)
                dispatch.renew_patience()
            failure = await dispatch.prepare()
            if is_patient and dispatch.tries_left > 0:
                if failure is not None:
                    self._availability.note_dispatch_failure(failure)
                if self._availability.holds_dispatches:
                    return State.PREPARE
            if failure is not None and dispatch.missing_only:
                if isinstance(failure, ResponseError):
                    raise failure
                what = f"it is unknown whether the feature has tests ({failure.brief})"
                raise self.not_sent(dispatch, what) from failure
            dispatch.state = State.SEND
            return await self._send(dispatch)

    async def _send(self, dispatch: Dispatch[Any]) -> State:
        """Send the request, and note what its answer proves."""
        try:
            async with dispatch.slot():
                response, answer = await dispatch.parts.transport.read(
                    dispatch.request, sending=dispatch
                )
            ref = await self._named(dispatch, response, answer)
        except ClaimedError:
            return State.RECALL
        except OutdatedError as error:
            left = dispatch.patience_left
            if dispatch.tries_left <= 0 if left is None else left < 0:
                raise self.not_sent(dispatch, str(error)) from error
            return State.PREPARE
        except VibeError as error:
            if dispatch.state is State.SENT:
                return await self._lose(dispatch, error)
            may_wait = dispatch.patience is not None and dispatch.tries_left > 0
            may_wait = may_wait and not dispatch.is_withdrawn
            if not may_wait or not self._availability.note_dispatch_failure(error):
                raise
            return State.PREPARE
        dispatch.asked_seconds = retry_after(response)
        await dispatch.record.note(RowState.DISPATCHED, ref=ref)
        dispatch.note_started(ref)
        return State.STARTED

    async def _named(self, dispatch: Dispatch[Any], response: Response, answer: Any) -> Ref:  # noqa: ANN401 - an answer of the dispatch's kind
        """Return the operation that an answer names, unless it can't be that of the dispatch."""
        record = dispatch.record
        row = record.row
        assert row is not None
        ref, problem = ref_of(row, answer), row.contradiction(answer)
        # After a reset, the service may use the id of a finished operation again.
        if self._parts.poller.known.is_in_flight(ref):
            for other in await record.owners_of(ref):
                problem = f"it names {ref}, which is that of feature {other.feature!r}"
        if problem is not None:
            raise malformed(dispatch.request, response, problem)
        return ref

    async def _lose(self, dispatch: Dispatch[Any], error: VibeError) -> State:
        """Note that the answer is not known: it was lost, or is no proof of either."""
        # A page for one route alone, while others are answered, would come again.
        is_misrouted = isinstance(error, ResponseError) and error.status in {404, 405}
        is_misrouted = is_misrouted and not self._availability.holds_dispatches
        dispatch.search.note_lost(error, is_misrouted=is_misrouted)
        self._availability.note_dispatch_failure(error)
        is_accepted = shows_acceptance(error)
        await dispatch.record.note(RowState.ACCEPTED if is_accepted else RowState.LOST)
        return State.SETTLE

    async def _settle(self, dispatch: Dispatch[Any]) -> State:
        """Search for the operation a few times, as soon as the answer is lost."""
        search, limit, was_away = dispatch.search, asyncio.timeout(SEARCH_SECONDS), False
        search.evidence = NOT_ASKED
        try:
            if dispatch.patience is not None:
                was_away = await self._wait(dispatch) >= OUTAGE_SECONDS
            async with limit:
                for delay in SEARCH_DELAYS:
                    await self._transport.sleep(delay)
                    if (state := await self._searcher.search(dispatch)) is not None:
                        return state
                    if search.is_futile:
                        break
        except TimeoutError:
            if not limit.expired():  # The ledger's own.
                raise
            search.why = search.why or f"no answer within {SEARCH_SECONDS:g} s"
        except NotSentError as error:  # The service is away for too long.
            search.why = error.brief
        if dispatch.record.row is not None and (known := known_state(dispatch.record.row)):
            return known
        if self._is_to_expire(dispatch, was_away=was_away):
            return State.EXPIRE
        raise await self._give_up(dispatch)

    def _is_to_expire(self, dispatch: Dispatch[Any], *, was_away: bool) -> bool:
        """Return whether waiting for the end of a lost request may settle it."""
        if self._availability.is_given_up:
            return False
        search, record = dispatch.search, dispatch.record
        is_provable = search.evidence.may_change and not record.is_accepted
        is_provable = is_provable and (was_away or not search.is_misrouted)
        return (dispatch.is_persistent and is_provable) or record.is_anothers

    async def _expire(self, dispatch: Dispatch[Any]) -> State:
        """Search on until the request can't take effect any more, and then for the last time."""
        record, search, is_last = dispatch.record, dispatch.search, False
        assert record.row is not None
        dispatch.tries_left = OUTAGE_TRIES
        loop = asyncio.get_running_loop()
        # Without patience for its effect, another call's request may still be answered.
        seconds = INTENT_SECONDS + dispatch.parts.transport.timeout
        seconds = record.row.expires_after if dispatch.is_persistent else seconds
        until = loop.time() + max(0.0, seconds - age_of(record.row))
        delays = iter(LATER_DELAYS)
        while not is_last:
            left, delay = until - loop.time(), next(delays)
            is_last = delay >= left
            await dispatch.sleep(min(delay, left))
            if dispatch.is_withdrawn:
                raise unknown_error(dispatch)
            try:
                await self._wait(dispatch)
            except NotSentError as error:
                raise dispatch.unknown(error.brief) from error
            state = await self._searcher.search(dispatch, is_last=is_last)
            if state is not None:
                return state
        # Another caller's answer may have shown meanwhile that it was accepted.
        is_proof = search.shows_nothing and not record.is_accepted
        if is_proof and dispatch.is_persistent and dispatch.resends < MAX_RESENDS:
            dispatch.resends += 1
            nothing = self.not_sent(dispatch, "it had no effect: the service shows nothing of it")
            await record.note(RowState.NOT_STARTED, error=nothing)
            dispatch.renew_patience()
            return State.PREPARE
        raise await self._give_up(dispatch)

    async def _give_up(self, dispatch: Dispatch[Any]) -> DispatchUnknownError:
        """Return the error of a dispatch that was not found; note it if no search can settle it."""
        search, record = dispatch.search, dispatch.record
        is_settled = dispatch.state is State.EXPIRE or search.decision.reason == "ambiguous"
        is_settled = is_settled and search.decision.is_final and search.evidence.is_answered
        is_settled = is_settled and not record.is_accepted
        error = unknown_error(dispatch, needs_decision=is_settled)
        if is_settled:
            await record.note(RowState.UNKNOWN, error=error)
        return error

    async def _wait(self, dispatch: Dispatch[Any]) -> float:
        """Wait until the service answers, if dispatches are held; return the seconds.

        The read concerns no feature: a proxy may refuse the paths of a single one for ever. But a
        gateway may serve no list of projects, so that a read within the project will do, too.

        Raises:
            NotSentError: The outage lasted too long.
        """
        request: Request[Any] = Endpoints.LIST_PROJECTS.request()
        project, feature = dispatch.project, dispatch.feature
        fallback: Request[Any]
        if Endpoints.LIST_RUNS.name in self._availability.answered:
            fallback = Endpoints.LIST_RUNS.request(project=project, query={"limit": 1})
        else:
            fallback = Endpoints.GET_GENERATION_STATUS.request(project=project, feature=feature)

        async def read(seconds: float) -> None:
            await call_through_outage(
                self._transport, request, max_outage=seconds, has_answered=True, fallback=fallback
            )

        loop = asyncio.get_running_loop()
        began = loop.time()
        await self._availability.wait(read)
        return loop.time() - began

    def not_sent(self, dispatch: Dispatch[Any], what: str) -> NotSentError:
        """Return the error of a dispatch that was not sent."""
        url = self._transport.url_of(dispatch.request)
        return NotSentError(what, method=dispatch.request.method, url=url)


def require_same(dispatch: Dispatch[Any], row: Row) -> None:
    """Refuse a key whose row has another request.

    Raises:
        ConfigError: It has.
    """
    names = ("kind", "feature", "config", "site_url")
    asked, stored = ({name: getattr(each, name) for name in names} for each in (dispatch, row))
    if row.is_plan:
        what = f"a batch of {row.kind}s"
    elif request_of(**asked) == request_of(**stored):
        return
    else:
        what = describe(**stored)
    raise ConfigError(
        f"key {row.key!r} is that of {what}, not of {describe(**asked)}: take another key"
    )
