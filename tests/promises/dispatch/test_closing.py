"""Dispatches that are under way when the client closes."""

import asyncio

import pytest

from tests.conftest import client_of
from tests.support.timing import now
from testvibe_async import Client, ClientClosedError, DispatchUnknownError, Hooks, RunOperation
from testvibe_async.events import Dispatched
from testvibe_async.testing import Emulator, Fault


async def dispatch_with_fault(
    emulator: Emulator, fault: Fault
) -> tuple[Client, asyncio.Future[RunOperation]]:
    """Return a client, and its dispatch that met a fault a second ago."""
    client = client_of(emulator)
    emulator.fail("run_feature", fault)
    caller = asyncio.ensure_future(client.project().run_feature("Checkout"))
    await asyncio.sleep(1)
    return client, caller


class TestClosing:
    async def test_closing_while_a_dispatch_waits_for_a_retry(self, emulator: Emulator) -> None:
        """A dispatch that only waits to be sent again ends at once."""
        client, caller = await dispatch_with_fault(emulator, Fault.status(429, retry_after=60))

        await client.aclose()

        with pytest.raises(ClientClosedError):
            await caller
        assert now() == 1
        assert emulator.count("run_feature") == 1

    async def test_a_close_that_is_cancelled_twice_loses_no_id(self, emulator: Emulator) -> None:
        """Time-outs within each other cancel a close twice; the POST is still finished."""
        events: list[Dispatched] = []
        emulator.fail("run_feature", Fault.delay(5))

        async def body() -> None:
            async with client_of(emulator, hooks=Hooks(on_dispatched=events.append)) as client:
                await client.project().run_feature("Checkout")

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2), asyncio.timeout(1):
                await body()

        assert [event.ref.key[-1] for event in events] == list(emulator.runs)
        assert len(events) == 1
        assert now() == pytest.approx(5, abs=0.1)

    async def test_a_cancelled_second_close_changes_nothing(self, emulator: Emulator) -> None:
        """Cancelling one close does not end the time that another one grants."""
        client, caller = await dispatch_with_fault(emulator, Fault.delay(5))
        first = asyncio.ensure_future(client.aclose())

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.aclose(), 0.5)

        await first
        assert (await caller).run_id in emulator.runs

    async def test_a_second_close_gives_no_more_time(self, emulator: Emulator) -> None:
        """However often a client is closed, a POST has 10 s from the first."""
        client, caller = await dispatch_with_fault(emulator, Fault.hang())
        first = asyncio.ensure_future(client.aclose())
        await asyncio.sleep(9)
        await client.aclose()

        assert now() == pytest.approx(11, abs=0.1)
        await first
        with pytest.raises(DispatchUnknownError, match="closed before it could be reconciled"):
            await caller

    async def test_no_dispatch_after_the_close_began(self, emulator: Emulator) -> None:
        """While a client closes it takes no new dispatches."""
        client, caller = await dispatch_with_fault(emulator, Fault.delay(5))
        closing = asyncio.ensure_future(client.aclose())
        await asyncio.sleep(1)

        with pytest.raises(ClientClosedError):
            await client.project().run_feature("Checkout")
        await asyncio.gather(caller, closing)
