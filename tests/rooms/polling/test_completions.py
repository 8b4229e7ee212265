"""Waits for many: what they listen to, and when they let it go."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from testvibe_async import Client, RunRef
from testvibe_async.testing import Emulator


async def test_finished_operations_are_released(
    emulator: Emulator, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keeping an outcome does not keep the state of its operation, except of the last ones."""
    monkeypatch.setattr("testvibe_async._polling.known.MAX_OPERATIONS", 0)
    operations = [await client.project().run_feature("Checkout") for _ in range(3)]
    refs = [operation.ref for operation in operations]
    finished = client.finished(operations)
    del operations

    emulator.finish_run(refs[1].run_id)
    outcome = (await anext(finished)).outcome
    await asyncio.sleep(3)

    assert outcome is not None
    assert outcome.run_id == refs[1].run_id
    assert [ref in client._poller.known for ref in refs] == [True, False, True]


@pytest.mark.parametrize("method", [Client.finished, Client.changes])
async def test_the_wait_for_many_begins_in_portions(
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
    assert client._poller._holds == 1  # One list may serve them all.
    first.cancel()
    await asyncio.wait([first])
    second = asyncio.ensure_future(anext(waits))
    for _ in range(3):
        await asyncio.sleep(0)
    assert watched() == 1300
    assert client._poller._holds == 0
    second.cancel()
    await asyncio.wait([second])
    await waits.aclose()
    assert watched() == 0
