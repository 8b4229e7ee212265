"""Subscriptions: what a waiting task is given, and how long an operation is polled for it."""

import asyncio
from typing import Any

import pytest

from testvibe_async import (
    Client,
    ClientClosedError,
    ObservationError,
    Project,
    RunOperation,
    RunRef,
    VibeError,
    WaitTimeoutError,
)
from testvibe_async._polling import Change, Mailbox, PolledOperation, Subscription
from testvibe_async._polling.reader import Reader
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


class TestMailbox:
    async def test_what_is_in_it_already_is_not_waited_for(self) -> None:
        """An arrival before the wait for it ends the wait at once, and items keep their order."""
        mailbox: Mailbox[int] = Mailbox()
        assert mailbox.take() is None
        mailbox.put(1)
        mailbox.put(2)
        await mailbox.arrival()
        assert (mailbox.take(), mailbox.take(), mailbox.take()) == (1, 2, None)

    async def test_it_wakes_without_an_item(self) -> None:
        """A wake ends the wait, and a second one does no harm."""
        mailbox: Mailbox[int] = Mailbox()
        arrival = mailbox.arrival()
        mailbox.wake()
        mailbox.wake()
        await arrival
        assert mailbox.take() is None

    async def test_two_waits_are_refused_and_one_after_the_other_are_not(self) -> None:
        """Only one task may wait; once its wait was cancelled another may."""
        mailbox: Mailbox[int] = Mailbox()
        first = mailbox.arrival()
        with pytest.raises(RuntimeError, match="give each its own"):
            mailbox.arrival()
        first.cancel()
        second = mailbox.arrival()
        mailbox.put(1)
        await second


class TestSubscription:
    async def test_one_may_be_closed_during_a_notification(
        self, client: Client, operation: RunOperation
    ) -> None:
        """One that is closed while it is notified takes no notification from the others."""
        notified: list[str] = []

        class Leaver(Subscription):
            def notify(self, polled: PolledOperation[Any], error: VibeError | None = None) -> None:
                assert error is None
                notified.append(str(polled.state.phase))
                self.close()

        leavers = [
            Leaver(client._poller, {}, wants=Change.TRANSITION, may_grow=True) for _ in range(3)
        ]
        for leaver in leavers:
            operation._polled.add(leaver)
        await asyncio.sleep(6)
        await operation.poll()

        assert notified == ["active"] * 3
        assert not operation._polled.has_listeners

    async def test_ends_alone(
        self, emulator: Emulator, client: Client, operation: RunOperation
    ) -> None:
        """Where the ends alone count, the one event of an operation is its end."""
        subscription = Subscription(client._poller, {operation._polled: ("a", "b")})
        assert not operation._polled.is_followed
        waiting = asyncio.ensure_future(subscription.next())
        await asyncio.sleep(6)
        await operation.poll()
        assert operation._polled.has_listeners
        assert not operation._polled.is_followed
        emulator.finish_run(operation.run_id)
        assert await waiting == ("a", None)
        assert await subscription.next() == ("b", None)
        assert await subscription.next() is None
        assert subscription.operations == []

    async def test_a_further_item_waits_for_the_end_too(
        self, emulator: Emulator, client: Client, operation: RunOperation
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

    async def test_a_further_item_has_the_present_state_once(
        self, emulator: Emulator, client: Client, operation: RunOperation
    ) -> None:
        """An operation's second item has nothing of what came before, and each later event."""
        subscription = Subscription(client._poller, {}, wants=Change.TRANSITION, may_grow=True)
        subscription.add(operation._polled, "a")
        assert operation._polled.is_followed
        await asyncio.sleep(6)
        await operation.poll()
        subscription.add(operation._polled, "b")
        emulator.finish_run(operation.run_id)
        await operation.poll()
        assert taken(subscription) == [
            ("a", "queued running"),
            ("a", "active running"),
            ("b", "active running"),
            ("a", "finished passed"),
            ("b", "finished passed"),
        ]
        assert subscription.is_open

    async def test_it_may_grow_until_it_is_finished(
        self, client: Client, project: Project, operation: RunOperation
    ) -> None:
        """Without operations it is open until `finish`, and then until the last of them ends."""
        subscription = Subscription(client._poller, {}, wants=Change.TRANSITION, may_grow=True)
        waiting = asyncio.ensure_future(next_of(subscription))
        await asyncio.sleep(1)
        assert not waiting.done()
        subscription.add(operation._polled, 1)
        assert str((await waiting)[1]) == "queued running"
        subscription.finish()
        assert subscription.is_open
        await operation
        assert not subscription.is_open
        later = await project.run_feature("Checkout")
        subscription.add(later._polled, 2)
        assert subscription.is_open
        await later
        assert [item for item, _ in taken(subscription)] == [1, 1, 2, 2, 2]
        assert await subscription.next() is None

    async def test_finishing_wakes_the_task_that_waits(self, client: Client) -> None:
        """One that has nothing to wait for any more ends at once."""
        subscription = Subscription(client._poller, {}, may_grow=True)
        waiting = asyncio.ensure_future(subscription.next())
        await asyncio.sleep(1)
        subscription.finish()
        assert await waiting is None

    async def test_a_closed_one_takes_nothing(
        self, client: Client, operation: RunOperation
    ) -> None:
        """After its close it has no event, takes no operation and stays closed."""
        subscription = Subscription(client._poller, {}, wants=Change.TRANSITION, may_grow=True)
        subscription.add(operation._polled, 1)
        subscription.close()
        subscription.notify(operation._polled)
        subscription.add(operation._polled, 2)
        subscription.finish()
        assert not subscription.is_open
        assert not operation._polled.has_listeners
        assert await subscription.next() is None

    async def test_each_item_has_its_own_error(
        self, client: Client, operation: RunOperation
    ) -> None:
        """No two share a traceback, and the operation is let go."""
        subscription = Subscription(client._poller, {operation._polled: (1, 2)})
        waiting = asyncio.ensure_future(next_of(subscription))
        await asyncio.sleep(1)
        error = ObservationError("a test", ref=operation.ref)
        error.__cause__ = OSError("why")
        Reader.end_waits(operation._polled, error)
        (_, first), (_, second) = await waiting, await next_of(subscription)
        assert len({id(each) for each in (error, first, second)}) == 3
        assert first.__cause__ is second.__cause__ is error.__cause__
        assert not operation._polled.has_listeners
        assert await subscription.next() is None

    async def test_the_error_of_one_leaves_the_others(
        self, client: Client, project: Project, operation: RunOperation
    ) -> None:
        """An operation that can't be observed is let go, and the other is still polled."""
        other = await project.run_feature("Checkout")
        items: dict[PolledOperation[Any], tuple[Any, ...]]
        items = {operation._polled: (1,), other._polled: (2,)}
        subscription = Subscription(client._poller, items)
        waiting = asyncio.ensure_future(next_of(subscription))
        await asyncio.sleep(1)
        Reader.end_waits(operation._polled, ObservationError("a test", ref=operation.ref))
        assert (await waiting)[0] == 1
        assert subscription.is_open
        assert subscription.operations == [other._polled]
        assert await subscription.next() == (2, None)

    async def test_of_a_closed_client(self, client: Client, operation: RunOperation) -> None:
        """What can't be polled has the error as its event, after its present state."""
        await client.aclose()
        subscription = Subscription(
            client._poller, {operation._polled: (1,)}, wants=Change.TRANSITION
        )
        assert str((await next_of(subscription))[1]) == "queued running"
        assert isinstance((await next_of(subscription))[1], ClientClosedError)
        assert await subscription.next() is None

    async def test_at_a_time_out_each_has_its_last_event(
        self, emulator: Emulator, client: Client, project: Project, operation: RunOperation
    ) -> None:
        """What ended meanwhile has its end, the other a time-out; neither is polled any more."""
        other = await project.run_feature("Checkout")
        items: dict[PolledOperation[Any], tuple[Any, ...]]
        items = {operation._polled: (1,), other._polled: (2,)}
        subscription = Subscription(client._poller, items)
        emulator.finish_run(operation.run_id)
        await operation.poll()
        subscription.time_out(elapsed=7)
        assert not subscription.is_open
        assert await subscription.next() == (1, None)
        item, error = await next_of(subscription)
        assert (item, error.elapsed) == (2, 7)
        await asyncio.sleep(60)
        assert emulator.count("get_run") == 1

    async def test_a_time_out_between_two_portions(self, client: Client) -> None:
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


class TestListeners:
    async def test_the_first_starts_the_count_of_failures_anew(
        self, client: Client, operation: RunOperation
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

    async def test_many_operations_share_one_reference(self, client: Client) -> None:
        """What thousands of operations keep of their one listener is the same object."""
        refs = (RunRef(server=client.server, project="p", run_id=n) for n in range(1, 3))
        handles = [client.attach(ref) for ref in refs]
        subscription = Subscription(client._poller)
        for handle in handles:
            handle._polled.add(subscription)
        assert handles[0]._polled.listeners is handles[1]._polled.listeners
