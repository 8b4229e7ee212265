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

from attrs import evolve

from testvibe_async._core.dispatch.candidates import Evidence, decide
from testvibe_async._core.dispatch.dispatch import INTENT_SECONDS, NOTE_SECONDS, ClaimedError, State
from testvibe_async._core.dispatch.evidence import EvidenceReader, ref_of
from testvibe_async._core.dispatch.kinds import OutdatedError
from testvibe_async._core.dispatch.unknown import unknown_error
from testvibe_async._core.http import call_through_outage
from testvibe_async._core.polling import own_copy
from testvibe_async._core.util import escape
from testvibe_async._core.wire import SUCCESS, Endpoints, malformed, retry_after
from testvibe_async.errors import (
    ClientClosedError,
    ConfigError,
    DispatchUnknownError,
    NotSentError,
    ResponseError,
    VibeError,
)
from testvibe_async.events import logger
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

OUTAGE_TRIES = 3
"""Number of attempts of a dispatch that fails as in an outage, although reads are answered."""

MAX_RESENDS = 1
"""Number of times that one call sends a run again whose request expired without effect."""


class Machine:
    """Carries dispatches of one client from state to state."""

    def __init__(self, parts: ClientParts) -> None:
        self._parts = parts
        self._transport = parts.transport
        self._availability = parts.transport.availability
        self._reader = EvidenceReader(parts.transport)
        self._settling = asyncio.Lock()
        """Held while a candidate is chosen and stored, so that no two dispatches choose one."""
        self.is_closing: bool = False
        """True once the client closes."""
        self.aclose = self._reader.aclose

    async def run(self, dispatch: Dispatch[Any]) -> None:
        """Carry a dispatch until its operation is known.

        Raises:
            DispatchUnknownError: It is unknown whether the dispatch took effect.
            VibeError: It had no effect.
        """
        tries_left = OUTAGE_TRIES
        try:
            while dispatch.state is not State.STARTED:
                match dispatch.state:
                    case State.RECALL:
                        dispatch.state = await self._recall(dispatch)
                    case State.PREPARE | State.SEND | State.SENT:
                        async with dispatch.gate:
                            tries_left -= 1
                            if await self._is_prepared(dispatch, may_repeat=tries_left > 0):
                                dispatch.state = State.SEND
                                dispatch.state = await self._send(dispatch, tries_left)
                    case State.SETTLE:
                        dispatch.state = await self._settle(dispatch)
                    case State.EXPIRE:
                        dispatch.state, tries_left = await self._expire(dispatch), OUTAGE_TRIES
                    case State.IDLE | State.UNKNOWN:
                        raise AssertionError(dispatch.state)  # It is not under way.
                    case _:
                        assert_never(dispatch.state)
        except (asyncio.CancelledError, ClientClosedError) as error:
            # A caller's cancellation does not reach this point once it was sent; a shutdown's does.
            if dispatch.is_awaited:
                why = "the client was closed" if self.is_closing else "its task was cancelled"
                what = f"{why} before its operation was found"
                dispatch.why = what
                raise unknown_error(dispatch) from error
            await dispatch.mark_refused(self.not_sent(dispatch, "withdrawn before it was sent"))
            raise

    async def _recall(self, dispatch: Dispatch[Any]) -> State:
        """Decide by the ledger's last row of the dispatch what is next."""
        row = dispatch.row
        if row is None:
            rows = await dispatch.ledger.rows(dispatch.key)
            row = last_row(rows, self._transport.server, dispatch.project, dispatch.item)
            dispatch.row = row
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

    async def _is_prepared(self, dispatch: Dispatch[Any], *, may_repeat: bool) -> bool:
        """Read what a dispatch needs; return False if that is to be repeated after an outage.

        Raises:
            NotSentError, ResponseError: The service is away for too long; or only missing tests are
                to be generated, and it is unknown whether the feature has tests.
        """
        is_patient = dispatch.patience is not None
        if is_patient and self._availability.holds_dispatches:
            await self._wait(dispatch)
            dispatch.renew_patience()
        failure = await dispatch.prepare()
        if is_patient and may_repeat:
            if failure is not None:
                self._availability.note_dispatch_failure(failure)
            if self._availability.holds_dispatches:
                return False
        if failure is not None and dispatch.missing_only:
            if isinstance(failure, ResponseError):
                raise failure
            what = f"it is unknown whether the feature has tests ({failure.brief})"
            raise self.not_sent(dispatch, what) from failure
        return True

    async def _send(self, dispatch: Dispatch[Any], tries_left: int) -> State:
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
            if tries_left <= 0 if left is None else left < 0:
                raise self.not_sent(dispatch, str(error)) from error
            return State.PREPARE
        except VibeError as error:
            if dispatch.state is State.SENT:
                return await self._lose(dispatch, error)
            is_final = dispatch.patience is None or dispatch.is_withdrawn or tries_left <= 0
            if is_final or not self._availability.note_dispatch_failure(error):
                raise
            return State.PREPARE
        dispatch.asked_seconds = retry_after(response)
        await dispatch.note(RowState.DISPATCHED, ref=ref)
        dispatch.note_started(ref)
        return State.STARTED

    async def _named(self, dispatch: Dispatch[Any], response: Response, answer: Any) -> Ref:  # noqa: ANN401 - an answer of the dispatch's kind
        """Return the operation that an answer names, unless it can't be that of the dispatch."""
        row = dispatch.row
        assert row is not None
        ref, problem = ref_of(row, answer), row.contradiction(answer)
        # After a reset, the service may use the id of a finished operation again.
        if self._parts.poller.known.is_in_flight(ref):
            for other in await dispatch.ledger.related(row.server, row.project, [ref]):
                if other.ref == ref and other.identity != row.identity:
                    problem = f"it names {ref}, which is that of feature {other.feature!r}"
        if problem is not None:
            raise malformed(dispatch.request, response, problem)
        return ref

    async def _lose(self, dispatch: Dispatch[Any], error: VibeError) -> State:
        """Note that the answer is not known: it was lost, or is no proof of either."""
        # A page for one route alone, while others are answered, would come again.
        is_misrouted = isinstance(error, ResponseError) and error.status in {404, 405}
        dispatch.is_misrouted = is_misrouted and not self._availability.holds_dispatches
        dispatch.failure = error
        self._availability.note_dispatch_failure(error)
        is_accepted = getattr(error, "status", None) in SUCCESS
        await dispatch.note(RowState.ACCEPTED if is_accepted else RowState.LOST)
        return State.SETTLE

    async def _settle(self, dispatch: Dispatch[Any]) -> State:
        """Search for the operation a few times, as soon as the answer is lost."""
        evidence, loop, waited = Evidence(), asyncio.get_running_loop(), 0.0
        limit = asyncio.timeout(SEARCH_SECONDS)
        try:
            if dispatch.patience is not None:
                began = loop.time()
                await self._wait(dispatch)
                waited = loop.time() - began
            async with limit:
                for delay in SEARCH_DELAYS:
                    await self._transport.sleep(delay)
                    searched = dispatch.row
                    evidence = await self._search(dispatch)
                    if (state := _state_by(dispatch.row, searched)) is not None:
                        return state
                    if not evidence.may_change and not evidence.is_answered:
                        break
        except TimeoutError:
            if not limit.expired():  # The ledger's own.
                raise
            dispatch.why = dispatch.why or f"no answer within {SEARCH_SECONDS:g} s"
        except NotSentError as error:  # The service is away for too long.
            dispatch.why = error.brief
        is_misrouted = dispatch.is_misrouted and waited < OUTAGE_SECONDS
        is_provable = evidence.may_change and not dispatch.is_accepted and not is_misrouted
        may_end = (dispatch.is_persistent and is_provable) or dispatch.is_anothers
        if may_end and not self._availability.is_given_up:
            return State.EXPIRE
        raise await self._give_up(dispatch, evidence)

    async def _expire(self, dispatch: Dispatch[Any]) -> State:
        """Search on until the request can't take effect any more, and then for the last time."""
        assert dispatch.row is not None
        loop = asyncio.get_running_loop()
        # Without patience for its effect, another call's request may still be answered.
        seconds = INTENT_SECONDS + dispatch.parts.transport.timeout
        seconds = dispatch.row.expires_after if dispatch.is_persistent else seconds
        until = loop.time() + max(0.0, seconds - age_of(dispatch.row))
        evidence, is_last, delays = Evidence(), False, iter(LATER_DELAYS)
        while not is_last:
            left, delay = until - loop.time(), next(delays)
            is_last = delay >= left
            await dispatch.sleep(min(delay, left))
            if dispatch.is_withdrawn:
                raise unknown_error(dispatch)
            try:
                await self._wait(dispatch)
            except NotSentError as error:
                dispatch.why = error.brief
                raise unknown_error(dispatch) from error
            searched = dispatch.row
            evidence = await self._search(dispatch, is_last=is_last)
            if (state := _state_by(dispatch.row, searched)) is not None:
                return state
        is_proof = evidence.is_answered and dispatch.decision.is_nothing
        is_proof = is_proof and not dispatch.is_accepted  # By another caller's answer.
        if is_proof and dispatch.is_persistent and dispatch.resends < MAX_RESENDS:
            dispatch.resends += 1
            nothing = self.not_sent(dispatch, "it had no effect: the service shows nothing of it")
            await dispatch.note(RowState.NOT_STARTED, error=nothing)
            dispatch.renew_patience()
            return State.PREPARE
        raise await self._give_up(dispatch, evidence)

    async def _give_up(self, dispatch: Dispatch[Any], evidence: Evidence) -> DispatchUnknownError:
        """Return the error of a dispatch that was not found; note it if no search can settle it."""
        decision = dispatch.decision
        is_settled = dispatch.state is State.EXPIRE or decision.reason == "ambiguous"
        is_settled = is_settled and decision.is_final and evidence.is_answered
        is_settled = is_settled and not dispatch.is_accepted
        error = unknown_error(dispatch, needs_decision=is_settled)
        if is_settled:
            await dispatch.note(RowState.UNKNOWN, error=error)
        return error

    async def _search(self, dispatch: Dispatch[Any], *, is_last: bool = False) -> Evidence:
        """Look once for the operation of a dispatch, and store it if it is certain."""
        row = dispatch.row
        assert row is not None
        evidence = await self._reader.read(row, is_last=is_last)
        dispatch.shown |= {ref: (operation, ref) for operation, ref in evidence.shown}
        evidence, refs = evolve(evidence, shown=[*dispatch.shown.values()]), [*dispatch.shown]
        async with self._settling:
            related, current = await _read_rows(dispatch, row, refs)
            if current is not None and not _is_as_searched(current, row):
                dispatch.set_row(current)
                if _state_by(current, row) is not None:
                    return evidence
            attached = [ref for ref in refs if ref in self._parts.poller.known]
            decision = decide(row, evidence, related, attached=attached)
            if evidence.is_answered or dispatch.decision.reason == "unseen":
                dispatch.decision, dispatch.why = decision, evidence.why
            if decision.ref is not None:
                await dispatch.note(RowState.DISPATCHED, ref=decision.ref, adopted=True)
        return evidence

    async def _wait(self, dispatch: Dispatch[Any]) -> None:
        """Wait until the service answers, if dispatches are held.

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

        await self._availability.wait(read)

    def not_sent(self, dispatch: Dispatch[Any], what: str) -> NotSentError:
        """Return the error of a dispatch that was not sent."""
        url = self._transport.url_of(dispatch.request)
        return NotSentError(what, method=dispatch.request.method, url=url)


async def _read_rows(
    dispatch: Dispatch[Any], row: Row, refs: list[Ref]
) -> tuple[list[Row], Row | None]:
    """Read the rows that may own what a search has shown, and the last attempt.

    The call that made the attempt may have had its answer meanwhile, or have made another.

    Raises:
        DispatchUnknownError: The ledger failed, and the request may have taken effect.
    """
    try:
        async with asyncio.timeout(NOTE_SECONDS):
            related = await dispatch.ledger.related(row.server, row.project, refs)
            current = next((each for each in related if each.identity == row.identity), None)
            if current is None:
                rows = await dispatch.ledger.rows(row.key)
                current = last_row(rows, row.server, row.project, row.item)
    except Exception as error:  # noqa: BLE001 - a caller's ledger may raise anything
        logger.error("the ledger could not be read: %s", escape(repr(error)))
        dispatch.why = f"the ledger could not be read: {str(error) or 'it took too long'}"
        raise unknown_error(dispatch) from dispatch.failure
    return related, current


def _is_as_searched(current: Row, searched: Row) -> bool:
    """Return whether nothing has become known of an attempt since it was searched."""
    return (current.identity, current.state) == (searched.identity, searched.state)


def _state_by(row: Row | None, searched: Row | None) -> State | None:
    """Return the state that follows from what is known of an attempt; None to search on.

    Args:
        row: The last attempt, as the ledger has it now.
        searched: The attempt that was searched; evidence of it proves nothing of another one.
    """
    if row is not None and searched is not None and row.identity != searched.identity:
        return State.RECALL
    match None if row is None else row.state:
        case RowState.DISPATCHED | RowState.FINISHED:
            return State.STARTED
        case RowState.NOT_STARTED | RowState.UNKNOWN | RowState.DROPPED:
            return State.RECALL
        case _:
            return None


def last_row(rows: list[Row], server: str, project: str, item: str) -> Row | None:
    """Return the last row of a dispatch among those of its key."""
    own = [row for row in rows if (row.server, row.project) == (server, project)]
    return max((row for row in own if row.item == item), key=lambda row: row.number, default=None)


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
