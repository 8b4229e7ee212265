"""Outages: what they cost in requests, and how soon everything is seen again."""

import asyncio

import pytest

from tests.conftest import client_of
from tests.support.amounts import amount
from tests.support.observing import start_wait
from tests.support.timing import now
from testvibe_async import Hooks
from testvibe_async.events import PollFailed
from testvibe_async.testing import Emulator, Fault, Scenario

INTERVAL = 3.0
AWAY, HANGS = Fault.status(500), Fault.hang()


@pytest.mark.parametrize("fault", [AWAY, HANGS], ids=["away", "hangs"])
async def test_an_outage_costs_no_more_than_normal(fault: Fault) -> None:
    """Three minutes of failures see no more requests than three good ones, and end at once.

    What was not asked for by itself counts as failed too, so that its waits can end. Once the
    outage is known there is one probe each interval, also where none is answered.
    """
    failed: list[PollFailed] = []
    hooks, scenario = Hooks(on_poll_failed=failed.append), Scenario(run_duration=1e6)
    async with (
        Emulator(scenario=scenario) as emulator,
        client_of(emulator, hooks=hooks, poll_interval=INTERVAL, max_outage=1e6) as client,
    ):

        def count_since(instant: float) -> int:
            return sum(request.at >= instant for request in emulator.requests)

        dispatches = (client.project().run_feature("Checkout") for _ in range(amount(300, few=30)))
        operations = await asyncio.gather(*dispatches)
        waits = [start_wait(each) for each in operations]
        await asyncio.sleep(60)
        before = now()
        await asyncio.sleep(180)
        normal, out = count_since(before), now()
        outage = emulator.fail("*", fault)
        await asyncio.sleep(90)
        settled = now()
        await asyncio.sleep(90)
        during, probes = count_since(out), count_since(settled)
        outage.remove()
        back = now()
        await asyncio.sleep(INTERVAL + 2 * INTERVAL / 10 + 0.1)
        late = [each for each in operations if (each._polled.seen_at or 0) < back]
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    assert during <= 1.1 * normal
    assert abs(probes - 90 / INTERVAL) <= 1
    # A poll that hangs at the end of the outage is over with its time-out of 30 s, and one was sent
    # each interval.
    assert len(late) <= (11 if fault is HANGS else 0)
    assert {event.ref for event in failed} == {each.ref for each in operations}
    assert sum(not event.is_shared for event in failed) < len(failed) / 2
