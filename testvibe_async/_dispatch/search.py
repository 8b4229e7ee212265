"""What the service shows that a dispatch may have started, by its intent alone.

One request a search: the feature's runs, or its latest generation. It decides which operations can
be those of an intent, and whether all that could show them was seen. Which one is adopted is for
`reconcile` to decide.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from testvibe_async._util import id_in
from testvibe_async._wire import Endpoints
from testvibe_async.models import DEFAULT_CONFIG, DRAFT, Generation, Run
from testvibe_async.refs import GenerationRef, RunRef

if TYPE_CHECKING:
    from testvibe_async._http import Transport
    from testvibe_async.intents import Intent
    from testvibe_async.models import Listing, Snapshot
    from testvibe_async.refs import Ref

__all__ = [
    "CLOCK_SLACK",
    "ProjectRuns",
    "Search",
    "SearchError",
    "is_for_its_site",
    "may_have_started",
    "search_for",
]

FEATURE_ROWS = 200
"""How many of a feature's latest runs are read: the lost one may be one of many started at once."""

SHARED_ROWS = 1000
"""How many of a project's latest runs are read for all dispatches that a crash left open."""

PROJECT_ROWS = 10_000
"""How many of a project's latest runs are read to prove that none is of a dispatch."""

CLOCK_SLACK = timedelta(seconds=2)
"""How far two HTTP dates and a timestamp, each in whole seconds, can be apart."""


class SearchError(Exception):
    """What was answered shows nothing of the dispatch, for the reason in the text."""

    def __init__(self, why: str, *, may_pass: bool = False) -> None:
        super().__init__(why)
        self.may_pass = may_pass
        """Whether a later answer may show more."""


@frozen
class Search:
    """What one answer showed of a dispatch."""

    candidates: list[tuple[Snapshot, Ref]]
    """The operations that it may have started."""

    is_certain: bool = True
    """Whether none of them can have been there before it, as far as ids tell."""

    is_proof: bool = False
    """Whether no candidate means that nothing began, once the dispatch has lapsed."""


class ProjectRuns:
    """The lists of projects' runs, each read once for all searches that ask for it meanwhile.

    They are for dispatches of earlier processes, which are older than any list that is read now.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._reading: dict[tuple[str, int], asyncio.Task[Listing[Run]]] = {}

    async def read(self, project: str, limit: int) -> Listing[Run]:
        """Return a project's latest runs, or a page of them: between two, a row may slip through.

        Raises:
            TransportError, ResponseError: They can't be had.
        """
        key = project, limit
        reading = self._reading.get(key)
        if reading is None:
            query = {"limit": limit}
            request = Endpoints.LIST_RUNS.request(project=project, query=query)
            call = self._transport.call_page(evolve(request, is_uncached=True))
            reading = self._reading[key] = asyncio.create_task(call, name="testvibe_async list")
            reading.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(reading)

    def _forget(self, key: tuple[str, int], done: asyncio.Task[Listing[Run]]) -> None:
        del self._reading[key]
        if not done.cancelled():
            done.exception()  # Those who waited for it may have left.


async def search_for(
    intent: Intent,
    transport: Transport,
    *,
    shared: ProjectRuns | None = None,
    for_proof: bool = False,
) -> Search:
    """Ask the service once for what a dispatch may have started.

    Args:
        intent: The dispatch.
        transport: Sends the request.
        shared: Has the lists of whole projects, for a dispatch of an earlier process; else the runs
            of its feature are read.
        for_proof: Whether to read so many runs of the project that one of them may have been
            created later: that shows that the list is not an old one.

    Raises:
        SearchError: The answer can't show it, or is too old to show it.
        TransportError, ResponseError: There was no answer.
    """
    search = {"run": _search_run, "generation": _search_generation}[intent.kind]
    return await search(intent, transport, shared=shared, for_proof=for_proof)


def may_have_started(intent: Intent, candidate: Snapshot) -> bool:
    """Say whether a dispatch is of the feature of an operation, and of its configuration and site.

    Each is compared as far as it is known.
    """
    name = str(intent.feature)
    number = id_in(name)
    is_of_feature = candidate.feature_id == number
    if number is None:
        is_of_feature = (candidate.feature_name or "").casefold() == name.casefold()
    if not is_of_feature:
        return False
    if isinstance(candidate, Generation):
        return True
    is_config = candidate.config in {None, intent.config or DEFAULT_CONFIG}
    return is_config and (intent.site_url is None or candidate.site_url in {None, intent.site_url})


def is_for_its_site(intent: Intent, candidate: Snapshot) -> bool:
    """Say whether a dispatch named the very site that a run has."""
    if not isinstance(candidate, Run):
        return False
    return intent.site_url is not None and candidate.site_url == intent.site_url


async def _search_run(
    intent: Intent, transport: Transport, *, shared: ProjectRuns | None, for_proof: bool
) -> Search:
    first = last = None
    if intent.service_at is not None:
        first = intent.service_at - CLOCK_SLACK
        last = intent.service_at + intent.expires_after + CLOCK_SLACK

    def is_enough(rows: Listing[Run], limit: int) -> bool:
        return _has_all_since(rows, limit, since=first, floor=intent.highest_run_id)

    rows, is_whole = None, False
    if shared is not None:
        limit = PROJECT_ROWS if for_proof else SHARED_ROWS
        rows = await shared.read(intent.project, limit)
        is_whole = is_enough(rows, limit)
    if rows is None or not (is_whole or for_proof):
        query = {"feature": intent.feature, "limit": FEATURE_ROWS}
        request = Endpoints.LIST_RUNS.request(project=intent.project, query=query)
        rows = await transport.call(evolve(request, is_uncached=True))
        is_whole = is_enough(rows, FEATURE_ROWS)
    if not is_whole:
        raise SearchError("the list of its runs is cut, or does not say when each was created")
    started = [
        row
        for row in rows
        if may_have_started(intent, row)
        and (intent.highest_run_id is None or row.run_id > intent.highest_run_id)
        and (row.created_at is None or first is None or row.created_at >= first)
        and (row.created_at is None or last is None or row.created_at <= last)
    ]
    is_certain = intent.highest_run_id is not None or not any(
        _is_close(row, intent) for row in started
    )
    return Search(
        [(row, _run_ref(intent, row)) for row in started],
        is_certain=is_certain,
        is_proof=last is not None and any(row.created_at and row.created_at > last for row in rows),
    )


def _has_all_since(
    rows: Listing[Run], limit: int, *, since: datetime | None, floor: int | None
) -> bool:
    """Say whether a list has all runs since an instant, or above an id.

    Of a list that was cut, or whose order is unknown, one candidate may be seen and another not:
    then the one would be adopted that is not ours.
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
    """Say whether the clocks can't tell if a run was created before a dispatch or after it."""
    assert row.created_at is not None  # see `_has_all_since`
    assert intent.service_at is not None
    return row.created_at <= intent.service_at + CLOCK_SLACK


def _run_ref(intent: Intent, row: Run) -> RunRef:
    return RunRef(
        server=intent.server,
        project=intent.project,
        run_id=row.run_id,
        feature_id=row.feature_id,
        dispatched_at=intent.intended_at,
        traceparent=intent.traceparent,
    )


async def _search_generation(
    intent: Intent,
    transport: Transport,
    *,
    shared: ProjectRuns | None,  # noqa: ARG001 - a status is of one feature
    for_proof: bool,  # noqa: ARG001
) -> Search:
    if not intent.is_previous_known:
        raise SearchError("the feature's generation before it is not known")
    request = Endpoints.GET_GENERATION_STATUS.request(
        project=intent.project, feature=intent.feature
    )
    latest = await transport.call(evolve(request, is_uncached=True))
    if _is_as_before(latest, intent):
        return Search([], is_proof=True)
    if _is_earlier(latest, intent):
        raise SearchError("the status is of a generation from before the dispatch", may_pass=True)
    if latest.feature_id is None or not latest.request_id:
        # A service may name a generation only once it has left the queue.
        what = "the status of the feature does not say which generation it is of"
        raise SearchError(what, may_pass=True)
    ref = GenerationRef(
        server=intent.server,
        project=intent.project,
        request_id=latest.request_id,
        feature_id=latest.feature_id,
        dispatched_at=intent.intended_at,
        traceparent=intent.traceparent,
    )
    return Search([(latest, ref)])


def _is_as_before(latest: Generation, intent: Intent) -> bool:
    """Say whether a status shows that no generation followed the one before the dispatch.

    Only what is present shows that: the same `requestId`, or a draft that never had one.
    """
    if latest.request_id:
        return latest.request_id == intent.previous_id
    return intent.previous_id is None and (latest.feature_status or "").casefold() == DRAFT


def _is_earlier(latest: Generation, intent: Intent) -> bool:
    """Say whether a generation, which is not the last one known before, ended before a dispatch."""
    if latest.updated_at is None or intent.service_at is None:
        return False
    return latest.updated_at < intent.service_at - CLOCK_SLACK
