"""The course of features over batches."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from testvibe_async import BatchItem, Run, RunStatus, VibeError
from testvibe_async.runner.spec import BatchSpec
from testvibe_async.runner.stored import Batch, BatchRecord
from testvibe_async.runner.trends import trends_of

BEGAN = datetime(2026, 11, 1, tzinfo=UTC)


def run_of(word: str, feature: str) -> Run:
    return Run(run_id=7, feature_name=feature, status=RunStatus(word), finished_at=BEGAN)


def item_of(word: str, feature: str = "Checkout") -> BatchItem[Any]:
    if word == "error":
        return BatchItem(feature=feature, error=VibeError("away"))
    if word == "flaky":
        earlier = (run_of("failed", feature),)
        return BatchItem(feature=feature, outcome=run_of("passed", feature), earlier=earlier)
    return BatchItem(feature=feature, outcome=run_of(word, feature))


def batch_of(number: int, *items: BatchItem[Any]) -> Batch:
    days = timedelta(days=number)
    items = tuple(
        evolve(
            item,
            outcome=evolve(item.outcome, finished_at=item.outcome.finished_at + days),
        )
        if item.outcome
        else item
        for item in items
    )
    where: dict[str, Any] = {"server": "https://testvibe.example", "project": "p"}
    where |= {"project_name": None}
    record = BatchRecord(
        number=number, name=None, kind="run", parent=None, process=1, started_at=BEGAN, **where
    )
    return Batch(
        path=Path("x"),
        record=record,
        spec=BatchSpec(kind="run"),
        **where,
        fails_on_flaky=False,
        created_at=BEGAN + timedelta(days=number),
        items=items,
        is_over=True,
        is_complete=True,
        unfinished=Path("x"),
    )


@pytest.mark.parametrize(
    ("words", "rates", "change", "since"),
    [
        (["passed"], (1, 0), None, None),
        (["passed", "failed"], (0.5, 0), "newly failing", 2),
        (["passed", "failed", "failed"], (1 / 3, 0), None, 2),
        (["failed", "error", "failed"], (0, 0), None, 1),
        (["failed", "passed", "failed"], (1 / 3, 0), "newly failing", 3),
        (["failed", "passed"], (0.5, 0), "passes again", None),
        (["passed", "flaky"], (0.5, 0.5), "flaky now", None),
        (["passed", "error", "error"], (1, 0), None, None),
    ],
)
def test_course(
    words: list[str], rates: tuple[float, float], change: str | None, since: int | None
) -> None:
    """Rates are over batches with a result; an error neither starts nor ends a row of failures."""
    (trend,) = trends_of([batch_of(n, item_of(word)) for n, word in enumerate(words, 1)])
    assert (trend.rate("passed"), trend.rate("flaky")) == pytest.approx(rates)
    assert trend.change == change
    assert (trend.failing_since and trend.failing_since.number) == since


def test_what_was_observed_before_an_interruption_is_older() -> None:
    """A batch that is resumed after another one does not make its first results the last ones."""
    passed, failed = item_of("passed"), item_of("failed")
    resumed = batch_of(2, failed)
    late = batch_of(4, item_of("failed", feature="Returns")).items
    resumed = evolve(resumed, items=[*resumed.items, *late])
    earlier = batch_of(1, passed, item_of("passed", feature="Returns"))
    checkout, returns = trends_of([earlier, batch_of(3, passed), resumed])
    assert checkout.words == ["passed", "failed", "passed"]
    assert (checkout.change, checkout.failing_since) == (None, None)
    assert returns.change == "newly failing"
    assert returns.failing_since is resumed


def test_repeated_runs_are_one_result() -> None:
    """A feature that passed and failed in one batch is flaky in it."""
    (trend,) = trends_of([batch_of(1, item_of("passed"), item_of("failed"), item_of("passed"))])
    assert trend.words == ["flaky"]
    assert trend.to_dict()["flakyRate"] == 1
