"""One batch on every output: the same counts everywhere, and suggestions that work."""

import json
import re
import shlex
from xml.etree import ElementTree as ET

import pytest

from tests.support.amounts import some
from tests.surfaces.cli.conftest import Call, Ended, later, text_of
from tests.surfaces.cli.test_stability import write_quarantine
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

SCENARIO = Scenario(
    run_queue=1,
    run_duration=5,
    failing_runs=0,
    failing_generations=0,
    outcomes={
        "Checkout": Outcome(run_status="failed"),
        "Newsletter": Outcome(run_status="failed"),
        "Wishlist": Outcome(run_duration=400),
        "Doomed": Outcome(generation_status="failed"),
        "-dash": Outcome(run_status="failed"),
    },
)

MIXED = {
    "Store locator": "unknown",
    "Login Functionality": "passed",
    "Returns": "flaky",
    "Newsletter": "quarantined",
    "Checkout": "failed",
    "Draft": "error",
    "Wishlist": "skipped",
}
"""The features of a batch with everything in it, in order, and what becomes of each."""

COUNTS = "1 passed, 1 flaky, 1 failed, 1 quarantined, 1 error, 1 unknown, 1 skipped"


async def mixed(call: Call, emulator: Emulator, *words: str) -> Ended:
    """Run a batch of the features above, one after the other."""
    emulator.add_feature("Draft", status="draft")
    write_quarantine("Newsletter")
    emulator.fail("list_runs", Fault.status(404))
    lost = {"Store locator", str(emulator.features["Store locator"].id)}
    emulator.fail("run_feature", Fault.lost(), when=lambda sent: sent.feature in lost)

    def fail_first() -> None:
        for run in emulator.active_runs():
            if run.feature_name == "Returns":
                emulator.finish_run(run.id, "failed")
                return
        later(1, fail_first)

    later(1, fail_first)
    options = "--wait --attempts 2 --max-in-flight 1 --max-failures 3"
    return await call(f"run {options}", *words, *MIXED)


async def test_all_outputs_agree(
    call: Call, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the command, its report, its history and each format have one count and span."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    files = ("a.xml", "a.json", "a.md", "a.html")
    ended = await mixed(call, emulator, *(word for name in files for word in ("-r", name)))
    assert ended.code == 5
    assert ended.output.rstrip("\n").partition(" s: ")[2].startswith(f"{COUNTS}; stopped after")
    report = await call("report --json")
    summary = report.json["summary"]
    assert {name: number for name, number in summary.items() if number} == {
        **dict.fromkeys(("failed", "quarantined", "errors", "unknown", "flaky", "skipped"), 1),
        "succeeded": 2,
    }
    line = next(each for each in ended.output.splitlines() if each.startswith("Batch 1: "))
    assert line in (await call("report")).output
    history = (await call("history --json")).json["batches"][0]
    assert [history[each] for each in ("passed", "failed", "flaky", "other")] == [1, 1, 1, 4]
    suites = {suite.get("name"): suite for suite in ET.fromstring(text_of("a.xml"))}  # noqa: S314
    marks = {"failed": "failure", "error": "error", "unknown": "error"}
    marks |= dict.fromkeys(("quarantined", "skipped"), "skipped")
    for name, word in MIXED.items():
        found = {tag for tag in ("failure", "error", "skipped") if [*suites[name].iter(tag)]}
        assert found == {marks[word]} - {None} if word in marks else not found, name
    ctrf = json.loads(text_of("a.json"))["results"]["tests"]
    verdicts = {test["suite"][0]: test["extra"]["verdict"] for test in ctrf}
    words = {"passed": "succeeded", "flaky": "succeeded"}
    assert verdicts == {name: words.get(word, word) for name, word in MIXED.items()}
    assert COUNTS in text_of("a.md")
    assert f" · {line.partition(' in ')[2].partition(':')[0]}\n" in text_of("a.md")
    assert COUNTS in text_of("a.html")
    annotated = re.findall(r"^::(\w+) title=([\w ]+)", ended.output, re.MULTILINE)
    assert {*annotated} == {
        *(("error", name) for name in ("Checkout", "Draft", "Store locator")),
        ("warning", "Returns"),
    }


SUGGESTING = {
    "run Checkout --wait": {"runs diagnose", "run --failed"},
    "run Draft --wait": {"generate"},
    "run Draft": {"generate"},
    "run -- -dash": {"resume", "wait"},
    "run --wait -- -dash": {"runs diagnose", "run --failed"},
    "run --wait -- -draft": {"generate"},
    "run Checkout Returns": {"resume", "wait"},
    "run Wishlist --timeout 9": {"resume", "wait"},
    "run Checkout Returns --max-in-flight 1 --max-failures 1": {"resume", "runs diagnose"},
    "generate Doomed --watch": {"generation show", "generate"},
    "generate Doomed Draft": {"resume", "wait"},
    "generate Doomed --max-generations 0": {"resume"},
    "run Lost --wait": {"runs list", "resume"},
    "run --wait -- -lost": {"runs list", "resume"},
    "generate Lost --watch --timeout 30": {"generation show", "resume"},
    "generate --watch --timeout 30 -- -lost": {"generation show", "resume"},
    "run Draft Generating --wait": {"generate"},
}
"""Commands, and the beginnings of the commands that they suggest."""


def prepare(emulator: Emulator) -> None:
    """Add features that fail in each way; the answers to some dispatches are lost."""
    for name in ("Draft", "Doomed", "-draft"):
        emulator.add_feature(name, status="draft")
    emulator.add_feature("Generating", status="generating")
    for name in ("Lost", "-lost", "-dash"):
        emulator.add_feature(name)
    for call in ("run_feature", "generate_feature"):
        emulator.fail(call, Fault.lost(), when=lambda sent: sent.feature in {"Lost", "-lost"})


@pytest.mark.parametrize("typed", some(SUGGESTING, few=2))
async def test_suggestions_work(typed: str, call: Call, emulator: Emulator) -> None:
    """Each command that is suggested does something: it is no wrong call, and no defect."""
    prepare(emulator)
    if "ost" in typed:
        emulator.fail("get_generation_status", Fault.status(500))
        emulator.fail("list_runs", Fault.status(404))
    ended = await call(typed)
    suggested = re.findall(r"^  testvibe-async (.+)$", ended.output + ended.errors, re.MULTILINE)
    begins = {" ".join(shlex.split(each)[:2]) for each in suggested}
    for begin in SUGGESTING[typed]:
        assert any(each.startswith(begin) for each in begins), (begin, begins)
    for each in suggested:
        command = each.replace(" ID", f" {max(emulator.runs, default=214)}")
        answer = await call(command)
        said = answer.errors
        is_decided = "resume" in command and "nothing is unknown" in said  # By the command before.
        needs_yes = "pass --yes" in said
        assert answer.code in {0, 1, 3, 4, 5} or is_decided or needs_yes, (command, answer)


async def test_generations_have_a_history_and_a_report(call: Call, emulator: Emulator) -> None:
    """A batch of generations is in the history, and has a report, as one of runs."""
    prepare(emulator)
    await call("generate Draft Doomed --watch")
    (batch,) = (await call("history --json")).json["batches"]
    assert [batch[each] for each in ("kind", "passed", "failed")] == ["generation", 1, 1]
    assert "\tgeneration\t2\t1\t1\t" in (await call("history")).output
    assert (await call("report --report a.xml")).code == 1
