"""Words and times that are not documented: what is in flight is waited for."""

import logging
from collections.abc import Iterable
from typing import Any

import pytest

from tests.conftest import client_of
from tests.support.timing import now
from testvibe_async import Client, Hooks, ObservationError, Project
from testvibe_async.events import StatusChanged
from testvibe_async.testing import Emulator, Fault

DRAFT = "Wishlist"
WORDS = [
    *("executing", "Executing", "starting", "in progress", "In Progress", "InProgress"),
    *("in-progress", "IN_PROGRESS", "planning", "Queued", "pending"),
]


def while_in_flight(**members: Any) -> Fault:
    """Change members of an answer as long as the operation is in flight; None leaves one out."""
    without = {name for name, value in members.items() if value is ...}
    other = {name: value for name, value in members.items() if value is not ...}

    def change(document: dict[str, Any]) -> dict[str, Any]:
        if document.get("status", document.get("featureStatus")) not in {"running", "generating"}:
            return document
        return {name: value for name, value in {**document, **other}.items() if name not in without}

    return Fault.edit(change)


def warnings_in(records: Iterable[logging.LogRecord]) -> list[str]:
    """Return what was logged as a warning."""
    return [each.getMessage() for each in records if each.levelno == logging.WARNING]


@pytest.mark.parametrize("word", WORDS)
async def test_other_words_are_waited_for(
    emulator: Emulator, project: Project, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The word is compared without case, spaces and hyphens; nothing is warned of."""
    emulator.fail("get_run", while_in_flight(status=word, finishedUtc=...))
    emulator.fail("get_generation_status", while_in_flight(featureStatus=word, overallStatus=None))
    assert (await project.run_feature("Checkout").wait()).is_success
    assert (await project.generate_feature(DRAFT).wait()).is_success
    assert not warnings_in(caplog.records)


async def test_an_explicit_null_end_means_in_flight(
    emulator: Emulator, client: Client, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    """A word that is not documented is waited for while `finishedUtc` is null, with one warning."""
    emulator.fail("get_run", while_in_flight(status="Evaluating", finishedUtc=None))
    operations = [await project.run_feature("Checkout") for _ in range(2)]
    assert [run.is_success for run in await client.gather(*operations)] == [True, True]
    (warning,) = warnings_in(caplog.records)
    assert "'Evaluating'" in warning


async def test_the_first_year_is_a_null_end(emulator: Emulator, project: Project) -> None:
    """What .NET writes for no time counts as null."""
    year = "0001-01-01T00:00:00Z"
    emulator.fail("get_run", while_in_flight(status="Evaluating", finishedUtc=year))
    assert (await (await project.run_feature("Checkout"))).is_success


@pytest.mark.parametrize("overall", ["in_progress", "InProgress", "in progress", "Queued"])
async def test_an_overall_status_in_flight_means_in_flight(
    emulator: Emulator, project: Project, overall: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A word that is not documented is waited for while there is no conclusion."""
    fault = while_in_flight(
        featureStatus="Evaluating", overallStatus=overall, overallConclusion=None
    )
    emulator.fail("get_generation_status", fault)
    assert (await project.generate_feature(DRAFT).wait()).is_success
    (warning,) = warnings_in(caplog.records)
    assert "'Evaluating'" in warning


YEAR_ONE = [
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00",
    "0001-01-01T00:00:00.0000000",
    "0001-01-01T00:00:00+00:00",
    "0001-01-01T00:00:00+02:00",
    "/Date(-62135596800000)/",
    -62135596800,
    -62135596800000,
]


@pytest.mark.parametrize("year", YEAR_ONE)
async def test_the_first_year_is_no_time(
    emulator: Emulator, project: Project, year: str | int, caplog: pytest.LogCaptureFixture
) -> None:
    """In each form it is None, and is neither kept nor warned of."""
    emulator.fail("get_run", while_in_flight(startedUtc=year, finishedUtc=year))
    run = await (await project.run_feature("Checkout")).poll()
    assert (run.started_at, run.finished_at) == (None, None)
    assert run.phase == "queued"
    assert not run.is_finished
    assert not run.extra
    assert not warnings_in(caplog.records)


async def test_the_first_year_in_a_list_starts_nothing(emulator: Emulator) -> None:
    """A row that started in the first year has not started."""

    def never(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        year = "0001-01-01T00:00:00Z"
        times = ("startedUtc", "finishedUtc")
        return [{**row, **{name: row[name] or year for name in times}} for row in rows]

    started: list[float] = []

    def note(event: StatusChanged) -> None:
        if event.transition.phase == "active":
            started.append(now())

    emulator.fail("list_runs", Fault.edit(never))
    async with client_of(emulator, hooks=Hooks(on_transition=note)) as client:
        await client.gather(*[await client.project().run_feature("Checkout") for _ in range(20)])
    assert emulator.count("list_runs") > 5
    assert len(started) == 20
    assert min(started) > 5


async def test_words_in_flight_are_believed_of_a_list(emulator: Emulator) -> None:
    """A list in the same words saves as many reads as one in the documented ones."""

    def other(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**row, "status": row["status"].replace("running", "In Progress")} for row in rows]

    emulator.fail("list_runs", Fault.edit(other))
    emulator.fail("get_run", while_in_flight(status="In Progress"))
    async with client_of(emulator) as client:
        operations = [await client.project().run_feature("Checkout") for _ in range(50)]
        assert all(run.is_success for run in await client.gather(*operations))
    assert emulator.count("get_run") < 2.5 * len(operations)


def without_id(status: Any) -> Any:
    """Leave out which generation a status is of."""
    return {name: value for name, value in status.items() if name != "requestId"}


async def test_a_service_that_names_no_generation(emulator: Emulator, project: Project) -> None:
    """What was in flight after the dispatch, and then ended, is what was dispatched."""
    emulator.fail("get_generation_status", Fault.edit(without_id))
    generation = await (await project.generate_feature("Draft"))
    assert generation.is_success


async def test_an_end_alone_is_not_taken_for_its_own(emulator: Emulator, project: Project) -> None:
    """An end that names no generation, and was not seen in flight, may be an earlier one's."""
    await (await project.generate_feature("Checkout"))
    ended = await project.get_generation_status("Checkout")
    operation = await project.generate_feature("Checkout")
    emulator.fail("get_generation_status", Fault.edit(lambda _: without_id(ended.to_dict())))
    with pytest.raises(ObservationError):
        await operation


async def test_an_older_end_is_not_taken_for_its_own(emulator: Emulator, project: Project) -> None:
    """After a status in flight that names none, the end of the one before may come from a copy."""
    await (await project.generate_feature("Checkout"))
    ended = await project.get_generation_status("Checkout")
    operation = await project.generate_feature("Checkout")
    emulator.fail("get_generation_status", Fault.edit(without_id), times=1)
    await operation.poll()
    emulator.fail("get_generation_status", Fault.edit(lambda _: without_id(ended.to_dict())))
    with pytest.raises(ObservationError):
        await operation


async def test_an_unknown_word_ends_in_an_error(emulator: Emulator, project: Project) -> None:
    """A word that nobody knows, with a null end, is polled as long as an outage, and then named."""
    emulator.fail(
        "get_run", Fault.edit(lambda run: {**run, "status": "ready", "finishedUtc": None})
    )
    operation = await project.run_feature("Checkout")
    with pytest.raises(ObservationError, match="ready"):
        await operation
