"""`to_dict`: what the service sent, under its own names, and no more, as plain JSON."""

import json
from datetime import UTC, date, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from tests.promises.test_errors import is_plain
from testvibe_async import errors, models, outcomes, refs

SERVER = "https://testvibe.example"


AT = datetime(2026, 6, 10, 14, 32, 7, tzinfo=UTC)


REF = refs.RunRef(server=SERVER, project="p", run_id=214)


REFS = (
    REF,
    refs.RunRef(server=SERVER, project="p", run_id=214, feature_id=12, dispatched_at=AT),
    refs.GenerationRef(server=SERVER, project="p", request_id="a1b2", feature_id=12),
)


FAILED = models.Run(213, models.RunStatus.FAILED)


PASSED = models.Run(214, models.RunStatus.PASSED, tests=(models.CaseResult("signs in", "passed"),))


NOT_FOUND = errors.NotFoundError("no run", status=404, code="not_found", method="GET", url=SERVER)


TIME_OUT = errors.WaitTimeoutError(ref=REF, status="running", elapsed=5.0)


TRACE = models.Artifact("trace", "a.zip", size_bytes=7)


@pytest.mark.parametrize("module", [models, refs, outcomes, errors])
def test_every_value_and_error_has_it(module: Any) -> None:
    """Each public model, ref, item, summary and error can be made a dict; a list of them is one."""
    kinds = [getattr(module, name) for name in module.__all__]
    lacking = [kind for kind in kinds if not hasattr(kind, "to_dict")]
    assert [kind for kind in lacking if not issubclass(kind, StrEnum | list)] == []


def test_an_instant_is_as_on_the_wire() -> None:
    """An instant is in UTC and ends in Z, whatever time zone it was given in."""
    at = datetime(2026, 6, 10, 16, 32, 7, tzinfo=timezone(timedelta(hours=2)))
    assert models.Feature(1, "A", updated_at=at).to_dict()["updatedUtc"] == "2026-06-10T14:32:07Z"


def test_it_is_the_callers_own() -> None:
    """A change of the dict changes neither the value nor the next dict."""
    run = models.Run(1, "passed", tests=(models.CaseResult("a"),), extra={"new": {"deep": [1]}})
    made = run.to_dict()
    made["tests"].clear()
    made["new"]["deep"].append(2)
    assert run.extra == {"new": {"deep": [1]}}
    assert run.to_dict() == {
        "runId": 1,
        "status": "passed",
        "tests": [{"name": "a"}],
        "new": {"deep": [1]},
    }


def test_a_transition_is_named_as_the_service_would() -> None:
    """A transition has its phase, status and instant, and the snapshot where there is one."""
    assert models.Transition(models.Phase.ACTIVE, "running", AT, PASSED).to_dict() == {
        "phase": "active",
        "status": "running",
        "observedUtc": "2026-06-10T14:32:07Z",
        "snapshot": PASSED.to_dict(),
    }
    dispatched: models.Transition[models.Run] = models.Transition(models.Phase.QUEUED, None, AT)
    assert dispatched.to_dict() == {"phase": "queued", "observedUtc": "2026-06-10T14:32:07Z"}


def test_a_downloads_progress_has_its_sizes() -> None:
    """A download's progress has the artifact, its local path, and the sizes that are known."""
    document = {
        "artifact": {"kind": "trace", "path": "a.zip", "size": 7},
        "path": str(Path("out", "a.zip")),
        "done": 3,
        "isFinished": False,
    }
    progress = models.DownloadProgress(
        artifact=TRACE, path=Path("out", "a.zip"), done_bytes=3, total_bytes=None
    )
    assert progress.to_dict() == document
    progress = models.DownloadProgress(
        artifact=TRACE, path=Path("out", "a.zip"), done_bytes=3, total_bytes=7
    )
    assert progress.to_dict() == document | {"total": 7}


def test_an_item_has_what_is_known_of_it() -> None:
    """An item of a batch has its verdict, and the ref, outcome and error that there are."""
    item = outcomes.BatchItem(feature=12, name="Login", config="Mobile", ref=REF, outcome=PASSED)
    assert item.to_dict() == {
        "feature": 12,
        "name": "Login",
        "config": "Mobile",
        "verdict": "succeeded",
        "isFlaky": False,
        "ref": REF.to_dict(),
        "outcome": PASSED.to_dict(),
    }
    skipped: outcomes.BatchItem[models.Run] = outcomes.BatchItem(feature="Login")
    assert skipped.to_dict() == {"feature": "Login", "verdict": "skipped", "isFlaky": False}
    generated = outcomes.BatchItem(
        feature="A", outcome=models.Generation(feature_status=models.FeatureStatus.GENERATED)
    )
    assert generated.to_dict()["outcome"] == {"featureStatus": "generated"}


def test_an_item_with_earlier_attempts_has_all_runs() -> None:
    """An item whose attempts were several has their runs, oldest first, and is marked if flaky."""
    flaky = outcomes.BatchItem(
        feature="Login", ref=REF, outcome=PASSED, earlier=(FAILED,)
    ).to_dict()
    assert flaky["runs"] == [FAILED.to_dict(), PASSED.to_dict()]
    assert flaky["isFlaky"] is True
    going_on = outcomes.BatchItem(
        feature="Login", ref=REF, error=TIME_OUT, earlier=(FAILED,)
    ).to_dict()
    assert going_on["runs"] == [FAILED.to_dict()]
    assert going_on["error"] == TIME_OUT.to_dict()


def test_a_summary_has_its_counts() -> None:
    """A batch's summary has all its counts, zeros too."""
    assert outcomes.BatchSummary(succeeded=2, in_flight=1, flaky=1).to_dict() == {
        "succeeded": 2,
        "failed": 0,
        "quarantined": 0,
        "errors": 0,
        "inFlight": 1,
        "unknown": 0,
        "waiting": 0,
        "flaky": 1,
        "skipped": 0,
    }


@pytest.mark.parametrize(
    ("error", "more"),
    [
        (errors.NotSentError("refused", method="GET", url=SERVER), {}),
        (TIME_OUT, {"ref": REF.to_dict()}),
        (NOT_FOUND, {"status": 404, "error": "not_found", "said": "no run"}),
        (
            errors.ResponseError("?", status=405, method="GET", url=SERVER),
            {"status": 405, "said": "?"},
        ),
        (models.RunFailedError("run 213 failed", outcome=FAILED), {}),
    ],
)
def test_an_error_says_what_it_is(error: errors.VibeError, more: dict[str, Any]) -> None:
    """An error has its type and message, its ref where it has one, and the service's answer."""
    assert error.to_dict() == {"type": type(error).__name__, "message": str(error), **more}


VALUES = [
    models.Transition(models.Phase.ACTIVE, "running", AT, PASSED),
    models.DownloadProgress(artifact=TRACE, path=Path("a"), done_bytes=0, total_bytes=None),
    REFS[1],
    REFS[2],
    outcomes.BatchItem(feature="A", ref=REF, error=NOT_FOUND, earlier=(FAILED,)),
    outcomes.BatchSummary(succeeded=1),
    NOT_FOUND,
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
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
