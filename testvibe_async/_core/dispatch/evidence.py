"""Reads what the service shows of the operations since a dispatch whose answer was lost.

One reader for all lost dispatches of a client: those that search at once share a list. Lists are
assumed, so that what they leave open is read run by run, by id. `candidates` decides what follows.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, assert_never

from attrs import evolve

from testvibe_async._core.dispatch.candidates import (
    Evidence,
    generation_evidence,
    missing_ids,
)
from testvibe_async._core.http import Outlook, outlook_after
from testvibe_async._core.util.waiting import wait_uncancelled
from testvibe_async._core.wire import KINDS, Endpoints, is_from_cache
from testvibe_async.errors import (
    ClientClosedError,
    InvalidRequestError,
    NotFoundError,
    ResponseError,
    TransportError,
)
from testvibe_async.events import reported_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testvibe_async._core.http import Transport
    from testvibe_async.ledger import Row
    from testvibe_async.models import Listing, Run
    from testvibe_async.refs import Ref

LISTED_RUNS = 1000
"""Maximum number of a project's latest runs to read."""

READ_BY_ID = 64
"""Maximum number of runs to read by their ids for one dispatch."""

TOGETHER_SECONDS = 0.05
"""Seconds before a list is requested, in which other searches may join."""

IDS_AT_ONCE = 8
"""Number of ids to read at once, and number of missing ones in a row after the last run."""


class EvidenceReader:
    """Reads evidence for one client."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._next_lists: dict[str, asyncio.Task[Listing[Run]]] = {}
        """The lists of projects' runs that are about to be requested."""
        self._reading: set[asyncio.Task[Listing[Run]]] = set()
        """The lists under way."""

    async def read(self, row: Row, *, is_last: bool = False) -> Evidence:
        """Read what the service shows of the operations since a dispatch.

        Args:
            row: The dispatch.
            is_last: True to prove an absence: what a list leaves out is then read by its id.

        Raises:
            ClientClosedError: The client is closed.
        """
        try:
            match row.kind:
                case "run":
                    return await self._runs(row, is_last=is_last)
                case "generation":
                    return await self._generation(row)
                case _:
                    assert_never(row.kind)
        except ClientClosedError:
            raise
        except ResponseError as error:
            # If the call does not exist, or the key may not make it, another has the same result.
            outlook = outlook_after(error, has_answered=bool(self._transport.availability.answered))
            may_change = outlook in {Outlook.AWAY, Outlook.BUSY} or is_from_cache(error)
            return Evidence(why=error.brief, is_answered=False, may_change=may_change)
        except TransportError as error:
            return Evidence(why=error.brief, is_answered=False)
        except Exception as error:  # noqa: BLE001 - nothing may hide the lost answer
            reported_logger.warning("reading the fate of a dispatch failed: %r", error)
            return Evidence(why=repr(error), is_answered=False, may_change=False)

    async def _generation(self, row: Row) -> Evidence:
        if not row.is_before_known:
            why = "the feature's generation before it is not known"
            return Evidence(why=why, is_answered=False, may_change=False)
        request = Endpoints.GET_GENERATION_STATUS.request(project=row.project, feature=row.feature)
        latest = await self._transport.call(evolve(request, is_uncached=True))
        is_named = latest.request_id and latest.feature_id is not None
        return generation_evidence(row, latest, ref_of(row, latest) if is_named else None)

    async def _runs(self, row: Row, *, is_last: bool) -> Evidence:
        floor = row.before if isinstance(row.before, int) else None
        try:
            rows = await self._list(row.project)
        except NotFoundError:
            if floor is None:
                raise
            runs, why = await self._from(row.project, floor + 1), "no list shows its runs"
            return Evidence([(run, ref_of(row, run)) for run in runs], why=why, may_change=False)
        runs = [run for run in rows if floor is None or run.run_id > floor]
        missing = missing_ids(rows, floor, limit=LISTED_RUNS)
        if isinstance(missing, range) and len(missing) <= READ_BY_ID:
            runs += await self._ids(row.project, missing)
            missing = None
        if is_last and missing is None and floor is not None:
            runs += await self._left_out(row.project, floor, rows)
        shown = [(run, ref_of(row, run)) for run in runs]
        why = "the list of runs is cut" if isinstance(missing, range) else missing or ""
        return Evidence(shown, is_whole=missing is None, why=why)

    async def _left_out(self, project: str, floor: int, rows: Listing[Run]) -> list[Run]:
        """Read the runs above a floor that a list leaves out, if those may be few.

        Many ids that the list lacks are those of other projects.
        """
        listed = {run.run_id for run in rows}
        last = max(listed, default=floor)
        ids = [number for number in range(floor + 1, last + 1) if number not in listed]
        ids = ids if len(ids) <= READ_BY_ID else []
        return await self._ids(project, [*ids, *range(last + 1, last + 1 + IDS_AT_ONCE)])

    async def _from(self, project: str, first: int) -> list[Run]:
        """Read the runs from an id on, until several in a row do not exist."""
        runs: list[Run] = []
        for start in range(first, first + READ_BY_ID, IDS_AT_ONCE):
            found = await self._ids(project, range(start, start + IDS_AT_ONCE))
            if not found:
                break
            runs += found
        return runs

    async def _ids(self, project: str, ids: Sequence[int]) -> list[Run]:
        """Read the runs that exist among some ids."""
        runs: list[Run] = []
        for start in range(0, len(ids), IDS_AT_ONCE):
            # With `return_exceptions`, no read outlasts this one that fails.
            reads = (self._run(project, run_id) for run_id in ids[start : start + IDS_AT_ONCE])
            for found in await asyncio.gather(*reads, return_exceptions=True):
                if isinstance(found, BaseException):
                    raise found
                runs += [] if found is None else [found]
        return runs

    async def _run(self, project: str, run_id: int) -> Run | None:
        request = Endpoints.GET_RUN.request(project=project, run=run_id)
        try:
            return await self._transport.call(evolve(request, is_uncached=True))
        except NotFoundError as error:
            if error.code is None:  # A proxy does not know.
                raise
            return None

    async def _list(self, project: str) -> Listing[Run]:
        """Return a project's latest runs. Searches that begin together share one request.

        A search that begins later has a list of its own: only that is certainly from after it.
        """
        reading = self._next_lists.get(project)
        if reading is None:
            reading = asyncio.create_task(self._read_list(project), name="testvibe_async list")
            self._next_lists[project] = reading
            self._reading.add(reading)
            reading.add_done_callback(partial(self._note_read, project))
        return await asyncio.shield(reading)

    def _note_read(self, project: str, reading: asyncio.Task[Listing[Run]]) -> None:
        self._reading.discard(reading)
        if self._next_lists.get(project) is reading:  # It was cancelled before it had begun.
            del self._next_lists[project]
        if not reading.cancelled():
            reading.exception()  # All who waited for it may have been cancelled.

    async def _read_list(self, project: str) -> Listing[Run]:
        await asyncio.sleep(TOGETHER_SECONDS)
        del self._next_lists[project]
        # One page: between two pages, a row may be lost.
        request = Endpoints.LIST_RUNS.request(project=project, query={"limit": LISTED_RUNS})
        try:
            return await self._transport.call_page(evolve(request, is_uncached=True))
        except InvalidRequestError:  # It may refuse the limit.
            request = Endpoints.LIST_RUNS.request(project=project)
            return await self._transport.call_page(evolve(request, is_uncached=True))

    async def aclose(self) -> None:
        """End the reads under way."""
        tasks = [*self._reading]
        for task in tasks:
            task.cancel()
        await wait_uncancelled(tasks)


def ref_of(row: Row, operation: Any) -> Ref:  # noqa: ANN401 - an answer of the row's kind
    """Return the ref of an operation that an answer names, as that of a row."""
    return KINDS[row.kind].ref_of(
        operation,
        server=row.server,
        project=row.project,
        dispatched_at=row.intended_at,
        traceparent=row.traceparent,
    )
