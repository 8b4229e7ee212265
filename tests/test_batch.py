"""Batches: never more in flight than asked, every feature once, and leaving early loses nothing."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import client_of
from testvibe_async import (
    Batch,
    BatchItem,
    BatchSummary,
    Client,
    ClientClosedError,
    ConfigError,
    FeatureNotGeneratedError,
    ForbiddenError,
    GenerationInProgressError,
    GenerationRef,
    Hooks,
    NotFoundError,
    NotSentError,
    Run,
    Verdict,
    WaitTimeoutError,
)
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from testvibe_async import Project


@pytest.fixture
async def emulator() -> AsyncGenerator[Emulator]:
    """Runs take from 10 s to 40 s and some fail; generations take a minute or two."""
    async with Emulator(scenario=Scenario(run_queue=(0, 10), run_duration=(10, 30))) as emulator:
        yield emulator


def now() -> float:
    return asyncio.get_running_loop().time()


def ours() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("testvibe")]


async def test_all_come_in_the_order_asked(emulator: Emulator, project: Project) -> None:
    """Awaiting a batch gives an item for each feature, in the order asked, failed runs included."""
    names = ["Wishlist", "checkout", "Returns", "Login Functionality"]

    items = await project.run_features(names, config="Mobile")

    assert [item.feature for item in items] == names
    assert all(item.run is not None and item.run.config == "Mobile" for item in items)
    assert [item.error for item in items] == [None] * 4
    assert {item.ref.key[-1] for item in items if item.ref} == set(emulator.runs)
    assert ours() == []


async def test_a_batch_is_opened_before_it_is_iterated_over(
    emulator: Emulator, project: Project
) -> None:
    """Iterating without `async with` is refused: it would run nothing, and say nothing."""
    with pytest.raises(ConfigError, match="async with"):
        async for _ in project.run_features(["Checkout"]):
            pass

    assert emulator.requests == []


async def test_they_come_as_they_finish(project: Project) -> None:
    """Iterating over a batch gives each item when its run is over."""
    ends: list[float] = []
    async with project.run_features() as batch:
        async for item in batch:
            assert item.run is not None
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


async def test_no_features_are_no_trouble(emulator: Emulator, project: Project) -> None:
    """A batch of nothing is over at once."""
    assert await project.run_features([]) == []
    assert emulator.requests == []


async def test_never_more_in_flight_than_asked() -> None:
    """2,000 features with 100 in flight: never more than 100, and each of them once."""
    scenario = Scenario(run_queue=(0, 1), run_duration=(1, 5))
    async with Emulator(scenario=scenario, shop=False) as emulator, client_of(emulator) as client:
        names = [f"Feature {number}" for number in range(2000)]
        for name in names:
            emulator.add_feature(name)

        items = await client.project().run_features(names, max_in_flight=100)

        assert [item.feature for item in items] == names
        assert all(item.run is not None for item in items)
        assert emulator.max_active_runs == 100
        assert len(emulator.runs) == 2000


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

    assert items[0].run is not None
    assert (items[1].ref, items[1].outcome) == (None, None)
    assert isinstance(items[1].error, NotFoundError)
    assert isinstance(items[2].error, FeatureNotGeneratedError)


async def test_one_that_can_not_be_sent_is_an_item(emulator: Emulator, project: Project) -> None:
    """Where nobody listens each item has the error, and the batch goes on to the end."""
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


async def test_leaving_early_dispatches_no_more(emulator: Emulator, project: Project) -> None:
    """After the first item nothing new is dispatched, what goes on is named, no look is taken."""
    async with project.run_features(max_in_flight=4) as batch:
        async for _ in batch:
            break

    dispatched = len(emulator.runs)
    assert 4 <= dispatched <= 6
    assert len(batch.refs) == dispatched
    assert 1 <= len(batch.in_flight) < dispatched
    asked = len(emulator.requests)
    await asyncio.sleep(100)
    assert len(emulator.requests) == asked
    assert [item async for item in batch] == []
    assert ours() == []


async def test_leaving_ends_the_iteration_of_another_task(project: Project) -> None:
    """A task that waits for the next item hears that the batch was left, though all goes on."""
    async with project.run_features(["Checkout"]) as batch:
        other = asyncio.ensure_future(anext(batch))
        await asyncio.sleep(1)

    with pytest.raises(StopAsyncIteration):
        async with asyncio.timeout(60):
            await other


async def test_a_batch_that_was_left_leaves_no_timer(project: Project) -> None:
    """Nothing in the event loop keeps a batch that was left before its time was over."""
    async with project.run_features(["Checkout"], timeout=1000) as batch:
        await asyncio.sleep(1)
    left = weakref.ref(batch)
    del batch
    gc.collect()

    assert left() is None


async def test_a_cancelled_batch_names_what_it_dispatched(
    emulator: Emulator, project: Project
) -> None:
    """Cancelling the awaiting task stops the dispatching; `refs` has what is at the service."""
    batch = project.run_features(max_in_flight=3)
    waiting = asyncio.ensure_future(batch._all())
    await asyncio.sleep(5)
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert {ref.key[-1] for ref in batch.refs} == set(emulator.runs)
    assert ours() == []


async def test_closing_the_client_ends_the_batch(emulator: Emulator) -> None:
    """Each item that is not over gets a ClientClosedError, with the ref where it has one."""
    client = client_of(emulator)
    batch = asyncio.ensure_future(client.project().run_features(max_in_flight=5)._all())
    await asyncio.sleep(5)
    await client.aclose()

    items = await batch

    assert {type(item.error) for item in items} == {ClientClosedError}
    assert sum(item.ref is not None for item in items) == 5


async def test_generations_in_a_batch(emulator: Emulator, project: Project) -> None:
    """Without features a batch of generations takes those without tests, suggestions left out."""
    emulator.add_feature("Gift cards", status="failed")

    items = await project.generate_features()

    names = {item.generation.feature_name for item in items if item.generation}
    assert names == {"Checkout with gift card", "Gift cards"}
    assert all(item.outcome is item.generation for item in items)


async def test_conflicts_as_for_one(emulator: Emulator, project: Project) -> None:
    """on_conflict is that of the single dispatch, and an unknown word is refused at once."""
    await project.generate_feature("Checkout with gift card")
    (item,) = await project.generate_features(["Checkout with gift card"], on_conflict="attach")
    assert item.generation is not None
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
    assert [item.run.config for item in items if item.run] == ["Mobile", "Default"] * 2
    assert len(emulator.runs) == 4
    with pytest.raises(ConfigError, match="config names no configuration"):
        project.run_features(config=[])


async def test_when_the_time_is_over_all_that_is_left_comes_at_once(
    emulator: Emulator, project: Project
) -> None:
    """What goes on comes with its ref and a time-out, what waits comes as skipped, none is lost."""
    began = now()
    batch = project.run_features(max_in_flight=5, timeout=25)
    items = await batch

    assert now() - began == pytest.approx(25, abs=0.1)
    assert len(items) == 15
    over = [item for item in items if item.outcome]
    going_on = [item for item in items if item.verdict is Verdict.IN_FLIGHT]
    skipped = [item for item in items if item.verdict is Verdict.SKIPPED]
    assert len(over) + len(going_on) + len(skipped) == 15
    assert over
    assert skipped
    assert len(going_on) == 5
    for item in going_on:
        assert isinstance(item.error, WaitTimeoutError)
        assert item.error.ref == item.ref
        assert 0 < item.error.elapsed <= 25.1
    assert batch.in_flight == [item.ref for item in going_on]
    assert all((item.ref, item.error) == (None, None) for item in skipped)
    assert len(emulator.runs) == len(over) + len(going_on)
    assert batch.summary == BatchSummary.of(items)
    asked = len(emulator.requests)
    await asyncio.sleep(100)
    assert len(emulator.requests) == asked
    assert ours() == []


async def test_the_time_ends_an_iteration_too(project: Project) -> None:
    """An iteration over a batch whose time is over gives what is left, and ends."""
    async with project.run_features(max_in_flight=3, timeout=5) as batch:
        verdicts = [item.verdict async for item in batch]

    assert len(verdicts) == 15
    assert verdicts.count(Verdict.IN_FLIGHT) == 3


async def test_a_dispatch_under_way_when_the_time_ends_is_not_lost(
    emulator: Emulator, project: Project
) -> None:
    """A dispatch that is answered after the time is over is an item with its ref."""
    emulator.fail("run_feature", Fault.delay(4))

    (item,) = await project.run_features(["Checkout"], timeout=2)

    assert item.ref is not None
    assert isinstance(item.error, WaitTimeoutError)
    assert len(emulator.runs) == 1


@pytest.mark.parametrize("feature", ["Checkout with gift card"])
async def test_the_time_ends_waits_for_a_generation(
    emulator: Emulator, project: Project, feature: str
) -> None:
    """A run whose tests are still being generated then comes with the generation's ref."""
    began = now()
    (item,) = await project.run_features([feature], on_conflict="generate", timeout=5)

    assert now() - began == pytest.approx(5, abs=0.1)
    assert item.verdict is Verdict.IN_FLIGHT
    assert isinstance(item.error, WaitTimeoutError)
    assert isinstance(item.error.ref, GenerationRef)
    assert emulator.runs == {}
    (later,) = await project.generate_features([feature], on_conflict="wait", timeout=5)
    assert later.verdict is Verdict.IN_FLIGHT
    assert len(emulator.generations) == 1


async def test_stop_on_failure(emulator: Emulator) -> None:
    """After the first that failed nothing is dispatched, and what is in flight is waited for."""
    async with client_of(emulator) as client:
        rows = await client.project().list_features()
        names = [row.id for row in rows if row.status == "generated"][:12]
        batch = client.project().run_features(
            [names[0], "No such", *names[1:]], max_in_flight=2, stop_on_failure=True
        )
        items = await batch

    verdicts = [item.verdict for item in items]
    assert verdicts[1] is Verdict.ERROR
    assert verdicts.count(Verdict.SKIPPED) == len(items) - 1 - len(emulator.runs)
    assert 1 <= len(emulator.runs) <= 3
    assert Verdict.IN_FLIGHT not in verdicts
    assert batch.summary.skipped == verdicts.count(Verdict.SKIPPED)


async def test_a_run_that_fails_stops_the_batch_too() -> None:
    """A failed run counts as a failure as well as one that could not start."""
    scenario = Scenario(failing_runs=1.0)
    async with Emulator(scenario=scenario) as emulator, client_of(emulator) as client:
        items = await client.project().run_features(max_in_flight=1, stop_on_failure=True)

    assert [item.verdict for item in items] == [Verdict.FAILED] + [Verdict.SKIPPED] * 14


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
    with pytest.raises(ConfigError, match="begun before"):
        await batch
    assert len(emulator.runs) == 1


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), True])
async def test_the_time_out_is_checked(project: Project, wrong: Any) -> None:
    """timeout is a number of seconds above 0."""
    with pytest.raises(ConfigError, match="timeout must be a number of seconds above 0"):
        project.run_features(timeout=wrong)
    with pytest.raises(ConfigError, match="timeout must be a number of seconds above 0"):
        project.generate_features(timeout=wrong)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True])
async def test_the_number_in_flight_is_checked(project: Project, wrong: Any) -> None:
    """max_in_flight is a whole number from 1."""
    with pytest.raises(ConfigError, match="max_in_flight must be a whole number from 1"):
        project.run_features(max_in_flight=wrong)


async def test_a_defect_is_not_swallowed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no error of ours ends the batch with itself, and hangs nobody."""

    async def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(project._conflicts, "run", broken)

    with pytest.raises(ZeroDivisionError):
        await project.run_features(["Checkout"])


async def test_one_that_is_over_when_it_is_attached(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operation that is known to be over needs no look."""

    def finish(event: Any) -> None:
        emulator.finish_run(event.ref.run_id)

    async with client_of(emulator, hooks=Hooks(on_dispatched=finish)) as client:
        project = client.project()
        first = await project.run_feature("Checkout")
        await first

        async def again(*_: Any, **__: Any) -> Any:
            return first

        monkeypatch.setattr(project._conflicts, "run", again)
        items: list[BatchItem[Run]] = await project.run_features(["Checkout"])

    assert items[0].run is await first


@pytest.mark.parametrize("trouble", ["rate", "rest"])
async def test_what_waits_to_be_sent_when_the_time_ends_is_called_back(
    emulator: Emulator, trouble: str
) -> None:
    """A dispatch that waits for its turn, or out a 429, is not sent after the time is over."""
    if trouble == "rest":
        emulator.fail("run_feature", Fault.status(429, retry_after=50))
    async with client_of(emulator, rate_limit=2.0) as client:
        items = await client.project().run_features(timeout=2)
        assert now() == pytest.approx(2, abs=0.1)
        verdicts = [item.verdict for item in items]
        assert verdicts.count(Verdict.IN_FLIGHT) == len(emulator.runs)
        assert verdicts.count(Verdict.SKIPPED) == len(items) - len(emulator.runs)
        asked = emulator.count("run_feature")
        await asyncio.sleep(100)
        assert emulator.count("run_feature") == asked


async def test_what_waits_to_be_sent_when_a_batch_is_left_is_called_back(
    emulator: Emulator,
) -> None:
    """Leaving a batch sends none of the dispatches that wait for their turn."""
    async with client_of(emulator, rate_limit=2.0) as client:
        async with client.project().run_features() as batch:
            await asyncio.sleep(2)
        assert now() == pytest.approx(2, abs=0.1)
        assert len(batch.refs) == len(emulator.runs)
        await asyncio.sleep(100)
        assert len(batch.refs) == len(emulator.runs)
    assert batch.summary.skipped == batch.summary.total - len(batch.refs)


async def test_what_waits_for_another_generation_is_not_dispatched_once_the_batch_is_left(
    emulator: Emulator, project: Project
) -> None:
    """Leaving a batch starts, and pays for, no generation that only waited for another one."""
    await project.generate_feature("Checkout with gift card")

    async with project.generate_features(["Checkout with gift card"], on_conflict="wait") as batch:
        await asyncio.sleep(1)

    await asyncio.sleep(1000)
    assert len(emulator.generations) == 1
    assert batch.refs == []


async def test_what_waits_for_another_generation_is_not_dispatched_after_a_failure() -> None:
    """Once a batch stops on a failure, what waited for another generation is skipped."""
    bad = Outcome(generation_duration=5, generation_status="failed")
    async with (
        Emulator(scenario=Scenario(outcomes={"Bad": bad})) as emulator,
        client_of(emulator) as client,
    ):
        emulator.add_feature("Bad", status="draft")
        project = client.project()
        await project.generate_feature("Checkout with gift card")

        items = await project.generate_features(
            ["Bad", "Checkout with gift card"], on_conflict="wait", stop_on_failure=True
        )
        await asyncio.sleep(1000)

    assert [item.verdict for item in items] == [Verdict.FAILED, Verdict.SKIPPED]
    assert len(emulator.generations) == 2


async def test_the_time_bounds_the_list_of_features_too(
    emulator: Emulator, project: Project
) -> None:
    """A batch whose features can't be listed in time says so, in time."""
    emulator.fail("list_features", Fault.hang())

    with pytest.raises(WaitTimeoutError, match="features were not listed after 3 s"):
        await project.run_features(timeout=3)
    assert now() == pytest.approx(3, abs=0.1)


async def test_a_batch_that_is_cancelled_twice_keeps_its_refs(
    emulator: Emulator, project: Project
) -> None:
    """A second cancellation does not cut off the wait for dispatches under way."""
    emulator.fail("run_feature", Fault.delay(4))
    batch = project.run_features(["Checkout"])
    waiting = asyncio.ensure_future(_all_of(batch))
    for _ in range(2):
        await asyncio.sleep(1)
        waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert [ref.key[-1] for ref in batch.refs] == list(emulator.runs)
    assert len(emulator.runs) == 1


async def _all_of(batch: Batch[Run]) -> list[BatchItem[Run]]:
    return await batch


@pytest.mark.parametrize("dispatch", ["run_features", "generate_features"])
def test_one_name_is_not_many_features(dispatch: str) -> None:
    """A single name is refused: its letters are no features."""
    project = Client("http://127.0.0.1:1", api_key="tvb_" + "k" * 43).project("p")
    with pytest.raises(ConfigError, match=r"features must be several, not '15': pass \['15'\]"):
        getattr(project, dispatch)("15")


async def test_what_waits_out_a_conflict_when_the_time_ends_is_not_sent_again(
    emulator: Emulator, project: Project
) -> None:
    """A dispatch that was refused for a generation that nobody sees is not repeated too late."""
    emulator.fail("generate_feature", Fault.status(409))

    (item,) = await project.generate_features(
        ["Checkout with gift card"], on_conflict="wait", timeout=0.5
    )

    assert item.verdict is Verdict.SKIPPED
    assert emulator.count("generate_feature") == 1


async def test_no_tests_are_paid_for_once_the_time_is_over(
    emulator: Emulator, project: Project
) -> None:
    """A generation that a run needs is called back as the run would be."""
    emulator.add_feature("Draft", status="draft")
    emulator.fail("generate_feature", Fault.status(429, retry_after=60), times=1)

    items = await project.run_features(["Draft"], on_conflict="generate", timeout=5)
    await asyncio.sleep(120)

    assert [item.verdict for item in items] == ["skipped"]
    assert emulator.generations == {}


async def test_a_look_that_hangs_when_the_time_ends_leads_to_no_dispatch(
    emulator: Emulator, project: Project
) -> None:
    """What waits for an answer before it dispatches is over with the time, and pays nothing."""
    emulator.add_feature("Draft", status="draft")
    emulator.fail("get_generation_status", Fault.hang())

    items = await project.run_features(["Draft"], on_conflict="generate", timeout=5)

    assert now() == pytest.approx(5, abs=0.1)
    assert [item.verdict for item in items] == ["skipped"]
    await asyncio.sleep(600)
    assert emulator.generations == {}


@pytest.mark.parametrize("end", ["left", "time", "failure"])
async def test_a_generation_that_a_run_waited_for_is_named(
    emulator: Emulator, project: Project, end: str
) -> None:
    """Whatever ends the batch, the generation that it paid for is in the item and in the refs."""
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
    assert GenerationRef in map(type, batch.in_flight)
    assert {ref.key[-1] for ref in batch.in_flight} >= {request_id}
    assert {ref.key[-1] for ref in batch.refs} >= {request_id}
    for item in items[:1]:
        assert item.ref is not None
        assert (item.ref.key[-1], item.verdict) == (request_id, "in flight")


async def test_a_conflict_is_told_as_one_when_the_time_ends(
    emulator: Emulator, project: Project
) -> None:
    """A 409 that came in time is the item's error, though the look for its ref took too long."""
    async with client_of(emulator) as other:
        await other.project().generate_feature("Checkout")
    emulator.fail("get_generation_status", Fault.hang(), skip=1)

    (item,) = await project.generate_features(["Checkout"], timeout=5)

    assert isinstance(item.error, GenerationInProgressError)
    assert now() == pytest.approx(5, abs=0.1)
