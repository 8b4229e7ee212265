"""Lost answers at a service whose answers contradict each other: copies that are behind, and lists
that now miss a row and now show it."""

import asyncio
from typing import Any

import pytest

from testvibe_async import DispatchUnknownError, Project
from testvibe_async.testing import Emulator, Fault

Document = dict[str, Any]


def _with_a_twin(rows: list[Document]) -> list[Document]:
    return [{**rows[0], "runId": rows[0]["runId"] + 1}, *rows]


async def test_a_run_that_one_list_misses_is_still_a_candidate(
    emulator: Emulator, project: Project
) -> None:
    """Where a list showed two runs that may be ours, a later one that shows one decides nothing."""
    await project.run_feature("Returns")

    emulator.fail("run_feature", Fault.lost(), times=1)
    emulator.fail("list_runs", Fault.edit(_with_a_twin), times=1)

    with pytest.raises(DispatchUnknownError) as caught:
        await project.run_feature("Checkout")

    ours = max(emulator.runs)
    assert caught.value.reason == "ambiguous"
    assert {ref.key[-1] for ref in caught.value.candidates} == {ours, ours + 1}


async def test_a_candidate_that_no_list_shows_any_more_is_told(
    emulator: Emulator, project: Project
) -> None:
    """What one list showed and the next ones miss is ambiguous, and not absent."""
    await project.run_feature("Returns")

    emulator.fail("run_feature", Fault.lost(), times=1)
    emulator.fail("list_runs", Fault.edit(_with_a_twin), times=1)
    emulator.fail("list_runs", Fault.edit(lambda _: []), skip=1)

    with pytest.raises(DispatchUnknownError) as caught:
        await project.run_feature("Checkout")

    assert caught.value.reason == "ambiguous"
    assert len(caught.value.candidates) == 2


async def test_the_run_of_a_dispatch_that_stays_unknown_is_not_adopted_by_another(
    emulator: Emulator, project: Project
) -> None:
    """What appears after one dispatch was given up may be its run: another one leaves it alone."""
    await project.run_feature("Returns")
    emulator.fail("run_feature", Fault.delay(38), times=1)  # given up after 30 s and 7 s
    emulator.fail("run_feature", Fault.reset(), times=1, skip=1)
    first = asyncio.ensure_future(project.run_feature("Checkout"))
    await asyncio.sleep(37.5)

    second = asyncio.ensure_future(project.run_feature("Checkout"))
    results = await asyncio.gather(first, second, return_exceptions=True)

    assert [run.feature.name for run in emulator.runs.values()] == ["Returns", "Checkout"]
    reasons = [result.reason for result in results if isinstance(result, DispatchUnknownError)]
    assert reasons == ["absent", "ambiguous"]


async def test_a_generation_from_before_the_dispatch_is_not_adopted(
    emulator: Emulator, project: Project
) -> None:
    """A copy that is behind shows an earlier generation than the last one known: not ours."""
    status = "get_generation_status"
    await (await project.generate_feature("Draft"))
    early = dict[str, Any]()
    emulator.fail(status, Fault.edit(lambda answer: early.update(answer) or answer), times=1)
    await project.get_generation_status("Draft")
    await (await project.generate_feature("Draft"))
    emulator.fail("generate_feature", Fault.reset(), times=1)
    emulator.fail(status, Fault.edit(lambda _: early), skip=1)

    with pytest.raises(DispatchUnknownError, match="from before the dispatch") as caught:
        await project.generate_feature("Draft")

    assert caught.value.reason == "unseen"
    assert len(emulator.generations) == 2
