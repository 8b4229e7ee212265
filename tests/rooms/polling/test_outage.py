"""Outages: what they cost in requests, and how soon everything is seen again."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from tests.conftest import KEY
from tests.support.amounts import amount
from tests.support.timing import now
from testvibe_async import Client, Hooks, RunOperation, RunRef, errors
from testvibe_async._http import Outage, Outlook
from testvibe_async._polling.queue import PollQueue
from testvibe_async._wire import Request, Response
from testvibe_async.events import Emitter, PollFailed

INTERVAL = 3.0
URL = "http://127.0.0.1"


class Network:
    """A service with any number of runs, for all of which a client waits; no sockets."""

    client: Client
    operations: list[RunOperation]
    waits: list[asyncio.Future[Any]]

    def __init__(self, runs: int, *, hangs: bool = False) -> None:
        self.runs = range(1, runs + 1)
        self.hangs = hangs
        self.is_out = False
        self.requests: list[float] = []
        self.failed: list[PollFailed] = []

    async def send(self, request: Request[Any], **_: Any) -> Response:
        self.requests.append(now())
        await asyncio.sleep(0.01)
        if self.is_out and self.hangs:
            await asyncio.sleep(30)
            raise errors.OutcomeUnknownError("no answer", method="GET", url=URL)
        if self.is_out:
            return Response(500, {}, b"", URL, datetime.now(UTC))
        is_list = request.endpoint.name == "list_runs"
        latest = [*reversed(self.runs)][: int(request.query.get("limit", 0))]
        rows = [
            {"runId": run, "status": "running", "createdUtc": "2026-11-26T09:00:00Z"}
            for run in (latest if is_list else [int(request.parameters["run"])])
        ]
        body = json.dumps(rows if is_list else rows[0]).encode()
        return Response(200, {}, body, URL, datetime.now(UTC))

    @asynccontextmanager
    async def watched(self) -> AsyncGenerator[None]:
        """Have a client wait for all runs until the end of the block."""
        options: dict[str, Any] = {"poll_interval": INTERVAL, "max_outage": 1e6}
        hooks = Hooks(on_poll_failed=self.failed.append)
        async with Client(URL, api_key=KEY, project="p", hooks=hooks, **options) as self.client:
            self.client._transport._http.send = self.send  # type: ignore[method-assign]
            refs = [RunRef(server=URL, project="p", run_id=run) for run in self.runs]
            self.operations = [self.client.attach(ref) for ref in refs]
            self.waits = [asyncio.ensure_future(each.wait()) for each in self.operations]
            yield
            for each in self.waits:
                each.cancel()
            await asyncio.gather(*self.waits, return_exceptions=True)

    async def fail(self, *, after: float, seconds: float) -> None:
        """Go out after some time, and stay so."""
        await asyncio.sleep(after)
        self.is_out = True
        await asyncio.sleep(seconds)

    def count_since(self, instant: float) -> int:
        return sum(at >= instant for at in self.requests)


MANY = amount(1000, few=100)


@pytest.mark.parametrize("hangs", [False, True])
async def test_an_outage_costs_no_more_than_normal(*, hangs: bool) -> None:
    """Three minutes of failures see no more requests than three good ones, and end at once.

    What was not asked for by itself counts as failed too, so that its waits can end.
    """
    network = Network(MANY, hangs=hangs)
    async with network.watched():
        await asyncio.sleep(60)
        before = now()
        await network.fail(after=180, seconds=180)
        out, back = before + 180, now()
        normal, during = network.count_since(before), network.count_since(out)
        network.is_out = False
        await asyncio.sleep(INTERVAL + 2 * INTERVAL / 10 + 0.1)
        late = [each for each in network.operations if (each._polled.state.seen_at or 0) < back]

    assert during <= 1.1 * (normal - during)
    # A poll that hangs at the end of the outage is over with its time-out of 30 s, and one was sent
    # each interval.
    assert len(late) <= (11 if hangs else 0)
    assert {event.ref for event in network.failed} == {each.ref for each in network.operations}
    assert sum(not event.is_shared for event in network.failed) < len(network.failed) / 2


@pytest.mark.parametrize("offset", [0.5, 0.95])
async def test_one_probe_an_interval(offset: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the poller's ticks fall, hanging probes do not become more and more."""
    monkeypatch.setattr(random, "random", lambda: offset)
    network = Network(200, hangs=True)
    async with network.watched():
        await network.fail(after=60, seconds=120)
        settled = now()
        await asyncio.sleep(90)
        assert 90 / INTERVAL - 1 <= network.count_since(settled) <= 90 / INTERVAL + 1


async def test_it_begins_with_the_tenth_failure() -> None:
    """From then on one poll an interval is a probe, a little early at the most."""
    outage = Outage("https://testvibe.example", Emitter(Hooks()))
    states: list[bool] = []
    for _ in range(10):
        error = errors.NotSentError("refused", method="GET", url="u")
        outage.note_failure(error, Outlook.AWAY)
        states.append(outage.is_on)
    assert states == [False] * 9 + [True]
    instants = (at / 10 for at in range(100, 200))
    probed = [at for at in instants if outage.begin_probe(at, interval=3.0, slack=0.3)]
    assert probed == [10.0, 12.4, 15.4, 18.4]


async def test_a_probe_that_is_cancelled_ends_its_waits() -> None:
    """Where somebody cancels the poller's task during an outage no wait hangs."""
    network = Network(15)
    async with network.watched():
        await network.fail(after=20, seconds=12)
        network.hangs = True
        await asyncio.sleep(4)
        for worker in list(network.client._poller._queue.workers):
            worker.cancel()
        await asyncio.sleep(40)
        results = [each.exception() for each in network.waits if each.done()]
        assert any("cancelled" in str(result) for result in results)


async def test_a_probe_that_nobody_waits_for_is_not_sent() -> None:
    """Where its wait ended before it was served, another operation's poll is the probe."""
    network = Network(20)
    async with network.watched():
        await network.fail(after=20, seconds=20)
        poller = network.client._poller
        polled = network.operations[0]._polled
        polled.listeners = ()
        poller._outage._probe_at = now()
        seen = len(network.failed), len(network.requests)
        await poller._serve(polled)
        assert (len(network.failed), len(network.requests)) == seen
        assert poller._outage.begin_probe(now(), interval=INTERVAL, slack=0.3)


async def test_jobs_that_wait_for_nothing_let_others_run() -> None:
    """A worker that fails thousands of polls at once pauses after every fifty."""
    served: list[int] = []

    async def serve(job: int) -> None:
        served.append(job)

    queue = PollQueue(serve, lambda _job, _error: None, max_workers=1, is_closed=lambda: False)
    queue.put(range(200))
    queue.start()
    seen: list[int] = []
    while len(served) < 200:
        await asyncio.sleep(0)
        seen.append(len(served))
    assert len(seen) > 3
    assert max(after - before for before, after in pairwise([0, *seen])) <= 50
