"""The words for results, which all surfaces share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from attrs import evolve

from testvibe_async import BatchItem, Run, RunStatus, RunSummary
from testvibe_async.runner.limit import GenerationLimitError
from testvibe_async.runner.words import counts_of, seconds_of

EMPTY = Run(run_id=2, status=RunStatus.PASSED)
PASSED = evolve(EMPTY, summary=RunSummary(total=1, passed=1, failed=0, other=0))
FAILED = Run(run_id=1, status=RunStatus.FAILED)


def item(outcome: Run | None = None, *earlier: Run, **more: object) -> BatchItem[Run]:
    """Return an item of a feature."""
    return BatchItem(feature="Checkout", outcome=outcome, earlier=earlier, **more)  # type: ignore[arg-type]


def test_counts_keep_results_apart() -> None:
    """What is flaky, or passed without results, is not passed; unknown words are the last."""
    items = [
        item(Run(run_id=3, status="passed with notes and remarks")),
        item(PASSED, FAILED),
        item(PASSED),
        item(EMPTY),
        item(),
        item(error=GenerationLimitError()),
        item(is_dropped=True),
        item(is_waiting=True),
    ]
    assert counts_of([]) == "no operations yet"
    assert counts_of(items) == (
        "1 passed, 1 flaky, 1 failed, 1 unknown, 1 stopped at the limit, 1 waiting, 1 skipped, "
        "1 passed with notes and re"
    )


def run_between(begin: int, end: int | None) -> Run:
    """Return a run that was created and finished at these seconds."""
    start = datetime(2026, 12, 1, tzinfo=UTC)
    finished_at = None if end is None else start + timedelta(seconds=end)
    return evolve(FAILED, created_at=start + timedelta(seconds=begin), finished_at=finished_at)


def test_a_batch_takes_the_time_in_which_something_was_in_flight() -> None:
    """Runs at once count once, one within another not at all, and no pause before an attempt."""
    items = [
        item(run_between(80_000, 80_040), run_between(0, 30)),
        item(run_between(10, 50)),
        item(run_between(20, 25)),
        item(run_between(60, None)),
        item(),
    ]
    assert seconds_of(items) == 50 + 40
    assert seconds_of([]) == 0
