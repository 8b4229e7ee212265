"""The course of features: what repeated runs show in one batch, and what several batches show.

Decides which runs count and what their number proves, what counts as newly failing and newly flaky,
since when, and which entries a quarantine should have or lose. A run counts if it passed or failed;
one that was refused, not observed or not dispatched shows nothing of the feature. Results are in
the order in which they were observed: a batch that was resumed has some from before its
interruption. Pure; it reads no ledger, runs nothing, and writes no file.
"""

from __future__ import annotations

from itertools import islice
from math import sqrt
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal

from attrs import frozen

from testvibe_async._core.util.serialization import Serializable
from testvibe_async.models import Run
from testvibe_async.outcomes import BatchItem, Verdict
from testvibe_async.runner.words import with_config

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime, tzinfo

    from testvibe_async.batch import StoredBatch
    from testvibe_async.runner.quarantine import Quarantine, QuarantineEntry


Z = 1.96
"""The quantile of the normal distribution for a confidence of 95 %."""

DOUBT = 0.05
"""The rest of that confidence."""

CHANGES = ("newly failing", "newly flaky", "passes again")
"""The changes that the last batch may bring, the worst first."""

NEWS = CHANGES[:2]
"""The changes that a person should look at."""

PASSES = 10
"""Number of passes in a row after which an entry of the quarantine may be removed."""


REQUEST = attrgetter("feature", "config")
"""The name or id by which a feature was requested; some of repeated runs have no name."""

FEATURE = attrgetter("key")
"""The identity of a feature in several batches."""


@frozen(kw_only=True)
class _Course(Serializable):
    """A feature with a configuration."""

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
    return [_stability(group) for group in _grouped(items, REQUEST).values()]


def deciding(items: Iterable[BatchItem[Any]]) -> list[BatchItem[Any]]:
    """Return the items that decide the verdicts on features.

    A flaky feature stays flaky, independent of runs without a result.
    """
    return [
        item
        for group in _grouped(items, REQUEST).values()
        for item in group
        if _has_result(item) or _stability(group).verdict != "flaky"
    ]


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


@frozen(kw_only=True)
class Trend(_Course):
    """One feature with one configuration, over the batches in which it ran."""

    course: Sequence[tuple[StoredBatch | None, str]]
    """Each batch with the feature's result, as of `result_of`; None is the present batch."""

    is_last: bool
    """True if the last batch of all is one of these."""

    @property
    def words(self) -> list[str]:
        """Its result in each batch, the oldest first: `passed`, `flaky`, `failed` or `other`."""
        return [word for _, word in self.course]

    @property
    def before(self) -> tuple[StoredBatch | None, str] | None:
        """The batch with a result before the last batch, and the result; None without one."""
        known = (each for each in reversed(self.course[:-1]) if each[1] != "other")
        return next(known, None)

    @property
    def change(self) -> str | None:
        """The change with the last batch, one of `CHANGES`; None for none."""
        if not self.is_last or self.before is None:
            return None
        before, now = self.before[1], self.words[-1]
        if now == "failed" and before != "failed":
            return "newly failing"
        if now == "flaky" and before != "flaky":
            return "newly flaky"
        return "passes again" if now == "passed" and before == "failed" else None

    @property
    def failing_since(self) -> StoredBatch | None:
        """The first batch that failed without a pass since; None if the last passed."""
        first = None
        for batch, word in self.course:
            if word == "failed":
                first = first or batch
            elif word != "other":
                first = None
        return first

    def new_since(self, zone: tzinfo | None = None) -> str:
        """Return since when the change is new: `new since batch 17, 2026-11-30 09:12 (passed)`.

        Args:
            zone: The zone of the time, which is named; None for that of this place.
        """
        batch, word = self.before or (None, "")
        if batch is None:
            return ""
        at = f"{batch.started_at.astimezone(zone):%Y-%m-%d %H:%M}"
        return f"new since batch {batch.number}, {at}{f' {zone}' if zone else ''} ({word})"

    def to_news(self) -> dict[str, object]:
        """Return the change as a document, with the batch since which it is new."""
        batch, word = self.before or (None, None)
        since = batch and {"batch": batch.number, "createdUtc": batch.started_at, "result": word}
        return {"feature": self.feature, "config": self.config, "what": self.change, "since": since}

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


def trends_of(
    batches: Sequence[StoredBatch], present: Iterable[BatchItem[Any]] = ()
) -> list[Trend]:
    """Return the course of each feature, in the order of its first run.

    Args:
        batches: The batches, the one that ended last as the last one.
        present: The items of a batch that is not among them, as the last one.
    """
    courses: dict[tuple[str, str | None], list[tuple[StoredBatch | None, list[Any]]]] = {}
    for batch in batches:
        for key, items in _grouped(batch.items, FEATURE).items():
            courses.setdefault(key, []).append((batch, items))
    for course in courses.values():
        course.sort(key=lambda each: _observed_at(*each))
    now = _grouped(present, FEATURE)
    for key, items in now.items():
        courses.setdefault(key, []).append((None, items))
    last = None if now else batches[-1] if batches else None
    return [
        Trend(
            feature=course[-1][1][0].feature_name,
            config=key[1],
            course=[(batch, result_of(items)) for batch, items in course],
            is_last=course[-1][0] is last,
        )
        for key, course in courses.items()
    ]


def news_of(items: Iterable[BatchItem[Any]], earlier: Sequence[StoredBatch]) -> list[Trend]:
    """Return what is newly failing or newly flaky with these items, the worst first.

    An excused failure is no news, and without a result in an earlier batch nothing is.
    """
    present = [item for item in items if item.verdict is not Verdict.QUARANTINED]
    found = [trend for trend in trends_of(earlier, present) if trend.change in NEWS]
    return sorted(found, key=lambda trend: NEWS.index(str(trend.change))) if present else []


def _grouped(items: Iterable[BatchItem[Any]], key: attrgetter[Any]) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def result_of(items: Iterable[BatchItem[Any]]) -> str:
    """Return how a feature ended in a batch: `passed`, `flaky`, `failed` or `other`."""
    items = list(items)
    runs = [run for item in items for run in item.attempts]
    is_passed, is_failed = any(r.is_success for r in runs), any(r.is_failure for r in runs)
    if is_passed and is_failed:
        return "flaky"
    if is_failed and all(item.outcome is None for item in items):
        return "other"  # It failed once, and its next attempt has no result.
    return "failed" if is_failed else "passed" if is_passed else "other"


def _observed_at(batch: StoredBatch | None, items: Iterable[BatchItem[Any]]) -> datetime:
    """Return when the last run of a feature in a batch ended; the begin of the batch if unknown."""
    assert batch is not None
    runs = [run for item in items for run in item.attempts]
    return max((run.finished_at for run in runs if run.finished_at), default=batch.started_at)


def proposed(batches: Sequence[StoredBatch], quarantine: Quarantine) -> list[Trend]:
    """Return the flaky features without an entry, the flakiest first, each once."""
    known = {each.feature.casefold() for each in quarantine.entries if each.feature}
    flaky = [each for each in trends_of(batches) if "flaky" in each.words]
    flaky.sort(key=lambda each: -each.rate("flaky"))
    by_feature = {each.feature.casefold(): each for each in reversed(flaky)}
    return [each for each in reversed(by_feature.values()) if each.feature.casefold() not in known]


def removable(batches: Sequence[StoredBatch], quarantine: Quarantine) -> list[QuarantineEntry]:
    """Return the entries whose feature or test passed in each of the last runs, if enough."""
    return [each for each in quarantine.entries if _last_results(each, batches) == [True] * PASSES]


def _last_results(entry: QuarantineEntry, batches: Sequence[StoredBatch]) -> list[bool]:
    """Return whether the last runs that an entry covers passed it, the last run first."""
    runs = (
        run
        for batch in reversed(batches)
        for item in reversed(batch.items)
        for run in reversed(item.attempts)
        if isinstance(run, Run) and entry.covers(item, run)
    )
    return [entry.is_passed(run) for run in islice(runs, PASSES)]
