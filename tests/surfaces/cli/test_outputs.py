"""The files that a command leaves: always the reports, and the artifacts as runs fail."""

from __future__ import annotations

import asyncio
import json
import signal
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

if TYPE_CHECKING:
    from tests.surfaces.cli.conftest import Call

SCENARIO = Scenario(
    run_queue=3,
    run_duration=20,
    failing_runs=0,
    outcomes={
        "Returns": Outcome(run_status="failed", run_duration=10),
        "Wishlist": Outcome(run_duration=400),
    },
)


def cases_in(path: Path) -> dict[str, str]:
    """Return what became of each suite of a JUnit file."""
    suites = ET.parse(path).getroot()  # noqa: S314 - our own file
    words = {"failures": "failed", "errors": "error", "skipped": "skipped"}
    return {
        suite.get("name", ""): next((w for k, w in words.items() if suite.get(k) != "0"), "passed")
        for suite in suites
    }


async def test_report_is_left_at_ctrl_c(call: Call, tmp_path: Path) -> None:
    """Stopped by Ctrl-C, the report has what is known: what ended, what goes on, what is left."""
    report = tmp_path / "junit.xml"
    asyncio.get_running_loop().call_later(45, signal.raise_signal, signal.SIGINT)
    names = ("Returns", "Wishlist", "Checkout")
    ended = await call(
        "run", *names, "--wait", "--max-in-flight", "1", "--report", str(report), "--title", "Shop"
    )
    assert ended.code == 130
    assert cases_in(report) == {"Returns": "failed", "Wishlist": "error", "Checkout": "skipped"}
    assert f"Report: {report}\n" in ended.errors
    assert '<testsuites name="Shop"' in report.read_text(encoding="utf-8")


async def test_report_is_left_at_the_time_out(call: Call, tmp_path: Path) -> None:
    """At the time-out there is a report, and its time is that of the wait."""
    report = tmp_path / "ctrf.json"
    ended = await call("run", "Wishlist", "--wait", "--timeout", "60", "--report", str(report))
    assert ended.code == 4
    assert f"Report: {report}\n" in ended.errors
    (test,) = json.loads(report.read_text(encoding="utf-8"))["results"]["tests"]
    assert (test["status"], test["suite"]) == ("failed", ["Wishlist"])


async def test_report_of_a_wait_has_names_and_times(
    emulator: Emulator, call: Call, tmp_path: Path
) -> None:
    """Of a run that was known by its id alone, the report has the feature and the time."""
    await call("run", "Wishlist", "--config", "Mobile")
    (run,) = emulator.runs
    report = tmp_path / "junit.xml"
    ended = await call("wait", str(run), "--timeout", "300", "--report", str(report))
    assert ended.code == 4
    assert cases_in(report) == {"Wishlist [Mobile]": "error"}
    seconds = float(ET.parse(report).getroot().get("time", "0"))  # noqa: S314 - our own file
    assert seconds == pytest.approx(300, abs=2)


async def test_report_in_an_outage_has_errors(
    emulator: Emulator, call: Call, tmp_path: Path
) -> None:
    """What was not seen is an error in the report, never skipped."""
    report = tmp_path / "junit.xml"
    asyncio.get_running_loop().call_later(5, emulator.fail, "*", Fault.reset())
    ended = await call("run", "Checkout", "--wait", "--timeout", "30", "--report", str(report))
    assert ended.code == 5
    assert cases_in(report) == {"Checkout": "error"}


@pytest.mark.parametrize("fault", [Fault.status(401), Fault.status(503), Fault.hang()])
async def test_report_where_the_features_could_not_be_listed(
    fault: Fault, emulator: Emulator, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report of before is replaced, and GitHub is told, where not even the list was to be had."""
    report, summary = tmp_path / "junit.xml", tmp_path / "summary"
    await call("run", "Checkout", "--wait", "--report", str(report))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    emulator.fail("list_features", fault)
    ended = await call("run", "--all", "--wait", "--timeout", "60", "--report", str(report))
    assert ended.code in {3, 5}
    assert cases_in(report) == {"The batch": "error"}
    assert ended.output.startswith("::error title=The batch::")
    assert "The batch" in summary.read_text(encoding="utf-8")
    assert f"Report: {report}\n" in ended.errors


async def test_report_of_what_was_stopped_before_it_began(
    emulator: Emulator, call: Call, tmp_path: Path
) -> None:
    """Stopped while it asks for the features, it leaves no report of an earlier success."""
    report = tmp_path / "junit.xml"
    await call("run", "Checkout", "--wait", "--report", str(report))
    emulator.fail("list_features", Fault.hang())
    asyncio.get_running_loop().call_later(3, signal.raise_signal, signal.SIGINT)
    ended = await call("run", "--all", "--wait", "--report", str(report))
    assert ended.code == 130
    assert cases_in(report) == {"The batch": "error"}


async def test_reports_are_there_before_the_artifacts(
    emulator: Emulator, call: Call, tmp_path: Path
) -> None:
    """A download that hangs keeps nobody from the reports: Ctrl-C then leaves them."""
    emulator.fail("download", Fault.hang())
    report = tmp_path / "a.html"
    asyncio.get_running_loop().call_later(60, signal.raise_signal, signal.SIGINT)
    ended = await call(
        "run", "Returns", "--wait", "--report", str(report), "--artifacts", str(tmp_path / "files")
    )
    assert ended.code == 130
    assert "Returns" in report.read_text(encoding="utf-8")
    assert f"Report: {report}\n" in ended.errors


async def test_ctrl_c_keeps_the_artifacts_that_are_there(call: Call, tmp_path: Path) -> None:
    """What was fetched until then is kept, told, and in the report."""
    report, folder = tmp_path / "a.html", tmp_path / "files"
    asyncio.get_running_loop().call_later(60, signal.raise_signal, signal.SIGINT)
    ended = await call(
        *("run", "Returns", "Wishlist", "--wait"),
        *("--report", str(report), "--artifacts", str(folder)),
    )
    assert ended.code == 130
    assert f"Artifacts: {folder} (" in ended.errors
    assert "files/run-" in report.read_text(encoding="utf-8")


async def test_ctrl_c_says_that_artifacts_are_missing(
    emulator: Emulator, call: Call, tmp_path: Path
) -> None:
    """What was asked for and is not there is told, with the command that fetches it."""
    emulator.fail("get_run_artifacts", Fault.delay(100))
    asyncio.get_running_loop().call_later(60, signal.raise_signal, signal.SIGINT)
    ended = await call("run", "Returns", "Wishlist", "--wait", "--artifacts", str(tmp_path / "a"))
    assert ended.code == 130
    told = "Artifacts of 1 run are not there yet: testvibe-async runs download ID DIR\n"
    assert told in ended.errors


async def test_artifacts_are_fetched_while_the_batch_goes_on(
    emulator: Emulator, call: Call, tmp_path: Path
) -> None:
    """The files of a run that failed are there before the others end, and in the report at last."""
    report, folder = tmp_path / "a.html", tmp_path / "files"
    seen: list[list[str]] = []
    asyncio.get_running_loop().call_later(
        30, lambda: seen.append([each.name for each in folder.iterdir()])
    )
    ended = await call(
        *("run", "Returns", "Wishlist", "--wait"),
        *("--report", str(report), "--artifacts", str(folder)),
    )
    (run,) = (run for run in emulator.runs.values() if run.feature_name == "Returns")
    assert seen == [[f"run-{run.id}"]]
    assert f"files/run-{run.id}/" in report.read_text(encoding="utf-8")
    assert f"Artifacts: {folder} (" in ended.errors


async def test_artifacts_that_cannot_be_written_are_noted(
    emulator: Emulator, call: Call, tmp_path: Path
) -> None:
    """A disk that takes no file of a run keeps neither the others, the report nor the exit code."""
    report, folder = tmp_path / "a.html", tmp_path / "files"

    def block() -> None:
        folder.mkdir()
        (folder / f"run-{min(emulator.runs)}").write_bytes(b"")

    asyncio.get_running_loop().call_later(8, block)
    ended = await call(
        *("run", "Returns", "--config", "Default", "--config", "Mobile", "--wait"),
        *("--report", str(report), "--artifacts", str(folder)),
    )
    blocked, other = sorted(emulator.runs)
    assert ended.code == 1
    assert f"artifacts of run {blocked}: {folder / f'run-{blocked}'}: File exists\n" in ended.errors
    assert f"files/run-{other}/" in report.read_text(encoding="utf-8")


async def test_format_is_said_where_the_name_does_not(call: Call, tmp_path: Path) -> None:
    """`md:PATH` writes Markdown to a file without an ending."""
    path = tmp_path / "summary"
    ended = await call("run", "Checkout", "--wait", "--report", f"md:{path}")
    assert ended.code == 0
    assert path.read_text(encoding="utf-8").startswith("## TestVibe\n")
    assert f"Report: {path}\n" in ended.errors


@pytest.mark.parametrize(("feature", "code"), [("Returns", 1), ("Checkout", 2)])
async def test_a_report_that_cannot_be_written_is_named(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, feature: str, code: int
) -> None:
    """A full disk keeps neither the results, the other report, nor the exit code of a failure."""
    replace = Path.replace

    def full(part: Path, target: Path) -> Path:
        if target.suffix == ".xml":
            raise OSError(28, "No space left on device")
        return replace(part, target)

    monkeypatch.setattr(Path, "replace", full)
    lost, kept = tmp_path / "junit.xml", tmp_path / "page.html"
    ended = await call("run", feature, "--wait", "--report", str(lost), "--report", str(kept))

    assert ended.code == code
    assert str(lost) in ended.errors
    assert "No space left on device" in ended.errors
    assert f"Report: {lost}" not in ended.errors
    assert kept.is_file()
    assert feature in ended.output
