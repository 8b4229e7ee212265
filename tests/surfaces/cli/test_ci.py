"""In a job of GitHub Actions: annotations, groups, and the summary of the step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from testvibe_async import BatchItem, CaseResult, Generation, NotSentError, Run, RunStatus
from testvibe_async.cli import outputs as ci
from testvibe_async.cli.result import Result
from testvibe_async.testing import Emulator, Outcome, Scenario

if TYPE_CHECKING:
    from pathlib import Path

    from tests.surfaces.cli.conftest import Call

ERROR = "Error: 100%25%0AExpected: a, b"
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


def annotated(*items: BatchItem[Run | Generation]) -> list[str]:
    return ci.failure_commands(Result(items=items, seconds=1))


def test_each_failure_is_an_annotation() -> None:
    """The name of the feature and of the test is the title; the error has several lines."""
    test = CaseResult("Sends it back", "failed", error="Error: 100%\n\nExpected: a, b\n")
    assert annotated(failed(test, CaseResult("Unknown", "failed"))) == [
        f"::error title=Returns%3A Sends it back::{ERROR}",
        "::error title=Returns%3A Unknown::no error given",
    ]


def test_what_could_not_run_is_annotated_too() -> None:
    """A dispatch that failed has its reason."""
    error = NotSentError("refused", method="POST", url="http://s")
    item: BatchItem[Run | Generation] = BatchItem(feature="Login", error=error)
    assert annotated(item) == ["::error title=Login::the service was not reachable: refused"]
    assert annotated(failed()) == ["::error title=Returns::the service reports no tests"]
    assert annotated(BatchItem(feature="Login")) == []


def test_nothing_from_a_test_is_a_command() -> None:
    """Names and errors can't end an annotation, or begin another."""
    hostile = "x\n::error::owned\r\n##[error]owned,title=a::b"
    (line,) = annotated(failed(CaseResult(hostile, "failed", error=hostile), feature=hostile))
    assert "\n" not in line
    assert "\r" not in line
    assert line.startswith("::error title=x\\n")
    assert "," not in line.partition("::error ")[2].partition("::")[0]


def test_flaky_is_a_warning() -> None:
    """What passed after a failure is told with the test that failed, and is no error."""
    test = CaseResult("Sends it back", "failed", error="Error")
    run = Run(214, RunStatus.FAILED, 12, "Returns", tests=(test,))
    passed = Run(215, RunStatus.PASSED, 12, "Returns", tests=(CaseResult("Pays", "passed"),))
    item: BatchItem[Run | Generation]
    item = BatchItem(feature="Returns", outcome=passed, earlier=(run,))
    title, said = "Returns%3A Sends it back", "flaky: it failed, and passed when it ran again"
    assert annotated(item) == [f"::warning title={title}::{said}"]


def test_annotations_are_bounded() -> None:
    """Hundreds of failures become as many as GitHub shows, and a number."""
    tests = [CaseResult(f"T{n}", "failed") for n in range(ci.MOST_ANNOTATIONS + 7)]
    lines = annotated(failed(*tests))
    assert len(lines) == ci.MOST_ANNOTATIONS + 1
    assert lines[-1] == "::notice::7 failures more: see the log"


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def make_folder(path: Path) -> None:
    path.mkdir()


def write(path: Path, text: str) -> None:
    write(path, text)


async def test_job_of_github(on_github: Path, call: Call) -> None:
    """The progress is folded, failures are annotated, and the summary is written unasked."""
    write(on_github, "# Before\n")
    ended = await call("run Returns Checkout --wait")
    lines = ended.lines
    errors = [line for line in lines if line.startswith("::error title=Returns%3A ")]
    assert lines[:2] == ["Batch 1.", "::group::2 runs"]
    assert lines.index("::endgroup::") < lines.index(errors[0])
    summary = text_of(on_github)
    assert summary.startswith("# Before\n## TestVibe\n")
    assert summary.count("## TestVibe") == 1


async def test_summary_that_can_not_be_written(on_github: Path, call: Call) -> None:
    """A line says so once; the command goes on, and ends as the runs did."""
    make_folder(on_github)
    ended = await call("run Checkout --wait")
    assert ended.code == 0
    said = f"The summary of the step can't be written: {on_github}: Is a directory\n"
    assert ended.errors == said


async def test_json_stays_json_in_a_job(on_github: Path, call: Call) -> None:
    """With --json no command of GitHub is printed; the summary is written all the same."""
    ended = await call("run Returns --wait --json")
    assert "::" not in ended.output.replace("::1", "")
    assert text_of(on_github)


async def test_report_that_is_the_summary_is_the_only_one(on_github: Path, call: Call) -> None:
    """Where a report goes to the summary by --report, nothing is added."""
    await call("run Returns --wait --report", f"md:{on_github}", "--title", "Mine")
    assert text_of(on_github).startswith("## Mine\n")
    assert "## TestVibe" not in text_of(on_github)


async def test_elsewhere_nothing_is_commanded(
    signed_in: Emulator, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Azure, TeamCity and GitLab get no command from here."""
    assert signed_in
    for name in ("TF_BUILD", "TEAMCITY_VERSION", "GITLAB_CI"):
        monkeypatch.setenv(name, "true")
    ended = await call("run Returns --wait")
    assert "::" not in ended.output
    assert "##" not in ended.output
