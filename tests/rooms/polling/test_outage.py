"""Outages: what they cost in requests, and how soon everything is seen again."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import KEY
from tests.support.amounts import amount
from tests.support.timing import now
from testvibe_async import (
    Client,
    Hooks,
    NotSentError,
    ObservationError,
    OutcomeUnknownError,
    RunOperation,
    RunRef,
    ServerError,
)
from testvibe_async._http import OutageNotice, Outlook
from testvibe_async._polling import PolledOperation
from testvibe_async._polling import poller as poller_module
from testvibe_async._polling.outage import Outage, fails_all
from testvibe_async._polling.states import new_state
from testvibe_async._wire import Response
from testvibe_async.errors import (
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    UnauthorizedError,
)
from testvibe_async.events import Emitter, ListPollingSuspended, PollFailed

if TYPE_CHECKING:
    from testvibe_async._wire import Request
    from testvibe_async.errors import VibeError

INTERVAL = 3.0


class Network:
    """A service with any number of runs, all in flight, that is out for a while; no sockets."""

    def __init__(self, runs: int, *, status: int = 500, hangs: bool = False) -> None:
        self.runs = range(1, runs + 1)
        self.status = status
        self.hangs = hangs
        self.is_out = False
        self.requests: list[float] = []

    async def send(self, request: Request[Any], **_: Any) -> Response:
        self.requests.append(now())
        await asyncio.sleep(0.01)
        if self.is_out and self.hangs:
            await asyncio.sleep(30)
            raise OutcomeUnknownError("no answer", method="GET", url="http://127.0.0.1")
        if self.is_out:
            return self._answer(self.status, {})
        if request.endpoint.name == "list_runs":
            rows = [*reversed(self.runs)][: int(request.query["limit"])]
            return self._answer(200, [self._row(run) for run in rows])
        return self._answer(200, self._row(int(request.parameters["run"])))

    async def hang(self, _request: Request[Any], **_: Any) -> Response:
        await asyncio.sleep(20)
        raise OutcomeUnknownError("no answer", method="GET", url="http://127.0.0.1")

    def _row(self, run: int) -> dict[str, Any]:
        return {"runId": run, "status": "running", "createdUtc": "2026-11-26T09:00:00Z"}

    def _answer(self, status: int, document: object) -> Response:
        body = json.dumps(document).encode()
        return Response(status, {}, body, "http://127.0.0.1", datetime.now(UTC))

    def client(self, **options: Any) -> Client:
        client = Client(
            "http://127.0.0.1",
            api_key=KEY,
            project="p",
            poll_interval=INTERVAL,
            max_outage=1e6,
            **options,
        )
        client._transport._http.send = self.send  # type: ignore[method-assign]
        return client

    def operations(self, client: Client) -> list[RunOperation]:
        refs = [RunRef(server="http://127.0.0.1", project="p", run_id=run) for run in self.runs]
        return [client.attach(ref) for ref in refs]

    def count_since(self, instant: float) -> int:
        return sum(at >= instant for at in self.requests)


MANY = amount(1000, few=100)


@pytest.mark.parametrize(("count", "hangs"), [(1, False), (MANY, False), (MANY, True)])
async def test_an_outage_costs_no_more_than_normal(count: int, *, hangs: bool) -> None:
    """Three minutes of failures see no more requests than three good ones, and end at once."""
    network = Network(count, hangs=hangs)
    async with network.client() as client:
        operations = network.operations(client)
        waits = asyncio.gather(*(each.wait() for each in operations))
        await asyncio.sleep(60)
        before = now()
        await asyncio.sleep(180)
        normal = network.count_since(before)

        network.is_out, out = True, now()
        await asyncio.sleep(180)
        during = network.count_since(out)
        network.is_out, back = False, now()
        await asyncio.sleep(INTERVAL + 2 * INTERVAL / 10 + 0.1)
        late = [each for each in operations if (each._polled.state.seen_at or 0.0) < back]

        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
    assert during <= 1.1 * normal
    # A poll that hangs at the end of the outage is over with its time-out of 30 s, and one was sent
    # each interval.
    assert len(late) <= (11 if hangs else 0)


@pytest.mark.parametrize("offset", [0.5, 0.95])
async def test_one_probe_an_interval_however_long_they_hang(
    offset: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the poller's ticks fall, hanging probes do not become more and more."""
    monkeypatch.setattr(random, "random", lambda: offset)
    network = Network(200, hangs=True)
    async with network.client() as client:
        waits = asyncio.gather(*(each.wait() for each in network.operations(client)))
        await asyncio.sleep(60)
        network.is_out = True
        await asyncio.sleep(120)
        settled = now()
        await asyncio.sleep(90)
        assert network.count_since(settled) == 90 / INTERVAL
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)


async def test_each_operation_notes_the_failure_it_shares() -> None:
    """What was not asked for by itself counts as failed too, so that its waits can end."""
    failed: list[PollFailed] = []
    suspended: list[ListPollingSuspended] = []
    network = Network(50)
    hooks = Hooks(on_poll_failed=failed.append, on_list_polling_suspended=suspended.append)
    async with network.client(hooks=hooks) as client:
        operations = network.operations(client)
        waits = [asyncio.ensure_future(each.wait()) for each in operations]
        await asyncio.sleep(20)
        network.is_out, began = True, now()
        await asyncio.sleep(30)
        assert {event.ref for event in failed} == {each.ref for each in operations}
        assert all(isinstance(event.error, ServerError) for event in failed)
        polled = [event for event in failed if not event.is_shared]
        assert len(polled) < len(failed) / 2  # the others were told what these came to
        assert len(polled) <= network.count_since(began)
        assert network.count_since(began) < 130
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def test_waits_end_after_max_outage() -> None:
    """All waits end with an ObservationError of their own once the outage is not tolerated."""
    network = Network(20)
    async with network.client() as client:
        client._poller._reader._max_outage = 60.0
        waits = [asyncio.ensure_future(each.wait()) for each in network.operations(client)]
        await asyncio.sleep(20)
        network.is_out, began = True, now()
        results = await asyncio.gather(*waits, return_exceptions=True)
        assert 60 <= now() - began <= 70
    assert all(isinstance(each, ObservationError) for each in results)
    assert len({id(each) for each in results}) == len(results)
    assert all("nothing but failures for 6" in str(each) for each in results)
    others = [each for each in results if "of another operation's poll" in str(each)]
    assert others, "one is polled for all"


async def test_a_few_failures_are_no_outage() -> None:
    """Where some polls fail and others do not, none takes the place of another."""
    network = Network(40)
    calls = 0
    send = network.send

    async def flaky(request: Request[Any], **options: Any) -> Response:
        nonlocal calls
        calls += 1
        is_good = calls % 4 != 0
        response = await send(request, **options)
        return response if is_good else Response(500, {}, b"", "", datetime.now(UTC))

    failed: list[PollFailed] = []
    async with network.client(hooks=Hooks(on_poll_failed=failed.append)) as client:
        client._transport._http.send = flaky  # type: ignore[method-assign]
        waits = asyncio.gather(*(each.wait() for each in network.operations(client)))
        await asyncio.sleep(300)
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
    assert 0 < len(failed) <= calls / 4


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


def service_out() -> Outage:
    """Return an outage that has not begun."""
    return Outage(3.0, OutageNotice("https://testvibe.example", Emitter(Hooks())))


def test_it_begins_with_the_tenth_failure_and_ends_with_an_answer() -> None:
    """Failures in a row are counted over all operations; any answer ends them."""
    outage = service_out()
    error = NotSentError("refused", method="GET", url="u")
    states: list[bool] = []
    for number, each in enumerate([*[error] * 9, None, *[error] * 10, None]):
        if each is None:
            outage.note_answer(float(number))
        else:
            outage.note_failure(each, Outlook.AWAY, float(number))
        states.append(outage.is_on)
    assert states == [False] * 19 + [True, False]
    assert outage.last_failure is None
    assert outage.since is None


def test_it_lasts_since_its_first_failure() -> None:
    """An operation that fails since then fails with all others; one that failed before does not."""
    outage = service_out()
    outage.note_failure(NotSentError("refused", method="GET", url="u"), Outlook.AWAY, 5.0)
    outage.note_failure(NotSentError("refused", method="GET", url="u"), Outlook.AWAY, 6.0)
    assert outage.has_lasted_since(5.0)
    assert not outage.has_lasted_since(4.9)
    assert not outage.has_lasted_since(None)


def test_a_probe_that_hangs_is_followed_by_another() -> None:
    """One probe at a time, but no longer than an interval."""
    outage = service_out()
    assert outage.wait((), 10.0)
    for _ in range(10):
        outage.note_failure(NotSentError("refused", method="GET", url="u"), Outlook.AWAY, 9.0)
    state = new_state(RunRef(server="s", project="p", run_id=1), began=0.0, answered_at=None)
    outage.wait([PolledOperation(state)], 10.0)
    assert outage.begin_probe(10.0)
    assert not outage.wait((), 12.9)
    assert outage.wait((), 13.0)
    outage.end_probe()
    assert outage.wait((), 10.0)


async def test_a_refused_list_call_is_no_storm() -> None:
    """One 429 on a list call puts its operations back by an interval, and reads none by its id."""
    network = Network(300)
    refusals = 1
    send = network.send

    async def refuse_once(request: Request[Any], **options: Any) -> Response:
        nonlocal refusals
        response = await send(request, **options)
        if request.endpoint.name == "list_runs" and now() > 30 and refusals:
            refusals -= 1
            return Response(429, {"Retry-After": "1"}, b"", "", datetime.now(UTC))
        return response

    suspended: list[ListPollingSuspended] = []
    hooks = Hooks(on_list_polling_suspended=suspended.append)
    async with network.client(hooks=hooks) as client:
        client._transport._http.send = refuse_once  # type: ignore[method-assign]
        operations = network.operations(client)
        waits = asyncio.gather(*(each.wait() for each in operations))
        await asyncio.sleep(29)
        before = len(network.requests)
        await asyncio.sleep(20)
        assert refusals == 0
        assert len(network.requests) - before < 40
        assert suspended == []
        seen_at = [each._polled.state.seen_at or 0.0 for each in operations]
        assert min(seen_at) > now() - 2 * INTERVAL
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)


async def test_a_list_that_is_refused_again_and_again_is_suspended() -> None:
    """The third refusal in a row suspends the list, and what it showed is read by id."""
    network = Network(20)
    send = network.send

    async def refuse(request: Request[Any], **options: Any) -> Response:
        response = await send(request, **options)
        if request.endpoint.name == "list_runs":
            return Response(429, {"Retry-After": "1"}, b"", "", datetime.now(UTC))
        return response

    suspended: list[ListPollingSuspended] = []
    hooks = Hooks(on_list_polling_suspended=suspended.append)
    async with network.client(hooks=hooks) as client:
        client._transport._http.send = refuse  # type: ignore[method-assign]
        operations = network.operations(client)
        waits = asyncio.gather(*(each.wait() for each in operations))
        await asyncio.sleep(20)
        assert len(suspended) == 1
        seen_at = [each._polled.state.seen_at or 0.0 for each in operations]
        assert min(seen_at) > now() - 2 * INTERVAL
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)


async def test_waits_that_end_during_an_outage_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is shared in turns, and not with those that nobody waits for any more."""
    monkeypatch.setattr(poller_module, "OPERATIONS_A_TURN", 5)
    failed: list[PollFailed] = []
    network = Network(40)
    async with network.client(hooks=Hooks(on_poll_failed=failed.append)) as client:
        operations = network.operations(client)
        waits = [asyncio.ensure_future(each.wait()) for each in operations]
        await asyncio.sleep(20)
        network.is_out = True
        await asyncio.sleep(12)
        client._transport._http.send = network.hang  # type: ignore[method-assign, assignment]
        await asyncio.sleep(4)
        gone = waits[:30]
        for each in gone:
            each.cancel()
        before = len(failed)
        await asyncio.sleep(40)
        left = {operation.ref for operation in operations[30:]}
        told = {event.ref for event in failed[before:]}
        assert left & told
        assert len(told - left) <= 10  # polls of their own were under way
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def test_a_probe_that_is_cancelled_ends_its_waits() -> None:
    """Where somebody cancels the poller's task during an outage no wait hangs."""
    network = Network(15)
    async with network.client() as client:
        waits = [asyncio.ensure_future(each.wait()) for each in network.operations(client)]
        await asyncio.sleep(20)
        network.is_out = True
        await asyncio.sleep(12)
        client._transport._http.send = network.hang  # type: ignore[method-assign, assignment]
        await asyncio.sleep(4)
        for worker in list(client._poller._queue.workers):
            worker.cancel()
        await asyncio.sleep(30)
        results = [each.exception() for each in waits if each.done()]
        assert any("cancelled" in str(result) for result in results)
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def test_after_an_outage_the_list_is_used_at_once() -> None:
    """The failure that suspended the list has passed: all are seen again by it, not by id."""
    network = Network(400)
    async with network.client() as client:
        operations = network.operations(client)
        waits = asyncio.gather(*(each.wait() for each in operations))
        await asyncio.sleep(20)
        network.is_out = True
        await asyncio.sleep(12)
        network.is_out, back = False, now()
        await asyncio.sleep(2 * INTERVAL)
        assert network.count_since(back) < 100
        assert all((each._polled.state.seen_at or 0.0) > back for each in operations)
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)


async def test_a_refused_list_shows_nothing() -> None:
    """What a refused list call was asked about does not count as seen."""
    network = Network(30)
    send = network.send

    async def refuse(request: Request[Any], **options: Any) -> Response:
        response = await send(request, **options)
        is_refused = request.endpoint.name == "list_runs" and now() > 30
        headers = {"Retry-After": "1"}
        return Response(429, headers, b"", "", datetime.now(UTC)) if is_refused else response

    async with network.client() as client:
        client._transport._http.send = refuse  # type: ignore[method-assign]
        operations = network.operations(client)
        waits = asyncio.gather(*(each.wait() for each in operations))
        await asyncio.sleep(30 + INTERVAL + 0.4)
        assert all((each._polled.state.seen_at or 0.0) <= 30.1 for each in operations)
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)


async def test_whatever_poll_is_answered_ends_an_outage_for_all() -> None:
    """What waits for a probe that hangs is polled as soon as another poll is answered."""
    network = Network(50, hangs=True)
    async with network.client() as client:
        operations = network.operations(client)
        waits = asyncio.gather(*(each.wait() for each in operations))
        await asyncio.sleep(60)
        network.is_out = True
        await asyncio.sleep(100)
        assert client._poller._outage.waiting
        network.is_out, back = False, now()
        client._poller._note_answer()
        await asyncio.sleep(1)
        assert not client._poller._outage.waiting
        seen = [each for each in operations if (each._polled.state.seen_at or 0.0) >= back]
        assert len(seen) > 35  # the others' polls hang
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)


async def test_a_probe_that_nobody_waits_for_fails_nobody() -> None:
    """Where its operation was let go before it was sent, another one is sent for the others."""
    failed: list[PollFailed] = []
    network = Network(20, hangs=True)
    async with network.client(hooks=Hooks(on_poll_failed=failed.append)) as client:
        waits = [asyncio.ensure_future(each.wait()) for each in network.operations(client)]
        await asyncio.sleep(20)
        network.is_out = True
        poller = client._poller
        while not (poller._outage.is_on and poller._outage.waiting):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        while poller._outage.is_probed:  # Those under way end, without an answer.
            poller._outage.end_probe()
        probed = poller._outage.begin_probe(now())
        assert probed is not None
        probed.listeners = ()
        failed.clear()
        asked = len(network.requests)
        await poller._probe(probed)
        assert not failed
        await asyncio.sleep(0.1)
        assert len(network.requests) == asked + 1
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
