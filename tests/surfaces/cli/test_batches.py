"""Which earlier batch a command means, what of it runs again, and what of it is still open."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.surfaces.cli.conftest import interrupted, use
from tests.surfaces.cli.test_journals import SCENARIO
from testvibe_async import Journal
from testvibe_async.runner.batches import Batches
from testvibe_async.runner.stored import Place
from testvibe_async.testing import Emulator, Fault

if TYPE_CHECKING:
    from tests.surfaces.cli.conftest import Call
    from testvibe_async.runner.stored import BatchRecord
    from testvibe_async.testing import RecordedRequest

MATRIX = ("-c", "Default", "-c", "Mobile")


def names_in(folder: Path, pattern: str = "*") -> list[str]:
    return [path.name for path in folder.glob(pattern)]


def cut_off(batches: Path) -> None:
    """Leave the only journal as a command does that is killed."""
    (path,) = batches.glob("*.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(record | {"ended_at": None}), encoding="utf-8")


def is_of(emulator: Emulator, name: str, request: RecordedRequest) -> bool:
    """Return whether a request names a feature by its id."""
    return f"/features/{emulator.features[name].id}/" in request.path


def ran_since(emulator: Emulator, number: int) -> list[tuple[str, str]]:
    return [(run.feature_name, run.config) for run in list(emulator.runs.values())[number:]]


async def test_failures_of_different_configurations_are_one_batch(
    emulator: Emulator, call: Call, batches: Path
) -> None:
    """Each runs again with its own configuration and no other, all at once, in one journal."""
    emulator.fail(
        "run_feature",
        Fault.status(400),
        when=lambda each: is_of(emulator, "Checkout", each) and "Mobile" in str(each.body),
    )
    await call("run", "Returns", "Checkout", "Wishlist", "--wait", "--timeout", "60", *MATRIX)
    before = len(emulator.runs)
    ended = await call("run", "--failed", "--wait", "--json", "--journal", "again.journal")
    document = json.loads(ended.output)
    again = {(each["feature"], each["config"]) for each in document["items"]}
    assert again == {("Returns", "Default"), ("Returns", "Mobile"), ("Checkout", "Mobile")}
    assert set(ran_since(emulator, before)) == {("Returns", "Default"), ("Returns", "Mobile")}
    assert names_in(Path(), "again*") == ["again.journal"]
    assert document["seconds"] < 30
    assert names_in(batches, "*.journal") == ["1.journal"]


async def test_resume_goes_on_with_all_that_runs_again(emulator: Emulator, call: Call) -> None:
    """Stopped in the middle, `resume` knows each failure that was to run again."""
    emulator.fail(
        *("run_feature", Fault.status(400)),
        when=lambda each: is_of(emulator, "Checkout", each),
        times=1,
    )
    await call("run", "Returns", "Checkout", "--wait", *MATRIX, "--max-in-flight", "1")
    await interrupted(call, "run", "--failed", "--wait", "--max-in-flight", "1", at=10)
    before = len(emulator.runs)
    ended = await call("resume")
    assert ran_since(emulator, before) == [("Returns", "Mobile"), ("Checkout", "Default")]
    assert ended.output.endswith(": 1 passed, 2 failed\n")


async def test_failures_run_again_on_the_same_site(emulator: Emulator, call: Call) -> None:
    """What failed on another site runs again there, and not where it may well pass."""
    site = "https://staging.example"
    await call("run", "Returns", "--wait", "--site-url", site)
    await call("run", "--failed", "--wait")
    assert [run.site_url for run in emulator.runs.values()] == [site, site]


@pytest.mark.parametrize("words", [[], ["--json"]])
async def test_what_is_open_is_no_success(words: list[str], call: Call) -> None:
    """Where nothing failed, but not all is over, `run --failed` says so, and exits not with 0."""
    names = ("Checkout", "Wishlist", "Newsletter")
    await interrupted(call, "run", *names, "--wait", "--max-in-flight", "2", at=22)
    ended = await call("run", "--failed", "--wait", *words)
    assert ended.code == 4
    assert ": nothing failed, of 3 runs." in ended.errors
    left = "left 2 in flight: resume it with testvibe-async resume 1\n"
    assert left in ended.errors
    if words:
        assert json.loads(ended.output)["exitCode"] == 4


async def test_what_is_unknown_is_no_success(emulator: Emulator, call: Call) -> None:
    """A dispatch that nobody knows about decides the exit code of `run --failed` too."""
    emulator.fail("list_runs", Fault.status(404))
    emulator.fail("run_feature", Fault.lost(), times=1)
    await call("run", "Checkout", "--wait")
    ended = await call("run", "--failed", "--wait")
    assert ended.code == 5
    assert "left 1 unknown: resume it with testvibe-async resume" in ended.errors


async def test_batch_that_ended_last_is_the_last(emulator: Emulator, call: Call) -> None:
    """After `resume` of an older batch, `run --failed` and `report` are about that one."""
    await interrupted(call, "run", "Returns", "--wait", at=10)
    await call("run", "Checkout", "--wait")
    ended = await call("resume")
    assert "testvibe-async run --failed 1 --wait --server " in ended.output
    before = len(emulator.runs)
    assert (await call("report")).output.endswith(": 1 failed\n")
    await call("run", "--failed", "--wait")
    assert ran_since(emulator, before) == [("Returns", "Default")]


async def test_hint_names_the_journal(emulator: Emulator, call: Call) -> None:
    """What failed in a batch that is kept in a file runs again from that file."""
    ended = await call("run", "Returns", "--wait", "--journal", "one.journal")
    assert "\n  testvibe-async run --failed one.journal --wait\n" in ended.output
    ended = await call("run", "--failed", "one.journal", "--wait")
    assert len(emulator.runs) == 2


async def test_other_servers_are_another_matter(
    emulator: Emulator, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed at another server is neither run here, nor reported, nor compared."""
    await call("run", "Checkout", "--wait")
    async with Emulator(scenario=SCENARIO) as other:
        use(other, monkeypatch)
        await call("run", "Returns", "--wait")
        await interrupted(call, "run", "Wishlist", "--wait", "--journal", "other.journal", at=10)
        await interrupted(call, "run", "Wishlist", "--wait", at=10)
        use(emulator, monkeypatch)
        ended = await call("run", "--failed", "--wait")
        assert (ended.code, ended.errors[:9]) == (0, "Batch 1 o")
        assert len(emulator.runs) == 1
        assert (await call("report")).output.endswith(": 1 passed\n")
        assert len(json.loads((await call("history", "--json")).output)["batches"]) == 1
        ended = await call("resume")
        assert ended.code == 2
        assert f"; batch 3 of project {other.project_id} at {other.url} is not" in ended.errors
        ended = await call("run", "--failed", "other.journal", "--wait")
        assert ended.code == 2
        assert f"other.journal is of project {other.project_id} at {other.url}, not" in ended.errors


async def test_without_a_server_it_is_the_newest(
    emulator: Emulator, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no server is in force, `history` is about that of the newest batch alone."""
    await call("run", "Checkout", "--wait")
    async with Emulator(scenario=SCENARIO) as other:
        use(other, monkeypatch)
        await call("run", "Checkout", "--wait")
    for name in ("TESTVIBE_SERVER", "TESTVIBE_API_KEY", "TESTVIBE_PROJECT"):
        monkeypatch.delenv(name)
    (found,) = json.loads((await call("history", "--json")).output)["batches"]
    assert found["server"] == other.url
    assert emulator.url != other.url


async def test_project_by_name_is_the_same_project(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches are found where the project in force is named, and another name finds none."""
    monkeypatch.setenv("TESTVIBE_PROJECT", "Acme Shop")
    await call("run", "Checkout", "--wait")
    monkeypatch.setenv("TESTVIBE_PROJECT", "acme shop")
    assert (await call("report")).output.endswith(": 1 passed\n")
    assert (await call("run", "--failed", "--wait")).code == 0
    monkeypatch.setenv("TESTVIBE_PROJECT", "Another")
    ended = await call("report")
    assert (ended.code, ended.output) == (2, "")
    assert "there is no batch of project Another at " in ended.errors


async def test_cut_off_batch_of_another_server_is_resumed_there(
    emulator: Emulator, call: Call, batches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number is of one server, so the command that goes on with a batch needs no other option."""
    async with Emulator(scenario=SCENARIO) as other:
        use(other, monkeypatch)
        await interrupted(call, "run", "Wishlist", "--wait", at=10)
        cut_off(batches)
        use(emulator, monkeypatch)
        ended = await call("run", "Checkout")
        assert ended.errors.split("Resume it: ")[1].startswith("testvibe-async resume 1\n")
    ended = await call("resume", "1")
    assert other.url.removeprefix("http://") in ended.errors


async def test_which_journal_is_in_use_is_no_matter_of_words(
    call: Call, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch whose journal is in use is not cut off; a damaged one is not asked about again."""
    monkeypatch.setenv("XDG_STATE_HOME", str(machine / "in use"))
    folder = machine / "in use" / "testvibe-async" / "batches"
    folder.mkdir(parents=True)
    stored = Batches(folder)
    damaged, mine = (stored.create("run", Place("https://a", "b")) for _ in range(2))
    stored.journal_of(damaged).write_bytes(b"no database" * 100)
    async with Journal(stored.journal_of(mine)):
        await call("run", "Checkout", "--wait", "--journal", "other.journal")
        is_ended = {each.number: each.ended_at is not None for each in stored.records()}
        assert is_ended == {damaged.number: True, mine.number: False}


async def test_cut_off_batch_is_told_by_failed(call: Call, batches: Path) -> None:
    """After a crash `run --failed` says what `run` says, and how many are not over."""
    await interrupted(call, "run", "Wishlist", "--wait", at=10)
    cut_off(batches)
    ended = await call("run", "--failed", "--wait")
    assert ended.code == 4
    assert "with 0 of 1 operation over. Resume it: testv" in ended.errors
    assert "left 1 in flight: resume it with testvibe-async resume" in ended.errors


async def test_journal_without_what_belongs_to_it(call: Call, tmp_path: Path) -> None:
    """A journal that was copied after a crash without its second file is not said to be empty."""
    path = tmp_path / "b.journal"
    async with Journal(path):
        pass
    for command in ("resume", "report"):
        ended = await call(command, str(path))
        assert ended.code == 2
        assert "the file b.journal-wal is missing, which a crash leaves beside it" in ended.errors


async def test_flaky_that_fails_still_does_afterwards(emulator: Emulator, call: Call) -> None:
    """`--fail-on-flaky` holds for `report` of the batch too; without it flaky is a success."""

    def fail_first() -> None:
        (run,) = emulator.active_runs()
        emulator.finish_run(run.id, "failed")

    for words, code in (((), 0), (("--fail-on-flaky",), 1)):
        asyncio.get_running_loop().call_later(5, fail_first)
        ended = await call("run", "Checkout", "--wait", "--attempts", "2", *words)
        assert (ended.code, (await call("report")).code) == (code, code)
        counts = [line.split()[2] for line in ended.output.splitlines() if "Checkout" in line]
        assert counts[:6] == ["0/1", "0/1", "0/1", "0/1", "0/1", "1/1"]


async def test_report_downloads_nothing(call: Call, tmp_path: Path) -> None:
    """`report` asks no service, so it refuses `--artifacts` in place of ignoring it."""
    await call("run", "Returns", "--wait")
    ended = await call("report", "--artifacts", str(tmp_path / "failed"))
    assert (ended.code, ended.output) == (2, "")
    assert "--artifacts" in ended.errors


async def test_report_annotates(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a job of GitHub `report` shows failures."""
    await call("run", "Returns", "--wait")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert "::error title=Returns" in (await call("report")).output


async def test_wait_writes_into_the_batch_that_its_runs_are_of(call: Call) -> None:
    """What `wait` has seen to end is over in its batch too, which is named."""
    await interrupted(call, "run", "Wishlist", "--wait", at=10)
    await call("run", "Checkout", "--wait")
    ended = await call("wait", "214")
    assert ended.errors == "Batch 1 has the results.\n"
    assert (await call("report", "1")).output.endswith(": 1 passed\n")
    assert (await call("resume")).code == 2
    ended = await call("wait", "214")
    assert (ended.code, ended.errors) == (0, "")


async def test_batch_is_named_from_start_to_end(call: Call) -> None:
    """The number is at the start and at the end of the output, in JSON, and in the history."""
    ended = await call("run", "Checkout", "--wait", "--name", "nightly")
    first, *_, last = ended.output.splitlines()
    assert first == "Batch 1 (nightly)."
    assert last.startswith("Batch 1: 1 in ")
    ended = await call("run", "Returns", "--wait", "--json")
    assert json.loads(ended.output)["batch"] == "2"
    document = json.loads((await call("history", "--json")).output)
    assert [each["batch"] for each in document["batches"]] == [1, 2]
    assert json.loads((await call("report", "--json")).output)["batch"] == "2"


@pytest.mark.parametrize("word", ["1", "nightly"])
async def test_batch_is_meant_by_its_number_or_name(
    word: str, emulator: Emulator, call: Call
) -> None:
    """`report`, `history`, `run --failed` and `resume` take either, also of an older batch."""
    await interrupted(
        *(call, "run", "Returns", "Wishlist", "Checkout", "--wait", "--name", "nightly"),
        *("--max-in-flight", "2"),
        at=30,
    )
    await call("run", "Newsletter", "--wait", "--name", "other")
    ended = await call("report", word, "--json")
    assert json.loads(ended.output)["summary"]["failed"] == 1
    document = json.loads((await call("history", word, "--json")).output)
    assert [each["batch"] for each in document["batches"]] == [1]
    before = len(emulator.runs)
    ended = await call("run", "--failed", word, "--wait")
    assert ran_since(emulator, before) == [("Returns", "Default")]
    ended = await call("resume", word)
    assert "\nBatch 1: 3 in " in ended.output
    assert ended.output.endswith(": 2 passed, 1 failed\n")


async def test_name_of_two_batches_means_the_last(emulator: Emulator, call: Call) -> None:
    """A job that always takes one name finds its own last batch, whatever other jobs did since."""
    await call("run", "Returns", "--wait", "--name", "nightly")
    await call("run", "Checkout", "--wait", "--name", "nightly")
    await call("run", "Returns", "--wait", "--name", "other")
    ended = await call("run", "--failed", "nightly", "--wait")
    assert (ended.code, ended.output) == (0, "")
    assert ended.errors.startswith("Batch 2 (nightly) of ")
    assert len(emulator.runs) == 3


async def test_green_batch_of_another_job_is_no_success(emulator: Emulator, call: Call) -> None:
    """After another job's green batch a bare `run --failed` names both, and is no success."""
    await call("run", "Returns", "--wait", "--name", "nightly")
    await call("run", "Checkout", "--wait", "--name", "other")
    ended = await call("run", "--failed", "--wait")
    assert (ended.code, ended.output, len(emulator.runs)) == (2, "", 2)
    assert "Batch 2 (other)" in ended.errors
    assert "run --failed 1 --wait" in ended.errors


async def test_what_was_made_good_is_no_failure_any_more(emulator: Emulator, call: Call) -> None:
    """Where all that failed has passed since, nothing is left to run, and that is a success."""
    await call("run", "Returns", "--wait")

    def pass_all() -> None:
        for run in emulator.active_runs():
            emulator.finish_run(run.id, "passed")

    asyncio.get_running_loop().call_later(5, pass_all)
    ended = await call("run", "--failed", "--wait")
    assert ended.errors.splitlines()[0].startswith("Batch 1 of ")
    assert ended.code == 0
    ended = await call("run", "--failed", "--wait")
    assert (ended.code, ended.output) == (0, "")
    assert ended.errors.startswith("Batch 2 of ")
    assert len(emulator.runs) == 2


@pytest.mark.parametrize("word", [[], ["1"], ["nightly"]])
@pytest.mark.parametrize("command", ["report", "resume", "run --wait --failed"])
async def test_batch_that_runs_elsewhere(
    command: str, word: list[str], call: Call, batches: Path
) -> None:
    """It is said since when and in which process it runs, and not that there is none."""
    await interrupted(call, "run", "Wishlist", "--wait", "--name", "nightly", at=10)
    cut_off(batches)
    async with Journal(batches / "1.journal"):
        ended = await call(*command.split(), *word)
        assert (ended.code, ended.output) == (2, "")
        assert "Batch 1 (nightly) is running since " in ended.errors
        assert f" in process {os.getpid()}" in ended.errors


async def test_resumed_batch_runs_in_the_present_process(
    call: Call, batches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While `resume` works on a batch, its record says since when and in which process."""
    await interrupted(call, "run", "Wishlist", "--wait", at=10)
    (record,) = Batches(batches).records()
    assert record.ended_at is not None
    monkeypatch.setattr(os, "getpid", lambda: 4711)
    seen: list[BatchRecord] = []
    asyncio.get_running_loop().call_later(5, lambda: seen.extend(Batches(batches).records()))
    await call("resume", "1")
    assert [(each.process, each.ended_at) for each in seen] == [(4711, None)]
    assert seen[0].started_at > record.started_at


async def test_what_runs_again_knows_its_parent(call: Call, batches: Path) -> None:
    """A batch of `run --failed` is recorded as a rerun of the batch that it took."""
    await call("run", "Returns", "--wait")
    await call("run", "--failed", "--wait")
    assert [each.parent for each in Batches(batches).records()] == [1, None]


async def test_report_of_a_batch_has_its_reruns(
    emulator: Emulator, call: Call, tmp_path: Path
) -> None:
    """What ran again is a further attempt of the batch, in its counts and in its JUnit file."""
    report = tmp_path / "junit.xml"

    def end(verdict: Literal["passed", "failed"], *names: str) -> None:
        for run in emulator.active_runs():
            if run.feature_name in names:
                emulator.finish_run(run.id, verdict)

    loop = asyncio.get_running_loop()
    loop.call_later(5, end, "failed", "Checkout", "Returns")
    await call("run", "Checkout", "Returns", "Wishlist", "--wait")
    loop.call_later(5, end, "failed", "Returns")
    await call("run", "--failed", "1", "--wait")
    ended = await call("report", "1", "--report", str(report))
    assert ended.code == 1
    assert ended.output.splitlines()[0].endswith(", with what ran again, batch 2.")
    assert re.search(r"\nBatch 1: 3 in [\d:.]+: 1 passed, 1 flaky, 1 failed\n$", ended.output)
    assert report.read_text(encoding="utf-8").count("<flakyFailure") == 1
    loop.call_later(5, end, "passed", "Returns")
    ended = await call("run", "--failed", "1", "--wait")
    assert [run.feature_name for run in emulator.runs.values()][5:] == ["Returns"]
    assert (await call("report", "1")).code == 0


async def test_unfinished_batches_are_listed_and_discarded(call: Call) -> None:
    """`resume --list` has what is not over; `discard` forgets it, and asks no service."""
    await call("run", "Checkout", "--wait")
    await interrupted(call, "run", "Wishlist", "--wait", "--name", "slow", at=10)
    ended = await call("resume", "--list")
    assert re.fullmatch(r"2\tslow\t.*\t1 in flight\n", ended.output)
    ended = await call("discard", "slow")
    assert (ended.code, ended.output) == (0, "Batch 2 (slow) is forgotten: 1 in flight.\n")
    assert (await call("resume", "--list")).output == ""
    assert (await call("discard", "slow")).code == 2


async def test_dry_run_dispatches_nothing(emulator: Emulator, call: Call) -> None:
    """`--dry-run` names what would be dispatched, and how many generations that may cost."""
    ended = await call("run", "Check*", "Returns", "-c", "Default", "-c", "Mobile", "--dry-run")
    assert ended.code == 0
    assert ended.output == (
        "Checkout\tDefault\nCheckout\tMobile\nReturns\tDefault\nReturns\tMobile\n"
    )
    assert "4 runs would be dispatched" in ended.errors
    assert "3 runs" in (await call("run", "Checkout", "--repeat", "3", "--dry-run")).errors
    ended = await call("generate", "--all", "--dry-run")
    assert "1 generation would be dispatched, and each costs credits" in ended.errors
    assert emulator.count("run_feature") == emulator.count("generate_feature") == 0


async def test_rerun_that_is_not_over_is_named(emulator: Emulator, call: Call) -> None:
    """What a rerun left in flight is left of its batch too, and the rerun is what to resume."""
    asyncio.get_running_loop().call_later(5, lambda: emulator.finish_run(214, "failed"))
    await call("run", "Checkout", "--wait")
    await interrupted(call, "run", "--failed", "1", "--wait", at=5)
    ended = await call("run", "--failed", "1", "--wait")
    assert ended.code == 4
    assert "It left 1 in flight: resume it with testvibe-async resume 2\n" in ended.errors
    ended = await call("report", "1")
    assert (ended.code, "resume 2\n" in ended.errors, "resume 1\n" in ended.errors) == (
        4,
        True,
        False,
    )


async def test_batch_that_can_not_be_read_is_not_over(call: Call, batches: Path) -> None:
    """Nothing is said of all batches where one of them is damaged: that one is named."""
    await call("run", "Checkout", "--wait")
    (batches / "1.journal").write_bytes(b"no database" * 100)
    ended = await call("resume")
    assert ended.code == 2
    assert "1.journal" in ended.errors
    assert "is over" not in ended.errors


async def test_rerun_in_flight_comes_before_older_failures(call: Call) -> None:
    """A bare `run --failed` says that the last batch is not over, and nothing of an earlier one."""
    await call("run", "Returns", "--wait")
    await interrupted(call, "run", "--failed", "--wait", at=5)
    ended = await call("run", "--failed", "--wait")
    assert (ended.code, ended.output) == (4, "")
    assert ended.errors.startswith("Batch 2 of ")
    assert "It left 1 in flight: resume it with testvibe-async resume 2\n" in ended.errors


async def test_history_counts_as_report_does(emulator: Emulator, call: Call) -> None:
    """A rerun is part of its batch in both, and no batch of its own."""
    await call("run", "Returns", "Checkout", "--wait")

    def pass_all() -> None:
        for run in emulator.active_runs():
            emulator.finish_run(run.id, "passed")

    asyncio.get_running_loop().call_later(5, pass_all)
    await call("run", "--failed", "--wait")
    for words in ((), ("1",)):
        (found,) = json.loads((await call("history", *words, "--json")).output)["batches"]
        assert [found[name] for name in ("batch", "passed", "flaky", "failed")] == [1, 1, 1, 0]
    assert (await call("report", "1")).output.endswith(": 1 passed, 1 flaky\n")


async def test_rerun_generates_as_its_batch_did(emulator: Emulator, call: Call) -> None:
    """What the limit of generations left is generated by `run --failed` too, once allowed."""
    command = ("run", "Checkout with gift card", "Returns", "--wait", "--on-conflict", "generate")
    await call(*command, "--max-generations", "0")
    ended = await call("run", "--failed", "--wait")
    assert (ended.code, emulator.count("generate_feature")) == (2, 0)
    assert "pass --yes, or --max-generations N" in ended.errors
    ended = await call("run", "--failed", "--wait", "--yes")
    assert emulator.count("generate_feature") == 1
    assert ended.output.endswith(": 1 passed, 1 failed\n")
