"""The stability of features: what the runs of one batch show of them.

Decides which runs count and what their number proves. A run counts if it passed or failed; one that
was refused, not observed or not dispatched shows nothing of the feature. Pure; it runs nothing.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any, Literal

from attrs import frozen

from testvibe_async._core.util.serialization import Serializable
from testvibe_async.outcomes import BatchItem, Verdict
from testvibe_async.runner.words import with_config

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


Z = 1.96
"""The quantile of the normal distribution for a confidence of 95 %."""

DOUBT = 0.05
"""The rest of that confidence."""


@frozen(kw_only=True)
class Stability(Serializable):
    """The results of a feature's runs with one configuration."""

    feature: str
    config: str | None = None
    """The configuration; None for the default one."""

    passed: int = 0
    failed: int = 0

    not_counted: int = 0
    """Runs without a result: refused, not observed, in flight, or unknown."""

    not_run: int = 0
    """Runs that were never dispatched."""

    @property
    def name(self) -> str:
        """The feature's name, and the configuration if one was named."""
        return with_config(self.feature, self.config)

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
