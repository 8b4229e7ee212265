"""Polls that fail, and answers that are not documented: what a wait tolerates and what ends it."""

import asyncio
from itertools import pairwise

import aiohttp
import pytest

from tests.conftest import client_of
from tests.support.observing import start_wait, statuses
from tests.support.timing import now
from testvibe_async import (
    Client,
    ConfigError,
    ForbiddenError,
    Hooks,
    MalformedResponseError,
    ObservationError,
    OperationNotFoundError,
    Phase,
    Project,
    Run,
    RunOperation,
    RunRef,
    UnauthorizedError,
    WaitTimeoutError,
)
from testvibe_async.events import PollFailed
from testvibe_async.testing import Emulator, Fault


async def test_500s_for_two_minutes_are_tolerated(
    emulator: Emulator, operation: RunOperation
) -> None:
    """A wait goes on through two minutes of failures."""
    emulator.fail("get_run", Fault.status(500), when=lambda _: now() < 120)

    assert (await operation).is_success
    assert 120 <= now() <= 155


async def test_failures_before_a_pause_do_not_count(
    emulator: Emulator, operation: RunOperation
) -> None:
    """A new wait, long after one that saw only failures, gets its full max_outage."""
    outage = emulator.fail("get_run", Fault.status(500))
    with pytest.raises(WaitTimeoutError):
        await operation.wait(timeout=20)
    await asyncio.sleep(600)
    wait = start_wait(operation)
    await asyncio.sleep(20)
    outage.remove()

    assert (await wait).is_success


async def test_failures_slow_the_polling_of_one(emulator: Emulator, project: Project) -> None:
    """The interval grows where the polls of one operation fail alone, to 30 s at most."""
    failing, healthy = [await project.run_feature("Checkout") for _ in range(2)]
    emulator.fail("get_run", Fault.status(500), when=lambda each: each.run_id == failing.run_id)
    emulator.fail("get_run", Fault.edit(lambda run: run | {"status": "running"}))
    other = asyncio.ensure_future(healthy.wait())

    with pytest.raises(ObservationError):
        await failing
    other.cancel()

    polls = [each for each in emulator.requests if each.operation == "get_run"]
    at = [each.at for each in polls if each.run_id == failing.run_id]
    gaps = [later - earlier for earlier, later in pairwise(at)]
    assert len(at) < 20
    assert gaps == pytest.approx([3, 12, 24, *[30] * (len(gaps) - 3)], abs=0.5)


async def test_every_waiter_gets_an_error_of_its_own(
    emulator: Emulator, operation: RunOperation
) -> None:
    """No two waits share an exception or its traceback."""
    emulator.fail("get_run", Fault.status(403))

    first, second = await asyncio.gather(operation.wait(), operation.wait(), return_exceptions=True)

    assert isinstance(first, ForbiddenError)
    assert isinstance(second, ForbiddenError)
    assert first is not second
    assert first.__traceback__ is not second.__traceback__


async def test_a_closed_session_is_raised_at_once(emulator: Emulator) -> None:
    """A wait through a passed-in session ends at the first poll after that was closed."""
    session = aiohttp.ClientSession()
    async with client_of(emulator, session=session) as client:
        operation = await client.project().run_feature("Checkout")
        await session.close()

        with pytest.raises(ConfigError, match=r"session .* is closed") as caught:
            await operation

    assert caught.value.ref == operation.ref
    assert now() < 4


@pytest.mark.parametrize(
    "fault",
    [
        Fault.body(b"<html>bad gateway</html>", content_type="text/html"),
        Fault.body(b"{}"),
        Fault.body(b'{"runId": 1, "status": "passed"}'),
        Fault.body(b'{"runId": 214, "status": 7}'),
        Fault.garbage(),
        Fault.truncated(),
        Fault.reset(),
        Fault.status(429),
        Fault.status(418),
        Fault.status(302),
    ],
)
async def test_a_poll_that_shows_nothing_is_tolerated(
    emulator: Emulator, operation: RunOperation, fault: Fault
) -> None:
    """A wait goes on after two polls without a usable answer."""
    rule = emulator.fail("get_run", fault, times=2)

    assert (await operation).is_success
    assert rule.hits == 2


async def test_an_unreadable_answer_affects_one_operation(
    emulator: Emulator, operation: RunOperation, client: Client
) -> None:
    """An answer that can't be decoded ends the wait for its own operation alone."""
    neighbour = await client.project().run_feature("Returns")
    bad = operation.run_id
    emulator.fail("get_run", Fault.body(b"["), when=lambda request: request.run_id == bad)

    results = await asyncio.gather(operation, neighbour, return_exceptions=True)

    assert isinstance(results[0], ObservationError)
    assert isinstance(results[0].__cause__, MalformedResponseError)
    assert isinstance(results[1], Run)
    assert emulator.count("get_run", run_id=neighbour.run_id) in {10, 11}


async def test_an_unknown_status_is_not_the_end(
    emulator: Emulator, operation: RunOperation
) -> None:
    """An undocumented status is kept as it came, and the polling goes on."""
    emulator.fail("get_run", Fault.edit(lambda run: run | {"status": "paused"}), times=1)

    assert await statuses(operation) == [
        (Phase.QUEUED, "running"),
        (Phase.QUEUED, "paused"),
        (Phase.ACTIVE, "running"),
        (Phase.FINISHED, "passed"),
    ]


async def test_an_unknown_status_with_an_end_is_the_end(
    emulator: Emulator, operation: RunOperation
) -> None:
    """A status that is not documented is terminal once `finishedUtc` is set."""
    over = {"status": "expired", "finishedUtc": "2026-06-10T16:02:54Z"}
    emulator.fail("get_run", Fault.edit(lambda run: run | over))

    run = await operation

    assert (run.status, run.phase) == ("expired", "finished")


async def test_an_unknown_conclusion_ends_a_generation(
    emulator: Emulator, project: Project
) -> None:
    """An unknown status of a generation is terminal once `overallConclusion` is set."""
    over = {"featureStatus": "timed_out", "overallConclusion": "timed_out"}
    emulator.fail("get_generation_status", Fault.edit(lambda status: status | over), skip=1)

    generation = await (await project.generate_feature("Draft"))

    assert (generation.status, generation.phase) == ("timed_out", "finished")


async def test_a_404_is_tolerated_within_the_grace(
    emulator: Emulator, operation: RunOperation
) -> None:
    """A run that the service has shown, and does not know for a moment, is polled again."""
    emulator.fail("get_run", Fault.status(404), when=lambda _: 4 < now() < 12)

    assert (await operation).is_success


async def test_a_404_that_stays_is_raised_after_the_grace(
    emulator: Emulator, operation: RunOperation
) -> None:
    """A minute after the dispatch a 404 is raised; a later wait polls again."""
    rule = emulator.fail("get_run", Fault.status(404))

    with pytest.raises(OperationNotFoundError) as caught:
        await operation

    assert 60 <= now() <= 70
    assert caught.value.ref == operation.ref
    rule.remove()
    assert (await operation).is_success


async def test_what_was_dispatched_just_now_elsewhere_has_the_grace(
    emulator: Emulator, operation: RunOperation
) -> None:
    """A 404 is tolerated for a ref that was dispatched just now by another client."""
    emulator.fail("get_run", Fault.status(404), times=2)
    async with client_of(emulator) as other:
        assert (await other.attach(operation.ref)).is_success


async def test_what_was_attached_and_seen_has_the_grace(
    emulator: Emulator, operation: RunOperation
) -> None:
    """A 404 is tolerated for an attached run that was observed before."""
    async with client_of(emulator) as other:
        attached = other.attach(operation.ref)
        await attached.poll()
        emulator.fail("get_run", Fault.status(404), times=2)

        assert (await attached).is_success


async def test_what_was_never_observed_has_no_grace(emulator: Emulator, client: Client) -> None:
    """A 404 for an attached run that was never observed is raised at the first poll."""
    ref = RunRef(server=emulator.url, project=emulator.project_id, run_id=99999)

    with pytest.raises(OperationNotFoundError):
        await client.attach(ref)

    assert emulator.count("get_run") == 1
    assert now() < 1


async def test_a_failed_poll_is_reported_to_the_hook(emulator: Emulator) -> None:
    """on_poll_failed reports each poll that failed, and whether the waits were ended by it."""
    events: list[PollFailed] = []
    async with client_of(emulator, hooks=Hooks(on_poll_failed=events.append)) as client:
        operation = await client.project().run_feature("Checkout")
        emulator.fail("get_run", Fault.status(500), times=2)
        emulator.fail("get_run", Fault.status(401), times=2)
        with pytest.raises(UnauthorizedError):
            await operation

    assert [event.is_final for event in events] == [False, False, False, True]
    assert {event.ref for event in events} == {operation.ref}


async def test_a_refused_poll_comes_back_when_it_may(emulator: Emulator, project: Project) -> None:
    """After `Retry-After`, however often it is refused; and not before an interval."""
    operation = await project.run_feature("Checkout")
    emulator.fail("get_run", Fault.status(429, retry_after=8), times=2)
    emulator.fail("get_run", Fault.status(429, retry_after=0), skip=2, times=1)
    await operation
    polls = [request.at for request in emulator.requests if request.operation == "get_run"]
    gaps = [later - earlier for earlier, later in pairwise(polls)]
    assert 8 <= gaps[0] < 8 + 3 + 1
    assert 8 <= gaps[1] < 8 + 3 + 1
    assert 3 - 1 <= gaps[2] < 3 + 1
