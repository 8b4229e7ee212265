"""The stability of features: what the runs of a batch, and the batches of a folder, show of them.

Decides which runs count and what their number proves, and what counts as flaky and as newly
failing. A run counts if it passed or failed; one that was refused, not observed or not dispatched
shows nothing of the feature. Over batches, results are in the order in which they were observed: a
batch that was resumed has some from before its interruption. Pure; it runs nothing, and reads no
ledger.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from attrs import frozen

from testvibe_async._core.util.serialization import Serializable
from testvibe_async.outcomes import BatchItem, Verdict
from testvibe_async.runner.words import with_config

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    from testvibe_async.runner.kept import KeptBatch as Batch


Z = 1.96
"""The quantile of the normal distribution for a confidence of 95 %."""

DOUBT = 0.05
"""The rest of that confidence."""


@frozen(kw_only=True)
class _Course(Serializable):
    """A feature with one configuration."""

    feature: str
    config: str | None = None
    """The configuration; None for the default one."""

    @property
    def name(self) -> str:
        """The feature's name, and the configuration if one was named."""
        return with_config(self.feature, self.config)


@frozen(kw_only=True)
class Stability(_Course):
    """The results of a feature's runs with one configuration."""

    passed: int = 0
    failed: int = 0

    not_counted: int = 0
    """Runs without a result: refused, not observed, in flight, or unknown."""

    not_run: int = 0
    """Runs that were never dispatched."""

    @property
    def counted(self) -> int:
        """The runs with a result."""
        return self.passed + self.failed

    @property
    def verdict(self) -> Literal["stable", "flaky", "broken", "unknown"]:
        """The verdict, in a word: each run passed, some did, none did, or none has a result."""
        if not self.counted:
            return "unknown"
        if not self.failed:
            return "stable"
        return "flaky" if self.passed else "broken"

    @property
    def failure_rate(self) -> tuple[float, float]:
        """The bounds of the share of runs that fail, with a confidence of 95 %.

        Equal results bound it on one side alone, as 1 - 0.05 ** (1 / n) ("rule of three"). Mixed
        ones have Wilson's score interval
        (https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval).
        """
        if not self.counted:
            return 0.0, 1.0
        bound = 1 - DOUBT ** (1 / self.counted)
        if not self.failed:
            return 0.0, bound
        if not self.passed:
            return 1 - bound, 1.0
        share, weight = self.failed / self.counted, Z * Z / self.counted
        center = (share + weight / 2) / (1 + weight)
        spread = sqrt(share * (1 - share) * weight + weight * weight / 4) / (1 + weight)
        return center - spread, center + spread

    def __str__(self) -> str:
        """Return the verdict and its evidence, in a sentence."""
        missing = f"; not counted, without a result: {self.not_counted}" if self.not_counted else ""
        unused = f"; not dispatched: {self.not_run}" if self.not_run else ""
        return f"{self.verdict}: {self._evidence}{missing}{unused}"

    @property
    def _evidence(self) -> str:
        low, high = self.failure_rate
        n, sure = self.counted, f"({1 - DOUBT:.0%} sure)"
        match self.verdict:
            case "stable":
                return f"{n} of {n} runs passed, so fewer than {high:.0%} fail {sure}"
            case "flaky":
                share = f"between {low:.0%} and {high:.0%}"
                return f"{self.failed} of {n} runs failed, so {share} fail {sure}"
            case "broken":
                return f"{n} of {n} runs failed, so more than {low:.0%} fail {sure}"
            case "unknown":
                return "no run has a result"

    def _members(self) -> dict[str, object]:
        low, high = self.failure_rate
        return {
            **super()._members(),
            "verdict": self.verdict,
            "failureRate": [round(low, 3), round(high, 3)],
            "summary": str(self),
        }


def stability_of(items: Iterable[BatchItem[Any]]) -> list[Stability]:
    """Return the stability of each feature and configuration, in the order of the first runs.

    Args:
        items: The items of a batch. All attempts of an item count.
    """
    return [_stability(group) for group in _groups(items)]


def deciding(items: Iterable[BatchItem[Any]]) -> list[BatchItem[Any]]:
    """Return the items that decide the verdicts on features.

    A flaky feature stays flaky, independent of runs without a result.
    """
    return [
        item
        for group in _groups(items)
        for item in group
        if _has_result(item) or _stability(group).verdict != "flaky"
    ]


def _groups(items: Iterable[BatchItem[Any]]) -> list[list[BatchItem[Any]]]:
    groups: dict[tuple[object, str | None], list[BatchItem[Any]]] = {}
    for item in items:
        groups.setdefault((item.feature, item.config), []).append(item)
    return list(groups.values())


def _stability(items: Sequence[BatchItem[Any]]) -> Stability:
    runs = [run for item in items for run in item.attempts]
    not_run = sum(item.verdict in {Verdict.SKIPPED, Verdict.WAITING} for item in items)
    return Stability(
        feature=next((each.feature_name for each in items if each.outcome), items[0].feature_name),
        config=items[0].config,
        passed=sum(run.is_success for run in runs),
        failed=sum(run.is_failure for run in runs),
        not_counted=len(items) - not_run - sum(map(_has_result, items)),
        not_run=not_run,
    )


def _has_result(item: BatchItem[Any]) -> bool:
    return item.outcome is not None and (item.outcome.is_success or item.outcome.is_failure)


Key: TypeAlias = tuple[str, str | None]
"""A feature's folded name, and its configuration if it is not the default one."""

CHANGES = ("newly failing", "flaky now", "passes again")
"""The changes that the last batch may bring, the worst first."""


@frozen(kw_only=True)
class Trend(_Course):
    """One feature with one configuration, over the batches in which it ran."""

    words: Sequence[str]
    """Its result in each batch, the oldest first: `passed`, `flaky`, `failed` or `other`."""

    change: str | None
    """The change with the last batch, one of `CHANGES`; None for none."""

    failing_since: Batch | None
    """The first batch that failed without a pass since; None if the last passed."""

    def is_one_of(self, names: Collection[str]) -> bool:
        """Return whether it is meant by one of these names, which are in lower case."""
        return self.feature.casefold() in names or self.name.casefold() in names

    @property
    def counted(self) -> int:
        """The number of batches with a result; errors and outages do not count."""
        return len(self.words) - self.words.count("other")

    def rate(self, word: str) -> float:
        """Return the share of batches with a result that had this one."""
        return self.words.count(word) / (self.counted or 1)

    def _members(self) -> dict[str, object]:
        since = self.failing_since
        return {
            "name": self.name,
            "batches": self.counted,
            **{word: self.words.count(word) for word in ("passed", "flaky", "failed")},
            "passRate": round(self.rate("passed"), 3),
            "flakyRate": round(self.rate("flaky"), 3),
            "what": self.change,
            "failingSince": since and {"batch": since.number, "createdUtc": since.started_at},
        }


def trends_of(batches: Sequence[Batch]) -> list[Trend]:
    """Return the course of each feature, in the order of its first run.

    Args:
        batches: The batches, the one that ended last as the last one.
    """
    courses: dict[Key, list[tuple[Batch, list[BatchItem[Any]]]]] = {}
    for batch in batches:
        by_key: dict[Key, list[BatchItem[Any]]] = {}
        for item in batch.items:
            by_key.setdefault(item.key, []).append(item)
        for key, items in by_key.items():
            courses.setdefault(key, []).append((batch, items))
    for course in courses.values():
        course.sort(key=lambda each: _observed_at(*each))
    return [_trend(course, is_last=course[-1][0] is batches[-1]) for course in courses.values()]


def word_of(items: Iterable[BatchItem[Any]]) -> str:
    """Return how a feature ended in a batch: `passed`, `flaky`, `failed` or `other`."""
    items = list(items)
    runs = [run for item in items for run in item.attempts]
    is_passed, is_failed = any(r.is_success for r in runs), any(r.is_failure for r in runs)
    if is_passed and is_failed:
        return "flaky"
    if is_failed and all(item.outcome is None for item in items):
        return "other"  # It failed once, and its next attempt has no result.
    return "failed" if is_failed else "passed" if is_passed else "other"


def _trend(course: Sequence[tuple[Batch, list[BatchItem[Any]]]], *, is_last: bool) -> Trend:
    words = [word_of(items) for _, items in course]
    last = course[-1][1][0]
    return Trend(
        feature=last.feature_name,
        config=last.key[1],
        words=words,
        change=_change(words) if is_last else None,
        failing_since=_failing_since([batch for batch, _ in course], words),
    )


def _observed_at(batch: Batch, items: Iterable[BatchItem[Any]]) -> datetime:
    """Return when the last run of a feature in a batch ended; the begin of the batch if unknown."""
    runs = [run for item in items for run in item.attempts]
    return max((run.finished_at for run in runs if run.finished_at), default=batch.started_at)


def _change(words: Sequence[str]) -> str | None:
    known = [word for word in words[:-1] if word != "other"]
    if not known:
        return None
    before, now = known[-1], words[-1]
    if now == "failed" and before != "failed":
        return "newly failing"
    if now == "flaky" and before != "flaky":
        return "flaky now"
    return "passes again" if now == "passed" and before == "failed" else None


def _failing_since(batches: Sequence[Batch], words: Sequence[str]) -> Batch | None:
    first = None
    for batch, word in zip(batches, words, strict=True):
        if word == "failed":
            first = first or batch
        elif word != "other":
            first = None
    return first
