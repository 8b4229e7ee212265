"""Features that are handed out again, and what is never given up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from testvibe_async import ForbiddenError, ObservationError, UnauthorizedError, VibeError
from testvibe_async.testing import Fault

if TYPE_CHECKING:
    from tests.rooms.adapters.conftest import Stored
    from testvibe_async import Client
    from testvibe_async.testing import Emulator


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.status(401), UnauthorizedError),
        (Fault.status(403), ForbiddenError),
        (Fault.reset(), ObservationError),
    ],
)
async def test_a_run_that_could_not_be_observed(
    stored: Stored, client: Client, emulator: Emulator, fault: Fault, error: type[VibeError]
) -> None:
    """It stays dispatched, with the error; resumed, it is attached to and never sent again."""
    await stored.submit("Checkout")
    rules = [emulator.fail(name, fault) for name in ("get_run", "list_runs")]
    await stored.worker(client).perform(0, 0)
    (item,) = await stored.items()
    assert isinstance(item.error, error)
    assert item.ref is not None
    assert await stored.store.left() == 0
    for rule in rules:
        rule.remove()
    assert await stored.turns.enqueue_failed() == ["Checkout"]
    assert await stored.store.left() == 1
    await stored.worker(client).perform(*stored.queue[-1])
    (resumed,) = await stored.items()
    assert (resumed.ref, str(resumed.verdict)) == (item.ref, "succeeded")
    assert emulator.count("run_feature") == 1


async def test_what_is_in_flight_or_over_is_not_handed_out_again(
    stored: Stored, client: Client
) -> None:
    """A resumed batch leaves alone what a worker waits for, what ended and what was refused."""
    await stored.submit("Checkout", "Nothing", "Wishlist")
    worker = stored.worker(client)
    await worker.perform(0, 0)
    await worker.perform(1, 0)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(worker.perform(2, 0))
        await asyncio.sleep(5)
        assert await stored.verdicts() == ["succeeded", "error", "in flight"]
        assert await stored.turns.enqueue_failed() == []
