"""What the service's answers hold and come to, what a batch says of its features, and `to_dict`."""

# ruff: noqa: S301 - the pickles are our own
import copy
import json
import pickle
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from attrs import asdict, evolve
from attrs.exceptions import FrozenInstanceError

from tests.promises.test_errors import is_plain
from testvibe_async import BatchItem, Generation, Run, RunStatus, errors, models, outcomes, refs

AT = datetime(2026, 6, 10, 16, 2, 11, tzinfo=UTC)


PASSED = Run(214, RunStatus.PASSED, feature_name="Login", started_at=AT, finished_at=AT)


FAILED = Run(
    214,
    RunStatus.FAILED,
    feature_id=12,
    feature_name="Login",
    finished_at=AT,
    tests=(
        models.CaseResult("signs in", "passed", 4210),
        models.CaseResult("locked out", "failed", 9120, "not visible"),
        models.CaseResult("slow", "failed"),
        models.CaseResult("skipped", "skipped"),
    ),
)


VALUES = [
    models.Artifact("trace", "t.zip", 1, "https://blob.example/?sig=s", extra={"a": 1}),
    models.CaseResult("n", "passed"),
    models.Config("Default"),
    models.Diagnosis(1, "failed"),
    models.Feature(12, "n", status=models.FeatureStatus.GENERATED, extra={"a": [1]}),
    FAILED,
    Generation(12, sections=(models.Section("s"),)),
    models.GenerationLog(12, sections=(models.SectionLog("s", log=("a",)),)),
    PASSED,
    models.ProjectFile("p"),
    models.ProjectInfo("g"),
    models.RunSummary(1, 1),
    models.Transition(models.Phase.ACTIVE, "running", AT, PASSED),
    refs.RunRef(server="https://testvibe.example", project="p", run_id=214, dispatched_at=AT),
    refs.GenerationRef(
        server="https://testvibe.example", project="p", request_id="r", feature_id=1
    ),
]


def generation(status: str, *, end: str | None = None, **more: Any) -> Generation:
    return Generation(feature_status=status, overall_conclusion=end, **more)


S = models.FeatureStatus
PHASES: dict[models.Phase, list[Run | Generation]] = {
    models.Phase.QUEUED: [
        *(Run(1, RunStatus.RUNNING), Run(1, "queued"), Generation(), generation("draft")),
        *(generation(S.GENERATING, runner_started=started) for started in (None, False)),
    ],
    models.Phase.ACTIVE: [
        *(Run(1, word, started_at=AT) for word in (RunStatus.RUNNING, "retrying")),
        Run(1, RunStatus.RUNNING, started_at=AT, finished_at=AT),
        *(generation(word, runner_started=True) for word in (S.GENERATING, "verifying")),
        generation(S.GENERATING, runner_started=True, end="success"),
    ],
    models.Phase.FINISHED: [
        *(Run(1, RunStatus.PASSED), Run(1, RunStatus.FAILED), Run(1, "timed_out", finished_at=AT)),
        *(generation(word) for word in (S.GENERATED, S.FAILED, S.CANCELLED)),
        generation("expired", end="failure"),
    ],
}


@pytest.mark.parametrize("phase", PHASES)
def test_the_phase_follows_from_the_answer(phase: models.Phase) -> None:
    """Queued until it started, or its runner did; over by status, or by its end or conclusion."""
    for outcome in PHASES[phase]:
        assert outcome.phase is phase
        assert outcome.is_finished == (phase is models.Phase.FINISHED)


@pytest.mark.parametrize(
    "run",
    [
        FAILED,
        Run(1, RunStatus.FAILED),
        Run(1, RunStatus.PASSED, summary=models.RunSummary(total=0)),
        Run(1, RunStatus.PASSED, tests=(models.CaseResult("signs in", "skipped"),)),
        Run(1, RunStatus.PASSED, tests=(FAILED.tests[0], models.CaseResult("out", "failed"))),
        Run(1, RunStatus.PASSED, summary=models.RunSummary(total=3, passed=2, failed=1)),
    ],
    ids=str,
)
def test_a_run_that_did_not_pass_is_raised(run: Run) -> None:
    """raise_for_status raises RunFailedError, also if no test ran or one failed."""
    with pytest.raises(models.RunFailedError) as caught:
        run.raise_for_status()
    assert caught.value.outcome is run
    assert (run.is_success, run.is_failure) == (False, True)
    assert run.failures == tuple(test for test in run.tests if test.status == "failed")


@pytest.mark.parametrize(
    "outcome",
    [
        Run(1, "timed_out", finished_at=AT),
        Generation(1, "A", "ready", overall_conclusion="success"),
    ],
    ids=str,
)
def test_an_undocumented_end_is_neither_success_nor_failure(outcome: Run | Generation) -> None:
    """raise_for_status raises an error that names the word."""
    assert (outcome.is_finished, outcome.is_success, outcome.is_failure) == (True, False, False)
    with pytest.raises(models.UndocumentedStatusError, match=f"status '{outcome.status}'") as e:
        outcome.raise_for_status()
    assert e.value.outcome is outcome


def test_the_error_of_a_failed_run_says_what_failed() -> None:
    """The message names run, feature, status, how many tests failed, and the first error."""
    with pytest.raises(models.RunFailedError) as caught:
        FAILED.raise_for_status()
    assert str(caught.value) == (
        "run 214 of 'Login' failed, 2 of 4 tests failed: error.outcome.failures and diagnose_run "
        "say why; first 'locked out': not visible"
    )
    with pytest.raises(models.RunFailedError, match=r"run 7 of 12 failed: error"):
        Run(7, RunStatus.FAILED, feature_id=12).raise_for_status()
    only = evolve(FAILED, tests=FAILED.tests[2:3])
    with pytest.raises(models.RunFailedError, match=r"first 'slow': no error given$"):
        only.raise_for_status()


@pytest.mark.parametrize("value", VALUES)
def test_a_value_pickles_and_copies(value: Any) -> None:
    """Every model can be pickled and copied with its unknown fields, and not changed."""
    for other in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
        assert (type(other), other, repr(other)) == (type(value), value, repr(value))
        assert getattr(other, "extra", None) == getattr(value, "extra", None)
        assert other.to_dict() == value.to_dict()
    with pytest.raises(FrozenInstanceError):
        setattr(value, next(iter(asdict(value))), None)


@pytest.mark.parametrize(
    "value",
    [
        models.Artifact("trace", "t.zip", 1, "needle"),
        models.Artifact("trace", "t.zip", extra={"a": "needle"}),
        Run(1, "x", log="needle"),
        Run(1, "x", artifacts=(models.Artifact("trace", "t.zip", 1, "needle"),)),
        models.Diagnosis(1, "x", log="needle", gherkin="needle"),
        models.Diagnosis(1, "x", specs=(models.ProjectFile("p", content="needle"),)),
        models.Feature(1, "n", gherkin="needle", rationale="needle"),
        models.SectionLog("s", log=("needle",)),
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


def test_which_need_tests() -> None:
    """Those without tests; one with a word that nobody knows does not: it would cost credits."""
    needing = {None, "draft", S.FAILED, S.CANCELLED}
    for status in (*needing, "ready", "", S.GENERATED, S.GENERATING):
        feature = models.Feature(1, "Login", status=status)
        assert feature.needs_tests == (status in needing)
        assert feature.has_undocumented_status == (status in {"ready", ""})


SERVER = "https://testvibe.example"
REF = refs.RunRef(server=SERVER, project="p", run_id=214)
UNSENT = errors.NotSentError("could not connect", method="POST", url=SERVER)
WELL = Run(214, RunStatus.PASSED, tests=(models.CaseResult("signs in", "passed"),))
BAD = Run(213, RunStatus.FAILED)
TIME_OUT = errors.WaitTimeoutError(ref=REF, status="running", elapsed=5)

ITEMS: dict[outcomes.Verdict, list[BatchItem[Run | Generation]]] = {
    outcomes.Verdict.SUCCEEDED: [
        BatchItem(feature="A", ref=REF, outcome=WELL),
        BatchItem(feature="A", outcome=generation(S.GENERATED)),
    ],
    outcomes.Verdict.FAILED: [
        BatchItem(feature="A", ref=REF, outcome=Run(214, RunStatus.FAILED)),
        BatchItem(feature="A", ref=REF, outcome=Run(214, RunStatus.PASSED)),
        BatchItem(feature="A", outcome=generation(S.CANCELLED)),
    ],
    outcomes.Verdict.ERROR: [
        BatchItem(feature="A", error=UNSENT),
        BatchItem(feature="A", ref=REF, outcome=Run(214, "exploded")),
    ],
    outcomes.Verdict.IN_FLIGHT: [
        BatchItem(feature="A", ref=REF),
        BatchItem(feature="A", ref=REF, error=TIME_OUT),
        BatchItem(feature="A", error=TIME_OUT),
    ],
    outcomes.Verdict.SKIPPED: [BatchItem(feature="A")],
}


def test_the_summary_counts_each_once() -> None:
    """The verdict follows from the outcome, else from the error, else from the ref."""
    for verdict, group in ITEMS.items():
        assert {item.verdict for item in group} == {verdict}
    items = [item for group in ITEMS.values() for item in group]
    summary = outcomes.BatchSummary.of(items)
    assert summary == outcomes.BatchSummary(succeeded=2, failed=3, errors=2, in_flight=3, skipped=1)
    assert str(summary) == "2 succeeded, 3 failed, 2 errors, 3 in flight, 1 skipped"
    assert (summary.total, summary.is_success) == (len(items), False)


def test_what_was_not_seen_is_told_from_what_goes_on() -> None:
    """A wait that ended after failed polls alone says so; both can be waited for again."""

    def left(error: errors.VibeError | None) -> BatchItem[Run]:
        return BatchItem(feature="Login", ref=REF, error=error)

    seen = left(errors.WaitTimeoutError(ref=REF, status="running", elapsed=5))
    unseen = left(errors.WaitTimeoutError(ref=REF, status="running", elapsed=5, failures=2))
    outage = left(errors.ObservationError("nothing but failures", ref=REF))
    gone = left(errors.OperationNotFoundError("404", ref=REF))
    assert [each.is_unseen for each in (seen, unseen, outage, gone)] == [False, True, False, False]
    unfinished = [each.is_unfinished for each in (seen, unseen, outage, gone, left(None))]
    assert unfinished == [True, True, True, False, True]
    assert not BatchItem[Run](feature="Login").is_unfinished


NOT_FOUND = errors.NotFoundError("no run", status=404, code="not_found", method="GET", url=SERVER)
TRACE = models.Artifact("trace", "a.zip", size_bytes=7)
UNSEEN = errors.ObservationError("no answer", ref=REF)
UNSEEN.__cause__ = NOT_FOUND


@pytest.mark.parametrize("module", [models, refs, outcomes, errors])
def test_every_value_and_error_has_it(module: Any) -> None:
    """Each public model, ref, item, summary and error can be made a dict; a list of them is one."""
    kinds = [getattr(module, name) for name in module.__all__]
    lacking = [kind for kind in kinds if not hasattr(kind, "to_dict")]
    assert [kind for kind in lacking if not issubclass(kind, StrEnum | list)] == []


def test_it_is_the_callers_own() -> None:
    """A change of the dict changes neither the value nor the next dict."""
    run = models.Run(1, "passed", tests=(models.CaseResult("a"),), extra={"new": {"deep": [1]}})
    made = run.to_dict()
    made["tests"].clear()
    made["new"]["deep"].append(2)
    assert run.extra == {"new": {"deep": [1]}}
    tests = [{"name": "a"}]
    assert run.to_dict() == {"runId": 1, "status": "passed", "tests": tests, "new": {"deep": [1]}}


def test_an_item_has_what_is_known_of_it() -> None:
    """Its verdict, ref, outcome and error, if any; of several attempts all runs, oldest first."""
    item = BatchItem(feature=12, name="Login", config="Mobile", ref=REF, outcome=WELL)
    asked = {"feature": 12, "name": "Login", "config": "Mobile", "verdict": "succeeded"}
    found = {"isFlaky": False, "ref": REF.to_dict(), "outcome": WELL.to_dict()}
    assert item.to_dict() == asked | found
    skipped: BatchItem[models.Run] = BatchItem(feature="Login")
    assert skipped.to_dict() == {"feature": "Login", "verdict": "skipped", "isFlaky": False}
    flaky = evolve(item, earlier=(BAD,)).to_dict()
    assert (flaky["runs"], flaky["isFlaky"]) == ([BAD.to_dict(), WELL.to_dict()], True)
    running = BatchItem(feature="Login", ref=REF, error=TIME_OUT, earlier=(BAD,)).to_dict()
    assert (running["runs"], running["error"]) == ([BAD.to_dict()], TIME_OUT.to_dict())


@pytest.mark.parametrize(
    ("error", "more"),
    [
        (UNSENT, {"what": "could not connect"}),
        (UNSEEN, {"ref": REF.to_dict(), "what": "no answer", "cause": NOT_FOUND.to_dict()}),
        (TIME_OUT, {"ref": REF.to_dict(), "status": "running", "elapsed": 5}),
        (NOT_FOUND, {"status": 404, "error": "not_found", "said": "no run"}),
        (models.RunFailedError("run 213 failed", outcome=BAD), {}),
    ],
)
def test_an_error_says_what_it_is(error: errors.VibeError, more: dict[str, Any]) -> None:
    """An error has its type and message, its ref and its cause, and what was answered, if any."""
    assert error.to_dict() == {"type": type(error).__name__, "message": str(error), **more}


OWN_VALUES = [
    models.Transition(models.Phase.ACTIVE, "running", AT, WELL),
    models.DownloadProgress(artifact=TRACE, path=Path("a"), done_bytes=0, total_bytes=None),
    evolve(REF, feature_id=12, dispatched_at=AT),
    refs.GenerationRef(server=SERVER, project="p", request_id="a1b2", feature_id=12),
    BatchItem(feature="A", ref=REF, error=NOT_FOUND, earlier=(BAD,)),
    outcomes.BatchSummary(succeeded=1),
    NOT_FOUND,
]


@pytest.mark.parametrize("value", OWN_VALUES, ids=lambda value: type(value).__name__)
def test_each_is_plain_json(value: Any) -> None:
    """Values that are not the service's own are plain JSON as well."""
    assert is_plain(value.to_dict())
    assert json.loads(json.dumps(value.to_dict(), allow_nan=False)) == value.to_dict()


def test_a_day_is_written_as_one() -> None:
    """The last day of a quarantine is a date, without a time."""
    excused = outcomes.Quarantined(
        reason="flaky", owner="qa", until=date(2026, 12, 24), verdict=outcomes.Verdict.QUARANTINED
    )
    assert excused.to_dict()["until"] == "2026-12-24"
