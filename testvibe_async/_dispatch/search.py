"""The search for operations that a dispatch may have started, by its intent alone.

A search reads one or two lists of runs, or up to 64 runs by id where there is no list, or the
feature's latest generation. The module decides which operations may belong to an intent, and
whether the answer covered all of them. `reconcile` decides which one is adopted.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeVar

from attrs import evolve, frozen

from testvibe_async._dispatch.unlisted import probed_runs
from testvibe_async._util import id_in
from testvibe_async._util.waiting import wait_uncancelled
from testvibe_async._wire import KINDS, Endpoints, has_zone
from testvibe_async.errors import NotFoundError
from testvibe_async.models import DEFAULT_CONFIG, DRAFT, Generation, Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testvibe_async._http import Transport
    from testvibe_async.intents import Intent
    from testvibe_async.models import Listing, Snapshot
    from testvibe_async.refs import Ref

RunsT = TypeVar("RunsT", bound=list[Run])

FEATURE_ROWS = 200
"""Number of a feature's latest runs to read: the lost run may be one of many started at once."""

SHARED_ROWS = 1000
"""Number of a project's latest runs to read for all dispatches that a crash left open."""

PROJECT_ROWS = 10_000
"""Number of a project's latest runs to read to prove that none belongs to a dispatch."""

CLOCK_SLACK = timedelta(seconds=2)
"""Maximum difference of two HTTP dates and a timestamp, each in whole seconds."""

CLOCK_DOUBT = timedelta(seconds=60)
"""Maximum difference of an answer's `Date` and a run's time, if two machines set them.

A run with a higher id than all before a dispatch may be of that dispatch, although its time is
earlier by no more than this.
"""


class Aim(Enum):
    """The aim of a search, which decides how much of a list is read."""

    FIND = auto()
    """To find the operation of a dispatch of this process."""

    RESUME = auto()
    """To find that of an earlier process, whose other searches read the same list."""

    PROVE = auto()
    """Also to prove that nothing started, now that the dispatch has expired.

    So many runs are read that one of them may have been created later, which shows that the list
    is current.
    """


class SearchError(Exception):
    """The answer is no evidence of the fate of the dispatch, for the reason in the text."""

    def __init__(self, why: str, *, may_pass: bool = False, candidates: Sequence[Ref] = ()) -> None:
        super().__init__(why)
        self.may_pass = may_pass
        """True if a later answer may show more."""
        self.candidates = candidates
        """The operations in the answer that the dispatch may have started, among others."""


@frozen
class Search:
    """The result of one search for a dispatch's operation."""

    candidates: list[tuple[Snapshot, Ref]]
    """The operations that the dispatch may have started."""

    is_certain: bool = True
    """True if all of them certainly are of the time in which the dispatch may have taken effect."""

    is_proof: bool = False
    """True if having no candidate proves that nothing started, if the search was to prove it."""


class ProjectRuns:
    """The lists of projects' runs, each read once for all concurrent searches.

    The lists serve dispatches of earlier processes, which are older than any list that is read now.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._reading: dict[tuple[str, int], asyncio.Task[Listing[Run]]] = {}
        self._readers: Counter[asyncio.Task[Listing[Run]]] = Counter()

    async def read(self, project: str, limit: int) -> Listing[Run]:
        """Return a project's latest runs, from one page: between two pages, a row may be lost.

        Raises:
            TransportError, ResponseError: The list is not available.
        """
        key = project, limit
        reading = self._reading.get(key)
        if reading is None:
            query = {"limit": limit}
            request = Endpoints.LIST_RUNS.request(project=project, query=query)
            call = self._transport.call_page(evolve(request, is_uncached=True))
            reading = self._reading[key] = asyncio.create_task(call, name="testvibe_async list")
            reading.add_done_callback(lambda done: self._note_end(key, done))
        self._readers[reading] += 1
        try:
            return await asyncio.shield(reading)
        finally:
            self._readers[reading] -= 1
            if not self._readers[reading]:  # All of them were cancelled, unless it is done.
                del self._readers[reading]
                self._forget(key, reading)  # A reader that comes now must not be cancelled too.
                reading.cancel()
                await wait_uncancelled([reading])

    def _note_end(self, key: tuple[str, int], done: asyncio.Task[Listing[Run]]) -> None:
        self._forget(key, done)
        if not done.cancelled():
            done.exception()  # Its readers may have been cancelled.

    def _forget(self, key: tuple[str, int], reading: asyncio.Task[Listing[Run]]) -> None:
        if self._reading.get(key) is reading:
            del self._reading[key]


async def search_for(intent: Intent, transport: Transport, shared: ProjectRuns, aim: Aim) -> Search:
    """Search once for the operations that a dispatch may have started.

    Args:
        intent: The dispatch.
        transport: Sends the request.
        shared: Reads the lists of whole projects, for dispatches of earlier processes.
        aim: The aim.

    Raises:
        SearchError: The answer can't show the operation, or is too old to show it.
        TransportError, ResponseError: There was no answer.
    """
    return await SEARCHES[intent.kind](intent, transport, shared, aim)


def may_have_started(intent: Intent, candidate: Snapshot) -> bool:
    """Return whether a dispatch may have started an operation.

    Its feature, configuration, site and time are compared, each if it is known.
    """
    return _is_as_requested(intent, candidate) and not _is_from_before(intent, candidate)


def _is_as_requested(intent: Intent, candidate: Snapshot) -> bool:
    """Return whether an operation has the feature, configuration and site of a dispatch."""
    name = str(intent.feature)
    number = id_in(name)
    is_of_feature = candidate.feature_id == number
    if number is None:
        is_of_feature = (candidate.feature_name or "").casefold() == name.casefold()
    if not is_of_feature or isinstance(candidate, Generation):
        return is_of_feature
    is_config = candidate.config in {None, intent.config or DEFAULT_CONFIG}
    return is_config and (intent.site_url is None or candidate.site_url in {None, intent.site_url})


def _is_from_before(intent: Intent, candidate: Snapshot) -> bool:
    """Return whether an operation certainly existed before a dispatch."""
    if isinstance(candidate, Generation):
        return bool(candidate.request_id) and candidate.request_id == intent.previous_id
    if intent.highest_run_id is not None and candidate.run_id <= intent.highest_run_id:
        return True
    created_at, intended_at = candidate.created_at, intent.service_at
    if created_at is None or intended_at is None:
        return False
    return created_at < intended_at - CLOCK_SLACK


def is_for_its_site(intent: Intent, candidate: Snapshot) -> bool:
    """Return whether a dispatch named the very site that a run has."""
    if not isinstance(candidate, Run):
        return False
    return intent.site_url is not None and candidate.site_url == intent.site_url


async def _search_run(
    intent: Intent, transport: Transport, shared: ProjectRuns, aim: Aim
) -> Search:
    try:
        return await _search_list(intent, transport, shared, aim)
    except NotFoundError:
        if intent.known_run_id is None or intent.service_at is None:
            raise
    until = intent.service_at + timedelta(seconds=intent.expires_after) + CLOCK_SLACK
    probed, is_whole = await probed_runs(intent, transport, until=until)
    rows = _with_certain_times(probed)
    started = [
        row
        for row in rows
        if may_have_started(intent, row) and (row.created_at is None or row.created_at <= until)
    ]
    if not is_whole or not started:
        what = f"no list shows it, and neither does a run from {intent.known_run_id + 1} on"
        refs = [_ref(intent, row) for row in started]
        raise SearchError(what, may_pass=is_whole, candidates=refs)
    is_certain = all(row.created_at is not None for row in started)
    return Search([(row, _ref(intent, row)) for row in started], is_certain=is_certain)


async def _search_list(
    intent: Intent, transport: Transport, shared: ProjectRuns, aim: Aim
) -> Search:
    first = None if intent.service_at is None else intent.service_at - CLOCK_DOUBT

    def is_enough(rows: Listing[Run], limit: int) -> bool:
        return _has_all_since(rows, limit, since=first, floor=intent.highest_run_id)

    rows, is_whole = None, False
    if aim is not Aim.FIND:
        limit = PROJECT_ROWS if aim is Aim.PROVE else SHARED_ROWS
        rows = _with_certain_times(await shared.read(intent.project, limit))
        if max((row.run_id for row in rows), default=0) < (intent.highest_run_id or 0):
            what = "the list lacks the latest run before it: it is old, or the service was reset"
            raise SearchError(what, may_pass=True)
        is_whole = is_enough(rows, limit)
    if rows is None or not (is_whole or aim is Aim.PROVE):
        query = {"feature": intent.feature, "limit": FEATURE_ROWS}
        request = Endpoints.LIST_RUNS.request(project=intent.project, query=query)
        rows = _with_certain_times(await transport.call(evolve(request, is_uncached=True)))
        is_whole = is_enough(rows, FEATURE_ROWS)
    started = [row for row in rows if may_have_started(intent, row)]
    if not is_whole:
        what = "the list of its runs is cut, or does not say when each was created"
        raise SearchError(what, candidates=[_ref(intent, row) for row in started])
    now = transport.clock.at(asyncio.get_running_loop().time()) or datetime.now(UTC)
    intended_at = intent.service_at or now - (datetime.now(UTC) - intent.intended_at)
    last = intended_at + timedelta(seconds=intent.expires_after) + CLOCK_SLACK

    def is_late(row: Run) -> bool:
        return (row.created_at or now) > last

    if intent.service_at is not None:
        started = [row for row in started if row.created_at is None or not is_late(row)]
    is_new = intent.highest_run_id is not None or not any(_is_close(row, intent) for row in started)
    is_certain = is_new and bool(started) and not any(map(is_late, started))
    if not started:
        started = [row for row in rows if _is_early(intent, row) and not is_late(row)]
    return Search(
        [(row, _ref(intent, row)) for row in started],
        is_certain=is_certain,
        is_proof=aim is Aim.PROVE
        and intent.service_at is not None
        and any(row.created_at and is_late(row) for row in rows),
    )


def _with_certain_times(rows: RunsT) -> RunsT:
    """Leave out, in place, each run's time that has no zone: it may be hours from the service's."""
    rows[:] = [row if has_zone(row.created_at) else evolve(row, created_at=None) for row in rows]
    return rows


def _is_early(intent: Intent, row: Run) -> bool:
    """Return whether only a time, which another clock may have set, says that a run is older."""
    if row.created_at is None or intent.service_at is None:
        return False
    is_near = row.created_at > intent.service_at - CLOCK_DOUBT
    is_above = row.run_id > (intent.highest_run_id or 0)
    return is_near and is_above and _is_as_requested(intent, row)


def _has_all_since(
    rows: Listing[Run], limit: int, *, since: datetime | None, floor: int | None
) -> bool:
    """Return whether a list has all runs since an instant, or above an id.

    A list that is truncated, or in unknown order, may show one candidate and omit another. The
    operation of another dispatch would then be adopted.
    """
    if rows.unreadable:
        return False
    times = [row.created_at for row in rows if row.created_at is not None]
    if floor is None and (since is None or len(times) < len(rows)):
        return False
    if rows.is_complete and len(rows) < limit:
        return True
    ids = [row.run_id for row in rows]
    if floor is not None and ids == sorted(ids, reverse=True) and ids and ids[-1] <= floor:
        return True
    is_newest_first = len(times) == len(rows) and times == sorted(times, reverse=True)
    return is_newest_first and since is not None and bool(times) and times[-1] < since


def _is_close(row: Run, intent: Intent) -> bool:
    """Return whether the clocks leave the order of a run and a dispatch open."""
    assert row.created_at is not None  # see `_has_all_since`
    assert intent.service_at is not None
    return row.created_at <= intent.service_at + CLOCK_SLACK


def _ref(intent: Intent, candidate: Snapshot) -> Ref:
    return KINDS[intent.kind].ref_of(
        candidate,
        server=intent.server,
        project=intent.project,
        dispatched_at=intent.intended_at,
        traceparent=intent.traceparent,
    )


async def _search_generation(
    intent: Intent, transport: Transport, _shared: ProjectRuns, aim: Aim
) -> Search:
    if not intent.is_previous_known:
        raise SearchError("the feature's generation before it is not known")
    request = Endpoints.GET_GENERATION_STATUS.request(
        project=intent.project, feature=intent.feature
    )
    latest = await transport.call(evolve(request, is_uncached=True))
    if _is_as_before(latest, intent):
        return Search([], is_proof=aim is Aim.PROVE)
    if _is_earlier(latest, intent):
        raise SearchError("the status is of a generation from before the dispatch", may_pass=True)
    if latest.feature_id is None or not latest.request_id:
        # A service may name a generation only once it has left the queue.
        what = "the status of the feature does not say which generation it is of"
        raise SearchError(what, may_pass=True)
    return Search([(latest, _ref(intent, latest))])


def _is_as_before(latest: Generation, intent: Intent) -> bool:
    """Return whether a status shows that no generation followed the one before the dispatch.

    Only present values prove that: the same `requestId`, or a draft that never had one.
    """
    if latest.request_id:
        return latest.request_id == intent.previous_id
    return intent.previous_id is None and (latest.feature_status or "").casefold() == DRAFT


def _is_earlier(latest: Generation, intent: Intent) -> bool:
    """Return whether a generation, not the last one known before, ended before a dispatch."""
    if latest.updated_at is None or intent.service_at is None:
        return False
    return latest.updated_at < intent.service_at - CLOCK_SLACK


SEARCHES = {"run": _search_run, "generation": _search_generation}
"""The search for each kind of operation."""
