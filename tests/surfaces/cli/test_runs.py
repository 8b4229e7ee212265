"""`runs`: one run after the other, by its id."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from testvibe_async.cli.output import Output
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

if TYPE_CHECKING:
    from pathlib import Path

    from tests.surfaces.cli.conftest import Call

HOSTILE = "Pay \x1b]0;owned\x07[red]now[/red]"

SCENARIO = Scenario(
    run_queue=1,
    run_duration=(10, 20),
    failing_runs=0,
    outcomes={
        "Returns": Outcome(
            run_status="failed", error="Error: no button\n  at one\n  at two\n  at three"
        ),
        "Wishlist": Outcome(run_duration=400),
        HOSTILE: Outcome(run_status="failed", error=HOSTILE),
    },
)


@pytest.fixture
async def failed(call: Call) -> str:
    """The id of a run of Returns that failed."""
    await call("run", "Returns", "--wait", "--quiet")
    return "214"


@pytest.mark.usefixtures("failed")
async def test_list_has_the_newest_first(call: Call) -> None:
    """The list has a line for each run; of one feature, or of so many."""
    await call("run", "Checkout", "--config", "Mobile")
    ended = await call("runs", "list")
    assert ended.code == 0
    newest, oldest = (line.split("\t") for line in ended.output.splitlines())
    assert newest[:4] == ["215", "Checkout", "Mobile", "running"]
    assert oldest[:4] == ["214", "Returns", "Default", "failed"]
    assert re.fullmatch(r"\d of \d tests?", oldest[4])
    assert (await call("runs", "list", "--limit", "1")).output.count("\n") == 1
    ended = await call("runs", "list", "--feature", "returns", "--json")
    assert [run["runId"] for run in json.loads(ended.output)] == [214]


async def test_service_without_lists_is_a_refusal(emulator: Emulator, call: Call) -> None:
    """Where the service has no list, the command says so."""
    emulator.fail("list_runs", Fault.status(404))
    ended = await call("runs", "list")
    assert (ended.code, ended.output) == (3, "")
    assert ended.errors.count("\n") == 1


async def test_show_prints_all_of_a_run(failed: str, call: Call) -> None:
    """A run is shown with its tests, the beginnings of errors, artifacts and log."""
    ended = await call("runs", "show", failed)
    assert (ended.code, ended.errors) == (0, "")
    assert ended.output.startswith("Run 214 of Returns: failed, ")
    assert "\n    Error: no button\n      at one\n      at two …\n" in ended.output
    assert "\nArtifacts\n  trace " in ended.output
    assert "\nLog\n" in ended.output
    assert json.loads((await call("runs", "show", failed, "--json")).output)["runId"] == 214


async def test_show_of_a_run_in_flight(call: Call) -> None:
    """A run in flight is shown as far as it is known, and that is no failure."""
    await call("run", "Wishlist")
    ended = await call("runs", "show", "214")
    assert (ended.code, ended.output.splitlines()[0]) == (0, "Run 214 of Wishlist: running")


async def test_diagnosis_has_the_whole_error(failed: str, call: Call) -> None:
    """A diagnosis has the errors to their ends, and the sources."""
    ended = await call("runs", "diagnose", failed)
    assert ended.code == 0
    assert "\n      at three\n" in ended.output
    assert "Gherkin" not in ended.output
    ended = await call("runs", "diagnose", failed, "--sources")
    assert "\nGherkin\n    Feature: Returns\n" in ended.output
    assert json.loads((await call("runs", "diagnose", failed, "--json")).output)["failures"]


async def test_wait_for_runs_by_their_ids(call: Call) -> None:
    """Runs are waited for by id, each once, with the exit code of the worst."""
    await call("run", "Checkout", "Returns", "Login Functionality")
    assert (await call("wait", "214", "216", "214")).code == 0
    ended = await call("wait", "214", "215")
    assert ended.code == 1
    assert "\nReturns, run 215: " in ended.output


async def test_wait_leaves_files(failed: str, call: Call, tmp_path: Path) -> None:
    """A wait by id leaves reports and artifacts as well."""
    report, folder = tmp_path / "junit.xml", tmp_path / "failed"
    ended = await call("wait", failed, "--report", str(report), "--artifacts", str(folder))
    assert ended.code == 1
    assert "Returns" in report.read_text(encoding="utf-8")
    assert list(folder.iterdir()) == [folder / "run-214"]


async def test_wait_whose_time_is_over(call: Call) -> None:
    """After --timeout the exit code is 4, with the command that goes on waiting."""
    await call("run", "Wishlist")
    ended = await call("wait", "214", "--timeout", "20")
    assert ended.code == 4
    assert "testvibe-async wait 2" in ended.errors


async def test_artifacts_are_listed(failed: str, call: Call) -> None:
    """The files are listed with kind, size and path; the links are in the JSON alone."""
    ended = await call("runs", "artifacts", failed)
    assert ended.code == 0
    kinds = {line.split("\t")[0] for line in ended.output.splitlines()}
    assert {"trace", "screenshot"} <= kinds
    assert "sig=" not in ended.output
    assert "sig=" in (await call("runs", "artifacts", failed, "--json")).output


async def test_run_without_artifacts(call: Call) -> None:
    """Where nothing was left yet, that is said on standard error."""
    await call("run", "Wishlist")
    ended = await call("runs", "artifacts", "214")
    assert (ended.code, ended.output) == (0, "")
    assert ended.errors == "Run 214 has left no files, or none yet.\n"


async def test_download_prints_the_paths(failed: str, call: Call, tmp_path: Path) -> None:
    """In a pipe the path of each file is a line, and each is there."""
    folder = tmp_path / "files"
    ended = await call("runs", "download", failed, str(folder))
    assert ended.code == 0
    paths = ended.output.splitlines()
    assert len(paths) == sum(path.is_file() for path in folder.rglob("*")) > 1
    assert all(path.startswith(str(folder)) for path in paths)


async def test_download_shows_how_far_it_is(
    failed: str, call: Call, tmp_path: Path, on_terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal each file has a bar, which is removed at the end."""
    assert on_terminal is None
    monkeypatch.setattr(Output, "is_live", True)
    ended = await call("runs", "download", failed, str(tmp_path / "files"))
    drawn, _, left = ended.output.rpartition("\x1b[?25h")
    assert ended.code == 0
    assert "trace/" in drawn
    assert "bytes" in drawn or "kB" in drawn
    assert f"{tmp_path}/files/" in left


async def test_download_of_some_kinds(failed: str, call: Call, tmp_path: Path) -> None:
    """Only the kinds asked for are fetched."""
    for kinds in (("trace",), ("trace", "screenshot"), ("trace", "video")):
        options = [word for kind in kinds for word in ("--kind", kind)]
        ended = await call("runs", "download", failed, str(tmp_path / "files"), *options, "--json")
        assert (ended.code, ended.errors) == (0, "")
        assert len(json.loads(ended.output)) == len({*kinds} - {"video"})


@pytest.mark.parametrize("kind", ["video", "nosuch"])
async def test_download_of_kinds_that_are_not_there(
    failed: str, call: Call, tmp_path: Path, kind: str
) -> None:
    """The kinds that the run does have are named, and no empty folder is left."""
    ended = await call("runs", "download", failed, str(tmp_path / "files"), "--kind", kind)
    assert (ended.code, ended.output) == (2, "")
    assert kind in ended.errors
    assert "report, screenshot, trace" in ended.errors
    assert not (tmp_path / "files").exists()


@pytest.mark.parametrize("kinds", [(), ("--kind", "trace")])
async def test_download_of_a_run_in_flight(
    call: Call, tmp_path: Path, kinds: tuple[str, ...]
) -> None:
    """A run that is not over is refused, since what it will leave is not known."""
    await call("run", "Wishlist")
    ended = await call("runs", "download", "214", str(tmp_path / "files"), *kinds)
    assert (ended.code, ended.output) == (2, "")
    assert "wait for the end of run 214" in ended.errors
    assert not (tmp_path / "files").exists()


@pytest.mark.parametrize("kinds", [(), ("--kind", "trace")])
async def test_download_of_a_run_without_files(
    failed: str, emulator: Emulator, call: Call, tmp_path: Path, kinds: tuple[str, ...]
) -> None:
    """A finished run without files is no wrong call, whatever kind was asked for."""
    nothing: list[object] = []
    emulator.fail("get_run_artifacts", Fault.edit(lambda _: nothing))
    ended = await call("runs", "download", failed, str(tmp_path / "files"), *kinds)
    assert (ended.code, ended.output) == (0, "")
    assert ended.errors == f"Run {failed} has left no files, or none yet.\n"
    assert not (tmp_path / "files").exists()


async def test_download_that_fails(
    failed: str, emulator: Emulator, call: Call, tmp_path: Path
) -> None:
    """A refusal of the host is one sentence."""
    emulator.fail("download", Fault.status(403))
    ended = await call("runs", "download", failed, str(tmp_path / "files"))
    assert (ended.code, ended.output) == (3, "")
    assert ended.errors.count("\n") == 1


async def test_download_into_a_file(failed: str, call: Call, tmp_path: Path) -> None:
    """A directory that can't be made is a wrong call."""
    (tmp_path / "file").write_text("")
    ended = await call("runs", "download", failed, str(tmp_path / "file"))
    assert (ended.code, ended.output) == (2, "")
    assert ended.errors.startswith(f"testvibe-async: {tmp_path / 'file'}: ")


@pytest.mark.parametrize("command", ["show", "diagnose", "artifacts"])
async def test_unknown_run_is_refused(command: str, call: Call) -> None:
    """A run that the service does not know is a refusal, in one sentence."""
    ended = await call("runs", command, "999")
    assert (ended.code, ended.output) == (3, "")
    assert ended.errors.count("\n") == 1


async def test_hostile_words_are_only_text(emulator: Emulator, call: Call) -> None:
    """No byte of a name, an error or a log reaches the terminal as a command to it."""
    emulator.add_feature(HOSTILE, f"Feature: x\n\n  Scenario: {HOSTILE}\n    Given x\n")
    await call("run", HOSTILE, "--wait")
    for arguments in (
        ("list",),
        ("show", "214"),
        ("diagnose", "214", "--sources"),
        ("artifacts", "214"),
    ):
        for more in ((), ("--json",)):
            ended = await call("runs", *arguments, *more)
            assert ended.code == 0
            assert not set(ended.output + ended.errors) & set("\x1b\x07")
        if arguments[0] != "artifacts":
            assert "[red]now[/red]" in ended.output
