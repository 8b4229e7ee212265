"""What runs show of a feature: its stability in one batch, and its course over several."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve

from testvibe_async import BatchItem, ConfigError, Run, RunStatus, Verdict
from testvibe_async.outcomes import Quarantined
from testvibe_async.runner.trends import Stability, news_of, trends_of

START = datetime(2026, 12, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("passed", "failed", "sentence"),
    [
        (3, 0, "stable: 3 of 3 runs passed, so fewer than 63% fail (95% sure)"),
        (10, 0, "stable: 10 of 10 runs passed, so fewer than 26% fail (95% sure)"),
        (0, 3, "broken: 3 of 3 runs failed, so more than 37% fail (95% sure)"),
        (7, 3, "flaky: 3 of 10 runs failed, so between 11% and 60% fail (95% sure)"),
        (0, 0, "unknown: no run has a result"),
    ],
)
def test_stability_comes_with_bounds(passed: int, failed: int, sentence: str) -> None:
    """The verdict comes with bounds of the rate of failures, and with what did not count."""
    found = Stability(feature="Checkout", passed=passed, failed=failed)
    assert str(found) == sentence
    more = "; not counted, without a result: 2; not dispatched: 1"
    assert str(evolve(found, not_counted=2, not_run=1)) == sentence + more


def batch(word: str, number: int, *, ended: int | None = None) -> Any:
    """Return what a course needs of a batch of one feature, which ended so, after so many hours."""
    began, at = START + timedelta(hours=number), START + timedelta(hours=ended or number)
    runs = [
        Run(run_id=number, feature_name="Checkout", status=RunStatus(status), finished_at=at)
        for status in {"flaky": ("failed", "passed"), "error": ()}.get(word, (word,))
    ]
    item = BatchItem[Run](
        feature="Checkout",
        outcome=runs[-1] if runs else None,
        earlier=tuple(runs[:-1]),
        error=None if runs else ConfigError("it could not be started"),
    )
    return SimpleNamespace(number=number, started_at=began, items=[item])


@pytest.mark.parametrize(
    ("words", "rates", "change", "since"),
    [
        ("passed", (1, 0), None, None),
        ("passed failed", (0.5, 0), "newly failing", 2),
        ("passed failed failed", (0.333, 0), None, 2),
        ("failed error failed", (0, 0), None, 1),
        ("failed passed failed", (0.333, 0), "newly failing", 3),
        ("failed passed", (0.5, 0), "passes again", None),
        ("passed flaky", (0.5, 0.5), "newly flaky", None),
        ("passed error error", (1, 0), None, None),
    ],
)
def test_a_course_ignores_errors(
    words: str, rates: tuple[float, float], change: str | None, since: int | None
) -> None:
    """Rates are over batches with a result; an error neither starts nor ends a row of failures."""
    batches = [batch(word, number) for number, word in enumerate(words.split(), 1)]
    (found,) = [trend.to_dict() for trend in trends_of(batches)]
    assert (found["passRate"], found["flakyRate"]) == rates
    assert (found.get("what"), found.get("failingSince", {}).get("batch")) == (change, since)


@pytest.mark.parametrize(
    ("words", "news"),
    [
        ("failed", []),
        ("failed failed", []),
        ("failed error passed", []),
        ("failed passed error failed", ["newly failing, new since batch 2, 2026-12-01 07:00 UTC"]),
        ("passed passed flaky", ["newly flaky, new since batch 2, 2026-12-01 07:00 UTC"]),
    ],
)
def test_news_name_the_last_other_result(words: str, news: list[str]) -> None:
    """What fails or is flaky is new since the last batch in which it was not; if excused, never."""
    *earlier, present = [batch(word, number) for number, word in enumerate(words.split(), 1)]
    found = news_of(present.items, earlier)
    assert [f"{each.change}, {each.new_since(UTC)}" for each in found] == [
        f"{each} (passed)" for each in news
    ]
    excused = Quarantined(reason="", owner="", until=START, verdict=Verdict.QUARANTINED)
    assert news_of([evolve(item, quarantine=excused) for item in present.items], earlier) == []
