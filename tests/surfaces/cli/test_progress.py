"""Progress while a command waits: a table on a terminal, lines in a pipe, events for a program."""

import json
import os
import re
import sys

import pytest
from rich.cells import cell_len

from tests.surfaces.cli.conftest import Call, interrupted, later, now
from testvibe_async.runner.words import duration
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

SCENARIO = Scenario(
    run_queue=1,
    run_duration=6,
    failing_runs=0,
    generation_warm_up=5,
    generation_section=20,
    outcomes={
        "Returns": Outcome(run_status="failed", run_duration=3),
        "Wishlist": Outcome(run_duration=400),
    },
)


def refused(message: str, status: int = 400) -> Fault:
    body = {"error": "x", "message": message}
    return Fault.status(status, body=json.dumps(body).encode())


CODES = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


@pytest.fixture
def size(on_terminal: None, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The columns and lines of the terminal, which may change."""
    assert on_terminal is None
    columns_and_lines = [80, 24]
    monkeypatch.delenv("COLUMNS")
    monkeypatch.delenv("LINES", raising=False)

    def size(*_: object) -> os.terminal_size:
        return os.terminal_size((*columns_and_lines,))

    monkeypatch.setattr(os, "get_terminal_size", size)
    return columns_and_lines


def frames_in(output: str) -> list[list[str]]:
    """Return the lines of each table that was drawn."""
    drawn = output.rpartition("\x1b[?25h")[0].split("\r\x1b[2K")
    frames = [CODES.sub("", frame).strip("\n").splitlines() for frame in drawn]
    return [[line.rstrip() for line in frame] for frame in frames if len(frame) > 1]


def frame_at(seconds: float, output: str) -> list[str]:
    """Return the table at a time."""
    return next(each for each in frames_in(output) if f" in {duration(seconds)}: " in each[-1])


@pytest.mark.usefixtures("size")
async def test_table_has_each_operation_and_what_they_add_up_to(
    call: Call, emulator: Emulator
) -> None:
    """The table has a line for each operation; the counts are beneath; at the end it is removed."""
    path = f"/features/{emulator.features['Newsletter'].id}/run"
    refusal = refused("Not with this key.", 403)
    emulator.fail("run_feature", refusal, when=lambda sent: sent.path.endswith(path))
    features = ("Returns", "Wishlist", "Checkout with gift card", "Newsletter")
    command = "run --wait -c Mobile"
    ended = await interrupted(call, command, *features, at=8)
    lines = frame_at(7, ended.output)
    assert re.fullmatch(r"Feature +Operation +Status +Elapsed  Result", lines[0])
    assert [re.split("  +", re.sub(r"(6\.[5-9]|7\.\d) s", "7 s", line)) for line in lines[1:5]] == [
        ["Returns [Mobile]", "run 214", "failed", "4.0 s", "1 of 3 tests failed"],
        ["Wishlist [Mobile]", "run 215", "running", "7 s"],
        ["Checkout with gift ca…", "—", "error", "0.0 s", 'the service says "Only…'],
        ["Newsletter [Mobile]", "—", "error", "0.0 s", 'the service says "Not …'],
    ]
    assert lines[5:] == ["", "3 of 4 in 7.0 s: 1 failed, 2 errors, 1 running"]
    assert "\x1b[1;31mfailed" in ended.output
    assert "generating" not in ended.output.rpartition("\x1b[?25h")[2]
    assert {f"{second}.0 s:" for second in range(1, 8)} <= {*re.findall(r"[\d.]+ s:", ended.output)}


@pytest.mark.parametrize("width", [40, 60, 80, 120])
async def test_table_never_breaks_a_line(
    width: int, size: list[int], call: Call, emulator: Emulator
) -> None:
    """Names and reasons that are too long are cut, in a wide script too: each row is one line."""
    size[0] = width
    names = ["買い物かご" * 30, "Shop", "A feature of a long name " * 5]
    for name in names:
        emulator.add_feature(name)
    emulator.fail("run_feature", refused("It says a lot " * 20), skip=1, times=1)
    ended = await interrupted(call, "run --wait --max-in-flight 1", *names, at=11)
    lines = frame_at(10, ended.output)
    assert len(lines) == 6
    assert all(cell_len(line) <= width for line in lines)
    assert all("…" in line for line in lines[1:4])
    assert ("run 214" in lines[1]) is (width >= 80)


async def test_low_table_has_first_what_matters(size: list[int], call: Call) -> None:
    """Where lines are few, a failure comes first, then what is active, then what is queued."""
    size[1] = 9
    features = "Newsletter 'Login Functionality' Wishlist Checkout Returns 'Product search'"
    ended = await interrupted(call, f"run --wait --max-in-flight 3 {features}", at=13)
    lines = frame_at(12, ended.output)
    assert len(lines) == 7
    assert [line.split()[0] for line in lines[1:4]] == ["Wishlist", "Checkout", "Returns"]
    assert lines[4:6] == ["… and 2 more: 2 passed", ""]


async def test_resized_terminal_is_cleared_and_drawn_anew(size: list[int], call: Call) -> None:
    """On a terminal of another size nothing of the old table is left."""
    later(7, size.__setitem__, slice(None), (60, 12))
    ended = await interrupted(call, "run Returns Wishlist --wait", at=8)
    before, _, after = ended.output.partition("\x1b[2J\x1b[H")
    assert all("failed" in part and "running" in part for part in (before, after))
    assert max(len(line) for frame in frames_in(after) for line in frame) <= 60


@pytest.mark.parametrize("on", ["pipe", "terminal"])
async def test_output_that_is_closed_ends_the_wait(
    on: str, call: Call, emulator: Emulator, request: pytest.FixtureRequest
) -> None:
    """Where nothing can be printed any more the command ends, and leaves the runs alone."""
    if on == "terminal":
        request.getfixturevalue("size")
    write = sys.stdout.write

    def fail(text: str) -> int:
        if "running" in text:
            raise BrokenPipeError
        return write(text)

    request.getfixturevalue("monkeypatch").setattr(sys.stdout, "write", fail)
    ended = await call("run Wishlist Checkout --wait --max-in-flight 1")
    assert (ended.code, len(emulator.active_runs())) == (141, 1)
    assert now() < 10
    assert "Still running at the service:\n  run 214  Wishlist\n" in ended.errors


async def test_pipe_has_a_line_for_each_result_of_many(call: Call, emulator: Emulator) -> None:
    """Of 60 operations there are 60 lines, and the counts each half minute."""
    for number in range(60):
        emulator.add_feature(f"Feature {number}")
    features = [f"Feature {number}" for number in range(60)]
    ended = await call("run --wait --max-in-flight 15", *features)
    lines = [line for line in ended.lines if re.match(r" +[\d.]+ s  ", line)]
    counts = [line for line in lines if "/60" not in line]
    assert len(lines) - len(counts) == 60
    assert [line[:6] for line in counts] == ["  30.0"]
    assert re.fullmatch(r"  30\.0 s  45 passed, 15 in flight", counts[0])


async def test_events(call: Call) -> None:
    """With --json=lines each change is an object on a line, and the sum is the last."""
    ended = await call("run Checkout Returns --wait --json=lines")
    *changes, end = ended.events
    assert {change["event"] for change in changes} == {"change"}
    assert [change["status"] for change in changes].count("running") == 2
    assert [change["outcome"] is None for change in changes] == [True] * 4 + [False] * 2
    assert {change["phase"] for change in changes} == {"queued", "active", "finished"}
    assert (end["event"], end["exitCode"], ended.code) == ("end", 1, 1)
    assert end["summary"]["failed"] == end["summary"]["succeeded"] == 1
    document = (await call(f"report {end['batch']} --json")).json
    told = {change["feature"]: change["outcome"] for change in changes}
    assert told == {item["feature"]: item["outcome"] for item in document["items"]}
    assert document["batch"] == (await call("history --json")).json["batches"][0]["batch"] == 1


async def test_dispatch_without_an_answer_does_not_wait(emulator: Emulator, call: Call) -> None:
    """A dispatch that has no answer for seconds is shown as one that may have started."""
    path = f"/features/{emulator.features['Returns'].id}/run"
    emulator.fail("run_feature", Fault.hang(), when=lambda sent: sent.path.endswith(path))
    ended = await interrupted(call, "run Returns Checkout --wait", at=9)
    found = re.search(
        r"^ +[56]\.\d s  0/2  —           unacknowledged  Returns: no answer to its dispatch of "
        r"(\S+); settled by (\S+)\n",
        ended.output,
        re.MULTILINE,
    )
    assert found is not None
    sent, settled = (
        sum(map(int.__mul__, map(int, each.split(":")), (3600, 60, 1))) for each in found.groups()
    )
    assert (settled - sent) % 86400 == 65
    assert "waiting" not in ended.output


@pytest.mark.usefixtures("size")
async def test_time_that_is_left_is_estimated_from_the_history(call: Call) -> None:
    """The table says how long the rest usually takes, one after the other, and nothing of a new."""
    features = "run Checkout Newsletter --wait --max-in-flight 1"
    ended = await call(f"{features} --key a")
    assert " left" not in ended.output
    ended = await call(features)
    left = [int(each) for each in re.findall(r" 1 waiting; about (\d+) s left", ended.output)]
    assert left == sorted(left, reverse=True)
    assert (left[0], left[-1]) == (14, 10)
    assert "Newsletter" in ended.output.rpartition("\x1b[?25h")[2]  # The table stays.
    await interrupted(call, "run Checkout Wishlist --wait", at=3)
    assert " left" not in (await interrupted(call, "run Checkout Wishlist --wait", at=3)).output
