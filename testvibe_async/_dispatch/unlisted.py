"""The search for a lost run by its id, on a service that does not list runs.

Run ids grow, so a run that a dispatch started is among the first above an id from before. Decides
how many ids are read, and when none of the rest can be the run. What was not found proves nothing:
the ids may belong to other projects too.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from attrs import evolve

from testvibe_async._wire import Endpoints
from testvibe_async.errors import NotFoundError

if TYPE_CHECKING:
    from datetime import datetime

    from testvibe_async._http import Transport
    from testvibe_async.intents import Intent
    from testvibe_async.models import Run

PROBED_IDS = 64
"""Maximum number of ids to read for one dispatch."""

IDS_AT_ONCE = 8
"""Number of ids to read at once, and number of missing ones in a row after the last run."""


async def probed_runs(
    intent: Intent, transport: Transport, *, until: datetime
) -> tuple[list[Run], bool]:
    """Read the runs above the id that was known before a dispatch.

    Returns:
        The runs, lowest id first, and True if the dispatch can't have started a later one.

    Raises:
        TransportError, ResponseError: An id could not be read.
    """
    assert intent.known_run_id is not None
    runs: list[Run] = []
    for first in range(intent.known_run_id + 1, intent.known_run_id + PROBED_IDS, IDS_AT_ONCE):
        ids = range(first, first + IDS_AT_ONCE)
        reads = (_read(intent, transport, run_id) for run_id in ids)
        shown: list[Run] = []
        # With `return_exceptions`, no read outlasts this one that fails.
        for found in await asyncio.gather(*reads, return_exceptions=True):
            if isinstance(found, BaseException):
                raise found
            shown += [] if found is None else [found]
        runs += shown
        if not shown or any(run.created_at is not None and run.created_at > until for run in shown):
            return runs, True
    return runs, False


async def _read(intent: Intent, transport: Transport, run_id: int) -> Run | None:
    request = Endpoints.GET_RUN.request(project=intent.project, run=run_id)
    try:
        return await transport.call(evolve(request, is_uncached=True))
    except NotFoundError as error:
        if error.code is None:  # A proxy does not know.
            raise
        return None
