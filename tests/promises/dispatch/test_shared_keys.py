"""Calls of one key, and equal requests of several, that learn different things at once."""

import asyncio
import gc
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from tests.conftest import client_of
from tests.support.batches import verdicts
from tests.support.raising import raised
from tests.support.timing import STEADY, now
from testvibe_async import Client, MemoryLedger, Project, Ref, RunOperation, errors
from testvibe_async.ledger import Row, RowState
from testvibe_async.testing import Emulator, Fault, Outcome, RecordedRequest

KEY = "pr-1"

KINDS = ["memory", "file"]


@pytest.fixture(params=KINDS)
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Return each ledger that the package has."""
    return None if request.param == "memory" else tmp_path / "ledger"


async def states(client: Client, key: str = KEY) -> list[RowState]:
    """Return the states of the attempts of a key."""
    return [row.state for row in await client.ledger.rows(key) if not row.is_plan]


async def test_equal_requests_share_by_what_each_knew(emulator: Emulator, project: Project) -> None:
    """Whichever searches first, no attempt takes a run that only another one can have made."""
    await project.run_feature("Returns")
    began = now()
    emulator.fail("list_runs", Fault.status(503), when=lambda _: now() < began + 2.5)
    calls: list[asyncio.Task[RunOperation]] = []
    for key in "abc":
        emulator.fail("run_feature", Fault.lost(), times=1)
        calls.append(asyncio.create_task(_one(project, key)))
        await asyncio.sleep(0.5)
        await project.run_feature("Wishlist")
        await asyncio.sleep(0.5)
    mine = [run.id for run in emulator.runs.values() if run.feature_name == "Checkout"]
    assert [(await call).ref.run_id for call in calls] == mine
    assert len(mine) == len(calls)


async def _one(project: Project, key: str) -> RunOperation:
    return await project.run_feature("Checkout", key=key)


async def test_an_accepted_attempt_leaves_the_older_run(
    emulator: Emulator, project: Project
) -> None:
    """What certainly started goes first, and takes no run that was there before it."""
    await project.run_feature("Returns")
    began = now()
    emulator.fail("list_runs", Fault.status(503), when=lambda _: now() < began + 2.5)
    emulator.fail("run_feature", Fault.lost(), times=1)
    first = asyncio.create_task(_one(project, "a"))
    await asyncio.sleep(0.5)
    await project.run_feature("Wishlist")
    emulator.fail("run_feature", Fault.edit(lambda _: {"accepted": True}), times=1)
    second = asyncio.create_task(_one(project, "b"))
    mine = [(await call).ref.run_id for call in (first, second)]
    assert mine == sorted(mine)
    assert len({*mine}) == 2


async def test_what_was_seen_of_an_attempt_decides_no_later_one(
    emulator: Emulator, client: Client, project: Project, rival: Project
) -> None:
    """A run that a caller attached to is older than the attempt that follows a refusal."""
    await project.run_feature("Returns")
    emulator.fail("run_feature", Fault.delay(20), times=1)
    emulator.fail("run_feature", Fault.status(422), times=1)
    first = asyncio.create_task(_one(project, KEY))
    await asyncio.sleep(1)
    theirs = await rival.run_feature("Checkout")
    held = client.attach(theirs.ref)
    await held.poll()
    second = asyncio.create_task(_one(project, KEY))
    await raised(errors.ResponseError, first)
    del held
    gc.collect()
    emulator.fail("run_feature", Fault.lost(), times=1)
    operation = await second
    assert operation.ref.run_id > theirs.run_id


async def test_a_late_time_out_undoes_no_outcome(emulator: Emulator, ledger: Any) -> None:
    """The call whose answer is lost gets the run that another call of its key has found."""
    async with client_of(emulator, ledger=ledger) as client:
        project = client.project()
        await project.run_feature("Returns").wait()
        emulator.fail("run_feature", Fault.unanswered(), times=1)
        first = asyncio.create_task(_one(project, KEY))
        await asyncio.sleep(1)
        second = await project.run_feature("Checkout", key=KEY)
        assert (await second).is_success
        assert (await first).ref == second.ref
        assert await states(client) == ["finished"]


async def test_an_answer_takes_the_outcome_of_what_was_adopted(
    emulator: Emulator, rival: Project, ledger: Any
) -> None:
    """An answer that names another run than the one adopted leaves no outcome of that one."""
    async with client_of(emulator, ledger=ledger) as client:
        project = client.project()
        await project.run_feature("Returns")
        emulator.fail("run_feature", Fault.delay(20), times=1)
        first = asyncio.create_task(_one(project, KEY))
        await asyncio.sleep(1)
        await rival.run_feature("Checkout")
        adopted = await project.run_feature("Checkout", key=KEY)
        waiting = asyncio.create_task(adopted.wait())
        answered = await first
        await waiting
        assert answered.ref != adopted.ref
        again = await project.run_feature("Checkout", key=KEY)
        assert (await again).run_id == answered.run_id


async def test_a_batch_in_memory_keeps_what_its_twin_saw(emulator: Emulator) -> None:
    """A batch whose dispatch timed out has the outcome that another batch of its key has read."""
    async with client_of(emulator) as client:
        project = client.project()
        emulator.fail("run_feature", Fault.unanswered(), times=1)
        first = asyncio.ensure_future(_many(project))
        await asyncio.sleep(1)
        assert verdicts(await project.run_features(["Checkout"], key=KEY)) == ["succeeded"]
        assert verdicts(await first) == ["succeeded"]


async def _many(project: Project, **options: Any) -> Any:
    return await project.run_features(["Checkout"], key=KEY, **options)


@pytest.mark.service(scenario=evolve(STEADY, outcomes={"Checkout": Outcome(generation_duration=6)}))
async def test_a_call_that_joins_recalls_an_attempt_under_way(
    emulator: Emulator, client: Client, rival: Project
) -> None:
    """Of two equal calls, one joins no generation while the other's attempt is under way."""
    await rival.generate_feature("Checkout")
    emulator.fail("get_generation_status", Fault.slow(200), skip=1, times=1)
    first = asyncio.create_task(_attach(client))
    await asyncio.sleep(0.5)
    emulator.fail("generate_feature", Fault.delay(8), times=1)
    second = asyncio.create_task(_attach(client))
    operations = [await first, await second, await _attach(client)]
    assert len({operation.ref for operation in operations}) == 1


async def _attach(client: Client) -> Any:
    return await client.project().generate_feature("Checkout", key=KEY, on_conflict="attach")


async def test_a_strangers_run_is_shared_with_nobody(
    emulator: Emulator, project: Project, rival: Project
) -> None:
    """An attempt that can't have made either of two runs makes none of them the other's."""
    await project.run_feature("Returns")
    await rival.run_feature("Checkout")
    began = now()
    emulator.fail("list_runs", Fault.status(503), when=lambda _: now() < began + 3)
    emulator.fail("run_feature", Fault.lost(), times=1)
    first = asyncio.create_task(_one(project, "a"))
    await asyncio.sleep(0.5)
    await project.run_feature("Wishlist")
    emulator.fail("run_feature", Fault.reset(), times=1)
    second = asyncio.create_task(_one(project, "b"))
    error = await raised(errors.DispatchUnknownError, first)
    assert error.reason == "ambiguous"
    await second


async def test_batches_in_memory_end_with_one_run(emulator: Emulator, rival: Project) -> None:
    """A batch that waited for an adopted run takes the one that its twin's answer named."""
    async with client_of(emulator) as client:
        project = client.project()
        await project.run_feature("Returns").wait()
        emulator.fail("run_feature", Fault.delay(20), times=1)
        first = asyncio.ensure_future(_many(project))
        await asyncio.sleep(1)
        theirs = await rival.run_feature("Checkout")
        (later,), (item,) = await _many(project), await first
        again = await _many(project)
    assert theirs.ref != item.ref == later.ref == again[0].ref
    outcomes = [each.outcome.run_id for each in (item, later, *again)]
    assert outcomes == [item.ref.run_id] * 3
    assert emulator.count("run_feature", feature="Checkout") == 2


async def test_a_decision_is_for_what_was_lost_by_then(emulator: Emulator) -> None:
    """What is lost while a decision waits has its own time to expire."""
    emulator.fail("generate_feature", Fault.reset(), when=_is_of("Checkout"), times=1)
    emulator.fail("generate_feature", Fault.delay(50), when=_is_of("Returns"), times=1)

    async with client_of(emulator, timeout=5) as client:
        batch = client.project().generate_features(["Checkout", "Returns"], key=KEY)
        running = asyncio.ensure_future(_items(batch))
        await asyncio.sleep(3)
        decided = await client.ledger.decide(KEY, "resend")
        assert [row.feature for row in decided] == ["Checkout"]
        await running
    assert emulator.count("generate_feature", feature="Returns") == 1


async def _items(batch: Any) -> Any:
    return await batch


def _is_of(feature: str) -> Callable[[RecordedRequest], bool]:
    return lambda request: request.feature == feature


async def test_a_search_that_hangs_undoes_no_adoption(emulator: Emulator) -> None:
    """A batch whose list showed two runs, and then hangs, gets the one that its twin has found."""
    async with client_of(emulator, timeout=200) as client:
        project = client.project()
        await project.run_feature("Returns")
        emulator.fail("run_feature", Fault.lost(), times=1)
        two = Fault.edit(lambda rows: [rows[0] | {"runId": rows[0]["runId"] + 1}, *rows])
        emulator.fail("list_runs", two, times=1)
        emulator.fail("list_runs", Fault.hang(), skip=1, times=1)
        first = asyncio.ensure_future(_many(project, stop_on_failure=1))
        await asyncio.sleep(4)
        (twin,), (item,) = await _many(project, stop_on_failure=1), await first
        assert twin.outcome == item.outcome is not None
        assert await states(client) == ["finished"]


async def test_a_resumed_batch_skips_nothing_that_may_have_started(
    emulator: Emulator, tmp_path: Path
) -> None:
    """A batch that is stopped at once says of a lost dispatch that it is unknown."""
    async with client_of(emulator, ledger=tmp_path / "ledger") as client:
        emulator.fail("run_feature", Fault.lost(), times=1)
        emulator.fail("list_runs", Fault.status(503))
        items = await client.project().run_features(["Checkout"], key=KEY, timeout=3)
        assert verdicts(items) == ["unknown"]
    async with client_of(emulator, ledger=tmp_path / "ledger") as client:
        batch = client.project().run_features(key=KEY)
        async with batch:
            batch.stop()
        assert verdicts(batch.items) == ["unknown"]
        assert isinstance(batch.items[0].error, errors.DispatchUnknownError)


async def test_a_refuted_adoption_is_unknown(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """The next call says so, and names the decision; memory keeps the row however many follow."""
    emulator.fail("get_run", Fault.edit(lambda run: run | {"config": "Mobile"}))
    emulator.fail("run_feature", Fault.lost(), times=1)
    await raised(errors.ContradictionError, project.run_feature("Checkout", key=KEY).wait())
    error = await raised(errors.DispatchUnknownError, project.run_feature("Checkout", key=KEY))
    assert "ledger.decide" in str(error)
    assert isinstance(error.__cause__, errors.ContradictionError)
    (row,) = await client.ledger.rows(KEY)
    for number in range(10_001):
        await client.ledger.insert(evolve(row, key=f"{number}", state=RowState.NOT_STARTED))
    assert await states(client) == ["unknown"]


async def test_a_refuted_adoption_of_a_batch_without_a_key(
    emulator: Emulator, project: Project
) -> None:
    """The item claims no run of another configuration, and says that its own may have started."""
    emulator.fail("get_run", Fault.edit(lambda run: run | {"config": "Mobile"}))
    emulator.fail("run_feature", Fault.lost(), times=1)
    (item,) = await project.run_features(["Checkout"])
    assert (item.verdict, item.ref) == ("unknown", None)
    assert isinstance(item.error, errors.DispatchUnknownError)


class Hanging(MemoryLedger):
    """A ledger whose insertions hang once it has a batch, and that can't tell who owns what."""

    is_immediate = False

    async def insert(self, row: Row) -> Row:
        if not row.is_plan and row.state is not RowState.INTENDED:
            await asyncio.Event().wait()
        return await super().insert(row)


async def test_a_ledger_that_hangs_ends_no_batch_late(emulator: Emulator) -> None:
    """An outcome that the ledger does not keep in time is the item's all the same."""
    async with client_of(emulator, ledger=Hanging()) as client:
        began = now()
        batch = client.project().generate_features(
            ["Checkout"], key=KEY, missing_only=True, timeout=60
        )
        assert verdicts(await batch) == ["succeeded"]
        assert now() - began < 60


@pytest.mark.service(
    scenario=evolve(STEADY, outcomes={"Checkout": Outcome(generation_duration=60)})
)
async def test_a_ledger_that_hangs_ends_a_call_that_joins(
    emulator: Emulator, rival: Project
) -> None:
    """A generation that the ledger does not store in time is not said to be that of the key."""
    await rival.generate_feature("Checkout")
    async with client_of(emulator, ledger=Hanging()) as client:
        call = client.project().generate_feature("Checkout", key=KEY, on_conflict="attach")
        await raised(errors.LedgerError, call, match="did not store")


class Unreadable(MemoryLedger):
    """A ledger that can't be searched."""

    is_broken = False

    async def related(self, server: str, project: str, refs: Collection[Ref]) -> list[Row]:
        if self.is_broken:
            raise OSError("connection lost")
        return await super().related(server, project, refs)


async def test_an_answer_outweighs_a_ledger_that_fails(emulator: Emulator) -> None:
    """The id of an answer is kept, though nobody can tell whether another dispatch has it."""
    ledger = Unreadable()
    async with client_of(emulator, ledger=ledger) as client:
        project = client.project()
        await project.run_feature("Returns")
        emulator.fail("run_feature", Fault.slow(60), times=1)
        first = asyncio.create_task(_one(project, KEY))
        await asyncio.sleep(1)
        second = await project.run_feature("Checkout", key=KEY)
        ledger.is_broken = True
        assert (await first).ref == second.ref


async def test_an_open_row_of_another_boot_expires(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """A lost dispatch of last month keeps no later one from its run."""
    old = Row(
        server=client.server,
        project=project.id,
        key="old",
        kind="run",
        feature="Checkout",
        boot="another-boot",
        boot_seconds=17.0,
        expires_after=65.0,
        before=0,
        is_before_known=True,
    )
    old.intended_at = old.intended_at.replace(year=old.intended_at.year - 1)
    await client.ledger.insert(old)
    emulator.fail("run_feature", Fault.lost(), times=1)
    operation = await project.run_feature("Checkout", key=KEY)
    assert operation.adopted
    (row,) = await client.ledger.decide("old", "drop")
    assert row.state == "dropped"


async def test_a_key_with_half_a_character_is_refused(project: Project) -> None:
    """No file could keep it, with all that is written beside it."""
    await raised(errors.ConfigError, project.run_feature("Checkout", key="pr-\udc80"))
