"""One test as reports show it.

Decides how a test ended, also where the service's status is not documented. It never decides how a
format shows that.
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
    """The status of a test, in the words that the formats share."""

    PASSED = "passed"
    FAILED = "failed"

    ERROR = "error"
    """The operation could not be dispatched, or not be observed."""

    UNKNOWN = "unknown"
    """The operation may have been dispatched, and nobody can say."""

    PENDING = "pending"
    """The operation is in flight, or is to be dispatched yet."""

    SKIPPED = "skipped"

    OTHER = "other"
    """An undocumented status without an error."""


@frozen(kw_only=True, eq=False)
class Case:
    """A test, or an operation without a test that shows its outcome."""

    name: str
    """The name on one line, never empty, unique in its run."""

    status: CaseStatus
    """How it ended."""

    raw_status: str
    """The service's own status; empty where there is none."""

    seconds: float | None = None
    """The duration in seconds; None where it is not known."""

    error: str = ""
    """The whole error, clean; empty where there is none."""

    is_operation: bool = False
    """Whether it stands for the operation itself."""

    attempt: int = 1
    """The attempt that it is of, from 1."""

    earlier: tuple[Case, ...] = ()
    """The same test in the attempts before, oldest first."""

    @property
    def is_failed(self) -> bool:
        """Whether it was seen to fail."""
        return self.status is CaseStatus.FAILED

    @property
    def is_flaky(self) -> bool:
        """Whether it passed after an attempt in which it failed."""
        return self.status is CaseStatus.PASSED and any(case.is_failed for case in self.earlier)

    @property
    def message(self) -> str:
        """The first line of the error."""
        return one_line(self.error.partition("\n")[0])


def to_cases(tests: Iterable[CaseResult]) -> tuple[Case, ...]:
    """Return the tests of a run with clean texts and unique names."""
    tests = tuple(tests)
    names = distinct(one_line(test.name) or "(no name)" for test in tests)
    return tuple(_case(test, name) for test, name in zip(tests, names, strict=True))


def _case(test: CaseResult, name: str) -> Case:
    return Case(
        name=name,
        status=status_of(test),
        raw_status=one_line(test.status or "", 24),
        seconds=_seconds(test.duration_ms),
        error=cut(test.error or ""),
    )


def status_of(test: CaseResult) -> CaseStatus:
    """Return how a test ended.

    Only `passed` and `failed` are documented: with any other status, `skipped` too, a test with an
    error failed, so that no gate lets it pass.
    """
    if test.status in {CaseStatus.PASSED, CaseStatus.FAILED}:
        return CaseStatus(test.status)
    if test.error:
        return CaseStatus.FAILED
    return CaseStatus.SKIPPED if test.status == CaseStatus.SKIPPED else CaseStatus.OTHER


def _seconds(milliseconds: float | None) -> float | None:
    """Return seconds; None for a number of the service that is no duration."""
    if milliseconds is None or not math.isfinite(milliseconds) or milliseconds < 0:
        return None
    return milliseconds / 1000
