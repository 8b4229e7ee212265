"""Why a dispatch is unknown, and which runs were there before it."""

import asyncio
from typing import Any

import pytest

from tests.conftest import client_of
from tests.support.timing import now
from testvibe_async import Client, DispatchUnknownError, Project, RunRef
from testvibe_async.testing import Emulator, Fault


async def _unknown(project: Project, **options: Any) -> DispatchUnknownError:
    with pytest.raises(DispatchUnknownError) as caught:
        await project.run_feature("Checkout", **options)
    return caught.value


async def test_absent(emulator: Emulator, project: Project) -> None:
    """A list that is whole and shows nothing of it is said to, with the time."""
    emulator.fail("run_feature", Fault.reset())
    error = await _unknown(project)
    assert (error.reason, error.candidates) == ("absent", ())
    assert error.polled_at is not None
    assert f"polled until {error.polled_at:%H:%M:%S} UTC, showed nothing of it" in str(error)
    assert "most likely nothing began" in str(error)


async def test_ambiguous(emulator: Emulator, project: Project) -> None:
    """Runs that may be it are named, and nothing is adopted."""
    emulator.fail("run_feature", Fault.lost())
    async with client_of(emulator) as other:
        first, error = await asyncio.gather(
            _unknown(other.project()), _unknown(project), return_exceptions=False
        )
    assert first.reason == error.reason == "ambiguous"
    assert {ref.key[-1] for ref in error.candidates} == {*emulator.runs}
    assert emulator.count("run_feature") == 2
    assert all(f"run {number}" in str(error) for number in emulator.runs)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Fault.status(404), "404"),
        (Fault.status(500), "500"),
        (Fault.reset(), "the connection was lost"),
        (Fault.edit(lambda rows: [row | {"createdUtc": None} for row in rows] * 70), "is cut"),
    ],
)
async def test_unseen(emulator: Emulator, project: Project, fault: Fault, why: str) -> None:
    """Where the list could not be read, or shows a part, the reason is in the text."""
    for _ in range(3):
        await project.run_feature("Checkout")
    emulator.fail("run_feature", Fault.reset())
    emulator.fail("list_runs", fault)
    error = await _unknown(project)
    assert error.reason == "unseen"
    assert why in str(error)
    assert "could not be polled for" in str(error)


async def test_what_was_shown_once_is_kept(emulator: Emulator, project: Project) -> None:
    """A list that fails later does not undo that it showed nothing before."""
    emulator.fail("run_feature", Fault.reset())
    emulator.fail("list_runs", Fault.reset(), skip=2)
    assert (await _unknown(project)).reason == "absent"


async def test_a_generation_without_news_is_absent(emulator: Emulator, project: Project) -> None:
    """The documented status shows that no generation began."""
    emulator.fail("generate_feature", Fault.reset())
    with pytest.raises(DispatchUnknownError) as caught:
        await project.generate_feature("Draft")
    assert caught.value.reason == "absent"


async def test_a_generation_whose_status_was_not_seen_is_unseen(
    emulator: Emulator, project: Project
) -> None:
    """Without the status from before the dispatch nothing can be told, and nothing is asked."""
    emulator.fail("get_generation_status", Fault.status(404))
    emulator.fail("generate_feature", Fault.reset())
    with pytest.raises(DispatchUnknownError, match="before it is not known") as caught:
        await project.generate_feature("Draft")
    assert caught.value.reason == "unseen"
    assert now() < 1


async def test_a_run_of_another_process_is_not_adopted(emulator: Emulator) -> None:
    """Of two processes within two seconds the second takes nothing of the first for its own."""
    features = ["Checkout", "Returns"]
    async with client_of(emulator) as first, client_of(emulator) as second:
        theirs = first.project().run_features(features)
        async with theirs:
            await asyncio.sleep(1)
            emulator.fail("run_feature", Fault.reset())
            items = await second.project().run_features(features)
    assert [item.verdict for item in items] == ["unknown", "unknown"]
    assert [getattr(item.error, "reason", None) for item in items] == ["absent", "absent"]
    assert len(emulator.runs) == 2


async def test_a_run_that_may_have_been_there_before_is_ambiguous(emulator: Emulator) -> None:
    """Where no id was seen before the dispatch, one that the clocks can't place is not adopted."""
    async with client_of(emulator) as first:
        await first.project().run_feature("Checkout")
    emulator.fail("run_feature", Fault.reset())
    emulator.fail("list_runs", Fault.status(500), times=1)
    async with client_of(emulator) as second:
        error = await _unknown(second.project())
    assert error.reason == "ambiguous"
    assert [ref.key[-1] for ref in error.candidates] == [*emulator.runs]


async def test_the_latest_run_is_read_once(emulator: Emulator, project: Project) -> None:
    """Before the first dispatches, many at once, the project's latest run is read once."""
    await asyncio.gather(*(project.run_feature("Checkout") for _ in range(5)))
    await project.run_feature("Returns")
    assert emulator.count("list_runs") == 1


async def test_the_error_has_its_intent(emulator: Emulator, client: Client) -> None:
    """With the error's intent the run is found later, when the service shows it."""
    emulator.fail("run_feature", Fault.lost())
    emulator.fail("list_runs", Fault.edit(lambda _: []), times=4)
    error = await _unknown(client.project())
    assert error.intent is not None
    operation = await client.reconcile(error.intent)  # type: ignore[arg-type]
    assert operation is not None
    assert isinstance(operation.ref, RunRef)
    assert operation.ref.run_id in emulator.runs
