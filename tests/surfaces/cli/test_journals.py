"""The journal of each batch: kept unasked, gone on with after a crash, and read afterwards."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from tests.surfaces.cli.conftest import interrupted
from testvibe_async.cli import history
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

if TYPE_CHECKING:
    from tests.surfaces.cli.conftest import Call

SCENARIO = Scenario(
    run_queue=1,
    run_duration=20,
    failing_runs=0,
    generation_warm_up=5,
    generation_section=20,
    failing_generations=0,
    outcomes={"Returns": Outcome(run_status="failed"), "Wishlist": Outcome(run_duration=400)},
)


def names_in(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.glob("*"))


def names_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents_of(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.iterdir()]


def make_old(folder: Path) -> None:
    old = {"ended_at": (datetime.now(UTC) - timedelta(days=31)).isoformat()}
    for path in folder.glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | old), encoding="utf-8")


def leave_side_files(folder: Path) -> None:
    """Leave beside a journal what SQLite leaves after a crash."""
    path = min(folder.glob("*.journal"))
    for suffix in ("-journal", "-wal", "-shm"):
        path.with_name(path.name + suffix).write_bytes(b"")


async def test_each_batch_has_a_journal(call: Call, batches: Path) -> None:
    """Each command that dispatches keeps one unasked, waiting or not, with no key in it."""
    await call("run", "Checkout", "--wait")
    await call("generate", "Checkout with gift card", "--watch")
    await call("run", "Checkout")
    await call("run", "Checkout", "--wait", "--no-journal")
    assert names_in(batches) == [*[".journal"] * 3, *[".json"] * 3]
    assert all(b"tvb_" not in content for content in contents_of(batches))


async def test_journal_in_a_file(call: Call, batches: Path) -> None:
    """`--journal FILE` keeps it there; the same command again finishes the batch, no other does."""
    assert (await call("run", "Checkout", "--wait", "--journal", "a.journal")).code == 0
    ended = await call("run", "Checkout", "--wait", "--journal", "a.journal")
    assert ended.code == 2
    assert (
        "a.journal has a batch that is over: see testvibe-async report a.journal, or name another"
        in ended.errors
    )
    await interrupted(call, "run", "Wishlist", "--wait", "--journal", "c.journal", at=10)
    ended = await call("run", "Checkout", "--wait", "--journal", "c.journal")
    assert (ended.code, "take another file" in ended.errors) == (2, True)
    ended = await call("run", "Wishlist", "--wait", "--journal", "c.journal")
    assert ended.output.endswith(": 1 passed\n")
    assert not names_in(batches)
    ended = await call("run", "Checkout", "--journal", "b.journal")
    assert "testvibe-async resume b.journal\n" in ended.errors


async def test_emptied_journal_is_no_new_one(emulator: Emulator, call: Call) -> None:
    """A file that lost its batch is refused: begun anew, all would be done twice."""
    path = Path("a.journal")
    await call("run", "Checkout", "--wait", "--journal", str(path))
    path.write_bytes(b"")  # noqa: ASYNC240
    ended = await call("run", "Checkout", "--wait", "--journal", str(path))
    assert (ended.code, len(emulator.runs)) == (2, 1)
    assert "a.journal is empty" in ended.errors


async def test_generation_is_not_adopted_by_an_id(emulator: Emulator, call: Call) -> None:
    """Of an unknown generation nothing is offered that only a run can be given."""
    emulator.fail("get_generation_status", Fault.status(500))
    emulator.fail("generate_feature", Fault.lost(), times=1)
    ended = await call("generate", "Checkout with gift card", "--watch", "--timeout", "30")
    assert " --unknown resend or drop" in ended.output + ended.errors


async def test_machine_without_a_place_for_journals(call: Call, machine: Path) -> None:
    """Where none can be kept the batch runs all the same, and a note says so."""
    (machine / "state").write_text("")
    ended = await call("run", "Checkout", "--wait")
    assert ended.code == 0
    assert ended.errors.startswith("No journal is kept, so a crash would lose this batch: ")


async def test_resume_goes_on_with_what_ctrl_c_left(emulator: Emulator, call: Call) -> None:
    """What was in flight is waited for, the rest is dispatched, and nothing runs twice."""
    names = ("Checkout", "Wishlist", "Returns")
    ended = await interrupted(call, "run", *names, "--wait", "--max-in-flight", "2", at=10)
    assert len(emulator.runs) == 2
    assert "\n  testvibe-async resume 1\n" in ended.errors
    ended = await call("resume")
    assert ended.code == 1
    assert sorted(run.feature_name for run in emulator.runs.values()) == sorted(names)
    assert ended.output.endswith(": 2 passed, 1 failed\n")
    ended = await call("resume")
    assert ended.code == 2
    assert ended.errors.startswith("testvibe-async: nothing to resume")


async def test_resume_goes_on_as_it_was_typed_at_first(
    emulator: Emulator, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The options of the command that began it hold on, its files too, from any folder."""
    typed = ("--attempts", "2", "--max-in-flight", "1", "--on-conflict", "generate", "--yes")
    left = ("--report", "a.md", "--title", "Nightly", "--artifacts", "failed")
    names = ("Returns", "Checkout with gift card")
    await interrupted(call, "run", *names, "--wait", *typed, *left, at=10)
    here = Path.cwd()
    (here / "a.md").unlink()
    monkeypatch.chdir(tmp_path)
    ended = await call("resume", "--yes")
    again = [run.id for run in emulator.runs.values() if run.feature_name == "Returns"]
    assert (len(emulator.runs), len(again)) == (3, 2)
    assert emulator.count("generate_feature") == 1
    assert ended.output.endswith(": 1 passed, 1 failed\n")
    assert "# Nightly" in (here / "a.md").read_text(encoding="utf-8")
    assert names_of(here / "failed") == [f"run-{number}" for number in again]


async def test_resume_on_another_machine_leaves_its_files_here(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the folder is not there that it was typed in, paths are relative to this one."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    monkeypatch.chdir(first)
    left = ("--report", "out/a.md", "--artifacts", "failed")
    await interrupted(call, "run", "Returns", "--wait", *left, at=10)
    monkeypatch.chdir(second)
    first.rename(tmp_path / "gone")
    ended = await call("resume")
    assert ended.code == 1, ended.errors
    assert names_of(second) == ["failed", "out"]
    assert not first.exists()


async def test_options_of_resume_come_first(call: Call, tmp_path: Path) -> None:
    """A report that is asked for with `resume` takes the place of the one at first."""
    first, second = tmp_path / "a.md", tmp_path / "b.md"
    await interrupted(call, "run", "Checkout", "--wait", "--report", str(first), at=10)
    first.unlink()
    ended = await call("resume", "--report", str(second))
    assert (ended.code, second.exists(), first.exists()) == (0, True, False)


async def test_options_of_generations_hold_on(emulator: Emulator, call: Call) -> None:
    """What was to wait for the generation in flight does so after a crash too."""
    await call("generate", "Returns")
    names = ("Returns", "Checkout with gift card")
    typed = ("--on-conflict", "wait", "--max-in-flight", "1")
    await interrupted(call, "generate", *names, "--watch", *typed, at=3)
    ended = await call("resume", "--yes")
    assert (ended.code, len(emulator.generations)) == (0, 3)
    assert ended.output.endswith(": 2 generated\n")


async def test_resume_of_a_file(emulator: Emulator, call: Call, tmp_path: Path) -> None:
    """A journal that was kept in a file is gone on with by its name, with reports."""
    file, report = str(tmp_path / "my batch.journal"), tmp_path / "a.md"
    ended = await interrupted(call, "run", "Wishlist", "--wait", "--journal", file, at=10)
    assert f"\n  testvibe-async resume '{file}'\n" in ended.errors
    ended = await call("resume", file, "--report", str(report))
    assert (ended.code, len(emulator.runs)) == (0, 1)
    assert "Wishlist" in report.read_text(encoding="utf-8")
    ended = await call("resume", "nosuch")
    assert ended.errors == "testvibe-async: there is no batch named nosuch: there is none yet\n"
    ended = await call("resume", "nosuch.journal")
    assert ended.errors == "testvibe-async: there is no journal nosuch.journal\n"


async def test_generations_are_resumed_too(emulator: Emulator, call: Call) -> None:
    """A generation that was left costs no second one."""
    await interrupted(call, "generate", "Checkout with gift card", "--watch", at=10)
    ended = await call("resume")
    assert (ended.code, len(emulator.generations)) == (0, 1)
    assert ended.output.endswith(": 1 generated\n")


@pytest.mark.parametrize("decision", [["resend"], ["drop"], ["adopt", "ID"], ["adopt=ID"]])
async def test_person_decides_what_is_unknown(
    decision: list[str], emulator: Emulator, call: Call
) -> None:
    """A dispatch that nobody knows about is sent again, left, or said to be a run."""
    emulator.fail("list_runs", Fault.status(404))
    emulator.fail("run_feature", Fault.lost(), times=1)
    ended = await call("run", "Checkout", "--wait")
    assert "testvibe-async resume 1 --unknown resend, drop, or adopt ID" in ended.output
    (run,) = emulator.runs
    words = [word.replace("ID", str(run)) for word in decision]
    ended = await call("resume", "--unknown", *words, "--feature", "Checkout")
    assert ended.code == (4 if decision == ["drop"] else 0)
    assert len(emulator.runs) == (2 if decision == ["resend"] else 1)


@pytest.mark.parametrize("words", [["perhaps"], ["adopt"], ["adopt", "x"], ["drop", "214"]])
async def test_no_decision(words: list[str], call: Call) -> None:
    """What is no decision is refused, with those that there are."""
    await interrupted(call, "run", "Wishlist", "--wait", at=5)
    ended = await call("resume", "--unknown", *words)
    assert ended.code == 2
    assert "--unknown takes resend, drop, or adopt and the id of a run" in ended.errors
    ended = await call("resume", "--feature", "Wishlist")
    assert "--feature means nothing without --unknown" in ended.errors


async def test_what_failed_runs_again(emulator: Emulator, call: Call) -> None:
    """`run --failed` runs just what failed in the last batch; that is then its own."""
    await call("run", "Checkout", "Returns", "--wait", "-c", "Default", "-c", "Mobile")
    emulator.fail("run_feature", Fault.status(403), times=1)
    await call("run", "Returns", "Checkout", "--wait", "--max-in-flight", "1")
    before = len(emulator.runs)
    ended = await call("run", "--failed", "--wait")
    assert ended.code == 1
    assert [run.feature_name for run in list(emulator.runs.values())[before:]] == ["Returns"]


async def test_failures_with_different_configurations(emulator: Emulator, call: Call) -> None:
    """Each failure runs again with its own configuration and no other, all in one result."""
    file = "mixed.journal"
    emulator.fail("run_feature", Fault.status(403), when=lambda each: "Mobile" in str(each.body))
    await call(
        *("run", "Returns", "Checkout", "--wait", "-c", "Default", "-c", "Mobile"),
        *("--journal", file),
    )
    before = len(emulator.runs)
    ended = await call("run", "--failed", file, "--wait")
    again = [(run.feature_name, run.config) for run in list(emulator.runs.values())[before:]]
    assert again == [("Returns", "Default")]
    assert ended.output.endswith(": 1 failed, 2 errors\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--failed", "Checkout"], "there is no batch named Checkout"),
        (["--failed", "12"], "there is no batch 12"),
        (["--failed", "--all"], "--failed takes the batch, and no names"),
        (["--failed", "Checkout", "Returns"], "--failed takes the batch, and no names"),
        (["Checkout", "--name", "12"], "--name 12: a name has "),
        (["Checkout", "--name", "a/b"], "--name a/b: a name has "),
        (["Checkout", "--name", "a", "--journal", "b"], "leave out --journal"),
        (["--failed"], "there is no batch of runs of project "),
        (["--failed", "no/such"], "there is no journal no/such"),
    ],
)
async def test_wrong_call(words: list[str], said: str, call: Call) -> None:
    """A wrong call is one sentence."""
    ended = await call("run", *words, "--wait")
    assert ended.code == 2
    assert said in ended.errors


async def test_report_afterwards(emulator: Emulator, call: Call, tmp_path: Path) -> None:
    """Any report can be made of a batch that is over, without asking the service."""
    await call("run", "Checkout", "Returns", "--wait", "--journal", "a.journal")
    requests = len(emulator.requests)
    report = tmp_path / "junit.xml"
    ended = await call("report", "a.journal", "--report", str(report), "--title", "Late")
    assert ended.code == 1
    assert "Returns, run " in ended.output
    assert ended.output.endswith(": 1 passed, 1 failed\n")
    assert 'name="Late"' in report.read_text(encoding="utf-8")
    assert len(emulator.requests) == requests
    ended = await call("report", "--json")
    assert (ended.code, ended.output) == (2, "")
    await call("run", "Checkout", "--wait", "--quiet")
    assert json.loads((await call("report", "--json")).output)["summary"]["succeeded"] == 1


async def test_report_of_what_is_no_journal(call: Call) -> None:
    """A file of another kind is refused in a sentence, and stays as it is."""
    Path("x").write_text("something else" * 100, encoding="utf-8")  # noqa: ASYNC240
    ended = await call("report", "x")
    assert ended.code == 2
    assert "is no journal" in ended.errors


async def test_history_tells_what_changed(emulator: Emulator, call: Call) -> None:
    """The last batches are rows of numbers, and what changed is named."""
    for _ in range(4):
        await call("run", "Checkout", "Login Functionality", "Newsletter", "--wait")

    def change() -> None:
        for run in emulator.active_runs():
            if run.feature_name == "Checkout":
                emulator.finish_run(run.id, "failed")

    asyncio.get_running_loop().call_later(10, change)
    ended = await call("run", "Checkout", "Login Functionality", "Newsletter", "--wait")
    assert ended.code == 1
    ended = await call("history")
    assert ended.code == 0
    rows = [line for line in ended.output.splitlines() if "\t" in line]
    assert [row.split("\t")[1:5] for row in rows] == [["3", "3", "0", "0"]] * 4 + [
        ["3", "2", "1", "0"]
    ]
    assert "\nNewly failing:\n  Checkout\n" in ended.output
    document = json.loads((await call("history", "--json", "--limit", "2")).output)
    assert len(document["batches"]) == 2
    assert document["changes"][0]["what"] == "newly failing"


async def test_history_of_flaky_and_fixed(emulator: Emulator, call: Call) -> None:
    """What passed at the second attempt is flaky now; what failed before passes again."""
    await call("run", "Checkout", "Newsletter", "--wait")

    def fail(name: str) -> None:
        for run in emulator.active_runs():
            if run.feature_name == name:
                emulator.finish_run(run.id, "failed")

    loop = asyncio.get_running_loop()
    loop.call_later(5, fail, "Newsletter")
    await call("run", "Checkout", "Newsletter", "--wait")
    loop.call_later(5, fail, "Checkout")
    await call("run", "Checkout", "Newsletter", "--wait", "--attempts", "2")
    ended = await call("history")
    assert "Flaky now:\n  Checkout\n" in ended.output
    assert "Passes again:\n  Newsletter\n" in ended.output
    assert "\n\nFlaky in these 3 batches:\n  Checkout  in 1 of 3\n" in ended.output
    await call("run", "Checkout", "--wait")
    document = json.loads((await call("history", "--json")).output)
    (flaky,) = document["flaky"]
    assert (flaky["name"], flaky["flaky"], flaky["failed"], flaky["batches"]) == (
        *("Checkout", 1, 0),
        4,
    )
    ended = await call("history", "newsletter")
    assert "Newsletter\n  of 3 batches, passed in 2 (67%), flaky in 0 (0%)\n" in ended.output
    document = json.loads((await call("history", "Checkout", "--json")).output)
    assert [each["flakyRate"] for each in document["features"]] == [0.25]
    ended = await call("history", "Checkout", "Chekcout")
    assert ended.code == 2
    assert "no batch has a feature 'Chekcout': did you mean 'Checkout'?" in ended.errors
    ended = await call("history", "99")
    assert "no batch has a feature '99': there is no batch 99: the newest is " in ended.errors


async def test_history_of_some_days(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--days` shows the batches of so many days, however many; older ones are left out."""
    for _ in range(12):
        await call("run", "Checkout", "--wait", "--quiet")
    shown = {
        options: len(json.loads((await call("history", "--json", *options)).output)["batches"])
        for options in ((), ("--days", "7"), ("--days", "7", "--limit", "3"))
    }
    assert list(shown.values()) == [10, 12, 3]

    def later(zone: tzinfo) -> datetime:
        return datetime.now(zone) + timedelta(days=8)

    monkeypatch.setattr(history, "datetime", SimpleNamespace(now=later))
    ended = await call("history", "--days", "7")
    assert ended.errors.startswith("There is no journal of a batch of runs of the last 7 days of ")


async def test_history_without_batches(call: Call) -> None:
    """Before the first batch it says so; after equal ones, that nothing changed."""
    ended = await call("history")
    assert (ended.code, ended.output) == (0, "")
    assert ended.errors.startswith("There is no journal of a batch of runs of project ")
    await call("run", "Checkout", "--wait", "--quiet")
    ended = await call("history")
    assert ended.output.endswith("\nThere is no other batch to compare it with.\n")
    await call("run", "Checkout", "--wait", "--quiet")
    assert "\nNothing changed with the last batch.\n" in (await call("history")).output


async def test_journals_are_not_kept_for_ever(
    call: Call, batches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last 50 are kept, for 30 days; the others go with all that SQLite left beside them."""
    monkeypatch.setattr("testvibe_async.runner.records.KEPT", 3)
    for _ in range(5):
        await call("run", "Checkout", "--wait", "--quiet")
    assert names_of(batches) == [
        f"{each}.{kind}" for each in (3, 4, 5) for kind in ("journal", "json")
    ]
    leave_side_files(batches)
    make_old(batches)
    await call("run", "Checkout", "--wait", "--quiet")
    assert names_of(batches) == ["6.journal", "6.json"]
