"""Batches of features that come one by one: generators, also asynchronous ones."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from itertools import chain, count
from typing import Any

import pytest

from tests.support.batches import client_tasks
from tests.support.raising import raised
from tests.support.timing import STEADY
from testvibe_async import ConfigError, Project, Verdict
from testvibe_async.testing import Emulator, Fault

SCENARIO = STEADY


async def test_a_generator_is_read_only_as_there_is_room(project: Project) -> None:
    """Of very many names no more are read than are in flight, and the next when one is over."""
    taken: list[str] = []

    def names() -> Generator[str]:
        for row in chain(features, map(str, count())):
            taken.append(row)
            yield row

    features = [row.name for row in await project.list_features() if row.has_tests]
    async with project.run_features(names(), max_in_flight=3) as batch:
        await asyncio.sleep(20)
        assert taken == features[:3]
        await anext(batch)
        await asyncio.sleep(20)
        assert taken == [item.feature for item in batch.items] == features[:6]


@pytest.mark.parametrize("end", ["time", "failure", "left", "cancelled"])
async def test_a_stuck_source_ends_too(emulator: Emulator, project: Project, end: str) -> None:
    """A source that waits for ever is left alone when the batch ends, however it ends."""
    waits = asyncio.Event()

    async def stuck() -> AsyncGenerator[str]:
        yield "Checkout" if end != "failure" else "Nothing"
        await asyncio.sleep(1)
        waits.set()
        await asyncio.Event().wait()

    batch = project.run_features(
        stuck(), timeout=10 if end == "time" else None, stop_on_failure=end == "failure"
    )
    if end == "left":
        async with batch:
            await waits.wait()
    elif end == "cancelled":
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await batch
    else:
        assert len(await batch) == 1

    (item,) = batch.items
    assert item.verdict is (Verdict.ERROR if end == "failure" else Verdict.IN_FLIGHT)
    assert len(emulator.runs) == (end != "failure")
    assert client_tasks() == []


def _shows(emulator: Emulator, **statuses: str | None) -> None:
    """Have the list show other statuses in place of the documented ones."""

    def changed(row: dict[str, Any]) -> dict[str, Any]:
        return row | {"status": statuses.get(row["status"], row["status"])}

    emulator.fail("list_features", Fault.edit(lambda rows: [*map(changed, rows)]))


async def test_features_of_an_undocumented_status_are_left_out_and_named(
    emulator: Emulator, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch without names takes none of which nobody knows whether they have tests."""
    _shows(emulator, draft="fresh")
    assert len(await project.run_features()) == 15
    assert "features with an undocumented status ('fresh') are left out" in caplog.text


@pytest.mark.parametrize("word", ["ready", None])
async def test_a_list_without_statuses_needs_names(
    emulator: Emulator, project: Project, word: str | None
) -> None:
    """Where no status says which features have tests, a batch without names is refused."""
    _shows(emulator, **dict.fromkeys(["generated", "draft", "failed"], word))
    for batch in (project.generate_features(), project.run_features()):
        await raised(ConfigError, batch, match="name the features")
    assert (len(emulator.runs), len(emulator.generations)) == (0, 0)


async def test_what_is_no_feature_is_an_item_with_its_error(project: Project) -> None:
    """A wrong value stops nothing else, and is not taken for an id."""
    asked: list[Any] = [1.5, "Checkout", None]
    items = await project.run_features(iter(asked))
    assert [item.verdict for item in items] == [Verdict.ERROR, Verdict.SUCCEEDED, Verdict.ERROR]


async def test_items_of_an_earlier_batch_run_again(project: Project) -> None:
    """Each with its own configuration, whatever the others have, and once."""
    first = await project.run_features(["Checkout", "Returns"], config=[None, "Mobile"])
    items = await project.run_features([first[0], first[3], first[3]])
    found = [(each.feature_name, each.config) for each in items]
    assert found == [("Checkout", None), ("Returns", "Mobile")]


async def test_many_features_with_a_key_are_read_in_turns(
    emulator: Emulator, project: Project
) -> None:
    """Other tasks get to run before all of them are read, and nothing is dispatched."""
    turns: list[int] = []

    def names() -> Generator[int]:
        asyncio.get_running_loop().call_soon(lambda: turns.append(emulator.count("run_feature")))
        yield from range(1000, 1250)
        assert turns == [0]

    items = await project.run_features(names(), key="many")
    assert [item.feature for item in items] == [*range(1000, 1250)]
    assert emulator.count("run_feature") == 250


async def test_a_source_that_fails_ends_all_its_readers(project: Project) -> None:
    """Also the worker that waits to read the next feature."""

    async def features() -> AsyncGenerator[str]:
        yield "Checkout"
        yield "Returns"
        await asyncio.sleep(5)
        raise OSError("the database of features is away")

    await raised(OSError, project.run_features(features(), max_in_flight=9), match="away")
