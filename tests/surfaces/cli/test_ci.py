"""In the jobs of CI systems: what GitHub Actions gets, the jobs of the page, and the next one."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.surfaces.cli.conftest import (
    Call,
    answer_with,
    later,
    names_in,
    press_ctrl_c,
    text_of,
    write,
)
from testvibe_async.testing import Emulator, Outcome, Scenario

SCENARIO = Scenario(
    run_duration=5, failing_runs=0, outcomes={"Returns": Outcome(run_status="failed")}
)


@pytest.fixture
def on_github(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job of GitHub; returns the file of the step's summary."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(Path("summary").absolute()))
    return Path("summary").absolute()


def failed(name: str, error: str | None = None) -> dict[str, Any]:
    return {"name": name, "status": "failed", "error": error}


HOSTILE = "x\n::error::owned\r\n##[error]owned,title=a::b"


@pytest.mark.parametrize(
    ("tests", "lines"),
    [
        (
            [failed("Sends it back", "Error: 100%\n\nExpected: a, b\n"), failed("Unknown")],
            [
                "::error title=Returns%3A Sends it back::Error: 100%25%0AExpected: a, b",
                "::error title=Returns%3A Unknown::no error given",
            ],
        ),
        ([], ["::error title=Returns::the service reports no tests"]),
        ([failed(f"T{n}") for n in range(17)], ["::notice::7 failures more: see the log"]),
        ([failed(HOSTILE, HOSTILE)], ["::error title=Returns%3A x %3A %3Aerror%3A%3Aowned"]),
    ],
    ids=["each failure", "no tests", "as many as GitHub shows", "nothing from a test commands"],
)
@pytest.mark.usefixtures("on_github")
async def test_each_failure_is_an_annotation(
    tests: list[Any], lines: list[str], emulator: Emulator, call: Call
) -> None:
    """The names of the feature and of the test are the title; the error has several lines."""
    answer_with(emulator, "get_run", tests=tests, summary=None)
    said = [line for line in (await call("run Returns --wait")).lines if line[:2] == "::"]
    annotations = [line for line in said if "group" not in line]
    assert len(annotations) == min(max(len(tests), 1), 11)
    assert "".join(annotations[-len(lines) :]).startswith("".join(lines))
    assert all("," not in line.partition(" ")[2].partition("::")[0] for line in annotations)
    again = [line for line in (await call("report")).lines if line[:2] == "::"]
    assert again[-len(lines) :] == annotations[-len(lines) :]


@pytest.mark.usefixtures("on_github")
@pytest.mark.parametrize(
    ("more", "counts"),
    [
        ("--timeout 4", "1 in flight"),
        ("--attempts 2 --fail-on-flaky", "1 flaky; red by --fail-on-flaky"),
        ("", None),
    ],
)
async def test_red_without_a_failure(
    more: str, counts: str | None, emulator: Emulator, call: Call
) -> None:
    """A job that fails by what is in flight or flaky says so in an annotation."""
    if "attempts" in more:
        later(4, emulator.finish_run, 214, "failed")
    ended = await call("run Checkout --wait", *more.split())
    errors = [line for line in ended.lines if line.startswith("::error::")]
    assert len(errors) == (counts is not None) == (ended.code != 0)
    assert all(re.fullmatch(rf"::error::Batch 1: 1 in [\d.]+ s: {counts}", e) for e in errors)


async def test_job_of_github(on_github: Path, call: Call) -> None:
    """The progress is folded, failures are annotated, and the summary is written unasked."""
    write(on_github, "# Before\n")
    ended = await call("run Returns Checkout --wait")
    errors = [line for line in ended.lines if line.startswith("::error title=Returns%3A ")]
    assert ended.lines[:2] == ["Batch 1.", "::group::2 runs"]
    assert ended.lines.index("::endgroup::") < ended.lines.index(errors[0])
    assert text_of(on_github).startswith("# Before\n## TestVibe\n")
    assert text_of(on_github).count("## TestVibe") == 1


async def test_summary_that_can_not_be_written(on_github: Path, call: Call) -> None:
    """A line says so once; the command goes on, and ends as the runs did."""
    write(on_github / "file", "")
    ended = await call("run Checkout --wait")
    said = f"The summary of the step can't be written: {on_github}: Is a directory\n"
    assert (ended.code, ended.errors) == (0, said)


PAGE = (Path(__file__).parents[3] / "testvibe_async/cli/README.md").read_text(encoding="utf-8")
GITHUB, GITLAB = (
    yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
)
STEPS: list[dict[str, Any]] = GITHUB["jobs"]["features"]["steps"]
SCRIPTS = {
    "GitHub": [step["run"] for step in STEPS if "run" in step],
    "GitLab": GITLAB["features"]["script"],
}
_, _, AFTER = PAGE.partition("**In the next job**")
NEXT = re.findall(r"^(testvibe-async .*?) +#", AFTER, re.MULTILINE)[:3]


@pytest.fixture
def _job(signed_in: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    assert signed_in
    monkeypatch.setenv("TESTVIBE_PROJECT", GITLAB["features"]["variables"]["TESTVIBE_PROJECT"])
    monkeypatch.setenv("XDG_STATE_HOME", str(Path.cwd() / ".state"))
    (Path.cwd() / "features").mkdir()


def command_of(script: list[str]) -> list[str]:
    """Return the words of the only command of a job that is this package's."""
    (line,) = (line for line in script if line.startswith("testvibe-async "))
    return shlex.split(line)[1:]


def move_to_the_next_job(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Begin a job on another machine: nothing is there but what was cached."""
    shutil.copytree(".state", folder / ".state")
    shutil.rmtree(Path.cwd())
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / ".state"))


@pytest.mark.usefixtures("_job")
@pytest.mark.parametrize("system", SCRIPTS)
async def test_job_of_the_page(system: str, call: Call) -> None:
    """Its command runs as it stands, fails as the runs do, and leaves what the job keeps."""
    ended = await call(*command_of(SCRIPTS[system]))
    assert ended.code == 1, ended.errors
    kept = [step["with"]["path"].split() for step in STEPS if "upload" in step.get("uses", "")]
    artifacts = GITLAB["features"]["artifacts"]
    paths = kept[0] if system == "GitHub" else [*artifacts["paths"], *artifacts["reports"].values()]
    assert sorted(paths) == ["failed", "junit.xml"]
    assert {*paths} <= {*names_in(Path())}


@pytest.mark.usefixtures("_job")
async def test_next_job_goes_on(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a job that was cancelled, the commands of the page work with what was cached."""
    press_ctrl_c(3)
    assert (await call(*command_of(SCRIPTS["GitHub"]))).code == 130
    (tmp_path / "next").mkdir()
    move_to_the_next_job(monkeypatch, tmp_path / "next")
    resume, failed, history = (shlex.split(line)[1:] for line in NEXT)
    assert (await call(*resume)).code == 1
    assert "junit.xml" in names_in(Path())
    ended = await call(*failed)
    assert ended.code == 1
    assert ended.output.endswith(": 14 passed, 1 failed\n")
    ended = await call(*history)
    (_, line) = [line for line in ended.lines if "\t" in line]
    assert line.startswith("1  ")
