"""Outages: what they cost in requests, and how soon everything is seen again."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from attrs import define

from tests.conftest import KEY
from tests.support.amounts import amount
from tests.support.timing import now
from testvibe_async import (
    Client,
    Hooks,
    NotSentError,
    OutcomeUnknownError,
    RunOperation,
    RunRef,
)
from testvibe_async._http import OutageNotice, Outlook
from testvibe_async._polling import queue as queue_module
from testvibe_async._polling.outage import Outage, fails_all
from testvibe_async._polling.queue import PollQueue
from testvibe_async._wire import Request, Response
from testvibe_async.errors import (
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    UnauthorizedError,
    VibeError,
)
from testvibe_async.events import Emitter, PollFailed

INTERVAL = 3.0
URL = "http://127.0.0.1"


@define
class Watched:
    """A client that waits for all runs of a network."""

    client: Client
    operations: list[RunOperation]
    waits: list[asyncio.Future[Any]]

    def seen_at(self) -> list[float]:
        """Return when each run was last seen."""
        return [each._polled.state.seen_at or 0.0 for each in self.operations]


class Network:
    """A service with any number of runs, all in flight, that is out for a while; no sockets."""

    def __init__(self, runs: int, *, hangs: bool = False) -> None:
        self.runs = range(1, runs + 1)
        self.hangs = hangs
        self.is_out = False
        self.requests: list[float] = []
        self.refuses: Callable[[Request[Any]], int | None] = lambda _: None
        """Returns the status with which a request is refused."""

    async def send(self, request: Request[Any], **_: Any) -> Response:
        self.requests.append(now())
        await asyncio.sleep(0.01)
        if self.is_out and self.hangs:
            await asyncio.sleep(30)
            raise OutcomeUnknownError("no answer", method="GET", url=URL)
        status = 500 if self.is_out else self.refuses(request)
        if status is not None:
            headers = {"Retry-After": "1"} if status == 429 else {}
            return Response(status, headers, b"", URL, datetime.now(UTC))
        if request.endpoint.name == "list_runs":
            rows = [*reversed(self.runs)][: int(request.query["limit"])]
            return self._answer([self._row(run) for run in rows])
        return self._answer(self._row(int(request.parameters["run"])))

    def _row(self, run: int) -> dict[str, Any]:
        return {"runId": run, "status": "running", "createdUtc": "2026-11-26T09:00:00Z"}

    def _answer(self, document: object) -> Response:
        return Response(200, {}, json.dumps(document).encode(), URL, datetime.now(UTC))

    @asynccontextmanager
    async def watched(self, *, max_outage: float = 1e6, **hooks: Any) -> AsyncGenerator[Watched]:
        """Have a client wait for all runs until the end of the block."""
        async with Client(
            URL,
            api_key=KEY,
            project="p",
            poll_interval=INTERVAL,
            max_outage=max_outage,
            hooks=Hooks(**hooks),
        ) as client:
            client._transport._http.send = self.send  # type: ignore[method-assign]
            refs = [RunRef(server=URL, project="p", run_id=run) for run in self.runs]
            operations = [client.attach(ref) for ref in refs]
            waits: list[asyncio.Future[Any]]
            waits = [asyncio.ensure_future(each.wait()) for each in operations]
            yield Watched(client, operations, waits)
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def count_since(self, instant: float) -> int:
        return sum(at >= instant for at in self.requests)


MANY = amount(1000, few=100)


@pytest.mark.parametrize("hangs", [False, True])
async def test_an_outage_costs_no_more_than_normal(*, hangs: bool) -> None:
    """Three minutes of failures see no more requests than three good ones, and end at once.

    What was not asked for by itself counts as failed too, so that its waits can end.
    """
    network, failed = Network(MANY, hangs=hangs), list[PollFailed]()
    async with network.watched(on_poll_failed=failed.append) as watched:
        await asyncio.sleep(60)
        before = now()
        await asyncio.sleep(180)
        normal = network.count_since(before)
        network.is_out, out = True, now()
        await asyncio.sleep(180)
        during = network.count_since(out)
        network.is_out, back = False, now()
        await asyncio.sleep(INTERVAL + 2 * INTERVAL / 10 + 0.1)
        late = [at for at in watched.seen_at() if at < back]

    assert during <= 1.1 * normal
    # A poll that hangs at the end of the outage is over with its time-out of 30 s, and one was sent
    # each interval.
    assert len(late) <= (11 if hangs else 0)
    assert {event.ref for event in failed} == {each.ref for each in watched.operations}
    assert sum(not event.is_shared for event in failed) < len(failed) / 2


@pytest.mark.parametrize("offset", [0.5, 0.95])
async def test_one_probe_an_interval(offset: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the poller's ticks fall, hanging probes do not become more and more."""
    monkeypatch.setattr(random, "random", lambda: offset)
    network = Network(200, hangs=True)
    async with network.watched():
        await asyncio.sleep(60)
        network.is_out = True
        await asyncio.sleep(120)
        settled = now()
        await asyncio.sleep(90)
        assert 90 / INTERVAL - 1 <= network.count_since(settled) <= 90 / INTERVAL + 1


@pytest.mark.parametrize(
    ("error", "outlook", "expected"),
    [
        (NotSentError("refused", method="GET", url="u"), Outlook.AWAY, True),
        (RateLimitedError("?", status=429, method="GET", url="u"), Outlook.BUSY, False),
        (
            UnauthorizedError("?", status=401, code="c", method="GET", url="u"),
            Outlook.REFUSED,
            True,
        ),
        (ForbiddenError("?", status=403, code="c", method="GET", url="u"), Outlook.REFUSED, False),
        (NotFoundError("?", status=404, code="c", method="GET", url="u"), Outlook.MISSING, False),
        (InvalidRequestError("?", status=400, method="GET", url="u"), Outlook.SAME, False),
    ],
)
def test_what_one_poll_shows_of_all(error: VibeError, outlook: Outlook, *, expected: bool) -> None:
    """That the service is away, or refuses the key; a 403 may be of one project alone."""
    assert fails_all(error, outlook) is expected


@pytest.fixture
def outage() -> Outage:
    """An outage that has not begun."""
    return Outage(3.0, OutageNotice("https://testvibe.example", Emitter(Hooks())))


def fail(outage: Outage, at: float) -> None:
    outage.note_failure(NotSentError("refused", method="GET", url="u"), Outlook.AWAY, at)


def test_it_begins_with_the_tenth_failure_and_ends_with_an_answer(outage: Outage) -> None:
    """Failures in a row are counted over all operations; any answer ends them."""
    states: list[bool] = []
    for number in range(21):
        if number in {9, 20}:
            outage.note_answer()
        else:
            fail(outage, float(number))
        states.append(outage.is_on)
    assert states == [False] * 19 + [True, False]
    assert (outage.last_failure, outage.since) == (None, None)


def test_it_lasts_since_its_first_failure(outage: Outage) -> None:
    """An operation that fails since then fails with all others; one that failed before does not."""
    fail(outage, 5.0)
    fail(outage, 6.0)
    assert [outage.has_lasted_since(at) for at in (5.0, 4.9, None)] == [True, False, False]


def test_one_poll_an_interval_is_a_probe(outage: Outage) -> None:
    """A probe may be early by the slack, and the next one counts from when it was due."""
    outage = Outage(3.0, OutageNotice("https://testvibe.example", Emitter(Hooks())), slack=0.3)
    probed = [at / 10 for at in range(100, 200) if outage.begin_probe(at / 10)]
    assert probed == [10.0, 12.4, 15.4, 18.4]


async def test_waits_that_end_during_an_outage_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is shared in turns, and not with those that nobody waits for any more."""
    monkeypatch.setattr(queue_module, "JOBS_A_TURN", 5)
    failed: list[PollFailed] = []
    network = Network(40)
    async with network.watched(on_poll_failed=failed.append) as watched:
        await asyncio.sleep(20)
        network.is_out = True
        await asyncio.sleep(12)
        network.hangs = True
        await asyncio.sleep(4)
        for each in watched.waits[:30]:
            each.cancel()
        before = len(failed)
        await asyncio.sleep(40)
        left = {operation.ref for operation in watched.operations[30:]}
        told = {event.ref for event in failed[before:]}
        assert left & told
        assert len(told - left) <= 10  # polls of their own were under way


async def test_a_probe_that_is_cancelled_ends_its_waits() -> None:
    """Where somebody cancels the poller's task during an outage no wait hangs."""
    network = Network(15)
    async with network.watched() as watched:
        await asyncio.sleep(20)
        network.is_out = True
        await asyncio.sleep(12)
        network.hangs = True
        await asyncio.sleep(4)
        for worker in list(watched.client._poller._queue.workers):
            worker.cancel()
        await asyncio.sleep(40)
        results = [each.exception() for each in watched.waits if each.done()]
        assert any("cancelled" in str(result) for result in results)


async def test_whatever_poll_is_answered_ends_an_outage_for_all() -> None:
    """While a probe hangs, an answer to any other poll has all operations polled at once."""
    network = Network(50, hangs=True)
    async with network.watched() as watched:
        await asyncio.sleep(60)
        network.is_out = True
        await asyncio.sleep(100)
        network.is_out, back = False, now()
        await watched.operations[0].poll()
        watched.client._poller._note_answer()
        await asyncio.sleep(1)
        assert sum(at >= back for at in watched.seen_at()) > 35  # the others' polls hang


async def test_a_probe_that_nobody_waits_for_is_not_sent() -> None:
    """Where its wait ended before it was served, another operation's poll is the probe."""
    failed: list[PollFailed] = []
    network = Network(20)
    async with network.watched(on_poll_failed=failed.append) as watched:
        await asyncio.sleep(20)
        network.is_out = True
        await asyncio.sleep(20)
        poller = watched.client._poller
        polled = watched.operations[0]._polled
        polled.listeners = ()
        poller._outage._probe_at = now()
        failed.clear()
        asked = len(network.requests)
        await poller._serve(polled)
        assert (failed, len(network.requests)) == ([], asked)
        assert poller._outage.begin_probe(now())


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
