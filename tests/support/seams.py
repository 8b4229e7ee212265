"""What the promises need of the client's inside, in one place: it is rewritten with the inside."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from testvibe_async import Client


def assert_released(client: Client, connections: int) -> None:
    """Expect a closed client to hold nothing any more.

    Raises:
        AssertionError: What it holds.
    """
    throttle, poller = client._transport._throttle, client._poller
    # The close lets those through who wait for a slot: they give back what they did not take.
    held = connections - throttle._free
    assert held <= 0, f"{held} slots of the throttle are still held"
    assert all(slot.done() for queue in throttle._queues for slot in queue), "a slot is waited for"
    assert not poller._polls.workers, "the poller still works"
    assert poller._timer is None or poller._timer.cancelled(), "the poller has a timer"
    ours = [task for task in asyncio.all_tasks() if task.get_name().startswith("testvibe_async")]
    assert not ours, f"tasks go on: {ours}"


def watch_answers(client: Client, note: Callable[[Any, int, bytes], None]) -> None:
    """Call `note` with the request, the status and the body of each answer, as it is read.

    Not with those that a cache has kept: where that matters the client refuses them.
    """
    http = client._transport._http
    send = http.send

    async def send_and_note(request: Any, **options: Any) -> Any:
        response = await send(request, **options)
        if "Age" not in response.headers:
            note(request, response.status, response.body)
        return response

    http.send = send_and_note  # type: ignore[method-assign]


def leave_out_the_first_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the list call before a client's first run, which is none of the poller's."""

    async def nothing(*_: object) -> None:
        """Read nothing."""

    monkeypatch.setattr("testvibe_async._core.dispatch.kinds.RunDispatch.prepare", nothing)
