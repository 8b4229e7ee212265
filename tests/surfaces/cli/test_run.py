"""`run`: in this process on virtual time; with Ctrl-C and a terminal in one of its own."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.surfaces.cli.conftest import interrupted
from testvibe_async.cli import app
from testvibe_async.cli.output import Output
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

if TYPE_CHECKING:
    from pathlib import Path

    from tests.surfaces.cli.conftest import Call, Ended


HOSTILE = "Pay \x1b]0;owned\x07[red]now[/red]"

SCENARIO = Scenario(
    run_queue=3,
    run_duration=(20, 30),
    failing_runs=0,
    outcomes={
        "Returns": Outcome(run_status="failed", error="Error: no\x1b[2J button\n  at line 3"),
        "Wishlist": Outcome(run_duration=400),
        HOSTILE: Outcome(run_status="failed"),
    },
)
"""All runs pass in half a minute, except two that fail and one that takes minutes."""


def now() -> float:
    return asyncio.get_running_loop().time()


def words_of_wait(ended: Ended) -> list[str]:
    """Return the words of the printed command that waits."""
    (line,) = re.findall(r"^  (testvibe-async wait .*)$", ended.errors, re.MULTILINE)
    return shlex.split(line)


async def test_without_wait_it_dispatches_and_ends(emulator: Emulator, call: Call) -> None:
    """The runs are dispatched at once and named, with the command that waits for them."""
    ended = await call("run", "Checkout", "login functionality")
    assert ended.code == 0
    assert now() < 1
    first, second = emulator.runs
    assert ended.output == f"Checkout\t\trun {first}\nLogin Functionality\t\trun {second}\n"
    assert "Resume the batch, on this machine, with:\n  testvibe-async resume 1\n" in ended.errors
    assert "on any machine, with:\n  testvibe-async wait 2" in ended.errors
    assert (emulator.count("get_run"), emulator.count("list_features")) == (0, 1)


async def test_printed_command_waits_for_them(call: Call) -> None:
    """The printed command waits for just these runs."""
    ended = await call("run", "Checkout", "Returns")
    words = words_of_wait(ended)
    assert words.pop(0) == "testvibe-async"
    ended = await call(*words)
    assert ended.code == 1
    assert ended.output.endswith("s: 1 passed, 1 failed\n")


async def test_without_wait_as_json(emulator: Emulator, call: Call) -> None:
    """The document has an item for each run, with its ref."""
    emulator.fail("list_features", Fault.status(404))  # So that the name is not refused before.
    ended = await call("run", "Checkout", "nosuch", "--json", "--config", "Mobile")
    assert ended.code == 3
    document = json.loads(ended.output)
    checkout, nosuch = document["items"]
    assert checkout["ref"]["runId"] in emulator.runs
    assert (checkout["config"], checkout["verdict"]) == ("Mobile", "in flight")
    assert nosuch["error"]["type"] == "NotFoundError"
    assert document["exitCode"] == 3


async def test_refused_dispatches_go_to_standard_error(call: Call) -> None:
    """The runs that are dispatched are on standard output, what was refused on standard error."""
    ended = await call("run", "Checkout", "Checkout with gift card")
    assert ended.code == 3
    assert ended.output.startswith("Checkout\t")
    assert ended.output.count("\n") == 1
    assert "\n  Checkout with gift card\n" in ended.errors
    assert "--on-conflict generate" in ended.errors


async def test_quiet_dispatch_names_the_runs_alone(emulator: Emulator, call: Call) -> None:
    """With --quiet the runs are printed, since their ids are the result, and no remark is."""
    ended = await call("run", "Checkout", "--quiet")
    (run,) = emulator.runs
    assert (ended.code, ended.output, ended.errors) == (0, f"Checkout\t\trun {run}\n", "")


async def test_wait_until_all_passed(emulator: Emulator, call: Call) -> None:
    """With --wait each change is a line, the sum is the last, and the exit code 0."""
    ended = await call("run", "Checkout", "Login Functionality", "--wait")
    assert (ended.code, ended.errors) == (0, "")
    lines = re.findall(r"^ +[\d.]+ s  (\d)/2  run (\d+) +(\w+)", ended.output, re.MULTILINE)
    words: dict[str, list[str]] = {}
    for _, run, word in lines:
        words.setdefault(run, []).append(word)
    assert words == {str(run): ["queued", "running", "passed"] for run in emulator.runs}
    assert lines[-1][0] == "2"
    assert re.search(r"\nBatch 1: 2 in [\d.]+ s: 2 passed\n$", ended.output)


async def test_failed_tests_are_at_the_end(emulator: Emulator, call: Call) -> None:
    """A failed run makes the exit code 1; its tests with their errors come before the sum."""
    ended = await call("run", "Checkout", "Returns", "--wait")
    assert ended.code == 1
    (run,) = (run for run in emulator.runs.values() if run.feature_name == "Returns")
    failed = [case.name for case in run.cases() if case.status == "failed"]
    story = ended.output[ended.output.index(f"\nReturns, run {run.id}: ") :]
    assert failed
    assert f"\nReturns, run {run.id}: {failed[0]}\n    Error: no\\x1b[2J button\n" in story
    for name in failed[1:]:
        assert f"\n    Returns, run {run.id}: {name}\n" in story
    assert f"More of it: testvibe-async runs diagnose {run.id}\n" in story
    assert "Run what failed again with:\n  testvibe-async run --failed 1 --wait\n" in story
    assert story.endswith("s: 1 passed, 1 failed\n")


async def test_quiet_wait_prints_the_failures_alone(call: Call) -> None:
    """With --quiet there is nothing but the failed tests, and nothing at all without any."""
    ended = await call("run", "Checkout", "--wait", "--quiet")
    assert (ended.code, ended.output, ended.errors) == (0, "", "")
    ended = await call("run", "Checkout", "Returns", "--wait", "--quiet")
    assert (ended.code, ended.errors) == (1, "")
    assert ended.output.startswith("Returns, run ")
    assert "passed" not in ended.output


async def test_json_wait_is_one_document(emulator: Emulator, call: Call) -> None:
    """With --json there is one document at the end, in the order asked."""
    emulator.fail("list_features", Fault.status(404))  # So that the name is not refused before.
    ended = await call("run", "Returns", "Checkout", "nosuch", "--wait", "--json")
    assert (ended.code, ended.errors) == (3, "")
    document = json.loads(ended.output)
    assert [item["verdict"] for item in document["items"]] == ["failed", "succeeded", "error"]
    assert document["items"][0]["outcome"]["tests"]
    assert document["summary"]["failed"] == 1


async def test_all_runs_what_has_tests(emulator: Emulator, call: Call) -> None:
    """With --all each feature that has tests is run, named from the first line on."""
    ready = {n: f for n, f in emulator.features.items() if f.status == "generated"}
    ended = await call("run", "--all", "--wait", "--timeout", "100")
    assert {run.feature_name for run in emulator.runs.values()} == set(ready)
    assert emulator.count("list_features") == 1
    assert "feature 1" not in ended.output
    assert f"/{len(ready)}  run " in ended.output


async def test_globs_pick_features(emulator: Emulator, call: Call) -> None:
    """A glob is matched against the names in any case."""
    ended = await call("run", "log*", "return?", "--wait")
    assert ended.code == 1
    names = [run.feature_name for run in emulator.runs.values()]
    assert sorted(names) == ["Login Functionality", "Returns"]


async def test_each_feature_runs_with_each_configuration(emulator: Emulator, call: Call) -> None:
    """Several configurations make a run of each for each feature, distinguished by name."""
    ended = await call(
        "run", "Checkout", "Returns", "--wait", "--config", "Default", "--config", "Mobile"
    )
    pairs = {(run.feature_name, run.config) for run in emulator.runs.values()}
    assert len(emulator.runs) == len(pairs) == 4
    assert "Checkout [Mobile]" in ended.output
    assert "Returns [Mobile], run " in ended.output
    assert ended.output.endswith("s: 2 passed, 2 failed\n")


async def test_site_url_is_sent(emulator: Emulator, call: Call) -> None:
    """The site of the option is the site that is tested, with and without waiting."""
    for more in ((), ("--wait",)):
        await call("run", "Checkout", "--site-url", "https://staging.example", *more)
    assert [run.site_url for run in emulator.runs.values()] == ["https://staging.example"] * 2


async def test_time_that_is_over_leaves_runs_in_flight(emulator: Emulator, call: Call) -> None:
    """After --timeout the exit code is 4, and what goes on is named with the command for it."""
    ended = await call("run", "Checkout", "Wishlist", "--wait", "--timeout", "60")
    assert ended.code == 4
    assert now() == pytest.approx(60, abs=1)
    (run,) = emulator.active_runs()
    assert ended.output.endswith("\nBatch 1: 2 in 1:00: 1 passed, 1 in flight\n")
    assert f"Still running at the service:\n  run {run.id}  Wishlist\n" in ended.errors
    words = words_of_wait(ended)
    ended = await call(*words[1:])
    assert ended.code == 0
    assert re.search(r"\n1 in \d+:\d\d: 1 passed\n$", ended.output)


@pytest.mark.parametrize("words", [["--stop-on-failure"], ["--max-failures", "1"]])
async def test_failures_stop_the_dispatch(words: list[str], emulator: Emulator, call: Call) -> None:
    """After so many failures nothing is dispatched; the result says so, and that some is missing.

    `report` says the same, and `resume` dispatches the rest.
    """
    names = ("Returns", "Checkout", "Login Functionality")
    ended = await call("run", *names, "--wait", *words, "--max-in-flight", "1")
    assert (ended.code, len(emulator.runs)) == (4, 1)
    said = ": 1 failed, 2 skipped; stopped after 1 failure\n"
    assert ended.output.endswith(said)
    ended = await call("report")
    assert (ended.code, ended.output[-len(said) :]) == (4, said)
    ended = await call("resume")
    assert (ended.code, len(emulator.runs)) == (1, 3)
    assert ended.output.endswith(": 2 passed, 1 failed\n")


async def test_max_in_flight_is_kept(emulator: Emulator, call: Call) -> None:
    """No more runs are in flight than asked for."""
    await call("run", "--all", "--wait", "--max-in-flight", "3", "--timeout", "300")
    assert emulator.max_active_runs == 3


async def test_generate_first_where_there_are_no_tests(emulator: Emulator, call: Call) -> None:
    """With --on-conflict generate a generation comes first, shown beside the runs."""
    ended = await call(
        *("run", "Checkout with gift card", "Checkout", "--wait"),
        *("--on-conflict", "generate", "--yes"),
    )
    assert ended.code == 0
    assert len(emulator.generations) == 1
    assert "generation  generated   Checkout with gift card" in ended.output
    assert " 2/2  run " in ended.output
    assert ended.output.endswith(": 2 passed\n")


async def test_generating_first_without_wait_takes_its_time(emulator: Emulator, call: Call) -> None:
    """Without --wait the generation is waited for all the same, and the command says so."""
    ended = await call("run", "Checkout with gift card", "--on-conflict", "generate", "--yes")
    assert ended.code == 0
    assert ended.errors.startswith("What has no tests is generated first: minutes each.\n")
    assert len(emulator.runs) == 1


async def test_ctrl_c_while_files_are_fetched(
    emulator: Emulator, call: Call, tmp_path: Path
) -> None:
    """The results are printed once before; no more files are written."""
    emulator.fail("download", Fault.hang())
    arguments = ("run", "Returns", "--wait", "--json", "--artifacts", str(tmp_path / "failed"))
    ended = await interrupted(call, *arguments, at=60)
    assert (ended.code, ended.errors) == (130, "")
    assert json.loads(ended.output)["items"][0]["verdict"] == "failed"


async def test_reports_and_artifacts_are_left(
    emulator: Emulator, call: Call, tmp_path: Path
) -> None:
    """Each report is written in its format; of runs that failed the artifacts are fetched."""
    files = [tmp_path / "out" / name for name in ("junit.xml", "ctrf.json", "a.md", "a.html")]
    reports = [word for path in files for word in ("--report", str(path))]
    artifacts = tmp_path / "failed"
    ended = await call(
        "run", "Checkout", "Returns", "--wait", *reports, "--artifacts", str(artifacts)
    )
    assert ended.code == 1
    assert all("Returns" in path.read_text(encoding="utf-8") for path in files)
    (run,) = (run for run in emulator.runs.values() if run.feature_name == "Returns")
    assert [folder.name for folder in artifacts.iterdir()] == [f"run-{run.id}"]
    assert any(path.suffix == ".zip" for path in artifacts.rglob("*"))
    assert f"failed/run-{run.id}/" in files[3].read_text(encoding="utf-8")


async def test_a_report_of_runs_that_were_over_already_has_their_times(
    emulator: Emulator, call: Call, tmp_path: Path
) -> None:
    """The time of a batch is that of its runs, not that of the command."""
    assert (await call("run", "Checkout")).code == 0
    (run,) = emulator.runs.values()
    await asyncio.sleep(300)
    report = tmp_path / "ctrf.json"
    ended = await call("wait", str(run.id), "--report", str(report))
    summary = json.loads(report.read_text(encoding="utf-8"))["results"]["summary"]
    assert ended.code == 0
    assert (summary["stop"] - summary["start"]) / 1000 == pytest.approx(
        run.finished_at - run.created_at, abs=2
    )


async def test_artifacts_that_can_not_be_had_are_noted(
    emulator: Emulator, call: Call, tmp_path: Path
) -> None:
    """A failed download does not change the verdict."""
    emulator.fail("get_run_artifacts", Fault.status(403))
    ended = await call("run", "Returns", "--wait", "--artifacts", str(tmp_path / "failed"))
    assert ended.code == 1
    assert re.search(r"artifacts of run \d+: The emulator was told to answer 403", ended.errors)


@pytest.mark.parametrize("name", ["file/a.xml", "file/new/a.xml", "a.xml", "shut/new/a.xml"])
async def test_report_in_no_place_for_it_is_refused(
    name: str, emulator: Emulator, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report that could not be written is refused before anything runs."""
    (tmp_path / "file").write_text("")
    (tmp_path / "a.xml").mkdir()
    (tmp_path / "shut").mkdir()

    def may_write(path: Path, _mode: int) -> bool:
        return path != tmp_path / "shut"

    monkeypatch.setattr("os.access", may_write)  # The real one lets root write anywhere.
    report = tmp_path / name
    ended = await call("run", "Checkout", "--wait", "--report", str(report))
    assert (ended.code, ended.output) == (2, "")
    assert ended.errors.startswith(f"testvibe-async: the report {report} can't be written: ")
    assert ended.errors.count("\n") == 1
    assert emulator.requests == []
    assert not (tmp_path / "shut" / "new").exists()


async def test_report_that_can_not_be_written_is_an_error(call: Call, tmp_path: Path) -> None:
    """A report whose folder is removed meanwhile is an error by its name, after the results."""
    report = tmp_path / "reports" / "a.xml"
    asyncio.get_running_loop().call_later(5, report.parent.write_text, "")
    ended = await call("run", "Checkout", "--wait", "--report", str(report))
    assert ended.code == 2
    assert ended.output.endswith("s: 1 passed\n")
    assert ended.errors.startswith(f"testvibe-async: {report}: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which features? Give names, ids or globs such as 'Log*', or --all"),
        (["--all", "Login"], "--all takes no names but exclusions: leave out --all, or 'Login'"),
        (["!Log*"], "exclusions alone choose nothing: give names too, or --all"),
        (["all", "!Log*"], "there is no feature 'all': to choose all features, give --all"),
        (["all"], "there is no feature 'all': to choose all features, give --all"),
        (["!Login*", "Login*"], "the exclusions leave no feature: '!Login*'"),
        (["x*"], "no feature matches 'x*': the project has 16, such as"),
        (["Login", "--timeout", "5"], "--timeout means nothing without --wait: add --wait"),
        (["Login", "--max-in-flight", "5"], "--max-in-flight means nothing without --wait"),
        (["Login", "--stop-on-failure"], "--stop-on-failure means nothing without --wait"),
        (["Login", "--max-failures", "2"], "--max-failures means nothing without --wait"),
        (["Login", "--wait", "--stop-on-failure", "--max-failures", "2"], "leave out one of"),
        (["Login", "--attempts", "2"], "--attempts means nothing without --wait: add --wait"),
        (["Login", "--wait", "--attempts", "0"], "--attempts"),
        (["Login", "--report", "a.xml"], "--report means nothing without --wait"),
        (["Login", "--artifacts", "d"], "--artifacts means nothing without --wait"),
        (["Login", "--wait", "--report", "a.txt"], "let it end in .xml (JUnit), .json (CTRF), .md"),
        (["Login", "--wait", "--timeout", "0"], "--timeout"),
        (["Login", "--wait", "--timeout", "nan"], "--timeout"),
        (["Login", "--wait", "--max-in-flight", "0"], "--max-in-flight"),
        (["Login", "--on-conflict", "attach"], "--on-conflict"),
        (["Login", "--nosuch"], "--nosuch"),
    ],
)
async def test_wrong_call_is_one_sentence(
    arguments: list[str], said: str, emulator: Emulator, call: Call
) -> None:
    """A wrong call says what is wrong and what would be right, in one line, and runs nothing."""
    ended = await call("run", *arguments)
    assert (ended.code, ended.output) == (2, "")
    assert said in ended.errors
    assert ended.errors.count("\n") == 1
    assert len(emulator.runs) == 0


async def test_project_without_tests(emulator: Emulator, call: Call) -> None:
    """With nothing to run, --all is no success."""
    emulator.fail("list_features", Fault.body(b"[]"))
    ended = await call("run", "--all", "--wait")
    assert ended.code == 2
    assert ended.errors == "testvibe-async: no feature has tests to run: generate some first\n"


async def test_service_without_lists(call: Call, emulator: Emulator) -> None:
    """Without the list of features --all is refused, and a name still runs."""
    emulator.fail("list_features", Fault.status(404))
    assert (await call("run", "--all", "--wait")).code == 3
    assert (await call("run", "Checkout", "--wait")).code == 0


@pytest.mark.parametrize(
    ("fault", "code", "counts"),
    [
        (Fault.status(401), 3, "1 error"),
        (Fault.status(403), 3, "1 error"),
        (Fault.status(500), 5, "1 unknown"),
        (Fault.status(400), 3, "1 error"),
    ],
)
async def test_refused_dispatch_decides_the_exit_code(
    fault: Fault, code: int, counts: str, emulator: Emulator, call: Call
) -> None:
    """A dispatch that the service refused or failed is printed, and decides the exit code."""
    emulator.fail("run_feature", fault)
    ended = await call("run", "Checkout", "--wait")
    assert ended.code == code
    assert ended.output.endswith(f": {counts}\n")


def fail_first_run(emulator: Emulator, feature: str) -> None:
    """Have the first run of a feature fail, 10 s from now; all others pass."""

    def fail() -> None:
        run = next(run for run in emulator.runs.values() if run.feature.name == feature)
        emulator.finish_run(run.id, "failed")

    asyncio.get_running_loop().call_later(10, fail)


async def test_what_passes_at_last_is_flaky(emulator: Emulator, call: Call) -> None:
    """A feature that failed and then passed is counted and named apart, and the exit code is 0."""
    fail_first_run(emulator, "Checkout")
    ended = await call("run", "Checkout", "Login Functionality", "--wait", "--attempts", "2")

    assert ended.code == 0
    assert ended.output.endswith(": 1 passed, 1 flaky\n")
    first, second = (run.id for run in emulator.runs.values() if run.feature_name == "Checkout")
    said = "Flaky, passed after a failure:\n  Checkout: run {} failed, run {} passed\n"
    assert said.format(first, second) in ended.output
    assert re.search(rf" 2/2  run {second} +flaky +Checkout: .*, attempt 2\n", ended.output)


async def test_what_is_flaky_is_in_the_document(emulator: Emulator, call: Call) -> None:
    """With --json an item that is flaky says so, with the runs that failed before."""
    fail_first_run(emulator, "Checkout")
    ended = await call("run", "Checkout", "--wait", "--attempts", "3", "--json")
    document = json.loads(ended.output)
    (item,) = document["items"]

    assert (ended.code, document["summary"]["flaky"]) == (0, 1)
    assert (item["verdict"], item["isFlaky"]) == ("succeeded", True)
    assert [run["status"] for run in item["runs"]] == ["failed", "passed"]
    assert item["outcome"]["status"] == "passed"


async def test_artifacts_of_a_flaky_feature(emulator: Emulator, call: Call, tmp_path: Path) -> None:
    """The artifacts of an attempt that failed are fetched, also where a later one passed."""
    fail_first_run(emulator, "Checkout")
    folder = tmp_path / "failed"
    ended = await call("run", "Checkout", "--wait", "--attempts", "2", "--artifacts", str(folder))

    assert ended.code == 0
    assert [each.name for each in folder.iterdir()] == [f"run-{min(emulator.runs)}"]


async def test_what_fails_in_all_attempts_failed(emulator: Emulator, call: Call) -> None:
    """A feature that fails in all its attempts is one failure, and says which attempt it was."""
    ended = await call("run", "Returns", "--wait", "--attempts", "2")

    assert (ended.code, len(emulator.runs)) == (1, 2)
    assert ended.output.endswith(": 1 failed\n")
    assert f"Returns (attempt 2), run {max(emulator.runs)}: " in ended.output


async def test_dispatch_that_nobody_knows_of(emulator: Emulator, call: Call) -> None:
    """What may have started is unknown, with the command that shows whether it did."""
    emulator.fail("list_runs", Fault.status(404))
    emulator.fail("run_feature", Fault.lost(), times=1)
    command = ("run", "Login Functionality", "--wait", "--project", emulator.project_id)
    ended = await call(*command)

    assert ended.code == 5
    assert ended.output.endswith(": 1 unknown\n")
    check = "testvibe-async runs list --feature 'Login Functionality' --project "
    assert (
        ended.output.count(
            "Login Functionality\n"
            "  unknown: it may have started: the answer to its dispatch was lost: "
            "the connection was lost (Connection reset by peer)\n"
            "Before you start it again, see whether it did with:\n"
            f"  {check}{emulator.project_id}\n"
        )
        == 1
    )


async def test_what_nobody_knows_is_in_the_document(emulator: Emulator, call: Call) -> None:
    """With --json what may have started is unknown, with the command to check it, no error."""
    emulator.fail("list_runs", Fault.status(404))
    emulator.fail("run_feature", Fault.lost(), times=1)
    document = json.loads((await call("run", "Checkout", "--wait", "--json")).output)
    (item,) = document["items"]

    assert (document["summary"]["unknown"], document["summary"]["errors"]) == (1, 0)
    assert (item["verdict"], item["ref"]) == ("unknown", None)
    assert item["check"] == "testvibe-async runs list --feature Checkout"


async def test_run_that_can_not_be_seen_any_more(emulator: Emulator, call: Call) -> None:
    """A key that was revoked meanwhile ends the wait with 3, and names what goes on."""
    emulator.fail("get_run", Fault.status(401))
    emulator.fail("list_runs", Fault.status(401))
    ended = await call("run", "Checkout", "--wait")
    assert ended.code == 3
    assert "  in flight   Checkout: The emulator was told to answer 401" in ended.output


async def test_hostile_names_are_only_text(emulator: Emulator, call: Call) -> None:
    """No byte of a name, a test or an error reaches the terminal as a command to it."""
    gherkin = "Feature: x\n\n  Scenario: Beep \x07\x1b[2J\n    Given x\n"
    emulator.add_feature(HOSTILE, gherkin)
    draft = emulator.add_feature("Draft \x1b[2J", status="draft")
    for more in ((), ("--wait",), ("--wait", "--json")):
        ended = await call("run", "Pay*", str(draft.id), *more)
        assert ended.code == 3
        text = ended.output + ended.errors
        assert not set(text) & set("\x1b\x07")
        assert "[red]now[/red]" in text


async def test_stopped_wait_says_what_had_failed(call: Call) -> None:
    """What had failed by Ctrl-C is told whole, before what goes on."""
    ended = await interrupted(call, "run", "Returns", "Wishlist", "--wait", at=60)
    assert ended.code == 130
    assert re.search(r"\n\nReturns, run \d+: .*\n    Error: .*\n.*\n\n$", ended.output)
    assert "Stopped: 2 in 1:00: 1 failed, 1 in flight\n" in ended.errors


async def test_stopped_wait_names_what_goes_on(emulator: Emulator, call: Call) -> None:
    """Stopped by Ctrl-C it says how far it came, and how to go on; the exit code is 130."""
    ended = await interrupted(call, "run", "Checkout", "Wishlist", "--wait", at=60)
    assert ended.code == 130
    assert "Stopped: 2 in 1:00: 1 passed, 1 in flight\n" in ended.errors
    (run,) = emulator.active_runs()
    assert f"\n  run {run.id}  Wishlist\n" in ended.errors
    words = words_of_wait(ended)
    assert words[:2] == ["testvibe-async", "wait"]
    assert (await call(*words[1:])).code == 0


async def test_cancelled_command_names_what_goes_on(
    call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same is said where the program around it cancels the command."""
    calling = asyncio.create_task(call("run", "Wishlist", "--wait"))
    asyncio.get_running_loop().call_later(60, calling.cancel)
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert "Stopped: 1 in 1:00: 1 in flight\n" in capsys.readouterr().err


async def test_stopped_wait_as_json(call: Call) -> None:
    """With --json the document is printed all the same, what goes on with its ref."""
    names = ("Checkout", "Wishlist", "Returns")
    ended = await interrupted(
        call, "run", *names, "--wait", "--json", "--max-in-flight", "2", at=10
    )
    document = json.loads(ended.output)
    assert ended.code == 130
    assert [item["verdict"] for item in document["items"]] == ["in flight", "in flight", "skipped"]
    assert document["exitCode"] == 130
    assert document["summary"]["skipped"] == 1


async def test_stopped_before_anything_was_dispatched(emulator: Emulator, call: Call) -> None:
    """Ctrl-C while the features are listed says that nothing was done."""
    emulator.fail("list_features", Fault.hang())
    ended = await interrupted(call, "run", "--all", "--wait", at=1)
    assert (ended.code, ended.errors) == (130, "Stopped: nothing was dispatched yet\n")


async def test_dispatch_under_way_ends_first(emulator: Emulator, call: Call) -> None:
    """A dispatch whose answer is due is waited for, so that its run is named too."""
    emulator.fail("run_feature", Fault.delay(5.0))
    ended = await interrupted(call, "run", "Wishlist", "--wait", at=1)
    assert now() == 5
    (run,) = emulator.active_runs()
    assert "Stopping: dispatches under way end first." in ended.errors
    assert f"  run {run.id}  Wishlist\n" in ended.errors


async def test_reader_that_went_away_pressed_nothing(
    emulator: Emulator, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed pipe ends the command without a word on Ctrl-C, and names what is in flight."""

    def write(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("testvibe_async.cli.display.row_line", write)
    ended = await call("run", "--all", "--wait", "--max-in-flight", "1")
    assert ended.code == 141
    assert "\nStill running at the service:\n" in ended.errors
    (run,) = emulator.active_runs()
    assert f"  run {run.id}  " in ended.errors


async def test_dispatch_that_was_stopped_names_what_was_dispatched(
    emulator: Emulator, call: Call
) -> None:
    """The same holds without --wait."""
    emulator.fail("run_feature", Fault.delay(5.0))
    ended = await interrupted(call, "run", "Wishlist", "Checkout", at=1)
    assert all(f"  run {run.id}  " in ended.errors for run in emulator.active_runs())
    assert len(emulator.active_runs()) == 2


async def test_many_in_flight_are_not_all_named(emulator: Emulator, call: Call) -> None:
    """Of many operations the first are named; the command has all."""
    ended = await interrupted(call, "run", "--all", "--wait", at=5)
    assert "\n  and 5 more\n" in ended.errors
    ended = await call(*words_of_wait(ended)[1:], "--quiet")
    assert ended.code == 1
    assert emulator.active_runs() == []


async def test_live_table_is_followed_by_the_result(
    call: Call, on_terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the table of few operations stays at the end, above what went wrong."""
    assert on_terminal is None
    monkeypatch.setattr(Output, "is_live", True)
    ended = await call("run", "Checkout", "Returns", "--wait")
    left = ended.output.rpartition("\x1b[?25h")[2]
    assert ended.code == 1
    assert left.index("Elapsed") < left.index("no\\x1b[2J button") < left.index("2 in ")


async def test_closed_pipe_ends_the_wait(
    emulator: Emulator, signed_in: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed pipe ends the command at the next line, and leaves the runs alone."""
    assert signed_in is emulator

    def closed(_self: Any, _text: str) -> int:
        raise BrokenPipeError

    monkeypatch.setattr("testvibe_async.cli.display.row_line", closed)
    assert await app.perform(["run", "Wishlist", "--wait"]) == 141
    assert now() < 60
    assert len(emulator.active_runs()) == 1


async def test_dispatch_that_is_not_answered_is_named(emulator: Emulator, call: Call) -> None:
    """A dispatch without an answer in time, which may have taken effect, is named."""
    emulator.fail("run_feature", Fault.delay(100))
    ended = await interrupted(call, "run", "login functionality", "--wait", "--json", at=1)
    (item,) = json.loads(ended.output)["items"]
    assert (item["feature"], item["verdict"], item["error"]["type"]) == (
        "login functionality",
        "unknown",
        "DispatchUnknownError",
    )


async def test_second_ctrl_c_ends_at_once(emulator: Emulator, call: Call) -> None:
    """Pressed again, Ctrl-C waits for no answer, and names the dispatch that had none."""
    emulator.fail("run_feature", Fault.hang())
    asyncio.get_running_loop().call_later(3, signal.raise_signal, signal.SIGINT)
    ended = await interrupted(call, "run", "Checkout", "--wait", at=1)
    assert ended.code == 130
    assert now() == 3
    assert "Stopped: 1 in 3.0 s: 1 unknown\n" in ended.errors
    assert "Checkout\n  unknown: it may have started" in ended.output
    assert "resume 1 --unknown resend, drop, or adopt ID\n" in ended.output


async def test_unreachable_service_is_no_unanswered_dispatch(
    call: Call, emulator: Emulator
) -> None:
    """A dispatch that never reached the service is reported as such, not as unknown."""
    await emulator.aclose()
    ended = await call("run", "Checkout", "--wait")
    assert ended.code == 5
    assert "could not connect" in ended.output
    assert "unknown" not in ended.errors


async def test_json_lines_are_events(call: Call) -> None:
    """With --json=lines each change is an object on a line, and the sum is the last."""
    ended = await call("run", "Checkout", "Returns", "--wait", "--json=lines")
    *changes, end = [json.loads(line) for line in ended.output.splitlines()]
    assert {change["event"] for change in changes} == {"change"}
    assert [change["status"] for change in changes].count("running") == 2
    assert (end["event"], end["exitCode"], ended.code) == ("end", 1, 1)
    assert end["summary"]["failed"] == end["summary"]["succeeded"] == 1
