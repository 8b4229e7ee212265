"""What a batch says of each feature while it goes on; `early_ends` has what it says after."""

import asyncio

import pytest

from tests.conftest import client_of
from testvibe_async import (
    Batch,
    BatchSummary,
    ConfigError,
    DispatchUnknownError,
    Operation,
    Phase,
    Project,
    Run,
    Verdict,
)
from testvibe_async.testing import Emulator, Fault, Scenario

NAMES = ["Checkout", "Wishlist", "Returns", "Login Functionality"]


SCENARIO = Scenario(run_queue=0, run_duration=30, failing_runs=0)
"""Runs of half a minute."""


def verdicts(batch: Batch[Run]) -> list[Verdict]:
    """Return what the batch says of each feature now."""
    return [item.verdict for item in batch.items]


async def test_the_items_are_there_at_any_moment(emulator: Emulator, project: Project) -> None:
    """Before, while and after it runs a batch says of each feature what is known, in order."""
    batch = project.run_features(NAMES, max_in_flight=2)
    assert batch.items == []
    async with batch:
        assert verdicts(batch) == [Verdict.WAITING] * 4
        await asyncio.sleep(1)
        assert verdicts(batch) == [Verdict.IN_FLIGHT] * 2 + [Verdict.WAITING] * 2
        assert [item.ref for item in batch.items if item.ref] == batch.refs
        await asyncio.sleep(36)
        assert verdicts(batch) == [Verdict.SUCCEEDED] * 2 + [Verdict.IN_FLIGHT] * 2
        assert str(BatchSummary.of(batch.items)) == str(batch.summary)
        items = [item async for item in batch]
    assert {item.feature for item in items} == {item.feature for item in batch.items}
    assert verdicts(batch) == [Verdict.SUCCEEDED] * 4
    assert batch.summary.is_success
    assert len(emulator.runs) == 4


async def test_a_dispatch_without_an_answer_is_unknown(
    emulator: Emulator, project: Project
) -> None:
    """What was sent and not answered may go on; its item says why that is not known."""
    emulator.fail("run_feature", Fault.delay(20), times=1)
    async with project.run_features(["Checkout"]) as batch:
        await asyncio.sleep(1)
        (item,) = batch.items
        assert (item.verdict, item.ref) == (Verdict.UNKNOWN, None)
        assert isinstance(item.error, DispatchUnknownError)
        assert "its answer has not come yet" in str(item.error)

    (item,) = batch.items
    assert "the batch ended before its answer came" in str(item.error)
    await asyncio.sleep(20)
    (item,) = batch.items
    assert (item.verdict, item.error) == (Verdict.IN_FLIGHT, None)
    assert item.ref is not None


class TestChanges:
    async def test_each_transition_comes_with_its_operation(
        self, emulator: Emulator, project: Project
    ) -> None:
        """The transitions of all operations come in one task, also of those dispatched later."""
        seen: dict[Operation[Run], list[Phase]] = {}
        async with project.run_features(NAMES, max_in_flight=2) as batch:
            async for operation, transition in batch.changes():
                seen.setdefault(operation, []).append(transition.phase)
        assert len(seen) == len(emulator.runs) == 4
        assert all(phases[0] is Phase.QUEUED for phases in seen.values())
        assert all(phases[-1] is Phase.FINISHED for phases in seen.values())
        assert verdicts(batch) == [Verdict.SUCCEEDED] * 4

    async def test_what_is_in_flight_already_is_followed_too(self, project: Project) -> None:
        """Asked for later, it begins with the present state of all that is dispatched."""
        async with project.run_features(NAMES, max_in_flight=4) as batch:
            await asyncio.sleep(10)
            changes = batch.changes()
            ends = [op async for op, change in changes if change.phase is Phase.FINISHED]
        assert {operation.ref for operation in ends} == set(batch.refs)
        assert len(ends) == 4

    async def test_one_that_is_closed_is_followed_no_more(self, project: Project) -> None:
        """A batch goes on after its changes are closed, and adds nothing to them."""
        async with project.run_features(NAMES, max_in_flight=1) as batch:
            changes = batch.changes()
            await anext(changes)
            await changes.aclose()
            items = [item async for item in batch]
        assert len(items) == 4
        with pytest.raises(StopAsyncIteration):
            await anext(changes)

    async def test_it_ends_where_nothing_can_be_dispatched(
        self, emulator: Emulator, project: Project
    ) -> None:
        """A batch whose features are all refused has no transitions, and ends."""
        emulator.fail("run_feature", Fault.status(409))
        async with project.run_features(NAMES) as batch:
            assert [change async for change in batch.changes()] == []
        assert verdicts(batch) == [Verdict.ERROR] * 4

    async def test_what_can_not_be_observed_is_an_item(
        self, emulator: Emulator, project: Project
    ) -> None:
        """An outage raises nothing here: the items say what could not be seen."""
        emulator.fail("get_run", Fault.status(404))
        async with project.run_features(NAMES[:2]) as batch:
            changes = [change async for _, change in batch.changes()]
        assert {change.phase for change in changes} <= {Phase.QUEUED, Phase.ACTIVE}
        assert verdicts(batch) == [Verdict.ERROR] * 2

    @pytest.mark.filterwarnings("ignore:run_features")
    async def test_a_batch_that_was_not_opened_has_none(self, project: Project) -> None:
        """Without `async with` nothing would ever change."""
        with pytest.raises(ConfigError, match="async with"):
            project.run_features(NAMES).changes()


async def test_items_that_share_a_generation_each_have_its_changes() -> None:
    """A feature that is named twice, on a service without lists, joins the one generation."""
    async with Emulator(lists=False) as emulator, client_of(emulator) as client:
        feature = emulator.add_feature("Twice", status="draft")
        names: list[int | str] = ["Twice", feature.id]
        async with client.project().generate_features(names, on_conflict="attach") as batch:
            await asyncio.sleep(30)
            ends = [change async for _, change in batch.changes() if change.phase == "finished"]
    assert len(emulator.generations) == 1
    assert len({item.ref for item in batch.items}) == 1
    assert len(ends) == 2
