"""Batches: each feature once, never more in flight than asked, and an item for each."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

import pytest

from tests.conftest import client_of
from tests.support.batches import MIXED, client_tasks
from tests.support.raising import raised
from tests.support.timing import STEADY
from testvibe_async import Client, Feature, Project, Verdict, errors
from testvibe_async.testing import Emulator, Fault, Scenario

SCENARIO = MIXED


async def test_no_more_than_32_are_dispatched_at_once(emulator: Emulator) -> None:
    """However many may be in flight and go over the wire, 32 wait for their answer at once."""
    emulator.fail("run_feature", Fault.delay(5))
    features = [emulator.add_feature(f"Feature {number}").id for number in range(80)]
    client = client_of(emulator, max_connections=100)
    async with client, client.project().run_features(features, max_in_flight=80):
        await asyncio.sleep(1)
        assert emulator.count("run_feature") == 32
        await asyncio.sleep(5)
        assert emulator.count("run_feature") == 64


async def test_generations_in_a_batch(emulator: Emulator, project: Project) -> None:
    """Without features a batch of generations takes those without tests, suggestions left out."""
    emulator.add_feature("Gift cards", status="failed")

    items = await project.generate_features()

    names = {item.outcome.feature_name for item in items if item.outcome}
    assert names == {"Checkout with gift card", "Gift cards"}


async def test_a_batch_that_was_never_opened_warns(project: Project, emulator: Emulator) -> None:
    """A forgotten await of a batch warns as a coroutine does, and says what to do."""
    with pytest.warns(RuntimeWarning, match="run_features.* was never awaited"):
        project.run_features(["Checkout"])
    batch = project.run_features(["Checkout"])
    batch.close()
    assert batch.items == []
    assert emulator.count("run_feature") == 0
    async with project.run_features(["Checkout"]) as opened:
        opened.close()  # It is not abandoned any more.
        assert [item.feature async for item in opened] == ["Checkout"]


steady = pytest.mark.parametrize("scenario", [STEADY], ids=["steady"])
"""Runs of half a minute, which pass."""


async def one_by_one(names: list[str], *, seconds: float = 0.0) -> AsyncGenerator[str]:
    """Yield names as a slow source does."""
    for name in names:
        await asyncio.sleep(seconds)
        yield name


@pytest.mark.parametrize("source", [list, iter, one_by_one])
async def test_all_come_in_the_order_asked(
    emulator: Emulator, project: Project, source: Callable[[list[str]], Any]
) -> None:
    """Awaiting a batch gives an item for each feature, in the order asked, failed runs included."""
    names = ["Wishlist", "checkout", "Returns", "Login Functionality"]
    batch = project.run_features(source(names), config="Mobile", max_in_flight=2)
    items = await batch

    assert [item.feature for item in items] == names
    assert all(item.outcome is not None and item.outcome.config == "Mobile" for item in items)
    assert [item.error for item in items] == [None] * 4
    assert {item.ref.key[-1] for item in items if item.ref} == set(emulator.runs)
    assert batch.summary.total == len(emulator.runs) == 4
    assert client_tasks() == []


@pytest.mark.filterwarnings("ignore:run_features")
async def test_a_batch_is_opened_once_and_first(emulator: Emulator, project: Project) -> None:
    """Iterating without `async with`, and opening it again, is refused, and dispatches nothing."""
    batch = project.run_features(["Checkout"])
    with pytest.raises(errors.ConfigError, match="async with"):
        aiter(batch)
    with pytest.raises(errors.ConfigError, match="async with"):
        batch.changes()
    await raised(errors.ConfigError, anext(batch), match="async with")
    assert emulator.requests == []
    await batch
    await raised(errors.ConfigError, batch, match="opened before")
    assert len(emulator.runs) == 1


@pytest.mark.parametrize("scenario", [Scenario(run_queue=(0, 1), run_duration=(1, 5))])
async def test_never_more_in_flight_than_asked(emulator: Emulator, project: Project) -> None:
    """30 features with 10 in flight: never more than 10, and each of them once."""
    names = [emulator.add_feature(f"Feature {number}").name for number in range(30)]
    items = await project.run_features(names, max_in_flight=10)

    assert [item.feature for item in items] == names
    assert all(item.outcome is not None for item in items)
    assert emulator.max_active_runs == 10
    assert len(emulator.runs) == 30


SECONDS = "timeout must be a number of seconds, 0 or more"


WRONG: list[tuple[str, Any, str]] = [
    *(("timeout", wrong, SECONDS) for wrong in (-1, float("nan"), float("inf"), True)),
    *(("max_in_flight", wrong, "must be a whole number from 1") for wrong in (0, -1, 1.5, True)),
    *(("attempts", wrong, "attempts must be a whole number") for wrong in (0, -1, 1.5, True)),
    ("on_conflict", "ignore", "on_conflict"),
    *(("stop_on_failure", wrong, "stop_on_failure") for wrong in (-1, 1.5, "x", None)),
    ("config", [], "config names no configuration"),
    ("key", " ", "a key is a text of your own"),
    ("options", [1], "options"),
    ("max_unread", -1, "max_unread"),
    ("max_unread", True, "max_unread"),
    ("features", "15", r"features must be several, not '15': pass \['15'\]"),
]


@pytest.mark.parametrize(("option", "value", "said"), WRONG)
def test_a_wrong_option_is_refused(project: Project, option: str, value: Any, said: str) -> None:
    """Each is refused by the call, in one sentence that says what it takes."""
    with pytest.raises(errors.ConfigError, match=said):
        project.run_features(**{option: value})
    if option not in {"attempts", "config", "max_unread"}:
        with pytest.raises(errors.ConfigError, match=said):
            project.generate_features(**{option: value})


SAME: dict[str, tuple[Callable[[Feature], Iterable[Any]], int]] = {
    "a list": (lambda row: ["Checkout", "CHECKOUT", row.id, str(row.id), "Wishlist", row], 1),
    "a generator": (lambda row: iter(["Checkout", "Wishlist", row.id, row, str(row.id)]), 1),
    # Only names beside ids can mean the same features unseen.
    "names alone": (lambda _: ["Checkout", "checkout", "Wishlist"], 0),
}
"""What is asked for, and how often the features are listed to know which are the same."""


@pytest.mark.parametrize("asked", SAME)
async def test_a_feature_that_is_named_twice_runs_once(
    emulator: Emulator, project: Project, asked: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By name, in another case, by id, as digits or as listed: it is one feature, and one run."""
    features, lists = SAME[asked]
    row = await project.get_feature("Checkout")
    with caplog.at_level(logging.WARNING):
        items = await project.run_features(features(row), config=["Default", "Mobile"])

    assert [item.feature for item in items] == ["Checkout", "Checkout", "Wishlist", "Wishlist"]
    assert len(emulator.runs) == 4
    assert emulator.count("list_features") == lists
    assert all(getattr(record, "testvibe_reported", False) for record in caplog.records)
    texts = [record.getMessage() for record in caplog.records]
    if asked == "a list":
        assert len(texts) == 4
        assert texts[0] == "feature 'CHECKOUT' was asked for twice, and is dispatched once"


async def test_features_are_listed_once_for_all_names(emulator: Emulator, project: Project) -> None:
    """However many names beside an id nobody has."""
    row = await project.get_feature("Checkout")
    items = await project.run_features([row.id, "Nobody", "Nobody else"])
    assert [item.error is None for item in items] == [True, False, False]
    assert emulator.count("list_features") == 1


async def test_a_wrong_key_is_asked_with_a_few_times(emulator: Emulator) -> None:
    """Of 500 features only as many are sent as are under way when the first is refused."""
    where, key = emulator.url, "tvb_" + "x" * 43
    async with Client(where, api_key=key, project=emulator.project_id) as client:
        names = [f"Feature {number}" for number in range(500)]
        items = await client.project().run_features(names)
    assert emulator.count() < 80
    assert {item.verdict for item in items} == {Verdict.ERROR, Verdict.SKIPPED}


NAMES = ["Checkout", "Wishlist", "Returns", "Login Functionality"]


@pytest.mark.service(lists=False)
async def test_items_that_share_a_generation(emulator: Emulator, project: Project) -> None:
    """A feature that is named twice, on a service without lists, joins the one generation."""
    feature = emulator.add_feature("Twice", status="draft")
    names: list[int | str] = ["Twice", feature.id]
    async with project.generate_features(names, on_conflict="attach") as batch:
        await asyncio.sleep(30)
        changes = [each async for each in batch.changes()]
        assert all(batch.item_of(operation) in batch.items for operation, _ in changes)
    ends = [change for _, change in changes if change.phase == "finished"]
    assert len(emulator.generations) == 1
    assert len({item.ref for item in batch.items}) == 1
    assert len(ends) == 2


@steady
async def test_one_that_is_closed_is_followed_no_more(project: Project) -> None:
    """A batch goes on after its changes are closed, and adds nothing to them."""
    async with project.run_features(NAMES, max_in_flight=1) as batch:
        changes = batch.changes()
        await anext(changes)
        await changes.aclose()
        items = [item async for item in batch]
    assert len(items) == 4
    await raised(StopAsyncIteration, anext(changes))
