"""In a job of GitHub Actions: annotations, groups, and the summary of the step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from testvibe_async import BatchItem, CaseResult, Generation, NotSentError, Run, RunStatus
from testvibe_async.cli import ci
from testvibe_async.cli.result import Result
from testvibe_async.testing import Emulator, Outcome, Scenario

if TYPE_CHECKING:
    from tests.surfaces.cli.conftest import Call

ERROR = "Error: 100%25%0AExpected: a, b"
GHERKIN = "# language: en\n@slow\nFeature: Returns\n\n  Scenario: Sends it back\n    Given x\n"
SCENARIO = Scenario(
    run_duration=5, failing_runs=0, outcomes={"Returns": Outcome(run_status="failed")}
)


@pytest.fixture
def on_github(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, signed_in: Emulator) -> Path:
    """A job of GitHub; returns the file of the step's summary."""
    assert signed_in
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    return tmp_path / "summary"


def failed(*tests: CaseResult, feature: str = "Returns") -> BatchItem[Run | Generation]:
    run = Run(214, RunStatus.FAILED, 12, feature, tests=tests)
    return BatchItem(feature=feature, outcome=run)


def annotated(*items: BatchItem[Run | Generation], folder: Path | None = None) -> list[str]:
    return ci.failure_commands(Result(items=items, seconds=1), ci.FeatureFiles(folder))


def test_each_failure_is_an_annotation_beside_its_scenario(tmp_path: Path) -> None:
    """The file and line of the scenario, the name as title, and the error on several lines."""
    (tmp_path / "deep").mkdir()
    path = tmp_path / "deep" / "returns.feature"
    path.write_text(GHERKIN, encoding="utf-8")
    test = CaseResult("Sends it back", "failed", error="Error: 100%\n\nExpected: a, b\n")
    other = CaseResult("Unknown", "failed")
    assert annotated(failed(test, other), folder=tmp_path) == [
        f"::error file={path},line=5,title=Returns%3A Sends it back::{ERROR}",
        f"::error file={path},line=3,title=Returns%3A Unknown::no error given",
    ]


def test_annotation_is_relative_to_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitHub finds the file wherever in the repository the command runs."""
    folder = tmp_path / "repository" / "web" / "features"
    folder.mkdir(parents=True)
    (folder / "returns.feature").write_text(GHERKIN, encoding="utf-8")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path / "repository"))
    monkeypatch.chdir(folder.parent)
    (line,) = annotated(failed(), folder=Path("features"))
    assert line.startswith("::error file=web/features/returns.feature,line=3,")


def test_what_could_not_run_is_annotated_too() -> None:
    """A dispatch that failed has its reason, and no file where none is known."""
    error = NotSentError("refused", method="POST", url="http://s")
    item: BatchItem[Run | Generation] = BatchItem(feature="Login", error=error)
    assert annotated(item) == ["::error title=Login::the service was not reachable: refused"]
    assert annotated(failed()) == ["::error title=Returns::failed"]
    assert annotated(BatchItem(feature="Login")) == []


def test_nothing_from_a_test_is_a_command() -> None:
    """Names and errors can't end an annotation, or begin another."""
    hostile = "x\n::error::owned\r\n##[error]owned,title=a::b"
    (line,) = annotated(failed(CaseResult(hostile, "failed", error=hostile), feature=hostile))
    assert "\n" not in line
    assert "\r" not in line
    assert line.startswith("::error title=x\\n")
    assert "," not in line.partition("::error ")[2].partition("::")[0]


def test_flaky_is_a_warning(tmp_path: Path) -> None:
    """What passed after a failure is told beside the scenario that failed, and is no error."""
    (tmp_path / "returns.feature").write_text(GHERKIN, encoding="utf-8")
    test = CaseResult("Sends it back", "failed", error="Error")
    run = Run(214, RunStatus.FAILED, 12, "Returns", tests=(test,))
    passed = Run(215, RunStatus.PASSED, 12, "Returns")
    item: BatchItem[Run | Generation]
    item = BatchItem(feature="Returns", outcome=passed, earlier=(run,))
    (line,) = annotated(item, folder=tmp_path)
    place, _, text = line.removeprefix("::warning ").partition("::")
    assert place == f"file={tmp_path / 'returns.feature'},line=5,title=Returns%3A Sends it back"
    assert text == "flaky: it failed, and passed when it ran again"


def test_annotations_are_bounded() -> None:
    """Hundreds of failures become as many as GitHub shows, and a number."""
    tests = [CaseResult(f"T{n}", "failed") for n in range(ci.MOST_ANNOTATIONS + 7)]
    lines = annotated(failed(*tests))
    assert len(lines) == ci.MOST_ANNOTATIONS + 1
    assert lines[-1] == "::notice::7 failures more: see the log"


def test_folder_that_can_not_be_read(tmp_path: Path) -> None:
    """A file that is no feature, or can't be read, is passed over."""
    (tmp_path / "a.feature").mkdir()
    (tmp_path / "b.feature").write_bytes(b"\xff nothing")
    (tmp_path / "c.feature").write_text(GHERKIN, encoding="utf-8")
    files = ci.FeatureFiles(tmp_path)
    assert files.place("returns") == (tmp_path / "c.feature", 3)
    assert files.place("Login") is None


def test_only_so_many_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with any number of files is read up to a bound."""
    monkeypatch.setattr(ci, "MOST_FILES", 1)
    for name in ("A", "B"):
        (tmp_path / f"{name}.feature").write_text(f"Feature: {name}\n", encoding="utf-8")
    files = ci.FeatureFiles(tmp_path)
    assert files.place("A") is not None
    assert files.place("B") is None


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def make_folder(path: Path) -> None:
    path.mkdir()


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


async def test_job_of_github(on_github: Path, call: Call) -> None:
    """The progress is folded, failures are annotated, and the summary is written unasked."""
    write(on_github, "# Before\n")
    ended = await call("run", "Returns", "Checkout", "--wait")
    lines = ended.output.splitlines()
    errors = [line for line in lines if line.startswith("::error title=Returns%3A ")]
    assert lines[:2] == ["Batch 1.", "::group::2 runs"]
    assert lines.index("::endgroup::") < lines.index(errors[0])
    summary = text_of(on_github)
    assert summary.startswith("# Before\n## TestVibe\n")
    assert summary.count("## TestVibe") == 1


async def test_summary_that_can_not_be_written(on_github: Path, call: Call) -> None:
    """A line says so once; the command goes on, and ends as the runs did."""
    make_folder(on_github)
    ended = await call("run", "Checkout", "--wait")
    assert ended.code == 0
    said = f"The summary of the step can't be written: {on_github}: Is a directory\n"
    assert ended.errors == said


async def test_features_of_a_folder_that_is_not_there(on_github: Path, call: Call) -> None:
    """A folder for annotations that is not there is refused before anything is dispatched."""
    assert on_github
    ended = await call("run", "Checkout", "--wait", "--features-dir", "nosuch")
    assert (ended.code, ended.output) == (2, "")
    assert ended.errors == "testvibe-async: --features-dir nosuch is no folder\n"


async def test_json_stays_json_in_a_job(on_github: Path, call: Call) -> None:
    """With --json no command of GitHub is printed; the summary is written all the same."""
    ended = await call("run", "Returns", "--wait", "--json")
    assert "::" not in ended.output.replace("::1", "")
    assert text_of(on_github)


async def test_report_that_is_the_summary_is_the_only_one(on_github: Path, call: Call) -> None:
    """Where a report goes to the summary by --report, nothing is added."""
    await call("run", "Returns", "--wait", "--report", f"md:{on_github}", "--title", "Mine")
    assert text_of(on_github).startswith("## Mine\n")
    assert "## TestVibe" not in text_of(on_github)


async def test_elsewhere_nothing_is_commanded(
    signed_in: Emulator, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Azure, TeamCity and GitLab get no command from here."""
    assert signed_in
    for name in ("TF_BUILD", "TEAMCITY_VERSION", "GITLAB_CI"):
        monkeypatch.setenv(name, "true")
    ended = await call("run", "Returns", "--wait")
    assert "::" not in ended.output
    assert "##" not in ended.output
