"""Durable batches beside the others: `run --on`, `work`, and every command that names a batch."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from attrs import evolve

from tests.support.durable import put_on_virtual_time
from tests.support.timing import STEADY
from tests.surfaces.cli.conftest import Call, later, text_of
from testvibe_async.adapters.durable import BatchStatus, DurableBatch
from testvibe_async.testing import Emulator, Fault, Outcome

SCENARIO = evolve(STEADY, outcomes={"Returns": Outcome(run_status="failed")})


@pytest.fixture(autouse=True)
async def _virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_virtual_time(monkeypatch)


@pytest.fixture
def on(machine: Path) -> str:
    """The database of the batches."""
    return str(machine / "shared.sqlite")


async def test_from_its_dispatch_to_its_report(call: Call, on: str, emulator: Emulator) -> None:
    """It is stored once, worked on to its end, and is a numbered batch like any other."""
    stored = await call("run Checkout Returns --on", on, "--name", "nightly")
    assert (stored.code, stored.output) == (0, "Batch 1 (nightly) is stored.\n")
    assert f"on this machine: testvibe-async work nightly --on {on}" in stored.errors
    again = await call("run Checkout Returns --on", on, "--name", "nightly")
    assert again.output == "Batch 1 (nightly) was stored before.\n"
    early = await call("report 1")
    assert (early.code, emulator.count("run_feature")) == (4, 0)
    assert "Batch 1 (nightly): 2 waiting" in early.output
    assert f"No worker is running: start one with testvibe-async work nightly --on {on}" in (
        early.output
    )
    worked = await call("work nightly --on", on, "--json")
    document = json.loads(worked.output)
    assert (worked.code, document["batch"], document["isOver"]) == (1, 1, True)
    assert "over before" not in worked.errors
    late = await call("work nightly --on", on)
    assert (late.code, emulator.count("run_feature")) == (1, 2)
    assert "Batch 1 (nightly) was over before: nothing was left to do." in late.errors
    assert "No worker" not in worked.errors
    assert document["summary"] == (await call("report --json")).json["summary"]
    over = await call("run Checkout Returns --on", on, "--name", "nightly", "--wait")
    assert over.code == 2
    assert "is over: choose another --name" in over.errors
    rerun = (await call("run --failed 1 --wait --json")).json
    assert [item["feature"] for item in rerun["items"]] == ["Returns"]
    history = (await call("history --json")).json
    (batch,) = history["batches"]
    assert (batch["batch"], batch["database"], batch["journal"]) == (1, on, None)
    assert (batch["passed"], batch["failed"], batch["workers"]) == (1, 1, [])


async def test_while_another_machine_works_on_it(call: Call, on: str) -> None:
    """Each command says how many are in flight on which worker, and if it has ended."""
    names = ("Checkout", "Returns", "Newsletter")
    await call("run", *names, "--on", on, "--name", "nightly", "--max-in-flight", "2")
    working = asyncio.create_task(call("work 1"))
    await asyncio.sleep(10)
    for command in (("report", "1"), ("resume", "--list"), ("history",)):
        shown = await call(*command)
        assert " has 2 in flight" in shown.output + shown.errors, command
        assert "No worker" not in shown.output + shown.errors
        workers = re.findall(r'"workers":\s*(\[[^]]+\])', (await call(*command, "--json")).output)
        ((worker,),) = map(json.loads, workers)
        assert (worker["isAlive"], worker["inFlight"]) == (True, 2)
    working.cancel()
    await asyncio.wait([working])
    shown = await call("report 1")
    assert " has ended, with 2 in flight for another to take over" in shown.output
    assert "No worker is running" in shown.output
    assert (await call("resume")).code == 1


async def test_a_batch_that_is_followed(call: Call, on: str) -> None:
    """`run --wait` follows what the workers do, exits as they do, and ends at its time limit."""
    name = ("Checkout", "Returns", "--on", on, "--name", "nightly", "--wait")
    alone = await call("run", *name, "--timeout", "10", "--report", "early.md")
    assert alone.code == 4
    assert "No worker is running" in alone.errors
    assert "2 of 2 waiting" in text_of("early.md")
    assert "interrupted" not in (await call("run Checkout --wait")).errors
    following = asyncio.create_task(call("run", *name))
    await asyncio.sleep(5)
    working = asyncio.create_task(call("work nightly"))
    await asyncio.sleep(5)
    impatient = await call("run", *name, "--timeout", "10")
    assert (impatient.code, "Still running at the service:" in impatient.errors) == (4, True)
    await working
    assert (await following).code == 1


async def test_options_that_judge_are_stored(call: Call, on: str, emulator: Emulator) -> None:
    """`--fail-on-flaky` holds for each worker and for `report`, as of a batch with a journal."""
    await call("run Checkout --attempts 2 --fail-on-flaky --on", on, "--name", "nightly")
    later(5, emulator.finish_run, 214, "failed")
    assert [(await call(command)).code for command in ("work 1", "report 1")] == [1, 1]
    assert emulator.count("run_feature") == 2


async def test_a_follower_outlasts_its_database(call: Call, on: str) -> None:
    """It says that it can't read the batch, and follows it once it can."""
    following = asyncio.create_task(call("run Checkout --on", on, "--name", "nightly", "--wait"))
    await asyncio.sleep(5)
    Path(on).rename(f"{on}.away")  # noqa: ASYNC240
    await asyncio.sleep(10)
    assert not following.done()
    Path(f"{on}.away").rename(on)  # noqa: ASYNC240
    await call("work nightly")
    assert (await following).code == 0


async def test_outage_of_a_worker(call: Call, on: str, emulator: Emulator) -> None:
    """A worker says that the service is away, and which runs it does not see; and the end of it."""
    await call("run Checkout --on", on, "--name", "nightly")
    later(8, lambda: later(10, emulator.fail("*", Fault.reset()).remove))
    worked = await call("work nightly")
    assert worked.code == 0
    assert re.search(r"\nWorking: not reachable for \d s; 1 run not seen since ", worked.errors)
    assert "\nWorking: the service answers again, after 1" in worked.errors


async def test_cancel_and_resume(call: Call, on: str, emulator: Emulator) -> None:
    """A cancelled batch dispatches nothing, until it is resumed."""
    await call("run Checkout --on", on, "--name", "nightly")
    cancelled = await call("cancel 1")
    assert cancelled.output == "Batch 1: 1 skipped\n"
    assert (await call("work 1")).code == 4
    assert emulator.count("run_feature") == 0
    assert (await call("resume 1")).code == 0
    over = await call("cancel 1")
    assert (over.code, over.output[-11:]) == (0, ": 1 passed\n")
    assert over.errors == "Batch 1 (nightly) was over before: nothing was left to cancel.\n"
    assert "is in no database" in (await call("cancel nope.journal")).errors


async def test_project_by_its_name(call: Call, on: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is found where the project in force is a name; of another project, it says so."""
    monkeypatch.setenv("TESTVIBE_PROJECT", "Acme Shop")
    await call("run Checkout --on", on, "--name", "nightly")
    worked, reported = await call("work nightly"), await call("report nightly")
    assert (worked.code, worked.lines[-1]) == (0, reported.lines[-1])
    monkeypatch.setenv("TESTVIBE_PROJECT", "Another")
    ended = await call("report nightly")
    ended.refuses("Batch 1 (nightly) is of project ")
    assert "not of project Another at http" in ended.errors


async def test_decisions(call: Call, on: str, emulator: Emulator) -> None:
    """What is unknown is decided as in any batch."""
    emulator.fail("run_feature", Fault.lost())
    emulator.fail("list_runs", Fault.status(404))
    await call("run Checkout --on", on, "--name", "nightly")
    assert (await call("work 1")).code == 5
    assert "takes resend, drop, or adopt" in (await call("resume 1 --unknown x")).errors
    dropped = await call("resume 1 --unknown drop")
    assert "1 dropped" in dropped.output
    assert emulator.count("run_feature") == 1


async def test_generations_have_a_yes(call: Call, on: str, emulator: Emulator) -> None:
    """A batch that may generate is not stored or resumed unasked, as workers ask nobody."""
    words = ("generate", "--all", "--on", on, "--name", "drafts")
    refused = await call(*words)
    assert (refused.code, refused.output) == (2, "")
    assert "--yes" in refused.errors
    assert (await call(*words, "--yes")).output == "Batch 1 (drafts) is stored.\n"
    resumed = await call("resume 1")
    assert (resumed.code, emulator.count("generate_feature")) == (2, 0)
    assert "may dispatch 1 generation, and each costs credits" in resumed.errors
    assert (await call("work 1")).code == 0


async def test_more_generations(call: Call, on: str, emulator: Emulator) -> None:
    """A resume goes beyond the limit of the batch by as many as it allows."""
    for name in ("A", "B", "C"):
        emulator.add_feature(name, status="draft")
    await call("generate A B C --on", on, "--name", "drafts", "--max-generations", "1")
    stopped = await call("work 1")
    assert (stopped.code, emulator.count("generate_feature")) == (4, 1)
    assert "2 stopped at the limit" in stopped.output
    await call("resume 1 --max-generations 1")
    assert emulator.count("generate_feature") == 2
    assert (await call("resume 1 --yes")).code == 0
    assert emulator.count("generate_feature") == 3


async def test_another_machine(
    call: Call, on: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that names the database has the batch among its own from then on."""
    await call("run Checkout --on", on, "--name", "nightly")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
    assert (await call("report nightly")).code == 2
    assert (await call("report nightly --on", on)).code == 4
    assert (await call("work nightly")).code == 0
    forgotten = await call("discard 1")
    assert forgotten.output == f"Batch 1 (nightly) is forgotten: it stays in {on}.\n"
    assert (await call("resume nightly --on", on)).code == 0


async def test_a_database_that_is_away(
    call: Call, on: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked once: `history` leaves its batches out and says so; `report` of one fails."""
    await call("run Checkout --wait")
    for name in ("weekly", "nightly"):
        await call("run Checkout --on", on, "--name", name)
    (tmp_path / "shared.sqlite").write_text("It is no database any more, and that for long.")
    asked: list[str] = []
    status = DurableBatch.status

    async def counted(batch: DurableBatch) -> BatchStatus:
        asked.append(batch.id)
        return await status(batch)

    monkeypatch.setattr(DurableBatch, "status", counted)
    history = await call("history --json")
    assert [each["batch"] for each in json.loads(history.output)["batches"]] == [1]
    assert "Batch 3 (nightly) is left out: the database" in history.errors
    assert "Batch 2 (weekly) is left out: the database" in history.errors
    assert asked == ["nightly"]
    for command in ("report", "resume"):
        assert "can't be used" in (await call(command)).errors
    assert (await call("discard 2")).code == 0
