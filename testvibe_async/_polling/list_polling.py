"""Reading many statuses from one list call, where the service has one.

Lists are assumed, not documented, so a list is believed only in what costs little if it is wrong:
that an operation still goes on. What it shows as changed, and what it does not show, is to be read
by id; so are, each time, those of the others that were not for longest, one at least, to catch a
list that lies. A list that is not there, can't be read, was caught or does not earn its price is
left alone for a while.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from datetime import UTC, datetime
from math import ceil
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

from attrs import define, evolve, field, frozen

from testvibe_async._wire import LIST_FEATURES, LIST_RUNS, UnreadableError, read_rows
from testvibe_async.errors import (
    ConfigError,
    MalformedResponseError,
    RateLimitedError,
    ResponseError,
    ServerError,
    TransportError,
)
from testvibe_async.events import Hooks, ListPollingSuspended, StatusChanged
from testvibe_async.models import FeatureStatus, Phase, RunStatus
from testvibe_async.refs import RunRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testvibe_async._http import Transport
    from testvibe_async._polling.state import State
    from testvibe_async._wire import Request
    from testvibe_async.errors import VibeError
    from testvibe_async.refs import Ref

__all__ = ["ListAnswer", "ListPolling"]

MIN_STATES = 3
"""From how many operations on one list call, and the read that checks it, is the cheaper way."""

ROWS_A_TURN = 500
"""How many rows are read before others get their turn of the event loop."""

ROWS_A_REQUEST = 100
"""How many rows of a list cost about as much as one request more."""

SPARE_ROWS = 20
"""Rows asked for beyond those that should do, for what others dispatch meanwhile."""

READ_BY_ID_SECONDS = 60.0
"""No operation goes unread by id for longer than that, but where very many are due for it at once.

Those are read within as many seconds more, so that no burst of reads makes all others late.
"""

CHECKS_AT_ONCE = 500
"""How many that were not read by id for so long are read at once in any case."""

UNUSABLE_SECONDS = 600.0
"""How long a list rests that is not there, can't be read, or was caught lying."""

COSTLY_SECONDS = 60.0
"""How long a list rests that showed less than it cost."""

TROUBLE_SECONDS = 30.0
"""How long a list rests after a failure that passes."""

LEAST_PATIENCE_SECONDS = 1.0
"""What a list may take to answer in any case; else one interval, so that it makes nothing late."""

SECONDS_A_READ = 0.002
"""About what a read by id takes among many: a list may take as long as the reads that it saves."""

CLOCK_SLACK_SECONDS = 1.0
"""By how much the difference of two instants in whole seconds may be too large."""

_RUN_ROWS = LIST_RUNS.unread
_FEATURE_ROWS = LIST_FEATURES.unread


@frozen
class ListAnswer:
    """What one list call told of the operations that it was asked about."""

    going_on: Sequence[State[Any]]
    """Those that it shows as going on."""

    to_read: Sequence[State[Any]]
    """Those that it shows as changed or not at all, and those that check it."""


@define
class _Page:
    """What a page of the list showed."""

    missing: list[State[Any]] = field(factory=list["State[Any]"])
    going_on: list[State[Any]] = field(factory=list["State[Any]"])
    changed: list[State[Any]] = field(factory=list["State[Any]"])
    rows: int = 0
    """How many were read."""
    depth: int = 0
    """The place of the last that was looked for and found."""


class ListPolling:
    """The list of one project's runs, or of its features and so of their generations."""

    def __init__(self, transport: Transport, ref: Ref, *, interval: float, hooks: Hooks) -> None:
        self._transport = transport
        self._hooks = hooks
        self._project = ref.project
        self._is_of_runs = isinstance(ref, RunRef)
        self._in_flight = RunStatus.RUNNING if self._is_of_runs else FeatureStatus.GENERATING
        self._id_name = "runId" if self._is_of_runs else "id"
        self._interval = interval
        self._late_seconds = 2 * interval + CLOCK_SLACK_SECONDS
        self._least_patience = max(interval, LEAST_PATIENCE_SECONDS)
        self._depth = 0
        self._looked: float | None = None
        self._rests_until = 0.0
        self._checked: set[State[Any]] = set()
        """What is read by id, to see whether the list told the truth of it at `_listed_at`."""
        self._listed_at: datetime | None = None

    def is_worth_it(self, count: int, now: float) -> bool:
        """Say whether to ask the list about so many operations."""
        return count >= MIN_STATES and now >= self._rests_until

    def may_show(self, state: State[Any]) -> bool:
        """Say whether the list can stand in for reading an operation by id this time.

        It can't before the first reading, nor where the last one failed, nor where somebody
        follows each change of a generation: the list of features does not tell of sections.
        """
        is_read = state.is_known and not state.failures
        return is_read and (self._is_of_runs or not state.is_followed)

    async def look(self, states: Sequence[State[Any]]) -> ListAnswer | None:
        """Ask the list about operations, some of which it may not show.

        None where there was no list to tell anything: it rests then.
        """
        limit = max(len(states), self._depth + self._depth // 4) + SPARE_ROWS
        request = self._request(limit, patience=SECONDS_A_READ * len(states))
        try:
            body = await self._transport.call(request, retries=False, is_poll=True)
            page = await self._read(body, states)
        except (TransportError, ServerError, RateLimitedError) as error:
            self.rest(TROUBLE_SECONDS, error)
            return None
        except ResponseError as error:
            self.rest(UNUSABLE_SECONDS, error)
            return None
        except UnreadableError as problem:
            url = request.url(states[0].ref.server)
            malformed = MalformedResponseError(problem.problems, status=200, method="GET", url=url)
            self.rest(UNUSABLE_SECONDS, malformed)
            return None
        except ConfigError:  # of the session; each read by id tells the operation's waits
            return None
        self._learn(page, len(states), limit)
        checks, going_on = self._checks(page.going_on)
        return ListAnswer(going_on, [*page.changed, *page.missing, *checks])

    def _request(self, limit: int, *, patience: float) -> Request[bytes]:
        if self._is_of_runs:
            request = _RUN_ROWS.request(project=self._project, query={"limit": limit})
        else:
            request = _FEATURE_ROWS.request(project=self._project)
        return evolve(request, patience=max(self._least_patience, patience))

    async def _read(self, body: bytes, states: Sequence[State[Any]]) -> _Page:
        """Find operations among the rows, letting others have their turn of the event loop."""
        wanted: dict[int, State[Any]] = {}
        page = _Page()
        for each in states:
            other = wanted.setdefault(each.list_id, each)
            if other is not each:
                # Two generations of one feature share its row, which tells of the later one.
                earlier, later = sorted((other, each), key=attrgetter("began"))
                wanted[each.list_id] = later
                page.missing.append(earlier)
        for row in read_rows(body):
            page.rows += 1
            if page.rows % ROWS_A_TURN == 0:
                await asyncio.sleep(0)
            fields = cast("dict[str, object]", row) if isinstance(row, dict) else {}
            number = fields.get(self._id_name)
            state = wanted.pop(number, None) if isinstance(number, int) else None
            if state is not None:
                page.depth = page.rows
                (page.going_on if self._goes_on(state, fields) else page.changed).append(state)
                if not wanted:
                    break
        page.missing.extend(wanted.values())
        return page

    def _goes_on(self, state: State[Any], row: dict[str, object]) -> bool:
        """Say whether a row tells nothing new; that it executes is taken from it unread."""
        if row.get("status") != self._in_flight:
            return False
        if state.phase is Phase.QUEUED and row.get("startedUtc") is not None:
            if state.is_followed:
                return False
            state.phase, state.observed_at = Phase.ACTIVE, datetime.now(UTC)
            if self._hooks.is_enabled(StatusChanged):
                self._hooks.emit(StatusChanged(state.ref, state.present))
        return True

    def _learn(self, page: _Page, count: int, limit: int) -> None:
        """Ask deeper next time, or not at all for a while, or as deep as it took."""
        reads_saved = count - len(page.missing) - 1  # the list call is a request too
        # A service that ignores `limit` sends more rows than asked for: nothing lies deeper.
        is_cut_off = self._is_of_runs and page.rows == limit
        if is_cut_off and len(page.missing) > limit / ROWS_A_REQUEST:
            self._depth = 2 * limit
        elif reads_saved <= page.rows / ROWS_A_REQUEST:
            self._depth = 0
            self.rest(COSTLY_SECONDS)
        else:
            self._depth = page.depth

    def _checks(
        self, going_on: list[State[Any]]
    ) -> tuple[Sequence[State[Any]], Sequence[State[Any]]]:
        """Part off those to be read by id although the list shows them as going on.

        The one that was not for longest shows whether the list lies. With it go those that were
        not for a minute, so many of them that all have had their turn within the next.
        """
        if not going_on:
            return (), ()
        now = asyncio.get_running_loop().time()
        oldest_first = sorted(going_on, key=attrgetter("last_read"))
        overdue = bisect_right(oldest_first, now - READ_BY_ID_SECONDS, key=attrgetter("last_read"))
        round_seconds = self._interval if self._looked is None else now - self._looked
        self._looked = now
        share = ceil(len(going_on) * round_seconds / READ_BY_ID_SECONDS)
        count = max(1, min(overdue, max(share, CHECKS_AT_ONCE)))
        self._listed_at = self._transport.service_time(now)
        self._checked = set(oldest_first[:count])
        return oldest_first[:count], oldest_first[count:]

    def note(self, state: State[Any]) -> None:
        """Hear that an operation was read by id, and rest if that shows that the list lied."""
        if state not in self._checked:
            return
        self._checked.discard(state)
        listed_at, ended_at = self._listed_at, state.ended_at
        if listed_at is None or ended_at is None:
            return
        if (listed_at - ended_at).total_seconds() > self._late_seconds:
            self._checked.clear()
            self.rest(UNUSABLE_SECONDS)

    def rest(self, seconds: float, error: VibeError | None = None) -> None:
        """Leave the list alone for a while."""
        self._rests_until = asyncio.get_running_loop().time() + seconds
        name = "list_runs" if self._is_of_runs else "list_features"
        self._hooks.emit(ListPollingSuspended(name, self._project, seconds=seconds, error=error))
