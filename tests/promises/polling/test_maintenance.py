"""A service under maintenance: what stands in its place for a while ends no wait.

The table has each kind of answer, two durations, and each way to wait.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.conftest import client_of
from tests.support.amounts import FULL
from tests.support.timing import now
from testvibe_async import (
    Client,
    ForbiddenError,
    Hooks,
    ObservationError,
    Run,
    RunOperation,
    UnauthorizedError,
)
from testvibe_async.events import OutageEnded, OutageStarted, PollFailed, StatusChanged
from testvibe_async.testing import Emulator, Fault

PAGE = b"<!doctype html><title>We are back soon</title>"
ANSWERS = {
    "a page in place of the answer": Fault.body(PAGE, content_type="text/html"),
    "a redirect to a login": Fault.status(302, body=b""),
    "a proxy's 404": Fault.status(404, body=PAGE),
    "a 403 page": Fault.status(403, body=PAGE),
    "a bare 400": Fault.status(400, body=b""),
    "a bare 410": Fault.status(410, body=b""),
    "an empty 200": Fault.body(b""),
    "another document": Fault.body(b'{"status": "maintenance"}'),
    "a bare list": Fault.body(b"[]"),
    "a 503 page": Fault.status(503, body=PAGE),
}
STARTS = 7.0
"""When the service goes away: after polls at 3 s and 6 s that it answers."""
FEATURES = ["Checkout", "Returns", "Shopping cart"]


async def by_waiting(client: Client) -> list[Run]:
    """Await one run."""
    return [await (await client.project().run_feature("Checkout"))]


async def by_iterating(client: Client) -> list[Run]:
    """Iterate over the transitions of one run to the end."""
    operation = await client.project().run_feature("Checkout")
    seen = [transition.snapshot async for transition in operation]
    assert seen[-1] is not None
    return [seen[-1]]


async def by_finished(client: Client) -> list[Run]:
    """Take several runs as they end."""
    operations = [await client.project().run_feature(name) for name in FEATURES]
    return [
        await operation
        async for operation in client.finished(operations)
        if isinstance(operation, RunOperation)
    ]


async def by_batch(client: Client) -> list[Run]:
    """Run a batch."""
    items = await client.project().run_features(FEATURES)
    return [item.outcome for item in items if item.outcome is not None]


WAYS: dict[str, tuple[Callable[[Client], Awaitable[list[Run]]], int]] = {
    "wait": (by_waiting, 1),
    "iteration": (by_iterating, 1),
    "finished": (by_finished, len(FEATURES)),
    "batch": (by_batch, len(FEATURES)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seconds", [10, 60] if FULL else [60])
@pytest.mark.parametrize("answer", ANSWERS)
async def test_what_stands_in_for_the_service_for_a_while_ends_no_wait(
    emulator: Emulator, answer: str, seconds: int, way: str
) -> None:
    """The outage is announced within two polls, and so is its end; every outcome is seen."""
    failed: list[PollFailed] = []
    announced: list[tuple[float, OutageStarted]] = []
    ended: list[tuple[float, OutageEnded]] = []
    hooks = Hooks(
        on_poll_failed=failed.append,
        on_outage_started=lambda event: announced.append((now(), event)),
        on_outage_ended=lambda event: ended.append((now(), event)),
    )
    emulator.fail("*", ANSWERS[answer], when=lambda _: STARTS < now() < STARTS + seconds)
    observe, count = WAYS[way]
    async with client_of(emulator, hooks=hooks) as client:
        runs = await observe(client)

    assert [run.is_success for run in runs] == [True] * count
    assert failed
    assert not any(event.is_final for event in failed)
    assert len(announced) == len(ended) == 1
    assert STARTS < announced[0][0] < STARTS + 3 + 6 + 1
    assert announced[0][1].server == emulator.url
    assert STARTS + seconds < ended[0][0] < STARTS + seconds + 31
    assert ended[0][1].seconds == pytest.approx(ended[0][0] - STARTS, abs=3.5)


@pytest.mark.parametrize("answer", ANSWERS)
async def test_an_outage_ends_the_wait_after_max_outage(emulator: Emulator, answer: str) -> None:
    """The error says how long nothing was seen; a later wait continues."""
    outage = emulator.fail("get_run", ANSWERS[answer], skip=1)
    async with client_of(emulator, max_outage=100) as client:
        operation = await client.project().run_feature("Checkout")
        with pytest.raises(ObservationError) as caught:
            await operation
        assert type(caught.value) is ObservationError
        assert caught.value.ref == operation.ref
        assert 100 < now() < 140
        outage.remove()
        assert (await operation).is_success


@pytest.mark.parametrize(
    "answer", [name for name in ANSWERS if "404" not in name and "503" not in name]
)
async def test_before_any_good_answer_the_third_equal_one_ends_the_wait(
    emulator: Emulator, answer: str
) -> None:
    """Most likely the address is not the service's, and that must be said soon."""
    emulator.fail("get_run", ANSWERS[answer])
    async with client_of(emulator) as client:
        operation = await client.project().run_feature("Checkout")
        with pytest.raises((ObservationError, ForbiddenError)) as caught:
            await operation
    assert caught.value.ref == operation.ref
    assert emulator.count("get_run") == 3


async def test_the_good_answer_may_be_of_another_operation(emulator: Emulator) -> None:
    """What counts is that the route has answered this client well."""
    async with client_of(emulator) as client:
        project = client.project()
        await (await project.run_feature("Checkout")).poll()
        emulator.fail("get_run", ANSWERS["a 403 page"], times=5)
        assert (await (await project.run_feature("Returns"))).is_success


@pytest.mark.parametrize("status", [401, 403])
async def test_one_refused_poll_among_good_ones_ends_no_wait(
    emulator: Emulator, status: int
) -> None:
    """The service's own 401 or 403 is confirmed by one more poll."""
    emulator.fail("get_run", Fault.status(status), skip=1, times=1)
    async with client_of(emulator) as client:
        assert (await (await client.project().run_feature("Checkout"))).is_success


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_that_is_confirmed_is_raised(emulator: Emulator, status: int) -> None:
    """The second one ends the wait, as the error that it is."""
    rule = emulator.fail("get_run", Fault.status(status), skip=1)
    async with client_of(emulator) as client:
        operation = await client.project().run_feature("Checkout")
        with pytest.raises((UnauthorizedError, ForbiddenError)) as caught:
            await operation
    assert rule.hits == 2
    assert caught.value.status == status
    assert caught.value.ref == operation.ref


async def test_a_revoked_key_costs_few_requests(emulator: Emulator) -> None:
    """However many operations are in flight, a few refusals and one more decide for all."""
    async with client_of(emulator) as client:
        project = client.project()
        operations = [await project.run_feature("Checkout") for _ in range(200)]
        revoked = emulator.fail("*", Fault.status(401), when=lambda _: now() > STARTS)
        results = await asyncio.gather(
            *(each.wait() for each in operations), return_exceptions=True
        )
    assert {type(each) for each in results} == {UnauthorizedError}
    assert len({each.ref for each in results if isinstance(each, UnauthorizedError)}) == 200
    assert revoked.hits < 60


@pytest.mark.parametrize("body", [None, PAGE], ids=["own", "page"])
async def test_a_run_may_be_known_late(emulator: Emulator, body: bytes | None) -> None:
    """A 404 after our own 202 is not yet: also 50 s later."""
    emulator.fail("get_run", Fault.status(404, body=body), when=lambda _: now() < 50)
    async with client_of(emulator) as client:
        operation = await client.project().run_feature("Checkout")
        assert (await operation).is_success
        assert now() < 70


async def test_one_failure_among_answers_is_no_outage(emulator: Emulator) -> None:
    """What is answered in between is no time without answers."""
    announced: list[OutageStarted] = []
    emulator.fail("get_run", Fault.status(500), times=1)
    emulator.fail("get_run", Fault.status(500), skip=2, times=1)
    async with client_of(emulator, hooks=Hooks(on_outage_started=announced.append)) as client:
        assert (await (await client.project().run_feature("Checkout"))).is_success
    assert not announced


async def test_a_route_that_fails_alone_is_no_outage_of_the_service(emulator: Emulator) -> None:
    """While another operation is seen, the service is there."""
    announced: list[OutageStarted] = []
    async with client_of(emulator, hooks=Hooks(on_outage_started=announced.append)) as client:
        project = client.project()
        bad, good = [await project.run_feature("Checkout") for _ in range(2)]
        number = bad.run_id
        emulator.fail("get_run", Fault.status(500), times=3, when=lambda run: run.run_id == number)
        runs = await client.gather(bad, good)
    assert [run.is_success for run in runs] == [True, True]
    assert not announced


@pytest.mark.parametrize("retry_after", [None, 1, 2])
async def test_a_list_that_fails_delays_no_end(emulator: Emulator, retry_after: int | None) -> None:
    """What it would have shown is polled by id at the next tick."""
    ended: list[float] = []

    def note(event: StatusChanged) -> None:
        if event.transition.phase == "finished":
            ended.append(now())

    hooks = Hooks(on_transition=note)
    async with client_of(emulator, poll_interval=1, hooks=hooks) as client:
        project = client.project()
        operations = [await project.run_feature("Checkout") for _ in range(100)]
        emulator.fail(
            "list_runs", Fault.status(503, retry_after=retry_after), when=lambda _: now() > 27
        )
        await client.gather(*operations)
    assert len(ended) == 100
    assert max(ended) < 32
