"""Subscriptions: what a waiting task is given, and how long an operation is polled for it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.observing import start_wait
from testvibe_async import Client, ObservationError, Project, RunOperation, RunRef
from testvibe_async._polling import Subscription
from testvibe_async._polling.reader import Reader
from testvibe_async.testing import Emulator


def taken(subscription: Subscription) -> list[tuple[Any, str]]:
    """Take all events, each in a few words."""
    events: list[tuple[Any, str]] = []
    while (found := subscription.take()) is not None:
        events.append((found[0], str(found[1])))
    return events


async def test_a_further_item_waits(
    emulator: Emulator, client: Client, operation: RunOperation
) -> None:
    """An item that is added while its operation is in flight has no event but the end."""
    subscription = Subscription(client._poller, {}, may_grow=True)
    subscription.add(operation._polled, "a")
    await asyncio.sleep(6)
    await operation.poll()
    subscription.add(operation._polled, "b")
    assert taken(subscription) == []
    emulator.finish_run(operation.run_id)
    await operation.poll()
    assert [item for item, _ in taken(subscription)] == ["a", "b"]


async def test_an_end_at_the_timeout(
    emulator: Emulator, project: Project, operation: RunOperation
) -> None:
    """A wait whose timeout coincides with the end returns the outcome."""
    emulator.finish_run(operation.run_id)
    digest = await project.get_run(operation.run_id)
    loop = asyncio.get_running_loop()
    loop.call_later(2, lambda: project._parts.poller.accept(operation.ref, digest))

    assert (await operation.wait(timeout=2)).is_success


async def test_a_wait_that_is_cancelled_as_it_fails(operation: RunOperation) -> None:
    """Cancelling wins over an error that arrives at the same moment."""
    wait = start_wait(operation)
    await asyncio.sleep(1)
    wait.cancel()
    Reader.end_waits(operation._polled, ObservationError("a test", ref=operation.ref))

    with pytest.raises(asyncio.CancelledError):
        await wait


@pytest.mark.parametrize("method", [Client.finished, Client.changes])
async def test_many_waits_in_portions(
    emulator: Emulator, client: Client, method: Callable[..., Any]
) -> None:
    """Beginning to wait for many yields to other tasks, and goes on after a cancellation."""
    refs = [
        RunRef(server=emulator.url, project=emulator.project_id, run_id=number)
        for number in range(1, 1301)
    ]
    operations = [client.attach(ref) for ref in refs]
    waits = method(client, operations)

    def watched() -> int:
        return sum(operation._polled.has_listeners for operation in operations)

    first = asyncio.ensure_future(anext(waits))
    await asyncio.sleep(0)
    assert watched() == 500
    assert client._poller._deferrals == 1  # One list may serve them all.
    first.cancel()
    await asyncio.wait([first])
    second = asyncio.ensure_future(anext(waits))
    for _ in range(3):
        await asyncio.sleep(0)
    assert watched() == 1300
    assert client._poller._deferrals == 0
    second.cancel()
    await asyncio.wait([second])
    await waits.aclose()
    assert watched() == 0
