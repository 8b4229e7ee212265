"""What the service's answers hold, and what they come to."""

# ruff: noqa: S301 - the pickles are our own

import copy
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import asdict, evolve
from attrs.exceptions import FrozenInstanceError

from testvibe_async import (
    Artifact,
    CaseResult,
    Diagnosis,
    Feature,
    FeatureStatus,
    Generation,
    GenerationCancelledError,
    GenerationFailedError,
    GenerationLog,
    OutcomeError,
    Phase,
    ProjectFile,
    ProjectInfo,
    Run,
    RunFailedError,
    RunStatus,
    RunSummary,
    Transition,
    UndocumentedStatusError,
)
from testvibe_async import Config as RunConfig
from testvibe_async.models import Section, SectionLog

AT = datetime(2026, 6, 10, 16, 2, 11, tzinfo=UTC)
PASSED = Run(214, RunStatus.PASSED, feature_name="Login", started_at=AT, finished_at=AT)
FAILED = Run(
    214,
    RunStatus.FAILED,
    feature_id=12,
    feature_name="Login",
    finished_at=AT,
    tests=(
        CaseResult("signs in", "passed", 4210),
        CaseResult("locked out", "failed", 9120, "not visible"),
        CaseResult("slow", "failed"),
        CaseResult("skipped", "skipped"),
    ),
)
VALUES = [
    Artifact("trace", "t.zip", 1, "https://blob.example/?sig=s", extra={"a": 1}),
    CaseResult("n", "passed"),
    RunConfig("Default"),
    Diagnosis(1, "failed"),
    Feature(12, "n", status=FeatureStatus.GENERATED, extra={"a": [1]}),
    FAILED,
    Generation(12, sections=(Section("s"),)),
    GenerationLog(12, sections=(SectionLog("s", log=("a",)),)),
    PASSED,
    ProjectFile("p"),
    ProjectInfo("g"),
    RunSummary(1, 1),
    Transition(Phase.ACTIVE, "running", AT, PASSED),
]


@pytest.mark.parametrize(
    ("run", "phase"),
    [
        (Run(1, RunStatus.RUNNING), Phase.QUEUED),
        (Run(1, RunStatus.RUNNING, started_at=AT), Phase.ACTIVE),
        (Run(1, RunStatus.RUNNING, started_at=AT, finished_at=AT), Phase.ACTIVE),
        (Run(1, RunStatus.PASSED), Phase.FINISHED),
        (Run(1, RunStatus.FAILED), Phase.FINISHED),
        (Run(1, "queued"), Phase.QUEUED),
        (Run(1, "retrying", started_at=AT), Phase.ACTIVE),
        (Run(1, "timed_out", finished_at=AT), Phase.FINISHED),
    ],
    ids=str,
)
def test_a_runs_phase_follows_from_what_the_service_says(run: Run, phase: Phase) -> None:
    """A run is queued until it started, and over by a documented status, or by its end's time."""
    assert run.phase is phase
    assert run.is_finished == (phase is Phase.FINISHED)


@pytest.mark.parametrize(
    ("generation", "phase"),
    [
        (Generation(), Phase.QUEUED),
        (Generation(feature_status=FeatureStatus.GENERATING), Phase.QUEUED),
        (Generation(feature_status=FeatureStatus.GENERATING, runner_started=False), Phase.QUEUED),
        (Generation(feature_status=FeatureStatus.GENERATING, runner_started=True), Phase.ACTIVE),
        (
            Generation(
                feature_status=FeatureStatus.GENERATING,
                runner_started=True,
                overall_conclusion="success",
            ),
            Phase.ACTIVE,
        ),
        (Generation(feature_status=FeatureStatus.GENERATED), Phase.FINISHED),
        (Generation(feature_status=FeatureStatus.FAILED), Phase.FINISHED),
        (Generation(feature_status=FeatureStatus.CANCELLED), Phase.FINISHED),
        (Generation(feature_status="draft"), Phase.QUEUED),
        (Generation(feature_status="verifying", runner_started=True), Phase.ACTIVE),
        (Generation(feature_status="expired", overall_conclusion="failure"), Phase.FINISHED),
    ],
    ids=str,
)
def test_the_phase_of_a_generation(generation: Generation, phase: Phase) -> None:
    """A generation is queued until its runner started, and over by status, or by a conclusion."""
    assert generation.phase is phase
    assert generation.is_finished == (phase is Phase.FINISHED)
    assert generation.status is generation.feature_status


@pytest.mark.parametrize(
    "run", [PASSED, Run(1, RunStatus.PASSED), Run(1, RunStatus.RUNNING), Run(1, "odd")], ids=str
)
def test_a_run_that_did_not_fail_is_returned(run: Run) -> None:
    """raise_for_status returns a run that passed or is still in flight."""
    assert run.raise_for_status() is run


@pytest.mark.parametrize(
    "run",
    [
        FAILED,
        Run(1, RunStatus.FAILED),
        Run(1, RunStatus.PASSED, summary=RunSummary(total=0)),
        Run(1, RunStatus.PASSED, tests=(CaseResult("signs in", "skipped"),)),
        Run(1, RunStatus.PASSED, tests=(CaseResult("in", "passed"), CaseResult("out", "failed"))),
        Run(1, RunStatus.PASSED, summary=RunSummary(total=3, passed=2, failed=1)),
    ],
    ids=str,
)
def test_a_run_that_did_not_pass_is_raised(run: Run) -> None:
    """raise_for_status raises RunFailedError, also if no test ran or one failed."""
    with pytest.raises(RunFailedError) as caught:
        run.raise_for_status()
    assert caught.value.outcome is run
    assert (run.is_success, run.is_failure) == (False, True)


@pytest.mark.parametrize(
    "outcome",
    [
        Run(1, "timed_out", finished_at=AT),
        Generation(12, "Login", "ready", overall_conclusion="success"),
    ],
    ids=str,
)
def test_an_undocumented_end_is_neither_success_nor_failure(outcome: Run | Generation) -> None:
    """raise_for_status raises an error that names the word."""
    assert (outcome.is_finished, outcome.is_success, outcome.is_failure) == (True, False, False)
    with pytest.raises(UndocumentedStatusError, match=f"status '{outcome.status}'") as e:
        outcome.raise_for_status()
    assert e.value.outcome is outcome


def test_the_error_of_a_failed_run_says_what_failed() -> None:
    """The message names run, feature, status, how many tests failed, and the first error."""
    with pytest.raises(RunFailedError) as caught:
        FAILED.raise_for_status()
    assert str(caught.value) == (
        "run 214 of 'Login' failed, 2 of 4 tests failed: error.outcome.failures and diagnose_run "
        "say why; first 'locked out': not visible"
    )
    with pytest.raises(RunFailedError, match=r"run 7 of 12 failed: error"):
        Run(7, RunStatus.FAILED, feature_id=12).raise_for_status()
    only = evolve(FAILED, tests=FAILED.tests[2:3])
    with pytest.raises(RunFailedError, match=r"first 'slow': no error given$"):
        only.raise_for_status()


def test_the_failures_of_a_run_are_its_failed_tests() -> None:
    """failures has the tests that failed, in order."""
    assert [test.name for test in FAILED.failures] == ["locked out", "slow"]
    assert PASSED.failures == ()


def test_a_run_is_passed_by_its_documented_status_alone() -> None:
    """is_passed is true for `passed`, and for nothing else."""
    assert PASSED.is_success
    assert not FAILED.is_success
    assert not Run(1, RunStatus.RUNNING).is_success
    assert not Run(1, "ok", finished_at=AT).is_success


@pytest.mark.parametrize(
    "generation",
    [
        Generation(),
        Generation(feature_status=FeatureStatus.GENERATED),
        Generation(feature_status=FeatureStatus.GENERATING),
        Generation(feature_status="draft"),
    ],
    ids=str,
)
def test_a_generation_that_did_not_fail_is_returned(generation: Generation) -> None:
    """raise_for_status returns a generation that made tests or is still in flight."""
    assert generation.raise_for_status() is generation


@pytest.mark.parametrize(
    ("generation", "kind", "text"),
    [
        (
            Generation(12, "Login", FeatureStatus.FAILED),
            GenerationFailedError,
            "the generation of 'Login' failed: get_generation_log says why",
        ),
        (
            Generation(12, None, FeatureStatus.CANCELLED),
            GenerationCancelledError,
            "the generation of 12 cancelled",
        ),
    ],
    ids=str,
)
def test_no_tests_is_an_error(generation: Generation, kind: type[OutcomeError], text: str) -> None:
    """raise_for_status distinguishes a cancelled generation from a failed one, and holds it."""
    with pytest.raises(OutcomeError) as caught:
        generation.raise_for_status()
    assert type(caught.value) is kind
    assert caught.value.outcome is generation
    assert str(caught.value).startswith(text)
    assert not generation.is_success


@pytest.mark.parametrize("value", VALUES)
def test_a_value_pickles_and_copies(value: Any) -> None:
    """Every model survives pickling and copying, its unknown fields too."""
    for other in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
        assert other == value
        assert type(other) is type(value)
        assert repr(other) == repr(value)
        assert getattr(other, "extra", None) == getattr(value, "extra", None)


@pytest.mark.parametrize("value", VALUES)
def test_a_value_can_not_be_changed(value: Any) -> None:
    """No model can be changed."""
    name = next(iter(asdict(value)))
    with pytest.raises(FrozenInstanceError):
        setattr(value, name, None)


@pytest.mark.parametrize(
    "value",
    [
        Artifact("trace", "t.zip", 1, "needle"),
        Artifact("trace", "t.zip", extra={"a": "needle"}),
        Run(1, "x", log="needle"),
        Run(1, "x", artifacts=(Artifact("trace", "t.zip", 1, "needle"),)),
        Diagnosis(
            1, "x", log="needle", gherkin="needle", specs=(ProjectFile("p", content="needle"),)
        ),
        Feature(1, "n", gherkin="needle", rationale="needle"),
        SectionLog("s", log=("needle",)),
    ],
)
def test_links_and_long_texts_are_in_no_repr(value: object) -> None:
    """A repr, which may end in a log, holds no signed link, no source and no log."""
    assert "needle" not in repr(value)


def test_unknown_fields_do_not_distinguish_values() -> None:
    """Two snapshots that differ in fields unknown to us alone are equal: nothing changed."""
    assert evolve(PASSED, extra={"load": 0.5}) == PASSED


def test_values_without_unknown_fields_share_an_empty_mapping() -> None:
    """The `extra` of most values is one empty mapping that can't be written to, pickled or not."""
    extra: Any = Run(1, "x").extra
    assert extra is Run(2, "x").extra is pickle.loads(pickle.dumps(extra))
    assert (dict(extra), len(extra), repr(extra), extra.get("a")) == ({}, 0, "{}", None)
    with pytest.raises(TypeError):
        extra["a"] = 1  # type: ignore[index]
    with pytest.raises(KeyError):
        extra["a"]


@pytest.mark.parametrize("status", [None, "draft", FeatureStatus.FAILED, FeatureStatus.CANCELLED])
def test_a_feature_without_tests_needs_some(status: str | None) -> None:
    """One that was never generated, or whose generation did not succeed."""
    assert Feature(1, "Login", status=status).needs_tests


@pytest.mark.parametrize("status", ["ready", "", FeatureStatus.GENERATED, FeatureStatus.GENERATING])
def test_a_feature_with_a_word_that_nobody_knows_needs_none(status: str) -> None:
    """A misreading would cost credits."""
    feature = Feature(1, "Login", status=status)
    assert not feature.needs_tests
    assert feature.has_undocumented_status == (status in {"ready", ""})
