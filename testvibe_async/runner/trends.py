"""The course of each feature over the batches of a folder, and what changed with the last one.

Decides what counts as flaky and as newly failing. Results are in the order in which they were
observed: a batch that was resumed has some from before its interruption. Pure; it reads no journal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import frozen

from testvibe_async._util.serialization import Serializable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    from testvibe_async.outcomes import BatchItem
    from testvibe_async.runner.stored import Batch


Key: TypeAlias = tuple[str, str | None]
"""A feature's folded name, and its configuration if it is not the default one."""

CHANGES = ("newly failing", "flaky now", "passes again")
"""The changes that the last batch may bring, the worst first."""


@frozen(kw_only=True)
class Trend(Serializable):
    """One feature with one configuration, over the batches in which it ran."""

    feature: str
    config: str | None
    """The configuration; None for the default one."""

    words: Sequence[str]
    """Its result in each batch, the oldest first: `passed`, `flaky`, `failed` or `other`."""

    change: str | None
    """The change with the last batch, one of `CHANGES`; None for none."""

    failing_since: Batch | None
    """The first batch that failed without a pass since; None if the last passed."""

    @property
    def name(self) -> str:
        """The feature's name, and the configuration if it is not the default one."""
        return f"{self.feature} [{self.config}]" if self.config else self.feature

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
            "failingSince": since
            and {"batch": since.record.number, "createdUtc": since.created_at},
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
    return max((run.finished_at for run in runs if run.finished_at), default=batch.created_at)


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
