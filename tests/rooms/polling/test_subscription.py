"""Subscriptions: what a waiting task is given, and how long an operation is polled for it."""

import asyncio
from typing import Any

from testvibe_async import Client, RunOperation, RunRef, VibeError, WaitTimeoutError
from testvibe_async._polling import Change, PolledOperation, Subscription
from testvibe_async.testing import Emulator


def taken(subscription: Subscription) -> list[tuple[Any, str]]:
    """Take all events, each in a few words."""
    events: list[tuple[Any, str]] = []
    while (found := subscription.take()) is not None:
        events.append((found[0], str(found[1])))
    return events


async def next_of(subscription: Subscription) -> tuple[Any, Any]:
    """Return the next event, which there is."""
    found = await subscription.next()
    assert found is not None
    return found


async def test_one_may_be_closed_during_a_notification(
    client: Client, operation: RunOperation
) -> None:
    """One that is closed while it is notified takes no notification from the others."""
    notified: list[str] = []

    class Leaver(Subscription):
        def notify(self, polled: PolledOperation[Any], error: VibeError | None = None) -> None:
            assert error is None
            notified.append(str(polled.state.phase))
            self.close()

    leavers = [Leaver(client._poller, {}, wants=Change.TRANSITION, may_grow=True) for _ in range(3)]
    for leaver in leavers:
        operation._polled.add(leaver)
    await asyncio.sleep(6)
    await operation.poll()

    assert notified == ["active"] * 3
    assert not operation._polled.has_listeners


async def test_a_further_item_waits_for_the_end_too(
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


async def test_a_time_out_between_two_portions(client: Client) -> None:
    """What had no listener yet gets none any more, and its time-out."""
    refs = (RunRef(server=client.server, project="p", run_id=n) for n in range(1, 502))
    handles = [client.attach(ref) for ref in refs]
    subscription = Subscription(client._poller, {each._polled: (1,) for each in handles})
    first = asyncio.ensure_future(next_of(subscription))
    await asyncio.sleep(0)
    subscription.time_out(elapsed=1)
    assert isinstance((await first)[1], WaitTimeoutError)
    assert len(taken(subscription)) == 500
    assert handles[499]._polled.listeners
    assert not handles[500]._polled.listeners


async def test_the_first_starts_the_count_of_failures_anew(
    client: Client, operation: RunOperation
) -> None:
    """A further one, beside one that is open, leaves the count; closed ones do not count."""
    polled = operation._polled
    first, second, third = (Subscription(client._poller) for _ in range(3))
    polled.state.failures = 2
    polled.add(first)
    assert polled.state.failures == 0
    polled.state.failures = 2
    polled.add(second)
    assert polled.state.failures == 2
    first.close()
    second.close()
    assert not polled.has_listeners
    polled.add(third)
    assert polled.state.failures == 0
    assert len(polled.listeners) == 1


async def test_many_operations_share_one_reference(client: Client) -> None:
    """What thousands of operations keep of their one listener is the same object."""
    refs = (RunRef(server=client.server, project="p", run_id=n) for n in range(1, 3))
    handles = [client.attach(ref) for ref in refs]
    subscription = Subscription(client._poller)
    for handle in handles:
        handle._polled.add(subscription)
    assert handles[0]._polled.listeners is handles[1]._polled.listeners
