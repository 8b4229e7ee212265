"""The status of a test, and the reason for an item's verdict in one line.

Decides how a test ended whose status is not documented, and which of the service's texts says most
of an item. It never shows the error of a test, which reports show in full elsewhere.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING

from testvibe_async import errors
from testvibe_async.errors import VibeError
from testvibe_async.models import FeatureStatus, Generation, Run
from testvibe_async.outcomes import Verdict
from testvibe_async.reports.text import counted, duration, one_line

if TYPE_CHECKING:
    from testvibe_async.models import CaseResult, GenerationLog
    from testvibe_async.outcomes import BatchItem

__all__ = ["CaseStatus", "reason_of", "status_of", "why"]


class CaseStatus(StrEnum):
    """The status of a test, in the words that the formats share."""

    PASSED = "passed"
    FAILED = "failed"

    ERROR = "error"
    """The operation could not be dispatched, or not be observed."""

    UNKNOWN = "unknown"
    """Unknown whether the operation was dispatched."""

    PENDING = "pending"
    """The operation is in flight, or is to be dispatched yet."""

    SKIPPED = "skipped"

    QUARANTINED = "quarantined"
    """The feature failed in quarantine."""

    OTHER = "other"
    """An undocumented status without an error."""


def status_of(test: CaseResult) -> CaseStatus:
    """Return how a test ended."""
    if test.is_failure:
        return CaseStatus.FAILED
    known = {CaseStatus.PASSED, CaseStatus.SKIPPED}
    return CaseStatus(test.status) if test.status in known else CaseStatus.OTHER


def reason_of(item: BatchItem[Run | Generation], log: GenerationLog | None = None) -> str:  # noqa: PLR0911 - a case for each verdict
    """Return why an item has its verdict, or how many tests passed.

    Args:
        item: The item of a batch.
        log: The log of a generation, which says more than its status; None if there is none.
    """
    what = "this attempt" if item.earlier else "it"
    match item.verdict, item.outcome:
        case Verdict.WAITING, _:
            return f"{what} is not dispatched yet: the batch is running"
        case Verdict.SKIPPED, _ if item.is_dropped:
            return f"{what} may have been dispatched; it was decided to leave that unknown"
        case Verdict.SKIPPED, _:
            return f"{what} was never dispatched: the batch was stopped before"
        case Verdict.UNKNOWN, _:
            return "it may have been dispatched: check at the service before you dispatch it again"
        case Verdict.ERROR, Run() | Generation() as outcome:
            return f"over with an undocumented status, {one_line(str(outcome.status), 24)!r}"
        case _, Run() as run if item.quarantine:
            return f"{_run_reason(run)}; {one_line(str(item.quarantine))}"
        case _, Run() as run:
            return _run_reason(run)
        case _, Generation() as generation:
            return _generation_reason(generation, log)
        case _:
            return one_line(why(item.error))


def why(error: VibeError | None) -> str:  # noqa: C901, PLR0911, PLR0912 - a case for each error
    """Return why there is no outcome, in few words: no address, and nothing for programmers."""
    match error:
        case None:
            return "it is still running"
        case errors.ConfigError():
            return str(error)
        case errors.WaitTimeoutError(failures=0):
            return f"still {error.status or 'in flight'} after {duration(error.elapsed)} of waiting"
        case errors.WaitTimeoutError():
            return _not_seen(error)
        case errors.DispatchUnknownError():
            lost = f"the answer to its dispatch was lost{_lost(error)}"
            return f"it may have started: {lost}{_looked(error)}"
        case errors.NotSentError():
            return f"the service was not reachable: {error.what}"
        case errors.TransportError():
            return f"no whole answer came: {error.what}"
        case errors.MalformedResponseError():
            return f"the answer could not be read: {'; '.join(error.problems[:1])}"
        case errors.ServerError():
            return f"the service failed ({error.status}): {error.message}"
        case errors.ResponseError():
            return error.message
        case errors.OperationNotFoundError():
            return "the service knows it no more"
        case errors.OperationSupersededError():
            return "a later generation of the feature took its place"
        case errors.ObservationError():
            cause = error.__cause__
            return (
                f"not seen any more: {why(cause)}" if isinstance(cause, VibeError) else error.brief
            )
        case _:
            return error.brief


def _lost(error: errors.DispatchUnknownError) -> str:
    """Describe how the answer was lost, if an error reports it."""
    cause = error.__cause__
    if not isinstance(cause, VibeError):
        return ""
    text = cause.what if isinstance(cause, errors.TransportError) else why(cause)
    return f": {text.rstrip('.')}"


def _looked(error: errors.DispatchUnknownError) -> str:
    """Describe what a later search found, if there was one."""
    if error.reason == "absent":
        return "; most likely it did not, for nothing of it was found"
    if error.reason == "ambiguous" and error.candidates:
        return f"; it may be {' or '.join(map(str, error.candidates))}"
    return ""


def _not_seen(error: errors.WaitTimeoutError) -> str:
    """Describe since when an operation was not observed, and its last state."""
    if error.last_seen_at is None:
        return "never seen"
    state = f", {error.status} then" if error.status else ""
    return f"not seen since {error.last_seen_at:%H:%M:%S} UTC{state}"


def _run_reason(run: Run) -> str:
    count = Counter(status_of(test) for test in run.tests)
    if not count and run.summary is not None:
        count[CaseStatus.PASSED], count[CaseStatus.FAILED] = run.summary.passed, run.summary.failed
        count[CaseStatus.OTHER] = run.summary.other
    total, failed, passed = count.total(), count[CaseStatus.FAILED], count[CaseStatus.PASSED]
    tests = counted(total, "test")
    if run.executed_nothing:
        return "it passed, but executed no test"
    if not total:
        return "the service reports no tests"
    if failed:
        return f"{failed} of {tests} failed"
    if not run.is_success:
        return "it did not pass, and none of its tests says why"
    if passed == total:
        return f"{tests} passed"
    skipped = count[CaseStatus.SKIPPED]
    return f"{passed} of {tests} passed" + (f", {skipped} skipped" if skipped else "")


def _generation_reason(generation: Generation, log: GenerationLog | None) -> str:
    if generation.is_success:
        return "tests generated"
    if generation.status is FeatureStatus.CANCELLED:
        return "it was cancelled"
    reasons = [
        f"{section.title or section.section}: {section.status_reason}"
        for section in (log.sections if log else ())
        if section.status_reason and section.conclusion != "success"
    ] or [
        f"{section.section}: {section.conclusion}"
        for section in generation.sections
        if section.conclusion not in {None, "success"}
    ]
    return one_line("; ".join(reasons)) or "it made no tests; its log says why"
