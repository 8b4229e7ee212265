"""Polling of many operations by one list call, if the service offers a list.

Decides which operations a list may answer for, and when a list call costs more than it saves. Lists
are assumed, not documented. A list is therefore trusted only where an error costs little: that an
operation is still in flight. An operation that the list shows as changed, or does not show, is read
by its id. To catch a wrong list, each poll also reads by id the operations that were not read for
longest, at least one. A list that is missing, unreadable, was wrong or saves too little is
suspended for a while.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from functools import partial
from math import ceil
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

from attrs import define, evolve, field, frozen

from testvibe_async._core.http import Outlook, outlook_after, refused_seconds
from testvibe_async._core.wire import (
    KINDS,
    Request,
    Rows,
    UnreadableError,
    malformed,
    next_page,
    read_instant,
    read_integer,
    says_in_flight,
)
from testvibe_async.errors import (
    ClientClosedError,
    ConfigError,
    RateLimitedError,
    ResponseError,
    TransportError,
)
from testvibe_async.events import Emitter, ListPollingSuspended
from testvibe_async.models import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from testvibe_async._core.http import Transport
    from testvibe_async._core.polling.polled import PolledOperation
    from testvibe_async.errors import VibeError

MIN_OPERATIONS = 3
"""Number of operations from which a list call, and the read that checks it, is cheaper."""

ROWS_A_TURN = 500
"""Number of rows that are read before other tasks get to run."""

ROWS_A_REQUEST = 100
"""Number of list rows that cost about as much as one more request."""

PAGES_A_POLL = 10
"""Maximum number of pages of a list in one poll; beyond it, concurrent reads by id are faster."""

SPARE_ROWS = 20
"""Rows requested beyond the expected number, for runs that other clients dispatch meanwhile."""

READ_BY_ID_SECONDS = 60.0
"""Maximum seconds between two reads by id, unless very many operations are due for one at once.

These operations are read within as many seconds more, so that no burst of reads delays all other
polls.
"""

CHECKS_AT_ONCE = 500
"""Number of operations overdue for a read by id that are read at once in any case."""

UNUSABLE_SECONDS = 600.0
"""Seconds for which a list is suspended that is missing, unreadable, or was found to be wrong."""

COSTLY_SECONDS = 60.0
"""Seconds for which a list is suspended that saved less than it cost."""

TROUBLE_SECONDS = 30.0
"""Seconds for which a list is suspended after a temporary failure."""

MAX_REFUSALS = 3
"""Number of rate-limit refusals in a row that suspends a list."""

MIN_TIMEOUT_SECONDS = 1.0
"""Minimum time-out of a list call in seconds; otherwise one interval, so that it delays nothing."""

SECONDS_A_READ = 0.002
"""Approximate seconds of a read by id among many; a list may take as long as those it saves."""

CLOCK_SLACK_SECONDS = 1.0
"""Seconds by which the difference of two instants in whole seconds may be too large."""


@frozen
class Listed:
    """The result of a list call for the requested operations."""

    running: Sequence[PolledOperation[Any]]
    """Operations that need no read by id this time."""

    to_read: Sequence[PolledOperation[Any]]
    """Operations that the list shows as changed or not at all, or that check the list."""

    started: Sequence[PolledOperation[Any]]
    """Operations, among the others, that were queued before and that the list shows as started."""

    is_refused: bool = False
    """True if the list was refused for a moment: all are listed an interval later."""


@define
class _Rows:
    """The result of reading the rows of a list."""

    missing: list[PolledOperation[Any]] = field(factory=list["PolledOperation[Any]"])
    running: list[PolledOperation[Any]] = field(factory=list["PolledOperation[Any]"])
    started: list[PolledOperation[Any]] = field(factory=list["PolledOperation[Any]"])
    changed: list[PolledOperation[Any]] = field(factory=list["PolledOperation[Any]"])
    count: int = 0
    """Number of rows read."""
    depth: int = 0
    """Index, from 1, of the last row that was needed."""
    pages: int = 0
    """Number of requests made."""


class ListPolling:
    """Polling by the list of one project's runs, or of its features and thus their generations."""

    def __init__(
        self,
        transport: Transport,
        key: tuple[str, str],
        *,
        interval: float,
        hooks: Emitter,
    ) -> None:
        """Create it; does no I/O.

        Args:
            transport: Sends the calls.
            key: The project's id, and the kind of the operations.
            interval: Seconds between two polls of a run.
            hooks: Notified when the list is suspended.
        """
        self._transport = transport
        self._hooks = hooks
        self._project, kind = key
        self._kind = KINDS[kind]
        self._interval = interval
        self._late_seconds = 2 * interval + CLOCK_SLACK_SECONDS
        self._min_timeout = max(interval, MIN_TIMEOUT_SECONDS)
        self._depth = 0
        self._last_call: float | None = None
        self._refusals = 0
        """Number of rate-limited calls in a row."""
        self._suspended_until = 0.0
        self._is_in_trouble = False
        """True while the list is suspended for a failure that all polls had."""
        self._to_check: set[PolledOperation[Any]] = set()
        """Operations whose read by id will show whether the list was right at that time."""
        self._listed_at_service: datetime | None = None

    def is_worth_it(self, count: int, now: float) -> bool:
        """Return whether to ask the list about this number of operations."""
        return count >= MIN_OPERATIONS and now >= self._suspended_until

    def may_show(self, polled: PolledOperation[Any]) -> bool:
        """Return whether the list can replace a read by id of an operation this time.

        The list cannot do so before this client has dispatched or observed the operation, nor after
        a poll that failed while the service answered. Nor can it do so if a listener wants each
        change and a row does not show all of them.
        """
        failures = polled.failures
        if polled.phase is None or (failures and not _is_away(failures.last)):
            return False
        return self._kind.row_is_whole or not polled.is_followed

    async def poll(self, operations: Sequence[PolledOperation[Any]]) -> Listed | None:
        """Ask the list about operations; it may not show all.

        Return None if the list was not available. It is then suspended, unless the client was
        closed.
        """
        limit = max(len(operations), self._depth + self._depth // 4) + SPARE_ROWS
        request = self._request(limit, timeout=SECONDS_A_READ * len(operations))
        rows = _Rows()
        wanted = _wanted(operations, rows)
        try:
            following = await self._read_page(request, wanted, rows)
            while isinstance(following, Request) and rows.pages < PAGES_A_POLL:
                following = await self._read_page(following, wanted, rows)
        except (TransportError, ResponseError) as error:
            outlook = self._transport.availability.judge(error, request.endpoint.name)
            if self._waits_out(error):
                return Listed(operations, (), (), is_refused=True)
            passes = outlook in {Outlook.AWAY, Outlook.BUSY}
            self.suspend(TROUBLE_SECONDS if passes else UNUSABLE_SECONDS, error)
            self._is_in_trouble = outlook is Outlook.AWAY
            return None
        except (ClientClosedError, ConfigError):
            # Each read by id reports the error to the operation's own waits.
            return None
        self._transport.availability.note_good_answer(request.endpoint.name)
        self._refusals = 0
        rows.missing.extend(wanted.values())
        self._learn(rows, len(operations), limit)
        # A list that omits an operation is caught by the read of the missing operation; a list that
        # shows a finished operation as running is caught only by these reads.
        checks, running = self._checks(rows.running)
        return Listed(running, [*rows.changed, *rows.missing, *checks], rows.started)

    def _waits_out(self, error: VibeError) -> bool:
        """Return whether to ask the list again an interval after a rate-limit refusal.

        Reading all operations by id instead would send many requests right after a rate-limited
        one. A 503 with `Retry-After` may concern the list alone: reads by id show that, and delay
        nothing.
        """
        seconds = refused_seconds(error) or 0.0
        self._refusals = self._refusals + 1 if isinstance(error, RateLimitedError) else 0
        return 0 < self._refusals < MAX_REFUSALS and seconds <= self._interval

    def _request(self, limit: int, *, timeout: float) -> Request[Any]:
        query = {"limit": limit} if self._kind.has_limit else None
        request = self._kind.listed_by.request(project=self._project, query=query)
        return evolve(request, timeout=max(self._min_timeout, timeout))

    async def _read_page(
        self, request: Request[Any], wanted: dict[int, PolledOperation[Any]], rows: _Rows
    ) -> Request[Any] | str | None:
        """Request a page; return the request for the next page, if it exists and is worth its cost.

        Raises:
            TransportError, ResponseError: No page is available now, or it can't be read.
        """
        response = await self._transport.fetch_once(request, is_poll=True)
        rows.pages += 1
        try:
            page = Rows(response.body)
            await self._find_rows(page, wanted, rows)
            if len(wanted) < MIN_OPERATIONS:
                return None
            return next_page(request, response, page.envelope, rows=rows.count)
        except UnreadableError as error:
            raise malformed(request, response, *error.problems) from error
        finally:
            self._transport.let_go()

    async def _find_rows(
        self, page: Rows, wanted: dict[int, PolledOperation[Any]], rows: _Rows
    ) -> None:
        """Find operations among the rows, and let other tasks run in between."""
        for row in page:
            rows.count += 1
            if rows.count % ROWS_A_TURN == 0:
                await asyncio.sleep(0)
            members = cast("dict[str, object]", row) if isinstance(row, dict) else {}
            number: Any = members.get(self._kind.id_in_row)
            if number.__class__ is not int:  # nearly all are int
                number = _number(number)
            polled = wanted.pop(number, None)
            if polled is not None:
                rows.depth = rows.count
                self._sort(polled, members, rows)
                if not wanted:
                    break

    def _sort(self, polled: PolledOperation[Any], members: dict[str, object], rows: _Rows) -> None:
        """Classify an operation by its row."""
        started = members.get("startedUtc")
        is_started = polled.phase is Phase.QUEUED and started is not None and _is_time(started)
        status = str(members.get("status")).casefold()
        is_in_flight = status == self._kind.in_flight or says_in_flight(status)
        if not is_in_flight or (is_started and polled.is_followed):
            rows.changed.append(polled)
            return
        rows.running.append(polled)
        if is_started:
            rows.started.append(polled)

    def _learn(self, rows: _Rows, count: int, limit: int) -> None:
        """Choose the depth of the next list call from this one, or suspend the list."""
        reads_saved = count - len(rows.missing) - rows.pages  # a list call is a request too
        # A service that ignores `limit` sends more rows than requested: there are no deeper rows.
        is_truncated = self._kind.has_limit and rows.count == limit
        if is_truncated and len(rows.missing) > limit / ROWS_A_REQUEST:
            self._depth = 2 * limit
        elif reads_saved <= rows.count / ROWS_A_REQUEST:
            self._depth = 0
            self.suspend(COSTLY_SECONDS)
        else:
            self._depth = rows.depth

    def _checks(
        self, running: list[PolledOperation[Any]]
    ) -> tuple[Sequence[PolledOperation[Any]], Sequence[PolledOperation[Any]]]:
        """Select the operations to read by id although the list shows them as still in flight.

        The operation that was not read for longest shows whether the list is right. Operations not
        read for a minute are selected too, so many that all of them are read within the next
        minute.
        """
        if not running:
            return (), ()
        now = asyncio.get_running_loop().time()
        oldest_first = sorted(running, key=attrgetter("read_at"))
        overdue = bisect_right(oldest_first, now - READ_BY_ID_SECONDS, key=attrgetter("read_at"))
        round_seconds = self._interval if self._last_call is None else now - self._last_call
        self._last_call = now
        share = ceil(len(running) * round_seconds / READ_BY_ID_SECONDS)
        count = max(1, min(overdue, max(share, CHECKS_AT_ONCE)))
        self._listed_at_service = self._transport.clock.at(now)
        self._to_check = set(oldest_first[:count])
        return oldest_first[:count], oldest_first[count:]

    def note_read(self, polled: PolledOperation[Any]) -> None:
        """Compare a read by id with the list, and suspend the list if it was wrong.

        The list was wrong if it showed an operation as in flight that had clearly ended before.
        """
        if polled not in self._to_check:
            return
        self._to_check.discard(polled)
        listed_at, ended_at = self._listed_at_service, polled.ended_at
        if listed_at is None or ended_at is None:
            return
        if (listed_at - ended_at).total_seconds() > self._late_seconds:
            self._to_check.clear()
            self.suspend(UNUSABLE_SECONDS)

    def end_trouble(self) -> None:
        """Use the list again, if it was suspended for a failure that has passed."""
        if self._is_in_trouble:
            self._suspended_until = 0.0

    def suspend(self, seconds: float, error: VibeError | None = None) -> None:
        """Suspend the list for a while; reads by id replace it."""
        self._suspended_until = asyncio.get_running_loop().time() + seconds
        self._is_in_trouble = False
        name = self._kind.listed_by.name
        self._hooks.emit(ListPollingSuspended(name, self._project, seconds=seconds, error=error))


class Lists(dict[tuple[str, str], ListPolling]):
    """The lists of a client, by project and kind; each is created at first use."""

    def __init__(self, transport: Transport, *, interval: float, hooks: Emitter) -> None:
        """Start without lists; see `ListPolling` for the arguments."""
        super().__init__()
        self._create = partial(ListPolling, transport, interval=interval, hooks=hooks)

    def __missing__(self, key: tuple[str, str]) -> ListPolling:
        """Create the list of a project and kind."""
        found = self[key] = self._create(key)
        return found


def _wanted(
    operations: Sequence[PolledOperation[Any]], rows: _Rows
) -> dict[int, PolledOperation[Any]]:
    """Return operations by the ids of their rows; those without a row count as missing."""
    wanted: dict[int, PolledOperation[Any]] = {}
    for each in operations:
        other = wanted.setdefault(each.list_id, each)
        if other is not each:
            # Two generations of one feature share its row, which shows the later one.
            earlier, later = sorted((other, each), key=attrgetter("began"))
            wanted[each.list_id] = later
            rows.missing.append(earlier)
    return wanted


def _is_away(error: VibeError | None) -> bool:
    """Return whether a poll, if it failed, did so because the service was not available."""
    return error is None or outlook_after(error, has_answered=True) is Outlook.AWAY


def _is_time(value: object) -> bool:
    """Return whether a member of a row holds a time, even an unreadable one."""
    try:
        return read_instant(value) is not None
    except TypeError:
        return True


def _number(value: object) -> int:
    """Return the id of a row; -1, which is no id, if it can't be read."""
    try:
        return read_integer(value)
    except TypeError:
        return -1
