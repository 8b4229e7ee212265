"""Generations cost credits: a durable batch pays once for each feature, whatever happens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.conftest import client_of
from testvibe_async.testing import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.rooms.adapters.conftest import Stored
    from testvibe_async import Ref
    from testvibe_async.intents import Intent

HOUR = 3_600.0


def paid(emulator: Emulator) -> int:
    """Return how many generations were dispatched and accepted."""
    return sum(made.created_at >= 0 for made in emulator.generations.values())


async def undisturbed(stored: Stored, emulator: Emulator) -> None:
    """Have one worker carry the batch to its end."""
    async with client_of(emulator) as client:
        await stored.worker(client).perform(0, 0)


async def killed(stored: Stored, emulator: Emulator) -> None:
    """End a worker that has sent the dispatch, and has noted no answer."""
    async with client_of(emulator) as client:
        worker = stored.worker(client)

        answered = worker.answered

        async def dies(intent: Intent, result: Ref | None) -> bool:
            if intent.kind == "generation":
                await asyncio.Event().wait()
            return await answered(intent, result)

        setattr(worker, "answered", dies)  # noqa: B010 - what a killed process does not do
        task = asyncio.create_task(worker.perform(0, 0))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
    assert paid(emulator) == 1


async def left(stored: Stored, emulator: Emulator) -> None:
    """Close a worker while its generation is in flight."""
    async with client_of(emulator) as client:
        worker = stored.worker(client)
        task = asyncio.create_task(worker.perform(0, 0))
        await asyncio.sleep(10)
        await worker.aclose()
        await asyncio.wait([task])


async def handed_out_twice(stored: Stored, emulator: Emulator) -> None:
    """Hand the feature to two workers at once."""
    await asyncio.gather(undisturbed(stored, emulator), undisturbed(stored, emulator))


MISHAPS: dict[str, tuple[Fault | None, Callable[[Stored, Emulator], Awaitable[None]]]] = {
    "answer lost": (Fault.lost(), undisturbed),
    "a page as the 2xx": (Fault.edit(lambda _: b"<!doctype html>"), undisturbed),
    "killed before the answer": (None, killed),
    "gave up in flight": (None, left),
    "handed out twice": (None, handed_out_twice),
}


@pytest.mark.parametrize("pause", [0.0, HOUR])
@pytest.mark.parametrize("has_ids", [True, False])
@pytest.mark.parametrize("mishap", MISHAPS)
async def test_one_request_is_paid_once(
    stored: Stored, emulator: Emulator, mishap: str, pause: float, *, has_ids: bool
) -> None:
    """The next workers find the generation of missing tests, or leave it unknown."""
    emulator.add_feature("Draft", status="draft")
    if not has_ids:
        emulator.fail(
            "get_generation_status", Fault.edit(lambda status: {**status, "requestId": None})
        )
    fault, happen = MISHAPS[mishap]
    if fault is not None:
        emulator.fail("generate_feature", fault, times=1)
    await stored.submit("Draft", on_conflict="generate")
    await happen(stored, emulator)
    for _ in range(2):
        await asyncio.sleep(pause)
        await undisturbed(stored, emulator)
    assert paid(emulator) == 1
