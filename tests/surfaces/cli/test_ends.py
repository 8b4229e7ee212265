"""Every way in which a batch ends, and what each command then says of it: one story."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from tests.support.amounts import some
from tests.support.durable import put_on_virtual_time
from tests.surfaces.cli import test_batches
from tests.surfaces.cli.conftest import Call, Ended, later
from testvibe_async._util.sqlite_file import SqliteFile
from testvibe_async.testing import Emulator, Fault, Outcome

if TYPE_CHECKING:
    from pathlib import Path


SCENARIO = evolve(
    test_batches.SCENARIO,
    outcomes={"Returns": Outcome(run_status="failed"), "Wishlist": Outcome(run_duration=120)},
)


Facts = tuple[int, str | None, dict[str, int], list[str]]


FEATURES = {"passed": ["Checkout"], "failed": ["Checkout", "Returns"]}


async def end(
    how: str, call: Call, emulator: Emulator, batches: Path, database: Path | None = None
) -> int:
    """Run a batch to an end, and return the exit code.

    "Returns" fails and "Checkout" passes after 21 s, "Wishlist" runs for 120 s. A durable batch is
    stored first, and one worker ends so.
    """
    features, disk = FEATURES.get(how, ["Returns", "Wishlist"]), pytest.MonkeyPatch()
    command = ["run", *features, "--wait"]
    if database is not None:
        await call("run", *features, "--on", str(database), "--name", "nightly")
        command = ["resume", "1"]
    match how:
        case "passed" | "failed":
            pass
        case "time-out":
            command += ["--timeout", "30"]
        case "Ctrl-C" | "SIGTERM":
            later(30, signal.raise_signal, signal.SIGINT if how == "Ctrl-C" else signal.SIGTERM)
        case "SIGKILL":
            later(30, shutil.copytree, batches, batches.parent / "left")
            later(30, signal.raise_signal, signal.SIGINT)
        case "full disk":
            later(10, disk.setattr, SqliteFile, "_commit", refuse)
        case _:
            command += ["--timeout", "60"]
            later(30, lambda: later(35, emulator.fail("*", Fault.reset()).remove))
    code = int((await call(*command)).code)
    if how == "SIGKILL":
        shutil.rmtree(batches)
        (batches.parent / "left").rename(batches)
    disk.undo()
    await asyncio.sleep(10)
    return code


def refuse(_file: SqliteFile, _works: object) -> None:
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
    "report": (4, "1", {"failed": 1, "inFlight": 1}, ["resume 1", "wait"]),
    "resume": (1, "1", BOTH, []),
    "run --failed --wait": (4, "2", {"failed": 1}, ["resume 1"]),
    "wait 214 215": (1, None, BOTH, []),
}
AWAY: dict[str, Facts] = {
    "report": (5, "1", {"failed": 1, "notSeen": 1}, ["resume 1", "wait"]),
    "run --failed --wait": (5, "2", {"failed": 1}, ["resume 1"]),
}
FULL: dict[str, Facts] = {  # The failure was seen, and could not be kept.
    "report": (4, "1", {"inFlight": 2}, ["resume 1", "wait"]),
    "run --failed --wait": (4, None, {}, ["resume 1"]),
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
    "passed": {
        "report": (0, "1", {"succeeded": 1}, []),
        "run --failed --wait": (0, None, {}, []),
        "resume": (2, None, {}, []),
        "wait 214": (0, None, {"succeeded": 1}, []),
    },
    "failed": {
        "report": (1, "1", BOTH, []),
        "run --failed --wait": (1, "2", {"failed": 1}, []),
        "resume": (2, None, {}, []),
        "wait 214 215": (1, None, BOTH, []),
    },
    **dict.fromkeys(("time-out", "Ctrl-C", "SIGTERM", "SIGKILL"), LEFT),
    "full disk": LEFT | FULL,
    "service away": LEFT | AWAY,
}


DURABLE: dict[str, dict[str, Facts]] = dict.fromkeys(
    ("time-out", "Ctrl-C", "SIGKILL", "service away"), LEFT
)
"""The same of a durable batch: another worker may see what the one that ended does not.

A worker handles SIGTERM as Ctrl-C, and waits until its database takes records again.
"""


@pytest.fixture
def database(batches: Path) -> Path:
    """A database beside the journals, so that a copy of their folder has it."""
    batches.mkdir(parents=True)
    return batches / "shared.sqlite"


@pytest.mark.parametrize("how", STORY)
async def test_story(*, how: str, call: Call, emulator: Emulator, batches: Path) -> None:
    """Each command speaks of the same batch, and nothing runs twice but what failed."""
    assert await end(how, call, emulator, batches) == CODES[how]
    await _check(how, STORY[how], call, emulator, batches)


@pytest.mark.parametrize("how", some(DURABLE, few=3))
async def test_story_of_a_worker(
    *, how: str, call: Call, emulator: Emulator, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a worker of a durable batch is as that of a command with a journal."""
    put_on_virtual_time(monkeypatch)
    assert await end(how, call, emulator, database.parent, database) == CODES[how]
    await _check(how, DURABLE[how], call, emulator, database.parent)


async def _check(
    how: str, story: dict[str, Facts], call: Call, emulator: Emulator, batches: Path
) -> None:
    """Check each command on what the end has left, whatever the commands before did."""
    document = (await call("history --json")).json
    assert [each["batch"] for each in document["batches"]] == [1]
    shutil.copytree(batches, batches.parent / "end")
    for command, expected in story.items():
        before = [run.feature_name for run in emulator.runs.values()]
        assert facts(await call(*command.split(), "--json")) == expected, command
        is_rerun = command.startswith("run") and how not in {"passed", "full disk"}
        after = [run.feature_name for run in emulator.runs.values()]
        assert after == before + ["Returns"] * is_rerun
        shutil.rmtree(batches)
        shutil.copytree(batches.parent / "end", batches)
