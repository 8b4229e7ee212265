"""Finding the operation of a dispatch whose answer was lost, here or in another process.

Decides which operation the dispatch started, by polling the service a few times. The operation is
adopted only if no other known dispatch can have started it. This module never dispatches.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from attrs import evolve

from testvibe_async._dispatch.finding import Finding
from testvibe_async._dispatch.search import (
    CLOCK_SLACK,
    Aim,
    ProjectRuns,
    Search,
    SearchError,
    is_for_its_site,
    may_have_started,
    search_for,
)
from testvibe_async._wire import is_from_cache
from testvibe_async.errors import (
    ClientClosedError,
    RateLimitedError,
    ResponseError,
    ServerError,
    TransportError,
)
from testvibe_async.events import reported_logger
from testvibe_async.intents import Intent
from testvibe_async.refs import Ref

if TYPE_CHECKING:
    from testvibe_async._dispatch.dispatch import Dispatch
    from testvibe_async._dispatch.finding import Known
    from testvibe_async.models import Snapshot
    from testvibe_async.operations import ClientParts

RECONCILE_DELAYS = (0.0, 2.0, 5.0)
"""Seconds before each poll: the service may need a moment to show an accepted operation."""

RECONCILE_SECONDS = 120.0
"""Maximum seconds for these polls in total, including retries and pauses."""

REMEMBERED = 10_000
"""Number of a project's answered operations that are remembered: no lost answer belongs to them."""

UNKNOWN_TIME = timedelta(minutes=5)
"""Time after an unknown dispatch in which no later one may adopt what could be its operation."""


class Reconciler:
    """Finds the operations of lost answers, for one client."""

    def __init__(self, parts: ClientParts) -> None:
        self._transport = parts.transport
        self._poller = parts.poller
        self._project_runs = ProjectRuns(parts.transport)
        self.pending: set[Dispatch[Any]] = set()
        """The dispatches without an answer yet: their operations must not be adopted."""
        self._unknown: deque[Intent] = deque(maxlen=REMEMBERED)
        """The dispatches whose search found nothing: their operations may appear later."""
        self._owners: defaultdict[str, dict[object, str | None]] = defaultdict(dict)
        """By project and id of an operation, the id of its intent; None if no recorder has that."""
        self._shown: dict[str, tuple[Ref, ...]] = {}
        """The candidates of searches that did not find the operation, by the intent's id."""

    def remember(self, ref: Ref, intent: Intent | None) -> None:
        """Remember the operation of a dispatch, so that no other dispatch adopts it.

        Args:
            ref: The operation.
            intent: The dispatch's intent, which may be reconciled although it was answered; None
                if no recorder has it.
        """
        owners, operation = self._owners[ref.project], _id_of(ref)
        owners.pop(operation, None)  # An id that is used again counts as new.
        owners[operation] = None if intent is None else intent.id
        if len(owners) > REMEMBERED:
            del owners[next(iter(owners))]

    def keep(self, intent: Intent) -> None:
        """Remember a dispatch that stays unknown, so that no other one adopts its operation."""
        self._unknown.append(intent)

    def forget(self, intent: Intent) -> None:
        """Note that the result of such a dispatch is known: other operations are not its own."""
        for kept in [each for each in self._unknown if each.id == intent.id]:
            self._unknown.remove(kept)

    async def find(
        self, intent: Intent, *, known: Known | None = None, until_expired: bool = False
    ) -> Finding:
        """Find the fate of a dispatch.

        An operation that an earlier search for the same dispatch showed stays a candidate.

        Args:
            intent: The dispatch.
            known: Knows the dispatches that this client never observed; None if there are none.
            until_expired: True to wait until the dispatch has expired, unless its operation is
                found first. It may then be proved that nothing started.
        """
        before = Finding(candidates=self._shown.pop(intent.id, ()))
        aim = Aim.RESUME if until_expired else Aim.FIND
        finding = await self._search(intent, before, known, aim)
        if finding.ref is None and finding.candidates:
            self._shown[intent.id] = finding.candidates
            if len(self._shown) > REMEMBERED:
                del self._shown[next(iter(self._shown))]
        return finding

    async def _search(
        self, intent: Intent, finding: Finding, known: Known | None, aim: Aim
    ) -> Finding:
        """Search for the operation of a dispatch a few times; see `find`."""
        try:
            async with asyncio.timeout(RECONCILE_SECONDS):
                for delay in RECONCILE_DELAYS:
                    await self._transport.sleep(delay)
                    finding, is_last = await self._find_once(intent, finding, known, aim)
                    if is_last or finding.ref is not None:
                        return finding
        except TimeoutError:
            return evolve(finding, why=finding.why or f"no answer within {RECONCILE_SECONDS:g} s")
        if aim is Aim.RESUME and finding.reason == "absent":
            # Any later dispatch certainly has a later time after this wait, by whatever clock. The
            # clock that set the intent's time may have been ahead: no dispatch needs longer than
            # this.
            longest = timedelta(seconds=intent.expires_after) + 2 * CLOCK_SLACK
            left = min(longest, longest - self._age_of(intent))
            await self._transport.sleep(max(0.0, left.total_seconds()))
            finding, _ = await self._find_once(intent, finding, known, Aim.PROVE)
        return finding

    def _age_of(self, intent: Intent) -> timedelta:
        """Return the time since an intent, by the clock that shows less of it.

        Another machine may have made the intent, whose clock differs by minutes.
        """
        age = datetime.now(UTC) - intent.intended_at
        now = self._transport.clock.at(asyncio.get_running_loop().time())
        if now is None or intent.service_at is None:
            return age
        return min(age, now - intent.service_at)

    async def _find_once(
        self, intent: Intent, before: Finding, known: Known | None, aim: Aim
    ) -> tuple[Finding, bool]:
        """Poll for a dispatch once; return the finding, and True if another poll is of no use.

        If this poll shows nothing, the finding of an earlier one is kept.
        """
        try:
            search = await search_for(intent, self._transport, self._project_runs, aim)
            refs = [*before.candidates, *(ref for _, ref in search.candidates)]
            others = [] if known is None else [*await known(refs)]
        except ResponseError as error:
            # If the call does not exist, or the key may not make it, another poll has the same
            # result.
            may_pass = isinstance(error, ServerError | RateLimitedError) or is_from_cache(error)
            return _unseen(before, error.brief), not may_pass
        except TransportError as error:
            return _unseen(before, error.brief), False
        except SearchError as error:
            shown = tuple(dict.fromkeys((*before.candidates, *error.candidates)))
            return evolve(_unseen(before, str(error)), candidates=shown), not error.may_pass
        except ClientClosedError:
            raise
        except Exception as error:  # noqa: BLE001 - nothing may hide the lost answer
            reported_logger.warning("reconciling a dispatch failed unexpectedly: %r", error)
            return _unseen(before, repr(error)), True
        return self._judge(intent, before, search, others), False

    def _judge(
        self, intent: Intent, before: Finding, search: Search, others: list[object]
    ) -> Finding:
        """Decide which of the candidates is the operation of a dispatch, if one certainly is.

        Candidates of earlier polls count too: a list may lack an operation that another list has
        shown.
        """
        owners = self._owners[intent.project]
        own_ids = {operation for operation, owner in owners.items() if owner != intent.id}
        own_ids |= {_id_of(each) for each in others if _is_of_place(each, intent)}
        shown = {ref: candidate for candidate, ref in search.candidates}
        refs = tuple(
            ref for ref in dict.fromkeys((*before.candidates, *shown)) if _id_of(ref) not in own_ids
        )
        now = datetime.now(UTC)
        if not refs:
            is_nothing = search.is_proof and not intent.is_accepted
            return Finding(is_nothing=is_nothing, reason="absent", polled_at=now)
        # Several candidates can't be told apart; the wrong one would report another's outcome.
        # An attached one may be that of this dispatch, or of another.
        is_attached = refs[0] in self._poller.known and _id_of(refs[0]) not in owners
        is_clear = len(refs) == 1 and search.is_certain and not is_attached
        candidate = shown.get(refs[0]) if is_clear else None
        if candidate is not None and not self._may_be_anothers(candidate, intent, others):
            return Finding(ref=refs[0], polled_at=now)
        return Finding(reason="ambiguous", candidates=refs, polled_at=now)

    def _may_be_anothers(self, candidate: Snapshot, intent: Intent, known: list[object]) -> bool:
        """Return whether another unanswered dispatch may have started a candidate."""
        is_for_site = is_for_its_site(intent, candidate)
        others = [
            dispatch.intent
            for dispatch in self.pending
            if dispatch.is_written and dispatch.intent is not None
        ]
        open_elsewhere = (each for each in known if isinstance(each, Intent))
        others += [
            other
            for other in (*self._unknown, *open_elsewhere)
            if _time_between(other, intent) < UNKNOWN_TIME
        ]
        return any(
            may_have_started(other, candidate)
            and (not is_for_site or is_for_its_site(other, candidate))
            for other in others
            if (other.kind, other.project) == (intent.kind, intent.project)
            and other.id != intent.id
        )


def _time_between(first: Intent, second: Intent) -> timedelta:
    """Return the time between two intents, which machines with different clocks may have made."""
    if first.service_at is None or second.service_at is None:
        return second.intended_at - first.intended_at
    return second.service_at - first.service_at


def _unseen(before: Finding, why: str) -> Finding:
    return before if before.polled_at is not None else evolve(before, why=why)


def _is_of_place(known: object, intent: Intent) -> bool:
    """Return whether a known dispatch is an operation of an intent's server and project."""
    place = (intent.server, intent.project)
    return isinstance(known, Ref) and (known.server, known.project) == place


def _id_of(ref: Any) -> object:  # noqa: ANN401 - a ref of any kind
    """Return an operation's id at the service: it takes a tenth of the memory of its ref."""
    return ref.kind, ref.key[-1]
