"""Batches: each feature once, never more in flight than asked, and an item for each."""

import asyncio
import logging
from typing import Any

import pytest

from tests.conftest import client_of
from tests.support.batches import MIXED, client_tasks
from tests.support.timing import now
from testvibe_async import (
    BatchSummary,
    Client,
    ConfigError,
    Feature,
    FeatureNotGeneratedError,
    ForbiddenError,
    GenerationRef,
    NotFoundError,
    NotSentError,
    Project,
    RateLimitedError,
    RetryPolicy,
    Verdict,
)
from testvibe_async.testing import Emulator, Fault, Scenario

SCENARIO = MIXED


async def test_all_come_in_the_order_asked(emulator: Emulator, project: Project) -> None:
    """Awaiting a batch gives an item for each feature, in the order asked, failed runs included."""
    names = ["Wishlist", "checkout", "Returns", "Login Functionality"]

    items = await project.run_features(names, config="Mobile")

    assert [item.feature for item in items] == names
    assert all(item.outcome is not None and item.outcome.config == "Mobile" for item in items)
    assert [item.error for item in items] == [None] * 4
    assert {item.ref.key[-1] for item in items if item.ref} == set(emulator.runs)
    assert client_tasks() == []


@pytest.mark.filterwarnings("ignore:run_features")
async def test_a_batch_is_opened_before_it_is_iterated_over(
    emulator: Emulator, project: Project
) -> None:
    """Iterating without `async with` is refused, as it would run nothing."""
    with pytest.raises(ConfigError, match="async with"):
        async for _ in project.run_features(["Checkout"]):
            pass

    assert emulator.requests == []


async def test_they_come_as_they_finish(project: Project) -> None:
    """Iterating over a batch gives each item when its run is over."""
    ends: list[float] = []
    async with project.run_features() as batch:
        async for item in batch:
            assert item.outcome is not None
            ends.append(now())

    assert len(ends) == 15
    assert ends == sorted(ends)
    assert ends[-1] - ends[0] > 5


async def test_all_that_are_generated(emulator: Emulator, project: Project) -> None:
    """Without features a batch of runs takes all that have tests, and no other."""
    items = await project.run_features()

    expected = {f.id for f in emulator.features.values() if f.status == "generated"}
    assert {item.feature for item in items} == expected


async def test_features_by_value(project: Project) -> None:
    """A `Feature` that was listed can be handed in as it is."""
    features = [row for row in await project.list_features() if row.status == "generated"][:3]

    items = await project.run_features(features)

    assert [item.feature for item in items] == [row.id for row in features]


async def test_no_features(emulator: Emulator, project: Project) -> None:
    """A batch without features ends at once."""
    assert await project.run_features([]) == []
    assert emulator.requests == []


async def test_never_more_in_flight_than_asked() -> None:
    """600 features with 100 in flight: never more than 100, and each of them once."""
    scenario = Scenario(run_queue=(0, 1), run_duration=(1, 5))
    async with Emulator(scenario=scenario, shop=False) as emulator, client_of(emulator) as client:
        names = [f"Feature {number}" for number in range(600)]
        for name in names:
            emulator.add_feature(name)

        items = await client.project().run_features(names, max_in_flight=100)

        assert [item.feature for item in items] == names
        assert all(item.outcome is not None for item in items)
        assert emulator.max_active_runs == 100
        assert len(emulator.runs) == 600


async def test_no_more_than_32_are_dispatched_at_once(emulator: Emulator) -> None:
    """However many may be in flight and go over the wire, 32 wait for their answer at once."""
    emulator.fail("run_feature", Fault.delay(5))
    features = [emulator.add_feature(f"Feature {number}").id for number in range(80)]
    async with (
        client_of(emulator, max_connections=100) as client,
        client.project().run_features(features, max_in_flight=80),
    ):
        await asyncio.sleep(1)
        assert emulator.count("run_feature") == 32
        await asyncio.sleep(5)
        assert emulator.count("run_feature") == 64


async def test_one_that_can_not_start_is_an_item(project: Project) -> None:
    """A 404 or 409 is the item's error, and the others go on."""
    items = await project.run_features(["Checkout", "No such", "Checkout with gift card"])

    assert items[0].outcome is not None
    assert (items[1].ref, items[1].outcome) == (None, None)
    assert isinstance(items[1].error, NotFoundError)
    assert isinstance(items[2].error, FeatureNotGeneratedError)


async def test_one_that_can_not_be_sent_is_an_item(emulator: Emulator, project: Project) -> None:
    """A refused connection is the error of each item, and the batch goes on to the end."""
    await emulator.aclose()

    items = await project.run_features(["Checkout", "Returns"])

    assert [type(item.error) for item in items] == [NotSentError, NotSentError]
    assert [item.verdict for item in items] == [Verdict.ERROR, Verdict.ERROR]


async def test_one_that_can_not_be_seen_is_an_item(emulator: Emulator, project: Project) -> None:
    """A run that can't be observed is an item with its ref and the error."""
    emulator.fail("get_run", Fault.status(403), when=lambda request: request.run_id == 214)

    items = await project.run_features(["Checkout", "Returns"])

    (bad,) = [item for item in items if item.error]
    assert isinstance(bad.error, ForbiddenError)
    assert bad.ref is not None
    assert bad.error.ref == bad.ref


async def test_generations_in_a_batch(emulator: Emulator, project: Project) -> None:
    """Without features a batch of generations takes those without tests, suggestions left out."""
    emulator.add_feature("Gift cards", status="failed")

    items = await project.generate_features()

    names = {item.outcome.feature_name for item in items if item.outcome}
    assert names == {"Checkout with gift card", "Gift cards"}
    assert all(item.outcome is item.outcome for item in items)


async def test_conflicts_as_for_one(emulator: Emulator, project: Project) -> None:
    """on_conflict is that of the single dispatch, and an unknown word is refused at once."""
    await project.generate_feature("Checkout with gift card")
    (item,) = await project.generate_features(["Checkout with gift card"], on_conflict="attach")
    assert item.outcome is not None
    assert len(emulator.generations) == 1
    wrong: Any = "ignore"
    with pytest.raises(ConfigError, match="on_conflict"):
        project.run_features(on_conflict=wrong)
    with pytest.raises(ConfigError, match="on_conflict"):
        project.generate_features(on_conflict=wrong)


async def test_several_configurations(emulator: Emulator, project: Project) -> None:
    """With several configurations each feature runs with each, in the order asked."""
    items = await project.run_features(["Checkout", "Returns"], config=["Mobile", None])

    assert [(item.feature, item.config) for item in items] == [
        ("Checkout", "Mobile"),
        ("Checkout", None),
        ("Returns", "Mobile"),
        ("Returns", None),
    ]
    assert [item.outcome.config for item in items if item.outcome] == ["Mobile", "Default"] * 2
    assert len(emulator.runs) == 4
    with pytest.raises(ConfigError, match="config names no configuration"):
        project.run_features(config=[])


async def test_the_summary_adds_up_at_any_moment(project: Project) -> None:
    """The numbers of `summary` add up to all features, before, during and after the batch."""
    batch = project.run_features(max_in_flight=4)
    assert batch.summary == BatchSummary()
    seen: list[str] = []
    async with batch:
        assert batch.summary == BatchSummary(waiting=15)
        async for _ in batch:
            assert batch.summary.total == 15
            assert batch.summary.in_flight <= 4
            seen.append(str(batch.summary))
            assert repr(batch) == f"<Batch: {batch.summary}>"
            if len(seen) == 6:
                break
    after = batch.summary
    assert (after.total, after.waiting) == (15, 0)
    assert after.in_flight == len(batch.in_flight)
    assert after.skipped == 15 - len(batch.refs)
    assert not after.is_success
    assert seen[0] in {"1 succeeded, 3 in flight, 11 waiting", "1 failed, 3 in flight, 11 waiting"}


async def test_a_batch_runs_once(emulator: Emulator, project: Project) -> None:
    """Awaiting a batch again is refused, and dispatches nothing."""
    batch = project.run_features(["Checkout"])
    await batch
    with pytest.raises(ConfigError, match="opened before"):
        await batch
    assert len(emulator.runs) == 1


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), True])
async def test_the_time_out_is_checked(project: Project, wrong: Any) -> None:
    """timeout is a number of seconds, 0 or more."""
    with pytest.raises(ConfigError, match="timeout must be a number of seconds, 0 or more"):
        project.run_features(timeout=wrong)
    with pytest.raises(ConfigError, match="timeout must be a number of seconds, 0 or more"):
        project.generate_features(timeout=wrong)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True])
async def test_the_number_in_flight_is_checked(project: Project, wrong: Any) -> None:
    """max_in_flight is a whole number from 1."""
    with pytest.raises(ConfigError, match="max_in_flight must be a whole number from 1"):
        project.run_features(max_in_flight=wrong)


@pytest.mark.parametrize("dispatch", ["run_features", "generate_features"])
def test_one_name_is_not_many_features(dispatch: str) -> None:
    """A single name in place of a list is refused."""
    project = Client("http://127.0.0.1:1", api_key="tvb_" + "k" * 43).project("p")
    with pytest.raises(ConfigError, match=r"features must be several, not '15': pass \['15'\]"):
        getattr(project, dispatch)("15")


@pytest.mark.parametrize("end", ["left", "time", "failure"])
async def test_a_generation_that_a_run_waited_for_is_named(
    emulator: Emulator, project: Project, end: str
) -> None:
    """A generation that a batch dispatched is in the item and the refs, however that ends."""
    emulator.add_feature("Draft", status="draft")
    emulator.fail("run_feature", Fault.delay(10), when=lambda request: "Wish" in request.path)
    emulator.fail("get_run", Fault.status(403))
    batch = project.run_features(
        ["Draft", *(["Wishlist"] if end == "failure" else [])],
        on_conflict="generate",
        timeout=12 if end == "time" else None,
        stop_on_failure=end == "failure",
    )
    if end == "left":
        async with batch:
            await asyncio.sleep(5)
        items = []
    else:
        items = await batch

    (request_id,) = emulator.generations
    draft = batch.items[0]
    assert isinstance(draft.generation_ref, GenerationRef)
    assert draft.generation_ref.request_id == request_id
    assert (draft.ref, draft.latest_ref, draft.is_unfinished) == (None, draft.generation_ref, True)
    for item in items[:1]:
        assert item.verdict == "in flight"


async def test_a_feature_that_is_named_twice_runs_once(
    emulator: Emulator, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    """By name, in another case, by id, as digits or as listed: it is one feature, and one run."""
    feature = await project.get_feature("Checkout")
    before = emulator.count("list_features")
    asked: list[int | str | Feature] = [
        "Checkout",
        "CHECKOUT",
        feature.id,
        str(feature.id),
        "Wishlist",
        feature,
    ]
    with caplog.at_level(logging.WARNING):
        items = await project.run_features(asked, config=["Default", "Mobile"])

    assert [item.feature for item in items] == ["Checkout", "Checkout", "Wishlist", "Wishlist"]
    assert len(emulator.runs) == 4
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 4
    assert all(getattr(record, "testvibe_told", False) for record in caplog.records)
    assert texts[0] == "feature 'CHECKOUT' was asked for twice, and is dispatched once"
    assert emulator.count("list_features") == before + 1


async def test_names_alone_need_no_list(emulator: Emulator, project: Project) -> None:
    """Only names beside ids can mean the same features unseen."""
    items = await project.run_features(["Checkout", "checkout", "Wishlist"])
    assert [item.feature for item in items] == ["Checkout", "Wishlist"]
    assert emulator.count("list_features") == 0


async def test_without_a_list_names_and_ids_are_taken_as_they_are(
    emulator: Emulator, project: Project
) -> None:
    """A service without the list of features stops no batch."""
    feature = await project.get_feature("Checkout")
    emulator.fail("list_features", Fault.status(404))
    items = await project.run_features(["Checkout", feature.id])
    assert len(items) == len(emulator.runs) == 2


async def test_a_slow_service_is_waited_for() -> None:
    """What is refused as one too many is sent again: each feature runs, and once."""
    async with Emulator(shop=False, rate_limit=1) as emulator, client_of(emulator) as client:
        for number in range(20):
            emulator.add_feature(f"Feature {number}")
        items = await client.project().run_features()

        assert {item.verdict for item in items} <= {Verdict.SUCCEEDED, Verdict.FAILED}
        assert len(emulator.runs) == 20


async def test_a_service_that_takes_nothing_is_given_up(emulator: Emulator) -> None:
    """After five minutes the refusal is the item's error, also where nothing is retried."""
    emulator.fail("run_feature", Fault.status(429, retry_after=10))
    async with client_of(emulator, retry=RetryPolicy(attempts=1)) as client:
        (item,) = await client.project().run_features(["Checkout"])

    assert isinstance(item.error, RateLimitedError)
    assert 300 < now() < 400
    assert emulator.count("run_feature") < 50


async def test_several_tasks_share_the_items_of_a_batch(project: Project) -> None:
    """Each item goes to one of the tasks that iterate, and each of them sees the end."""
    taken: list[list[str]] = [[], [], []]

    async def work(own: list[str]) -> None:
        async for item in batch:
            own.append(item.feature_name)
            await asyncio.sleep(1)

    names = ["Checkout", "Returns", "Wishlist", "Login", "Search"]
    async with project.run_features(names) as batch, asyncio.TaskGroup() as group:
        for own in taken:
            group.create_task(work(own))
    assert sorted(name for own in taken for name in own) == sorted(names)


async def test_a_batch_without_time_dispatches_nothing(
    project: Project, emulator: Emulator
) -> None:
    """A time-out of 0 leaves an item for each feature, and sends nothing."""
    items = await project.run_features(["Checkout", "Returns"], timeout=0)
    assert [item.verdict for item in items] == ["skipped", "skipped"]
    assert emulator.count("run_feature") == 0


async def test_a_batch_that_was_never_opened_warns(project: Project, emulator: Emulator) -> None:
    """A forgotten await of a batch warns as a coroutine does, and says what to do."""
    with pytest.warns(RuntimeWarning, match="run_features.* was never awaited"):
        project.run_features(["Checkout"])
    batch = project.run_features(["Checkout"])
    batch.close()
    assert [item async for item in batch] == []
    assert emulator.count("run_feature") == 0


def test_a_journal_is_opened_first(project: Project) -> None:
    """A path in the place of a journal is refused, with what to write."""
    path: Any = "nightly.sqlite"
    with pytest.raises(ConfigError, match=r"async with Journal\('nightly.sqlite'\) as journal"):
        project.run_features(["Checkout"], journal=path)
