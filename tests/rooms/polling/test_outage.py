"""Outages: what they cost in requests, and how soon everything is seen again."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from attrs import frozen

from tests.conftest import client_of
from tests.support.amounts import amount
from tests.support.observing import start_wait
from tests.support.timing import now
from testvibe_async import Client, Hooks, Run, RunOperation
from testvibe_async.events import PollFailed
from testvibe_async.testing import Emulator, Fault, Scenario

INTERVAL = 3.0
AWAY, HANGS = Fault.status(500), Fault.hang()


@frozen
class Waits:
    """A client that waits for many runs, none of which ends."""

    emulator: Emulator
    client: Client
    operations: list[RunOperation]
    waits: list[asyncio.Task[Run]]
    failed: list[PollFailed]

    def count_since(self, instant: float) -> int:
        """Return how many requests were sent from then on."""
        return sum(request.at >= instant for request in self.emulator.requests)


@asynccontextmanager
async def waiting(runs: int) -> AsyncGenerator[Waits]:
    """Wait for so many runs until the end of the block."""
    failed: list[PollFailed] = []
    hooks, scenario = Hooks(on_poll_failed=failed.append), Scenario(run_duration=1e6)
    async with (
        Emulator(scenario=scenario) as emulator,
        client_of(emulator, hooks=hooks, poll_interval=INTERVAL, max_outage=1e6) as client,
    ):
        dispatches = (client.project().run_feature("Checkout") for _ in range(runs))
        operations = await asyncio.gather(*dispatches)
        waits = [start_wait(each) for each in operations]
        yield Waits(emulator, client, operations, waits, failed)
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


@pytest.mark.parametrize("fault", [AWAY, HANGS], ids=["away", "hangs"])
async def test_an_outage_costs_no_more_than_normal(fault: Fault) -> None:
    """Three minutes of failures see no more requests than three good ones, and end at once.

    What was not asked for by itself counts as failed too, so that its waits can end.
    """
    async with waiting(amount(300, few=30)) as many:
        await asyncio.sleep(60)
        before = now()
        await asyncio.sleep(180)
        outage = many.emulator.fail("*", fault)
        await asyncio.sleep(180)
        out, back = before + 180, now()
        normal, during = many.count_since(before), many.count_since(out)
        outage.remove()
        await asyncio.sleep(INTERVAL + 2 * INTERVAL / 10 + 0.1)
        late = [each for each in many.operations if (each._polled.seen_at or 0) < back]

    assert during <= 1.1 * (normal - during)
    # A poll that hangs at the end of the outage is over with its time-out of 30 s, and one was sent
    # each interval.
    assert len(late) <= (11 if fault is HANGS else 0)
    assert {event.ref for event in many.failed} == {each.ref for each in many.operations}
    assert sum(not event.is_shared for event in many.failed) < len(many.failed) / 2


@pytest.mark.parametrize("offset", [0.5, 0.95])
async def test_one_probe_an_interval(offset: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the poller's ticks fall, hanging probes do not become more and more."""
    monkeypatch.setattr(random, "random", lambda: offset)
    async with waiting(30) as many:
        await asyncio.sleep(60)
        many.emulator.fail("*", HANGS)
        await asyncio.sleep(120)
        settled = now()
        await asyncio.sleep(90)
        assert 90 / INTERVAL - 1 <= many.count_since(settled) <= 90 / INTERVAL + 1
