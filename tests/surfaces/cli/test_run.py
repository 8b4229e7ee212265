"""`run`: what it dispatches, what it prints, the files that it leaves, and how it is stopped."""

import os
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from tests.surfaces.cli.conftest import (
    Call,
    Ended,
    interrupted,
    later,
    names_in,
    now,
    press_ctrl_c,
    text_of,
    write,
)
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

SCENARIO = Scenario(
    run_queue=3,
    run_duration=(20, 30),
    failing_runs=0,
    outcomes={
        "Returns": Outcome(run_status="failed", error="Error: no\x1b[2J button", run_duration=10),
        "Wishlist": Outcome(run_duration=400),
    },
)
"""All runs pass in half a minute, except one that fails and one that takes minutes."""


def words_of_wait(ended: Ended) -> str:
    """Return the printed command that waits, without the program."""
    (line,) = re.findall(r"^  testvibe-async (wait .*)$", ended.errors, re.MULTILINE)
    return str(line)


async def test_without_wait_it_dispatches_and_ends(emulator: Emulator, call: Call) -> None:
    """The runs are dispatched at once and named, with the commands that wait for them."""
    ended = await call("run Checkout 'login functionality'")
    assert ended.code == 0
    assert now() < 1
    assert ended.output == "Checkout\t\trun 214\nLogin Functionality\t\trun 215\n"
    assert "To resume the batch, on this machine:\n  testvibe-async resume 1\n" in ended.errors
    assert "on any machine:\n  testvibe-async wait 2" in ended.errors
    assert (emulator.count("get_run"), emulator.count("list_features")) == (0, 1)
    ended = await call(words_of_wait(ended))
    assert (ended.code, ended.output[-11:]) == (0, ": 2 passed\n")
    assert "Batch 1 has the results.\n" in ended.errors
    assert (await call("report")).code == 0


async def test_refused_dispatches_go_to_standard_error(emulator: Emulator, call: Call) -> None:
    """What was refused is on standard error; a document has an item for each, with its ref."""
    ended = await call("run Checkout 'Checkout with gift card' --quiet")
    assert (ended.code, ended.output) == (3, "Checkout\t\trun 214\n")
    assert ended.errors.startswith("Checkout with gift card\n    ")
    assert "To generate what has no tests:\n  testvibe-async generate " in ended.errors
    emulator.fail("list_features", Fault.status(404))  # So that the name is not refused before.
    ended = await call("run Checkout nosuch --json --config Mobile")
    checkout, nosuch = ended.json["items"]
    assert checkout["ref"]["runId"] in emulator.runs
    assert (checkout["config"], checkout["verdict"]) == ("Mobile", "in flight")
    assert nosuch["error"]["type"] == "NotFoundError"
    assert (ended.code, ended.json["exitCode"]) == (3, 3)


@pytest.mark.parametrize("fault", [Fault.delay(100), Fault.hang()])
async def test_dispatch_that_is_not_answered_is_unknown(
    fault: Fault, emulator: Emulator, call: Call
) -> None:
    """Pressed again, Ctrl-C waits for no answer, and names the dispatch that had none."""
    emulator.fail("run_feature", fault)
    press_ctrl_c(3)
    ended = await interrupted(call, "run Checkout --wait", at=1)
    assert (ended.code, now()) == (130, 3)
    assert "Stopped. Batch 1: 1 in 3.0 s: 1 unknown\n" in ended.errors
    assert "Checkout\n    unknown: it may have started" in ended.output
    assert "resume 1 --unknown adopt ID\n" in ended.errors


def cases_in(path: str) -> dict[str, str]:
    """Return the result of each suite of a JUnit file."""
    suites = ET.parse(path).getroot()  # noqa: S314 - our own file
    words = {"failures": "failed", "errors": "error", "skipped": "skipped"}
    return {
        suite.get("name", ""): next((w for k, w in words.items() if suite.get(k) != "0"), "passed")
        for suite in suites
    }


async def test_reports_and_artifacts_are_left(call: Call) -> None:
    """Each report has its format; the artifacts of a failed run come before the others end."""
    names = ["junit.xml", "ctrf.json", "a.md", "a.html", "md:summary"]
    reports = " ".join(f"--report {name}" for name in names)
    seen: list[list[str]] = []
    later(30, lambda: seen.append(names_in("failed")))
    ended = await call(f"run Wishlist Returns --wait {reports} --artifacts failed")
    assert ended.code == 1
    assert all("Returns" in text_of(name.removeprefix("md:")) for name in names)
    assert text_of("summary").startswith("## TestVibe\n")
    assert seen == [["run-215"]] == [names_in("failed")]
    assert names_in("failed", "**/*.zip")
    assert "failed/run-215/" in text_of("a.html")
    assert "Artifacts: failed (" in ended.errors


@pytest.mark.skipif(os.name != "posix", reason="its pipes are no files")
async def test_report_in_a_pipe(call: Call) -> None:
    """A pipe gets the report once, though the artifacts come later."""
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    await call("run Returns --wait --report md:pipe --artifacts failed")
    assert os.read(reader, 100_000).count(b"## TestVibe\n") == 1
    os.close(reader)


@pytest.mark.parametrize("command", ["run Wishlist --wait", "resume", "wait 215"])
async def test_report_of_a_command_that_is_killed(command: str, call: Call) -> None:
    """From its start on a command leaves no report of an earlier success."""
    await call("run Checkout --wait --report junit.xml")
    await interrupted(call, "run Wishlist --wait", at=5)
    killed: list[str] = []
    later(5, lambda: killed.append(text_of("junit.xml")))
    await interrupted(call, f"{command} --report junit.xml", at=10)
    assert (killed[0].count("<error"), "still running, or was killed" in killed[0]) == (1, True)


@pytest.mark.parametrize("fault", [Fault.status(401), Fault.hang(), "Ctrl-C"])
async def test_report_where_the_features_could_not_be_listed(
    fault: Fault | str, emulator: Emulator, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report of before is replaced, and GitHub is told, where not even the list was to be had."""
    await call("run Checkout --wait --report junit.xml")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary")
    emulator.fail("list_features", fault if isinstance(fault, Fault) else Fault.hang())
    if fault == "Ctrl-C":
        press_ctrl_c(5)
    ended = await call("run --all --wait --timeout 60 --report junit.xml")
    assert ended.code in {3, 5, 130}
    assert cases_in("junit.xml") == {"The batch": "error"}
    assert ("Stopped. Nothing was dispatched yet.\n" in ended.errors) is (fault == "Ctrl-C")
    assert ended.output.startswith("::error title=The batch::") or fault == "Ctrl-C"
    assert "The batch" in text_of("summary")
    assert "Report: junit.xml\n" in ended.errors or fault == "Ctrl-C"


async def test_ctrl_c_while_files_are_fetched(emulator: Emulator, call: Call) -> None:
    """The results and the report are there before; what is missing is told, with the command."""
    emulator.fail("get_run_artifacts", Fault.delay(100))
    typed = "run Returns --wait --json --report junit.xml --artifacts files"
    ended = await interrupted(call, typed, at=60)
    assert (ended.code, ended.json["items"][0]["verdict"]) == (130, "failed")
    assert cases_in("junit.xml") == {"Returns": "failed"}
    missing = "Artifacts of 1 run are not there yet: testvibe-async runs download ID DIR\n"
    assert ended.errors.count("Report: junit.xml\n") == 1
    ended = await interrupted(call, "run Returns Wishlist --wait --artifacts a", at=60)
    assert missing in ended.errors


async def test_artifacts_that_can_not_be_had_are_noted(call: Call) -> None:
    """A failed download changes neither the verdict, the other artifacts, nor the report."""
    later(8, write, "files/run-214", "")
    ended = await call("run Returns -c Default -c Mobile --wait -r a.html --artifacts files")
    assert ended.code == 1
    assert "artifacts of run 214: files/run-214: File exists\n" in ended.errors
    assert "files/run-215/" in text_of("a.html")


@pytest.mark.parametrize("name", ["file/new/a.xml", "a.xml", "shut/new/a.xml", "file/new", "shut"])
async def test_file_in_no_place_for_it_is_refused(
    name: str, emulator: Emulator, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report or artifacts that could not be written are refused before anything runs."""
    write("file", "")
    for folder in ("a.xml", "shut"):
        Path(folder).mkdir()  # noqa: ASYNC240
    mkdir = os.mkdir

    def refuse(path: str, *more: Any) -> None:
        if "shut" in Path(path).parts:
            raise PermissionError(13, "Permission denied")
        mkdir(path, *more)

    monkeypatch.setattr("os.mkdir", refuse)  # The real one lets root write anywhere.
    option = "--report" if name.endswith(".xml") else "--artifacts"
    ended = await call(f"run Returns --wait {option} {name}")
    assert "can't be " in ended.errors
    ended.refuses(f"the report {name}" if option == "--report" else "the artifacts")
    assert emulator.requests == []
    assert names_in("shut") == []


@pytest.mark.parametrize(("feature", "code"), [("Returns", 1), ("Checkout", 2)])
async def test_a_report_that_cannot_be_written_is_named(
    feature: str, code: int, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk keeps neither the results, the other report, nor the exit code of a failure."""
    replace, written = Path.replace, list[str]()

    def full(part: Path, target: Path) -> Any:
        written.append(target.name)
        if target.name == "junit.xml" and written.count("junit.xml") > 1:
            raise OSError(28, "No space left on device")
        return replace(part, target)

    monkeypatch.setattr(Path, "replace", full)
    ended = await call(f"run {feature} -j --artifacts a -r junit.xml -r page.html")
    assert ended.code == code
    assert len(re.findall(r"junit.xml.*: No space left on device\n", ended.errors)) == 1
    assert "Report: junit.xml" not in ended.errors
    assert feature in text_of("page.html")
    assert ended.json["exitCode"] == code


@pytest.mark.parametrize(
    "option", ["--report a.md", "--attempts 2", "--repeat 2", "--max-failures 1", "--timeout 90"]
)
async def test_what_concerns_results_implies_wait(option: str, call: Call) -> None:
    """The command waits without --wait."""
    ended = await call(f"run Checkout {option} --json")
    assert (ended.code, ended.json["summary"]["inFlight"]) == (0, 0)


async def test_red_end_is_explained_in_quiet(emulator: Emulator, call: Call) -> None:
    """With --quiet too, no exit code is red without a word."""
    later(4, emulator.finish_run, 214, "failed")
    ended = await call("run Checkout --attempts 2 --fail-on-flaky --quiet")
    assert (ended.code, ended.output) == (1, "")
    assert ended.errors.endswith(": 1 flaky; red by --fail-on-flaky\n")
