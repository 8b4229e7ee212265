"""Requests that fail on the way or are refused: what is sent again, when, and what is raised."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.conftest import client_of
from tests.promises.conftest import Events
from tests.support.amounts import some
from tests.support.once_only import ONCE_ONLY, once_only
from tests.support.peer import ONCE, hooks_into
from tests.support.raising import raised
from tests.support.timing import now
from testvibe_async import Client, Project, errors
from testvibe_async.events import Event, Paused, RequestFinished, Resumed, RetryScheduled
from testvibe_async.testing import Emulator, Fault, Scenario

MAYBE = {
    "lost": Fault.lost(),
    "truncated": Fault.truncated(),
    "hang": Fault.hang(),
    "500": Fault.status(500),
    "503": Fault.status(503, retry_after=2),
    "429": Fault.status(429),
    "garbage": Fault.garbage(),
    "reset": Fault.reset(),
}
"""What says nothing of whether the service acted."""


async def call(operation: str, project: Project) -> None:
    """Call what must not happen twice; a cancellation needs a generation in flight."""
    if operation == "cancel_generation":
        await project.generate_feature("Checkout")
    await ONCE_ONLY[operation](project)


@once_only
@pytest.mark.parametrize(
    ("fault", "is_kept"),
    some([*((fault, False) for fault in MAYBE), ("reset", True), ("lost", True)], few=2),
)
async def test_what_may_have_happened_is_not_sent_again(
    emulator: Emulator, client: Client, operation: str, fault: str, *, is_kept: bool
) -> None:
    """A change or a dispatch without a good answer arrives once, on a connection of either kind."""
    emulator.fail(operation, MAYBE[fault])
    if is_kept:
        await client.list_projects()
    with suppress(errors.VibeError):
        await call(operation, client.project())
    assert emulator.count(operation) == 1


@once_only
async def test_what_was_refused(emulator: Emulator, project: Project, operation: str) -> None:
    """A 429 with Retry-After proves that nothing was done: it is sent again, after that time."""
    emulator.fail(operation, Fault.status(429, retry_after=7), times=2)
    await call(operation, project)
    times = [request.at for request in emulator.requests if request.operation == operation]
    assert [time - times[0] for time in times] == pytest.approx([0, 7, 14])


@once_only
async def test_what_was_not_sent_is_sent_again(
    emulator: Emulator,
    project: Project,
    rival: Project,
    operation: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A refused connection proves that nothing arrived: a change or a dispatch is tried again."""
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect
    # The poll before a generation's dispatch is one more request, without a retry.
    refused = -1 if operation == "generate_feature" else 0

    async def sock_connect(*where: Any) -> None:
        nonlocal refused
        if refused < 2:
            refused += 1
            raise ConnectionRefusedError(111, "Connection refused")
        await connect(*where)

    if operation == "cancel_generation":
        await rival.generate_feature("Checkout")
    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    await ONCE_ONLY[operation](project)
    assert refused == 2
    assert emulator.count(operation) == 1


@pytest.mark.parametrize("timeout", [1.0, 5.0, 8.0, 10.0, 30.0, 300.0])
async def test_a_connection_that_is_never_made_was_not_sent(
    emulator: Emulator, timeout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that does not answer the connection in time never saw the request."""

    async def sock_connect(*_: object) -> None:
        await asyncio.sleep(86_400)

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", sock_connect)
    async with client_of(emulator, timeout=timeout, retry=ONCE) as client:
        await raised(errors.NotSentError, client.list_projects())
    assert now() <= min(timeout, 10.0) + 1


@pytest.mark.parametrize("timeout", [0.5, 3.0, 30.0])
async def test_a_request_times_out(emulator: Emulator, timeout: float) -> None:
    """A request beyond the timeout has an unknown outcome; a slow one within it is answered."""
    async with client_of(emulator, timeout=timeout, retry=ONCE) as client:
        rule = emulator.fail("list_projects", Fault.delay(timeout * 0.9))
        assert await client.list_projects()
        rule.remove()
        emulator.fail("list_projects", Fault.hang())
        before = now()
        with pytest.raises(errors.OutcomeUnknownError, match=f"within {timeout:g} s"):
            await client.list_projects()
        assert timeout - 1e-6 <= now() - before <= timeout + 1


async def test_retries_are_reported(emulator: Emulator, client: Client, events: Events) -> None:
    """Each repetition is an event with its error, its number and its delay."""
    emulator.fail("list_projects", Fault.status(500), times=2)
    await client.list_projects()
    retries = events.of(RetryScheduled)
    asked = [(event.operation, event.attempt) for event in retries]
    assert asked == [("list_projects", 1), ("list_projects", 2)]
    assert all(isinstance(event.error, errors.ServerError) for event in retries)
    assert sum(event.delay for event in retries) == pytest.approx(now())
    assert [event.status for event in events.of(RequestFinished)] == [500, 500, 200]
    emulator.fail("list_projects", Fault.status(500))
    await raised(errors.ServerError, client.list_projects())
    assert len(events.of(RequestFinished)) == 3 + 4  # the attempts of the policy


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("refusals", [1, 3])
async def test_refusals_in_a_row_pause_all_requests(
    emulator: Emulator, client: Client, events: Events, status: int, refusals: int
) -> None:
    """One delays its own request. After three nothing is sent for the time that they ask for.

    Then one is sent, and the others after it.
    """
    emulator.fail("list_projects", Fault.status(status, retry_after=20), times=refusals)
    refused = [asyncio.create_task(client.list_projects()) for _ in range(refusals)]
    await asyncio.sleep(1)
    others = [client.project().get_feature("Checkout"), client.project().list_configs()]
    await asyncio.gather(*refused, *others)
    sent = [round(request.at) for request in emulator.requests]
    if refusals == 1:
        assert sent == [0, 1, 1, 20]
        assert events.of(Paused) == []
        return
    assert sent[:4] == [0, 0, 0, 20]
    assert all(20 <= request.at < 22 for request in emulator.requests[3:])
    (pause,) = events.of(Paused)
    assert pause.seconds == 20
    assert isinstance(pause.error, errors.ResponseError)


@pytest.mark.parametrize(("method", "sent"), [("GET", 4), ("POST", 1), ("PUT", 1), ("DELETE", 1)])
async def test_only_a_custom_get_is_repeated(emulator: Emulator, method: str, sent: int) -> None:
    """`request` repeats a GET after a 5xx and a lost connection, and no other method."""
    for fault in (Fault.status(500), Fault.lost()):
        rule = emulator.fail("*", fault)
        async with client_of(emulator) as client:
            with pytest.raises((errors.ServerError, errors.OutcomeUnknownError)):
                await client.request(method, "/projects")
        rule.remove()
        seen, emulator.requests[:] = len(emulator.requests), []
        assert seen in ({sent, 2 * sent} if method == "GET" else {sent})


RUNS = 60
short_runs = pytest.mark.parametrize("scenario", [Scenario(run_queue=0, run_duration=(0.6, 2))])


async def _run_all(emulator: Emulator, events: Events) -> list[Event]:
    """Run a feature many times at once; return the pauses and their ends."""
    async with client_of(emulator, poll_interval=0.25, hooks=hooks_into(events)) as client:
        project = client.project()
        operations = await asyncio.gather(*(project.run_feature("Checkout") for _ in range(RUNS)))
        await client.gather(*operations)
        assert len(emulator.runs) == RUNS
    return [event for event in events if isinstance(event, Paused | Resumed)]


@short_runs
@pytest.mark.parametrize("place", [0, 59])
async def test_one_refusal_costs_a_second(emulator: Emulator, events: Events, place: int) -> None:
    """Runs of at most 2 s are over a little later, and nothing pauses."""
    emulator.fail("run_feature", Fault.status(429, retry_after=1), skip=place, times=1)
    assert await _run_all(emulator, events) == []
    assert now() <= 2 + 1 + 0.75


@short_runs
@pytest.mark.service(rate_limit=20)
async def test_a_limit_fails_no_dispatch(emulator: Emulator, events: Events) -> None:
    """60 runs at a service that takes 20 requests a second: all are dispatched, none twice."""
    seen = await _run_all(emulator, events)
    assert now() <= 15
    assert [type(event) for event in seen[:2]] == [Paused, Resumed]


PATIENT: dict[str, Callable[[Client, float], Awaitable[Any]]] = {
    "list_features": lambda client, seconds: client.project().list_features(max_outage=seconds),
    "list_projects": lambda client, seconds: client.list_projects(max_outage=seconds),
    "list_configs": lambda client, seconds: client.project().list_configs(max_outage=seconds),
}


@pytest.mark.parametrize("name", PATIENT)
@pytest.mark.parametrize(
    ("fault", "seconds"),
    [(Fault.status(503), 60), (Fault.status(503, retry_after=2), 5), (Fault.reset(), 60)],
    ids=["503", "busy", "reset"],
)
async def test_a_call_outlasts_an_outage(
    emulator: Emulator, client: Client, name: str, seconds: int, fault: Fault
) -> None:
    """It is tried again until the service answers."""
    await client.project().list_files()
    emulator.fail("*", fault, when=lambda _: now() < seconds)
    assert await PATIENT[name](client, 100)
    assert seconds <= now() < seconds + 35
    assert emulator.count(name) < 30
