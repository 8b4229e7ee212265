"""Each batch in the ledger: kept unasked, resumed after a crash, run again, and reported."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from tests.support.amounts import some
from tests.surfaces.cli.conftest import (
    Call,
    Ended,
    interrupted,
    later,
    names_in,
    ran_since,
    text_of,
    use,
)
from testvibe_async import BatchItem, Client, SqliteLedger, temporal
from testvibe_async.temporal import TemporalBatch
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

if TYPE_CHECKING:
    pass


SCENARIO = Scenario(
    run_queue=1,
    run_duration=20,
    failing_runs=0,
    generation_warm_up=5,
    generation_section=20,
    failing_generations=0,
    outcomes={
        "Returns": Outcome(run_status="failed"),
        "Wishlist": Outcome(run_duration=400),
        "Address book": Outcome(generation_status="failed"),
    },
)
GIFT_CARD = "'Checkout with gift card'"
MATRIX = "-c Default -c Mobile"


def end_later(emulator: Emulator, verdict: Literal["passed", "failed"], *names: str) -> None:
    """End the active runs of some features, or of all, in 5 s."""

    def end() -> None:
        for run in emulator.active_runs():
            if run.feature_name in names or not names:
                emulator.finish_run(run.id, verdict)

    later(5, end)


async def test_machine_without_a_place_for_a_ledger(
    call: Call, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none can be kept the batch runs all the same, unless a key or a file was named."""
    (machine / "state").write_text("")
    ended = await call("run Checkout --wait")
    assert ended.code == 0
    assert ended.errors.startswith("A crash would lose this batch, which is not kept: ")
    ended = await call("run Checkout --key a")
    assert (ended.code, "--key needs a ledger" in ended.errors) == (2, True)
    monkeypatch.setenv("TESTVIBE_LEDGER", str(machine / "state" / "ledger"))
    (await call("run Checkout")).refuses("can't be opened")


async def test_ledger_file_of_an_option(
    call: Call, machine: Path, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of one's own keeps the batches, and is named in what is suggested."""
    monkeypatch.chdir(machine)
    ended = await interrupted(call, "run Wishlist --wait --ledger own", at=10)
    assert f"testvibe-async resume 1 --ledger {machine / 'own'}\n" in ended.errors
    assert not ledger.exists()  # noqa: ASYNC240
    (await call("report")).refuses("there is no batch")
    assert (await call("report --ledger own")).code == 4
    (await call("report --ledger none")).refuses("there is no ledger none")
    monkeypatch.setenv("TESTVIBE_LEDGER", "own")
    assert (await call("resume")).code == 0


async def test_resume_goes_on_as_it_was_typed_at_first(
    emulator: Emulator, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The options of the command that began it are used again, its files too, in this folder."""
    typed = "--attempts 2 --max-in-flight 1 --report a.md --artifacts failed"
    await interrupted(call, f"run Returns Checkout --wait {typed}", at=10)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    ended = await call("resume")
    again = [run.id for run in emulator.runs.values() if run.feature_name == "Returns"]
    assert (len(emulator.runs), len(again)) == (3, 2)
    assert ended.output.endswith(": 1 passed, 1 failed\n")
    assert "Checkout" in text_of(here / "a.md")
    assert names_in(here / "failed") == [f"run-{number}" for number in again]


@pytest.mark.parametrize("decision", ["resend", "drop", "adopt=214"])
async def test_person_decides_what_is_unknown(
    decision: str, emulator: Emulator, call: Call
) -> None:
    """A dispatch that nobody knows about is sent again, left, or said to be a run."""
    emulator.fail("list_runs", Fault.status(404))
    emulator.fail("run_feature", Fault.lost(), times=1)
    ended = await call("run Checkout --wait")
    assert "testvibe-async resume 1 --unknown adopt ID\n" in ended.errors
    ended = await call("run --failed --wait")
    assert (ended.code, "testvibe-async resume 1 --unknown drop\n" in ended.errors) == (5, True)
    ended = await call(f"resume --unknown {decision} --feature Checkout")
    assert ended.code == (5 if decision == "drop" else 0)
    assert ("1 unknown" in ended.output) is (decision == "drop")
    assert len(emulator.runs) == (2 if decision == "resend" else 1)


async def test_only_what_was_dispatched_is_adopted(emulator: Emulator, call: Call) -> None:
    """A run that does not exist, or is of another feature or configuration, is refused."""
    await call("run Returns -c Mobile --wait")
    await call("run Checkout Returns --wait")
    emulator.fail("list_runs", Fault.status(404))
    rule = emulator.fail("get_run", Fault.status(500))
    emulator.fail("run_feature", Fault.lost(), times=2)
    await call("run Returns Checkout --wait")
    rule.remove()
    resume = "resume --feature Returns --unknown adopt"
    ended = await call(f"{resume} 999")
    assert ended.code == 3
    for number, why in ((214, "configuration"), (215, "feature"), (216, "")):
        ended = await call(f"{resume} {number}")
        assert ended.code == 2
        assert why in ended.errors
    ended = await call(f"{resume} 217")
    assert ended.output.endswith(": 1 failed, 1 unknown\n")
    assert len(emulator.runs) == 5


@pytest.mark.parametrize("words", ["perhaps", "adopt x"])
async def test_no_decision(words: str, call: Call) -> None:
    """What is no decision is refused, with those that there are."""
    await interrupted(call, "run Wishlist --wait", at=5)
    ended = await call(f"resume --unknown {words}")
    assert ended.code == 2
    assert "--unknown takes resend, drop, or adopt and the id of a run" in ended.errors
    ended = await call("resume --feature Wishlist")
    ended.refuses("--feature needs --unknown")


async def test_further_attempt_that_was_stopped(emulator: Emulator, call: Call) -> None:
    """`resume` waits for the attempt in flight, and `run --failed` makes those that are missing."""
    emulator.fail("run_feature", Fault.status(400), times=1)
    await call(f"run Checkout Returns --wait {MATRIX} --max-in-flight 1")
    ended = await interrupted(call, "run --failed --max-in-flight 1", at=25)
    assert "To rerun what failed:\n  testvibe-async run --failed 1\n" in ended.errors
    before = len(emulator.runs)
    ended = await call("resume")
    assert (len(emulator.runs), ended.output.endswith(": 2 passed, 2 failed\n")) == (before, True)
    end_later(emulator, "passed")
    ended = await call("run --failed --max-in-flight 9")
    assert ran_since(emulator, before) == [("Returns", "Default"), ("Returns", "Mobile")]
    assert ended.output.endswith(": 2 passed, 2 flaky\n")


async def test_other_servers_are_another_matter(
    emulator: Emulator, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed at another server is neither run here, nor reported, nor compared."""
    await call("run Checkout --wait")
    async with Emulator(scenario=SCENARIO) as other:
        use(other, monkeypatch)
        await call("run Returns --wait")
        await interrupted(call, "run Wishlist --wait", at=10)
        use(emulator, monkeypatch)
        ended = await call("run --failed --wait")
        assert (ended.code, ended.errors[:9]) == (0, "Batch 1, ")
        assert len(emulator.runs) == 1
        assert (await call("report")).output.endswith(": 1 passed\n")
        assert len((await call("history --json")).json["batches"]) == 1
        (await call("resume")).refuses(
            f" of project {emulator.project_id} at {emulator.url} has finished, or is still running"
        )
    ended = await call("resume 3")
    assert other.url.removeprefix("http://") in ended.errors
    for name in ("TESTVIBE_SERVER", "TESTVIBE_API_KEY", "TESTVIBE_PROJECT"):
        monkeypatch.delenv(name)
    servers = {each["server"] for each in (await call("history --json")).json["batches"]}
    assert servers == {other.url}  # That of the latest batch.


async def test_project_by_name_is_the_same_project(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches are found by the project's id and name alike, and another name finds none."""
    await call("run Checkout --wait")
    number = os.environ["TESTVIBE_PROJECT"]
    monkeypatch.setenv("TESTVIBE_PROJECT", "Acme Shop")  # The service knows its id.
    assert (await call("report")).output.endswith(": 1 passed\n")
    await call("run Newsletter --wait")
    monkeypatch.setenv("TESTVIBE_PROJECT", "acme shop")
    assert len((await call("history --json")).json["batches"]) == 2
    assert (await call("run --failed --wait")).code == 0
    monkeypatch.setenv("TESTVIBE_PROJECT", number)
    assert len((await call("history --json")).json["batches"]) == 2
    monkeypatch.setenv("TESTVIBE_PROJECT", "Another")
    (await call("report")).refuses("there is no project 'Another'")


async def test_run_failed_is_about_one_batch(emulator: Emulator, call: Call) -> None:
    """Without a name it is about the last batch, and it says which one, and how much runs again."""
    await call("run Returns --wait --key nightly-1")
    await call("run Checkout --wait --key nightly-2")
    ended = await call("run --failed")
    assert (ended.code, len(emulator.runs)) == (0, 2)
    assert re.match(r"Batch 2 \(nightly-2\), started 20.*; to run again: 0 of 1\.\n", ended.errors)
    assert (await call("run --failed nightly-1 --attempts 2")).code == 1
    assert len(emulator.runs) == 4
    (await call("run --failed 9")).refuses("there is no batch 9")


@pytest.mark.parametrize("typed", ["run Returns Wishlist", "run --all"])
async def test_same_command_with_the_same_key_resumes(
    typed: str, emulator: Emulator, call: Call
) -> None:
    """What was dispatched is attached, also by a command that does not wait."""
    await interrupted(call, f"{typed} --wait --max-in-flight 1 --key a", at=10)
    emulator.add_feature("Added since", status="generated")
    ended = await call(f"{typed} --key a")
    number = len(emulator.runs)
    assert (ended.code, number) == (0, 2 if "Returns" in typed else 15)
    ended = await call(f"{typed} --wait --key a")
    assert (ended.code, len(emulator.runs)) == (1, number)
    assert ended.lines[0] == "Batch 1 (a)."
    for other in ("run Checkout", "generate Checkout --yes"):
        (await call(f"{other} --key a")).refuses("Batch 1 (a) has this key, and other features")


async def test_generation_with_a_key_is_paid_once(emulator: Emulator, call: Call) -> None:
    """The same command again joins the generation; what is left needs no second permission."""
    for _ in range(2):
        ended = await call(f"generate Newsletter {GIFT_CARD} --key g --max-generations 1 --watch")
        assert ended.code == (4 if len(emulator.generations) == 1 else 0)
    assert len(emulator.generations) == 2


@pytest.mark.parametrize("word", ["", "1", "nightly"])
async def test_batch_that_is_running(word: str, emulator: Emulator, call: Call) -> None:
    """It is reported so far, its failures are not repeated, and `resume` shares it."""
    running = asyncio.create_task(
        call("run Returns Wishlist --wait --key nightly --max-in-flight 1")
    )
    await asyncio.sleep(30)
    ended = await call(f"report {word}")
    assert (ended.code, ended.lines[-1]) == (4, "Batch 1: 2 in 21 s: 1 failed, 1 in flight")
    assert "Batch 1 (nightly) is still running.\n" in ended.errors
    assert "resume 1" not in ended.errors
    assert "Batch 1 (nightly) is still running.\n" in (await call("history")).errors
    (await call(f"run --wait --failed {word}")).refuses("Batch 1 (nightly) is still running")
    if word:
        assert (await call(f"resume {word}")).code == 1
    else:
        (await call("resume")).refuses("has finished, or is still running")
    assert (await running).code == 1
    assert len(emulator.runs) == 2
    assert "still running" not in (await call("report")).errors


async def test_further_attempt_is_judged_as_its_batch(emulator: Emulator, call: Call) -> None:
    """Its exit code is by the `--fail-on-flaky` of the batch, and what passed runs no more."""
    end_later(emulator, "failed")
    await call("run Checkout --wait --fail-on-flaky")
    for typed in ("run --failed 1", "run --failed"):
        ended = await call(typed)
        assert (ended.code, len(emulator.runs)) == (1, 2), typed
        assert ended.output.endswith(": 1 flaky; red by --fail-on-flaky\n")


async def test_further_attempt_is_part_of_its_batch(emulator: Emulator, call: Call) -> None:
    """It waits for what is in flight too, writes the batch's reports, and makes no new batch."""
    await interrupted(call, "run Returns Wishlist --wait --report junit.xml", at=30)
    await asyncio.sleep(86_400)
    emulator.finish_run(215, "passed")
    end_later(emulator, "passed", "Returns")
    ended = await call("run --failed")
    assert (ended.code, ended.output.endswith(": 1 passed, 1 flaky\n")) == (0, True)
    assert "Returns: attempt 2: " in ended.output
    assert "attempt 1" not in ended.output
    assert "<flakyFailure" in text_of("junit.xml")
    (batch,) = (await call("history --json")).json["batches"]
    assert batch["seconds"] < 1000


async def test_further_attempt_of_a_batch_of_the_library(
    emulator: Emulator, call: Call, ledger: Path
) -> None:
    """A batch that a program made with a key is reported, and has further attempts as any other."""
    await call("run Checkout --wait")
    async with Client(ledger=ledger) as client:
        await client.project(emulator.project_id).run_features(["Returns"], key="own")
    assert (await call("report own")).code == 1
    assert ((await call("run --failed own")).code, len(emulator.runs)) == (1, 3)


async def test_repeated_runs_have_no_further_attempt(call: Call) -> None:
    """Each run of `--repeat` counts by itself, so `run --failed` is neither suggested nor done."""
    ended = await call("run Returns --repeat 2")
    assert (ended.code, "--failed" in ended.output) == (1, False)
    (await call("run --failed -q")).refuses("repeated runs take no further attempts")


async def test_generations_that_failed_are_not_run(emulator: Emulator, call: Call) -> None:
    """`run --failed` of a batch of generations is refused, with the command that shows them."""
    emulator.fail("generate_feature", Fault.status(400), times=1)
    await call(f"generate {GIFT_CARD} --watch")
    requests = len(emulator.requests)
    ended = await call("run --failed 1 --wait")
    ended.refuses("--failed repeats runs: see testvibe-async report 1")
    assert len(emulator.requests) == requests


async def test_a_running_batch_on_temporal_has_names(
    emulator: Emulator, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `report --temporal` knows by its id alone has its name in the project."""
    number = emulator.features["Checkout"].id

    async def items(_self: TemporalBatch) -> list[BatchItem[Any]]:
        return [BatchItem(feature=number, is_waiting=True)]

    async def connect() -> None:
        """Connect to nothing."""

    def connected_to(*_: object) -> None:
        """Know nothing."""

    monkeypatch.setattr(temporal, "connect", connect)
    monkeypatch.setattr(TemporalBatch, "__init__", connected_to)
    monkeypatch.setattr(TemporalBatch, "items", items)
    assert (await call("report --temporal k --json")).json["items"][0]["feature"] == "Checkout"
    emulator.fail("list_features", Fault.status(503))
    assert (await call("report --temporal k --json")).json["items"][0]["feature"] == str(number)


async def test_unfinished_batches_are_listed(call: Call) -> None:
    """`history` names what is not over, with the command that resumes it."""
    await call("run Checkout --wait")
    await interrupted(call, "run Wishlist --wait --key slow", at=10)
    left = "Batch 2 (slow) has not finished; to resume it: testvibe-async resume 2\n"
    assert (await call("history")).errors == left
    await call("resume slow")
    assert (await call("history")).errors == ""
    (await call("run --failed 3")).refuses("there is no batch 3: the newest is batch 2 (slow)")


async def test_history_tells_what_changed(emulator: Emulator, call: Call) -> None:
    """The last batches are rows of numbers; what is new, flaky or passes again is named."""
    assert (await call("history")).errors.startswith("There is no batch of project ")
    typed = "run Checkout Newsletter --wait"
    await call(typed)
    end_later(emulator, "failed", "Newsletter")
    ended = await call(f"{typed} --quiet --key main")
    assert re.match(
        r"Newly failing:\n  Newsletter: new since batch 1, \S+ \S+ \(passed\)\n", ended.output
    )
    (change,) = (await call("report --json")).json["changes"]
    assert (change["feature"], change["since"]["batch"]) == ("Newsletter", 1)
    ended = await call("history")
    rows = [line.split("\t")[2:6] for line in ended.lines if "\t" in line]
    assert rows[0] == ["Items", "Passed", "Failed", "Flaky"]
    assert rows[1:] == [["2", "2", "0", "0"], ["2", "1", "1", "0"]]
    assert "\nNewly failing:\n  Newsletter\n" in ended.output
    assert "\n  failing since batch 2 (main) of " in (await call("history newsletter")).output
    document = (await call("history --json --limit 1")).json
    assert len(document["batches"]) == 1
    assert (await call("history --json")).json["changes"][0]["what"] == "newly failing"
    end_later(emulator, "failed", "Checkout")
    await call(f"{typed} --attempts 2")
    ended = await call("history")
    assert "Newly flaky:\n  Checkout\n" in ended.output
    assert "Passes again:\n  Newsletter\n" in ended.output
    assert "\n\nFlaky in these 3 batches:\n  Checkout  in 1 of 3\n" in ended.output
    (flaky,) = (await call("history --json")).json["flaky"]
    assert [flaky[each] for each in ("name", "flaky", "failed", "batches")] == ["Checkout", 1, 0, 3]
    ended = await call("history newsletter")
    assert "Newsletter\n  passed in 2 of 3 batches (67%)\n  flaky in 0 of 3 " in ended.output
    (feature,) = (await call("history Checkout --json")).json["features"]
    assert feature["flakyRate"] == 0.333
    ended = await call("history Checkout Chekcout")
    ended.refuses("no batch has a feature 'Chekcout': did you mean 'Checkout'?")
    ended = await call("history 99")
    ended.refuses("no batch has a feature '99'")


Facts = tuple[int, int | None, dict[str, int], list[str]]


FEATURES = {"passed": ["Checkout"], "failed": ["Checkout", "Returns"]}


async def end(how: str, call: Call, emulator: Emulator, ledger: Path) -> int:
    """Run a batch to an end, and return the exit code.

    "Returns" fails and "Checkout" passes after 21 s, "Wishlist" runs for 120 s.
    """
    features, disk = FEATURES.get(how, ["Returns", "Wishlist"]), pytest.MonkeyPatch()
    command = ["run", *features, "--wait", "--json"]
    match how:
        case "passed" | "failed":
            pass
        case "time-out":
            command += ["--timeout", "30"]
        case "Ctrl-C" | "SIGTERM":
            later(30, signal.raise_signal, signal.SIGINT if how == "Ctrl-C" else signal.SIGTERM)
        case "SIGKILL":
            later(30, shutil.copytree, ledger.parent, ledger.parent.parent / "left")
            later(30, signal.raise_signal, signal.SIGINT)
        case "full disk":
            later(10, disk.setattr, SqliteLedger, "_commit", refuse)
        case _:
            command += ["--timeout", "60"]
            later(30, lambda: later(35, emulator.fail("*", Fault.reset()).remove))
    ended = await call(*command)
    if how == "SIGKILL":
        shutil.rmtree(ledger.parent)
        (ledger.parent.parent / "left").rename(ledger.parent)
    disk.undo()
    await asyncio.sleep(10)
    assert not ended.output or ended.json.get("exitCode", ended.code) == ended.code
    return int(ended.code)


def refuse(_file: SqliteLedger, _works: object) -> None:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorname = "SQLITE_FULL"
    raise error


def facts(ended: Ended) -> Facts:
    """Return the exit code, the batch, its counts, and the commands that are proposed."""
    document: dict[str, Any] = ended.json if ended.output else {}
    summary: dict[str, int] = document.get("summary", {})
    counts = {name: number for name, number in summary.items() if number}
    proposed = re.findall(r"testvibe-async (resume \w+|wait)", ended.errors)
    return int(ended.code), document.get("batch"), counts, sorted({*proposed})


BOTH = {"succeeded": 1, "failed": 1}
LEFT: dict[str, Facts] = {
    "report": (4, 1, {"failed": 1, "inFlight": 1}, ["resume 1", "wait"]),
    "resume": (1, 1, BOTH, []),
    "run --failed --wait": (1, 1, BOTH, []),
    "wait 214 215": (1, None, BOTH, []),
}
AWAY: dict[str, Facts] = {
    "report": (5, 1, {"failed": 1, "notSeen": 1}, ["resume 1", "wait"]),
}
FULL: dict[str, Facts] = {  # The failure was seen, and could not be kept.
    "report": (4, 1, {"inFlight": 2}, ["resume 1", "wait"]),
}
CODES = {
    "passed": 0,
    "failed": 1,
    "time-out": 4,
    "Ctrl-C": 130,
    "SIGTERM": 143,
    "SIGKILL": 130,  # Of the process that was copied from.
    "full disk": 2,
    "service away": 5,
}
STORY: dict[str, dict[str, Facts]] = {
    "failed": {
        "report": (1, 1, BOTH, []),
        "run --failed --wait": (1, 1, BOTH, []),
        "resume": (2, None, {}, []),
        "wait 214 215": (1, None, BOTH, []),
    },
    "passed": {
        "report": (0, 1, {"succeeded": 1}, []),
        "run --failed --wait": (0, 1, {"succeeded": 1}, []),
        "resume": (2, None, {}, []),
        "wait 214": (0, None, {"succeeded": 1}, []),
    },
    "full disk": LEFT | FULL,
    **dict.fromkeys(("time-out", "Ctrl-C", "SIGTERM", "SIGKILL"), LEFT),
    "service away": LEFT | AWAY,
}


@pytest.mark.parametrize("how", some(STORY, few=2))
async def test_story(*, how: str, call: Call, emulator: Emulator, ledger: Path) -> None:
    """Each command speaks of the same batch, and nothing runs twice but what failed."""
    assert await end(how, call, emulator, ledger) == CODES[how]
    document = (await call("history --json")).json
    assert [each["batch"] for each in document["batches"]] == [1]
    folder, kept = ledger.parent, ledger.parent.parent / "end"
    shutil.copytree(folder, kept)
    for command, expected in STORY[how].items():
        before = [run.feature_name for run in emulator.runs.values()]
        assert facts(await call(*command.split(), "--json")) == expected, command
        is_rerun = command.startswith("run") and how not in {"passed", "full disk"}
        after = [run.feature_name for run in emulator.runs.values()]
        assert after == before + ["Returns"] * is_rerun
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
