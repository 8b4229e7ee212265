"""Batches with a key: what each leaves in the ledger, and how the same call resumes it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from tests.conftest import client_of
from tests.promises.ledger.conftest import KEY, ran
from tests.support.batches import verdicts
from tests.support.faults import NO_ID
from tests.support.raising import raised
from tests.support.timing import STEADY, now
from testvibe_async import Generation, Project, SqliteLedger, Verdict, errors
from testvibe_async.ledger import Row, RowState
from testvibe_async.testing import Emulator, Fault, Outcome

OUTCOMES = {
    "Broken": Outcome(generation_status="failed"),
    "Draft": Outcome(run_status="failed"),
    "Returns": Outcome(run_status="failed"),
}

FEATURES = ["Checkout", "Returns", "Wishlist"]
ENDS = ["succeeded", "failed", "succeeded"]

SCENARIO = evolve(STEADY, outcomes=OUTCOMES)


async def rows_of(path: Path) -> list[Row]:
    """Return the attempts of the batch in a file."""
    async with SqliteLedger(path) as ledger:
        return [row for row in await ledger.rows(KEY) if not row.is_plan]


async def test_a_finished_batch(path: Path, emulator: Emulator) -> None:
    """The same call again has the same items without a request, but dispatches what was refused."""
    items = await ran(path, emulator, [*FEATURES, "Nothing"])
    requests = len(emulator.requests)
    again = await ran(path, emulator)
    assert [item.to_dict() for item in again] == [item.to_dict() for item in items]
    assert isinstance(again[3].error, errors.NotFoundError)
    assert emulator.count("run_feature") == 5
    assert len(emulator.requests) <= requests + 2


async def test_options_of_its_caller(path: Path, emulator: Emulator) -> None:
    """A new key keeps what its caller wants to know; one that has a batch keeps its own."""
    async with client_of(emulator, ledger=path) as client:
        for attempts in (2, 3):
            batch = client.project().run_features(FEATURES, key=KEY, options={"attempts": attempts})
            await batch
            assert (batch.key, batch.options) == (KEY, {"attempts": 2})


@pytest.mark.parametrize("most", [3, 1])
async def test_a_batch_that_was_left(path: Path, emulator: Emulator, most: int) -> None:
    """Another client attaches to what is in flight, and dispatches what waited: nothing twice."""
    async with client_of(emulator, ledger=path) as first:
        batch = first.project().run_features(FEATURES, key=KEY, max_in_flight=most)
        async with batch:
            await asyncio.sleep(10)
        assert verdicts(batch.items) == ["in flight"] * most + ["skipped"] * (3 - most)
    items = await ran(path, emulator, FEATURES)
    assert verdicts(items) == ENDS
    assert emulator.count("run_feature") == 3


REFUSALS = {
    **{str(status): Fault.status(status) for status in (401, 404, 409, 500)},
    "a page": Fault.status(403, body=b"<html><title>Blocked</title></html>"),
    "a redirect": Fault.status(302),
    "no document": Fault.body(b"{"),
    "no HTTP": Fault.garbage(),
    "reset": Fault.reset(),
}


@pytest.mark.parametrize("fault", REFUSALS.values(), ids=REFUSALS)
async def test_a_stored_error_has_its_class_and_text(
    path: Path, emulator: Emulator, fault: Fault
) -> None:
    """The stored error of a feature is of the same class, and says the same."""
    emulator.fail("run_feature", fault)
    (item,) = await ran(path, emulator, ["Checkout"], timeout=30)
    assert item.error is not None
    (row,) = await rows_of(path)
    assert row.error is not None
    assert (type(row.error), str(row.error)) == (type(item.error), str(item.error))
    assert row.error.brief == item.error.brief
    assert row.error.to_dict() == item.error.to_dict()


async def test_missing_only_may_be_added(path: Path, emulator: Emulator) -> None:
    """A resume that pays for missing tests alone leaves out what has tests by then."""
    names = ["Checkout", "Returns", "Draft"]
    async with client_of(emulator, ledger=path) as client:
        project = client.project()
        batch = project.generate_features(names, key=KEY)
        batch.stop()
        assert verdicts(await batch) == ["skipped"] * 3
        emulator.add_feature("Draft", status="draft")
        await project.generate_features(names, key=KEY, missing_only=True)
    assert emulator.count("generate_feature") == 1


@pytest.mark.parametrize("options", [{"config": "Mobile"}, {"repeat": 2}])
async def test_another_plan_is_refused(
    path: Path, emulator: Emulator, options: dict[str, Any]
) -> None:
    """A resume without features names the plan's configurations and repetition, or none."""
    await ran(path, emulator, ["Returns"], timeout=1)
    said = "without config= and repeat="
    await raised(errors.ConfigError, ran(path, emulator, **options), match=said)
    await ran(path, emulator, config="Default")


async def test_attempts_are_kept(path: Path, emulator: Emulator) -> None:
    """A failed attempt counts after a crash, and the item has all runs."""
    (item,) = await ran(path, emulator, ["Returns"], attempts=2, timeout=40)
    assert len(item.earlier) == 1
    (item,) = await ran(path, emulator, attempts=2)
    assert [run.run_id for run in item.attempts] == [*emulator.runs]
    assert len(item.attempts) == 2
    (again,) = await ran(path, emulator)
    assert again.to_dict() == item.to_dict()


@pytest.mark.parametrize(
    "features", [["Checkout"], [*FEATURES, "Gift card"], ["Checkout", "Wishlist", "Wishlist 2"]]
)
async def test_a_resume_with_other_features_is_refused(
    path: Path, emulator: Emulator, features: list[str]
) -> None:
    """Other features are refused in one sentence, and nothing is dispatched."""
    await ran(path, emulator, FEATURES, timeout=1)
    tasks = asyncio.all_tasks()
    await raised(errors.ConfigError, ran(path, emulator, features), match="3 other jobs")
    assert emulator.count("run_feature") == 3
    assert not {task for task in asyncio.all_tasks() - tasks if "batch" in task.get_name()}


async def test_a_key_of_another_request_is_refused(path: Path, emulator: Emulator) -> None:
    """A key of another kind or site is refused in one sentence that names both."""
    async with client_of(emulator, ledger=path) as client:
        project = client.project()
        await project.run_features(FEATURES, key=KEY, timeout=1)
        other_site = project.run_features(key=KEY, site_url="https://x")
        await raised(
            errors.ConfigError, other_site, match="batch of runs, not of runs on https://x"
        )
        other_kind = project.generate_features(key=KEY)
        await raised(errors.ConfigError, other_kind, match="batch of runs, not of generations")
        single = project.run_feature("Checkout", key=KEY)
        await raised(errors.ConfigError, single, match="batch of runs, not of a run of feature")
        await project.run_feature("Checkout", key="pr-1")
        batch = project.run_features(FEATURES, key="pr-1")
        await raised(errors.ConfigError, batch, match="a run of feature 'Checkout', not of a batch")
    assert emulator.count("run_feature") == 4


async def test_a_generator_is_read_before_anything_is_dispatched(
    path: Path, emulator: Emulator
) -> None:
    """The ledger has the whole batch then, so that it is resumed without naming its features."""
    await ran(path, emulator, iter(FEATURES), max_in_flight=1, timeout=40)
    others = "a batch of 3 other jobs"
    await raised(errors.ConfigError, ran(path, emulator, iter(FEATURES[1:])), match=others)
    items = await ran(path, emulator)
    assert [item.feature for item in items] == FEATURES
    assert emulator.count("run_feature") == 3


async def test_a_source_that_raises_dispatches_nothing(path: Path, emulator: Emulator) -> None:
    """A key stands for a whole batch: of one that can't be read, the ledger has nothing."""

    async def features(*, fails: bool) -> AsyncIterator[str]:
        yield "Checkout"
        await asyncio.sleep(60)
        if fails:
            raise OSError("the database of features is away")
        yield "Returns"

    await raised(OSError, ran(path, emulator, features(fails=True)), match="away")
    assert emulator.count("run_feature") == 0
    items = await ran(path, emulator, features(fails=False))
    assert [item.feature for item in items] == ["Checkout", "Returns"]


async def test_a_resume_without_them_uses_them(
    path: Path, emulator: Emulator, rival: Project
) -> None:
    """Attempts and the conflict policy of a batch are those that it was made with."""
    emulator.add_feature("Draft", status="draft")
    await rival.generate_feature("Draft")
    await ran(path, emulator, ["Draft"], attempts=2, on_conflict="wait", timeout=1)
    (item,) = await ran(path, emulator)
    assert (item.verdict, len(item.attempts)) == (Verdict.FAILED, 2)


@pytest.mark.parametrize("request_id", ["as it is", None])
async def test_missing_tests_that_were_generated_meanwhile(
    path: Path, project: Project, emulator: Emulator, request_id: str | None
) -> None:
    """A batch of all features without tests pays for none that has tests by then, also resumed."""
    emulator.add_feature("Draft", status="draft")
    if request_id is None:  # Some services show none.
        emulator.fail("get_generation_status", NO_ID)
    every: list[Any] = []
    async with client_of(emulator, ledger=path) as client:
        async with client.project().generate_features(max_in_flight=1, key=KEY):
            await asyncio.sleep(5)  # The first is in flight.
        assert len(emulator.generations) == 1
        await project.generate_feature("Draft").wait()
        for _ in range(2):
            items = await client.project().generate_features(key=KEY)
            every += items
            assert verdicts(items) == ["succeeded", "succeeded"]
    assert all(isinstance(item.outcome, Generation) for item in every)
    assert len(emulator.generations) == 2


async def test_another_place_has_a_key_of_its_own(path: Path, emulator: Emulator) -> None:
    """A key is unique in a server and project: in another one it is free."""
    other = emulator.add_project("Other")
    emulator.add_feature("Checkout", project=other)
    async with client_of(emulator, ledger=path) as client:
        for project in (client.project(), client.project(other.id)):
            assert verdicts(await project.run_features(["Checkout"], key=KEY)) == ["succeeded"]
    async with Emulator(scenario=STEADY) as elsewhere:
        assert verdicts(await ran(path, elsewhere, ["Checkout"])) == ["succeeded"]
    assert emulator.count("run_feature") == 2


@pytest.mark.parametrize("feature", ["Checkout", "New"])
async def test_an_accepted_dispatch_is_known_to_be_so_after_a_kill(
    path: Path, emulator: Emulator, feature: str
) -> None:
    """That its answer can't be read is stored at once: nothing sends it again, or pays again."""
    emulator.add_feature("New", status="draft")
    operation = "run_feature" if feature == "Checkout" else "generate_feature"
    emulator.fail(operation, Fault.edit(lambda _: {"unexpected": True}))
    emulator.fail("list_runs", Fault.edit(lambda _: []))
    emulator.fail("get_generation_status", Fault.status(503), when=lambda _: now() > 0.5)
    emulator.fail("generate_feature", Fault.delay(1))
    for _ in range(2):
        async with client_of(emulator, ledger=path) as client:
            project = client.project()
            many: Any = project.run_features if feature == "Checkout" else project.generate_features
            waiting = asyncio.ensure_future(many([feature], key=KEY))
            await asyncio.sleep(5)
            (row,) = await rows_of(path)
            assert row.state is RowState.ACCEPTED
            await waiting
    assert emulator.count(operation) == 1


async def test_one_that_was_joined_is_resumed(
    path: Path, emulator: Emulator, rival: Project
) -> None:
    """A generation that a batch attached to is waited for by the next, not paid for again."""
    emulator.add_feature("Broken", status="draft")
    theirs = await rival.generate_feature("Broken")
    for timeout in (20, None):
        async with client_of(emulator, ledger=path) as client:
            (item,) = await client.project().generate_features(
                ["Broken"], on_conflict="attach", key=KEY, timeout=timeout
            )
            assert item.ref == theirs.ref
    assert item.verdict is Verdict.FAILED
    assert emulator.count("generate_feature") == 2  # theirs, and the one that met a conflict
