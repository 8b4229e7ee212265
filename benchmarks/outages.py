"""What an outage costs: `python -m benchmarks.outages [--quick]`.

Operations that never end are waited for over ten good minutes, then for an hour in which every
answer is a 500, then for one more minute. On virtual time, without sockets: each answer takes 10 ms
and comes from a function. So the figures depend on no machine, and say nothing of CPU time.

- Normal: requests a minute over the ten good minutes. Every operation is polled every 3 s; three or
  more share a list call, and some are read by their ids to check it.
- During: requests a minute over the hour, and their share of the normal ones.
- Seen again: seconds from the end of the outage until the last operation has been seen.

Not measured: requests that hang. A poll that hangs when the outage ends is over with its time-out.
"""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from attrs import define, field

from benchmarks.results import measure, progress, table
from testvibe_async import Client, RunRef
from testvibe_async._core.wire import Response
from testvibe_async.testing import VirtualTimeLoop

if TYPE_CHECKING:
    from benchmarks.results import Document
    from testvibe_async._core.polling.polled import PolledOperation
    from testvibe_async._core.wire import Request

__all__ = ["outages_table"]

SERVER = "http://127.0.0.1"
COUNTS = (1, 100, 10_000)
GOOD_SECONDS = 600.0
OUTAGE_SECONDS = 3600.0
STEP_SECONDS = 0.05


@define
class Service:
    """A service whose runs never end, and that fails while it is out."""

    runs: int
    is_out: bool = False
    requests: int = 0
    rows: dict[int, str] = field(factory=dict[int, str])

    async def send(self, request: Request[Any], **_: object) -> Response:
        """Answer a request, in place of a session."""
        self.requests += 1
        await asyncio.sleep(0.01)
        if self.is_out:
            return Response(500, {}, b"{}", SERVER, datetime.now(UTC))
        if request.endpoint.name == "list_runs":
            first = max(0, self.runs - int(request.query["limit"]))
            body = f"[{','.join(self._row(run) for run in range(self.runs, first, -1))}]"
        else:
            body = self._row(int(request.parameters["run"]))
        return Response(200, {}, body.encode(), SERVER, datetime.now(UTC))

    def _row(self, run: int) -> str:
        if run not in self.rows:
            self.rows[run] = json.dumps({"runId": run, "status": "running"})
        return self.rows[run]


async def _trial(count: int, *, good: float, out: float) -> Document:
    service, loop = Service(count), asyncio.get_running_loop()
    async with Client(SERVER, api_key="tvb_" + "0" * 43, project="p", max_outage=1e6) as client:
        client._transport._http.send = service.send  # type: ignore[method-assign]  # noqa: SLF001
        refs = [RunRef(server=SERVER, project="p", run_id=run) for run in range(1, count + 1)]
        operations = [client.attach(ref) for ref in refs]
        waits = asyncio.gather(*(each.wait() for each in operations), return_exceptions=True)
        await asyncio.sleep(60)
        before = service.requests
        await asyncio.sleep(good)
        normal = (service.requests - before) / good * 60
        service.is_out, before = True, service.requests
        await asyncio.sleep(out)
        during = (service.requests - before) / out * 60
        service.is_out, back = False, loop.time()
        states = [each._polled for each in operations]  # noqa: SLF001
        while loop.time() < back + 60 and any(_seen_at(state) < back for state in states):  # noqa: ASYNC110
            await asyncio.sleep(STEP_SECONDS)
        seen_again = loop.time() - back
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
    return {
        "count": count,
        "normal": normal,
        "during": during,
        "share": during / normal,
        "seen_again": seen_again,
    }


def _seen_at(state: PolledOperation[Any]) -> float:
    return -1.0 if state.seen_at is None else state.seen_at


def _run(*, is_quick: bool) -> Document:
    logging.disable(logging.WARNING)
    good, out = (60.0, 120.0) if is_quick else (GOOD_SECONDS, OUTAGE_SECONDS)
    trials: list[Document] = []
    for count in COUNTS[:2] if is_quick else COUNTS:
        progress(f"{count:,} operations")
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            trials.append(runner.run(_trial(count, good=good, out=out)))
    return {"trials": trials}


COLUMNS = {
    "operations": "{count:,}",
    "normal, a minute": "{normal:,.0f}",
    "during, a minute": "{during:,.0f}",
    "share": "{share:.2f}",
    "seen again, s": "{seen_again:.1f}",
}


def outages_table(document: Document) -> str:
    """Return a result of this benchmark as a table."""
    return table(COLUMNS, document["trials"])


if __name__ == "__main__":
    measure("outages", __doc__, _run, outages_table)
