"""Waits, and what the poller knows of them."""

import asyncio
import gc

import pytest

from tests.support.observing import start_wait
from tests.support.timing import now
from testvibe_async import (
    ObservationError,
    OutcomeUnknownError,
    Project,
    RunOperation,
    WaitTimeoutError,
)
from testvibe_async._http import Outlook
from testvibe_async._polling.reader import Reader
from testvibe_async.testing import Emulator


async def test_a_last_list_that_shows_them_ends_the_count_of_failures(
    emulator: Emulator, project: Project
) -> None:
    """What the last list shows as going on was seen then, whatever failed before."""
    operations = [await project.run_feature("Checkout") for _ in range(10)]
    for operation in operations:
        await operation.poll()
        error = OutcomeUnknownError("lost", method="GET", url="https://testvibe.example")
        operation._polled.state.note_failure(error, Outlook.AWAY, now=now(), max_outage=300)
    results = await asyncio.gather(
        *(operation.wait(timeout=0.5) for operation in operations), return_exceptions=True
    )
    failures = [each.failures for each in results if isinstance(each, WaitTimeoutError)]
    assert failures == [0] * 10
    assert emulator.count("list_runs") == 1


async def test_an_end_at_the_very_moment_of_the_timeout(
    emulator: Emulator, project: Project, operation: RunOperation
) -> None:
    """A wait whose timeout coincides with the end returns the outcome."""
    emulator.finish_run(operation.run_id)
    digest = await project.get_run(operation.run_id)
    loop = asyncio.get_running_loop()
    loop.call_later(2, lambda: project._parts.poller.accept(operation.ref, digest))

    assert (await operation.wait(timeout=2)).is_success


async def test_a_wait_that_is_cancelled_and_fails_at_once_is_cancelled(
    operation: RunOperation,
) -> None:
    """Cancelling wins over an error that arrives at the same moment."""
    wait = start_wait(operation)
    await asyncio.sleep(1)
    wait.cancel()
    Reader.end_waits(operation._polled, ObservationError("a test", ref=operation.ref))

    with pytest.raises(asyncio.CancelledError):
        await wait


async def test_a_deleted_iteration_stops_listening(
    emulator: Emulator, operation: RunOperation
) -> None:
    """A deleted iteration stops listening at once, and nothing is polled for it any more."""
    transitions = aiter(operation)
    await anext(transitions)
    assert operation._polled.has_listeners

    del transitions
    gc.collect()

    assert not operation._polled.has_listeners
    await asyncio.sleep(60)
    assert emulator.count("get_run") == 0
