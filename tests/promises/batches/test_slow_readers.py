"""A reader that is slower than the service holds back what costs."""

import asyncio

import pytest

from tests.support.timing import STEADY
from testvibe_async import Project
from testvibe_async.testing import Emulator

SCENARIO = STEADY


async def test_an_unread_generation_keeps_its_slot(emulator: Emulator, project: Project) -> None:
    """Of 60 generations, those in flight and those unread are never more than the limit."""
    names = drafts(emulator, 60)
    read = 0
    async with project.generate_features(names, max_in_flight=2) as batch:
        async for _item in batch:
            read += 1
            for _ in range(30):  # A handler of five minutes.
                assert emulator.count("generate_feature") <= read + 2
                await asyncio.sleep(10)
            if read == 3:
                break
    assert emulator.count("generate_feature") == 5
    assert batch.in_flight == []


@pytest.mark.parametrize(("max_unread", "dispatched"), [(None, 20), (0, 4), (4, 8)])
async def test_runs_are_held_back_on_request(
    project: Project, emulator: Emulator, max_unread: int | None, dispatched: int
) -> None:
    """Runs cost nothing: an unread run keeps its slot only beyond `max_unread`."""
    names = [emulator.add_feature(f"Feature {index}").name for index in range(20)]
    async with project.run_features(names, max_in_flight=3, max_unread=max_unread) as batch:
        await anext(batch)
        await asyncio.sleep(600)
        assert emulator.count("run_feature") == dispatched


def drafts(emulator: Emulator, count: int) -> list[str]:
    """Add features without tests, and return their names, sorted."""
    for index in range(count):
        emulator.add_feature(f"Draft {index:02}", status="draft")
    return [f"Draft {index:02}" for index in range(count)]


@pytest.mark.parametrize(
    ("timeout", "stop_after", "skipped"), [(None, 9e9, 0), (400, 9e9, 2), (None, 400, 2)]
)
async def test_a_slow_reader_gets_every_item(
    emulator: Emulator, project: Project, timeout: float | None, stop_after: float, skipped: int
) -> None:
    """Also at the time-out and after a stop, the iteration ends with all items."""
    names = drafts(emulator, 6)
    async with project.generate_features(names, max_in_flight=2, timeout=timeout) as batch:
        asyncio.get_running_loop().call_later(stop_after, batch.stop)
        read = [await asyncio.sleep(300, item) async for item in batch]
    assert sorted(item.feature_name for item in read) == names
    assert batch.summary.skipped == skipped
