"""The results of a run, test by test: verdicts, durations, errors.

Pure, and always the same for the same run: nothing is stored, everything is computed on request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from .gherkin import GherkinCase, slug
from .playwright_errors import failure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from .scenario import Outcome

__all__ = ["Case", "execute", "summary"]

_SHARE_OF_TESTS = 0.9
_SECOND_FAILURE = 0.25


@attrs.frozen
class Case:
    """One test's result."""

    name: str
    slug: str
    """The name in artifact paths, unique in its run."""
    status: Literal["passed", "failed", "skipped"]
    duration_ms: int
    error: str | None

    def document(self) -> dict[str, object]:
        """Return the result's entry in the run digest."""
        return {
            "name": self.name,
            "status": self.status,
            "durationMs": self.duration_ms,
            "error": self.error,
        }


def execute(  # noqa: PLR0913 - all that decides a run, by keyword
    cases: Sequence[GherkinCase],
    rng: Random,
    *,
    fails: bool,
    seconds: float,
    site_url: str,
    fixed: Outcome,
) -> list[Case]:
    """Compute the results of a run.

    Args:
        cases: The tests, at least one.
        rng: This run's random numbers.
        fails: True if at least one test fails.
        seconds: The run's duration; the tests take most of it.
        site_url: The site under test, for the errors.
        fixed: The outcome that the scenario fixes for the feature.
    """
    weights = [0.0 if case.skipped else rng.uniform(1, 3) for case in cases]
    failing = _failing(cases, rng, fixed) if fails else set[int]()
    millisecond_share = 1000 * seconds * _SHARE_OF_TESTS / (sum(weights) or 1)
    slugs = _unique_slugs(cases)
    return [
        Case(
            name=case.title,
            slug=slugs[index],
            status=_status(case, fails=index in failing),
            duration_ms=round(weights[index] * millisecond_share),
            error=(fixed.error or failure(rng, case.title, site_url)) if index in failing else None,
        )
        for index, case in enumerate(cases)
    ]


def summary(cases: Sequence[Case]) -> dict[str, int]:
    """Count results for the run digest."""
    passed = sum(case.status == "passed" for case in cases)
    failed = sum(case.status == "failed" for case in cases)
    return {
        "total": len(cases),
        "passed": passed,
        "failed": failed,
        "other": len(cases) - passed - failed,
    }


def _failing(cases: Sequence[GherkinCase], rng: Random, fixed: Outcome) -> set[int]:
    named = {name.casefold() for name in fixed.failing}
    chosen = {index for index, case in enumerate(cases) if case.title.casefold() in named}
    if chosen:
        return chosen
    candidates = [index for index, case in enumerate(cases) if not case.skipped]
    if not candidates:
        return {0}
    count = 2 if len(candidates) > 1 and rng.random() < _SECOND_FAILURE else 1
    return set(rng.sample(candidates, count))


def _status(case: GherkinCase, *, fails: bool) -> Literal["passed", "failed", "skipped"]:
    if fails:
        return "failed"
    return "skipped" if case.skipped else "passed"


def _unique_slugs(cases: Sequence[GherkinCase]) -> list[str]:
    slugs: list[str] = []
    for case in cases:
        word = slug(case.title)
        slugs.append(word if word not in slugs else f"{word}-{len(slugs) + 1}")
    return slugs
