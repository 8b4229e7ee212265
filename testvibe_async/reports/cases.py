"""One test as reports tell of it.

Decides how a test ended, also where the service's word for that is not documented.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING

from attrs import frozen

from testvibe_async.reports.text import cut, distinct, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from testvibe_async.models import CaseResult

__all__ = ["Case", "CaseStatus", "status_of", "to_cases"]


class CaseStatus(StrEnum):
    """How a test ended, in the words that the formats share."""

    PASSED = "passed"
    FAILED = "failed"

    ERROR = "error"
    """Nobody knows: the operation could not be dispatched, or not be observed."""

    PENDING = "pending"
    """Its operation goes on."""

    SKIPPED = "skipped"

    OTHER = "other"
    """A word that is not documented, and no error with it."""


@frozen(kw_only=True, eq=False)
class Case:
    """A test; or a whole operation, where it has no test to tell of it."""

    name: str
    """On one line, never empty, unique in its run."""

    status: CaseStatus
    word: str
    """The status as the service put it."""

    seconds: float | None = None
    error: str = ""
    """The whole error, without colours; empty where there is none."""

    is_operation: bool = False
    """Whether it stands for the operation itself."""

    @property
    def message(self) -> str:
        """The first line of the error."""
        return one_line(self.error.partition("\n")[0])


def to_cases(tests: Iterable[CaseResult]) -> tuple[Case, ...]:
    """Return the tests of a run, free of what can't be printed, no two of the same name."""
    tests = tuple(tests)
    names = distinct(one_line(test.name) or "(no name)" for test in tests)
    return tuple(_case(test, name) for test, name in zip(tests, names, strict=True))


def _case(test: CaseResult, name: str) -> Case:
    return Case(
        name=name,
        status=status_of(test),
        word=one_line(test.status or "", 24),
        seconds=_seconds(test.duration_ms),
        error=cut(test.error or ""),
    )


def status_of(test: CaseResult) -> CaseStatus:
    """Only `passed` and `failed` are documented; of other words, the error tells the failures."""
    match test.status:
        case "passed" | "failed" | "skipped":
            return CaseStatus(test.status)
        case _:
            return CaseStatus.FAILED if test.error else CaseStatus.OTHER


def _seconds(milliseconds: float | None) -> float | None:
    """Return seconds; a number from outside may be no duration at all."""
    if milliseconds is None or not math.isfinite(milliseconds) or milliseconds < 0:
        return None
    return milliseconds / 1000
