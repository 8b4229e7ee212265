"""Polls whose answers can't be read, or say nothing: waits end soon, with the reason."""

import logging
from typing import Any

import pytest

from testvibe_async import Client, ObservationError, Phase, Project, RunStatus
from testvibe_async.testing import Emulator, Fault


def edited(**members: Any) -> Fault:
    """Return a fault that changes members of an answer."""
    return Fault.edit(lambda document: {**document, **members})


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (Fault.body(b"<!doctype html><title>Sign in</title>"), "a web page titled 'Sign in'"),
        (edited(status=3), "expected a string, got 3 at $.status"),
        (Fault.status(400), "400 invalid_request"),
        (Fault.status(302, body=b""), "redirects to"),
    ],
    ids=["page", "status", "refused", "redirect"],
)
async def test_the_same_answer_three_times_ends_the_wait(
    emulator: Emulator, project: Project, fault: Fault, what: str
) -> None:
    """What another poll would not change is no outage, and is not waited out."""
    operation = await project.run_feature("Checkout")
    emulator.fail("get_run", fault)
    with pytest.raises(ObservationError) as caught:
        await operation
    assert "the same answer 3 times: " in str(caught.value)
    assert what in str(caught.value)
    assert emulator.count("get_run") == 3


async def test_different_answers_are_an_outage(emulator: Emulator, project: Project) -> None:
    """Answers that break off at another place each time may get better."""
    operation = await project.run_feature("Checkout")
    numbers = iter(range(9))
    emulator.fail("get_run", Fault.edit(lambda run: {**run, "status": next(numbers)}), times=9)
    assert (await operation).is_finished
    assert emulator.count("get_run") >= 10


async def test_an_undocumented_status_is_seen_and_ends_the_wait_at_the_third_poll(
    emulator: Emulator, project: Project
) -> None:
    """Nobody can say whether it is an end: the error names the word, and poll() shows it."""
    operation = await project.run_feature("Checkout")
    emulator.fail("get_run", Fault.edit(lambda run: {"runId": run["runId"], "status": "Timed_Out"}))
    with pytest.raises(
        ObservationError, match="its status is 'Timed_Out', which is not documented"
    ):
        await operation
    assert emulator.count("get_run") == 3
    assert (await operation.poll()).status == "Timed_Out"
    assert not operation.done
    with pytest.raises(ObservationError):
        await operation.wait()
    assert emulator.count("get_run") == 3 + 3  # the poll by hand is the first of these


async def test_a_status_in_capitals_is_the_documented_one(
    emulator: Emulator, project: Project
) -> None:
    """Also where it says that the run goes on."""
    operation = await project.run_feature("Checkout")
    emulator.fail("*", Fault.edit(lambda run: {**run, "status": run["status"].upper()}))
    seen = [transition.status async for transition in operation]
    assert seen[:-1] == [RunStatus.RUNNING] * len(seen[:-1])
    assert operation.outcome is not None
    assert operation.outcome.status in {RunStatus.PASSED, RunStatus.FAILED}
    assert operation.phase is Phase.FINISHED


async def test_an_odd_field_blinds_no_wait(
    emulator: Emulator, client: Client, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    """It is None, its value is kept, and the log says so once a client."""
    emulator.fail("get_run", edited(createdUtc="yesterday", log=[{"line": 1}]))
    operations = [await project.run_feature("Checkout") for _ in range(3)]
    runs = await client.gather(*operations)
    await project.get_run(operations[0].run_id)
    assert [run.is_finished for run in runs] == [True] * 3
    assert [run.extra for run in runs] == [{"createdUtc": "yesterday", "log": [{"line": 1}]}] * 3
    assert {(run.created_at, run.log) for run in runs} == {(None, None)}
    texts = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert sorted(texts) == [
        (
            "Run.createdUtc can't be read and is left out: expected a time such as "
            "2026-06-10T14:32:07Z, got 'yesterday' at $.createdUtc"
        ),
        "Run.log can't be read and is left out: expected a string, got {'line': 1} at $.log",
    ]


async def test_much_that_is_unknown_is_cut_with_one_warning(
    emulator: Emulator, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    """Of fields without a place 64 KiB are kept; the log says so once a client and model."""
    emulator.fail("get_run", edited(note="x" * 70_000, hint="y"))
    operations = [await project.run_feature("Checkout") for _ in range(3)]
    for operation in operations:
        assert (await project.get_run(operation.run_id)).extra == {"hint": "y"}
    assert [each.getMessage() for each in caplog.records] == [
        "Run.extra is cut: only 64 KiB of an answer's other fields are kept"
    ]


async def test_fields_without_end_are_not_logged_without_end(
    emulator: Emulator, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    """A service that invents fields can't fill a disk."""
    deep: Any = 1
    for _ in range(70):
        deep = [deep]
    emulator.fail("get_feature", edited(**{f"field {number}": deep for number in range(500)}))
    await project.get_feature("Checkout")
    assert len(caplog.records) == 100


async def test_ids_as_digits_are_found_in_lists(
    emulator: Emulator, client: Client, project: Project
) -> None:
    """A list whose ids are texts, and whose statuses are capitals, serves as any other."""

    def odd(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {**row, "runId": str(row["runId"]), "status": row["status"].upper()} for row in rows
        ]

    emulator.fail("list_runs", Fault.edit(odd))
    operations = [await project.run_feature("Checkout") for _ in range(50)]
    await client.gather(*operations)
    assert emulator.count("get_run") < 2.5 * len(operations)
