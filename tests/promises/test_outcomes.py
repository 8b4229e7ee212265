"""What became of many: one word for each item, and numbers that add up."""

import pytest

from testvibe_async import (
    BatchItem,
    BatchSummary,
    CaseResult,
    FeatureStatus,
    Generation,
    Run,
    RunRef,
    RunStatus,
    Verdict,
    errors,
)

REF = RunRef(server="https://testvibe.example", project="p", run_id=214)
UNSENT = errors.NotSentError("could not connect", method="POST", url="https://testvibe.example")
PASSED = Run(214, RunStatus.PASSED, tests=(CaseResult("signs in", "passed"),))
TIME_OUT = errors.WaitTimeoutError(ref=REF, status="running", elapsed=5)

ITEMS: dict[Verdict, list[BatchItem[Run | Generation]]] = {
    Verdict.SUCCEEDED: [
        BatchItem(feature="A", ref=REF, outcome=PASSED),
        BatchItem(feature="A", outcome=Generation(feature_status=FeatureStatus.GENERATED)),
    ],
    Verdict.FAILED: [
        BatchItem(feature="A", ref=REF, outcome=Run(214, RunStatus.FAILED)),
        BatchItem(feature="A", ref=REF, outcome=Run(214, RunStatus.PASSED)),
        BatchItem(feature="A", outcome=Generation(feature_status=FeatureStatus.CANCELLED)),
    ],
    Verdict.ERROR: [
        BatchItem(feature="A", error=UNSENT),
        BatchItem(feature="A", ref=REF, outcome=Run(214, "exploded")),
    ],
    Verdict.IN_FLIGHT: [
        BatchItem(feature="A", ref=REF),
        BatchItem(feature="A", ref=REF, error=TIME_OUT),
        BatchItem(feature="A", error=TIME_OUT),
    ],
    Verdict.SKIPPED: [BatchItem(feature="A")],
}


@pytest.mark.parametrize(
    ("verdict", "item"), [(verdict, item) for verdict, items in ITEMS.items() for item in items]
)
def test_what_became_of_one(verdict: Verdict, item: BatchItem[Run | Generation]) -> None:
    """The verdict follows from the outcome, else from the error, else from the ref."""
    assert item.verdict is verdict


def test_the_name_is_the_best_that_is_known() -> None:
    """The service's own name comes first, then the one known before, then what was asked for."""
    named = Run(214, RunStatus.PASSED, feature_name="Login")
    untold = Run(214, RunStatus.PASSED)
    assert BatchItem(feature=12, name="login", outcome=named).feature_name == "Login"
    assert BatchItem(feature=12, name="login", outcome=untold).feature_name == "login"
    unnamed: BatchItem[Run] = BatchItem(feature=12)
    assert unnamed.feature_name == "12"


def test_the_summary_counts_each_once() -> None:
    """The summary of items has each of them under its verdict."""
    items = [item for group in ITEMS.values() for item in group]
    summary = BatchSummary.of(items)
    assert summary == BatchSummary(succeeded=2, failed=3, errors=2, in_flight=3, skipped=1)
    assert summary.total == len(items) == 11
    assert str(summary) == "2 succeeded, 3 failed, 2 errors, 3 in flight, 1 skipped"
    assert not summary.is_success


def test_only_when_all_succeeded_is_it_a_success() -> None:
    """A batch is a success where each one succeeded, and so is one of nothing."""
    assert BatchSummary.of(ITEMS[Verdict.SUCCEEDED]).is_success
    assert BatchSummary().is_success
    assert str(BatchSummary()) == "nothing to do"


def test_what_was_not_seen_is_told_from_what_goes_on() -> None:
    """A wait that ended after failed polls alone says so; both can be waited for again."""

    def left(error: errors.VibeError | None) -> BatchItem[Run]:
        return BatchItem(feature="Login", ref=REF, error=error)

    seen = left(errors.WaitTimeoutError(ref=REF, status="running", elapsed=5))
    unseen = left(errors.WaitTimeoutError(ref=REF, status="running", elapsed=5, failures=2))
    outage = left(errors.ObservationError("nothing but failures", ref=REF))
    gone = left(errors.OperationNotFoundError("404", ref=REF))
    assert [each.is_unseen for each in (seen, unseen, outage, gone)] == [False, True, False, False]
    assert [each.is_unfinished for each in (seen, unseen, outage, gone, left(None))] == [
        *(True, True, True, False),
        True,
    ]
    assert not BatchItem[Run](feature="Login").is_unfinished
