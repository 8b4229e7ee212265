"""The status of a test, and the reason for an item's verdict in one line.

Decides how a test ended whose status is not documented, and which of the service's texts says most
of an item. It never shows the error of a test, which reports show in full elsewhere.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, assert_never

from testvibe_async import errors
from testvibe_async.errors import VibeError
from testvibe_async.models import FeatureStatus, Generation, OutcomeError, Run, Snapshot
from testvibe_async.outcomes import BatchItem, Verdict
from testvibe_async.reports.text import one_line, quoted
from testvibe_async.runner.words import counted, duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testvibe_async.models import CaseResult, GenerationLog


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


VERDICTS: Mapping[Verdict, tuple[CaseStatus, str]] = {
    Verdict.FAILED: (CaseStatus.FAILED, "❌"),
    Verdict.ERROR: (CaseStatus.ERROR, "⚠️"),
    Verdict.UNKNOWN: (CaseStatus.UNKNOWN, "❓"),
    Verdict.IN_FLIGHT: (CaseStatus.PENDING, "⏳"),
    Verdict.WAITING: (CaseStatus.PENDING, "⏭️"),
    Verdict.SKIPPED: (CaseStatus.SKIPPED, "⏭️"),
    Verdict.QUARANTINED: (CaseStatus.QUARANTINED, "🚧"),
    Verdict.SUCCEEDED: (CaseStatus.PASSED, "✅"),
}
"""By verdict, the most urgent first: the status of the case that stands for an operation, and its
symbol."""

URGENCY: tuple[Verdict, ...] = tuple(VERDICTS)
"""The verdicts, the most urgent first."""

FORMS: Mapping[CaseStatus, tuple[str | None, str]] = {
    CaseStatus.PASSED: (None, "passed"),
    CaseStatus.FAILED: ("failure", "failed"),
    CaseStatus.ERROR: ("error", "failed"),
    CaseStatus.UNKNOWN: ("error", "failed"),
    CaseStatus.PENDING: ("error", "failed"),
    CaseStatus.SKIPPED: ("skipped", "skipped"),
    CaseStatus.QUARANTINED: ("skipped", "other"),
    CaseStatus.OTHER: ("skipped", "other"),
}
"""By status, its element in JUnit and its word in CTRF, which have no others. What has no outcome
passes no gate."""


def status_of(test: CaseResult) -> CaseStatus:
    """Return how a test ended."""
    if test.is_failure:
        return CaseStatus.FAILED
    known = {CaseStatus.PASSED, CaseStatus.SKIPPED}
    return CaseStatus(test.status) if test.status in known else CaseStatus.OTHER


def reason_of(item: BatchItem[Snapshot], log: GenerationLog | None = None) -> str:  # noqa: PLR0911 - a case for each verdict
    """Return why an item has its verdict, or how many tests passed.

    Args:
        item: The item of a batch.
        log: The log of a generation, which says more than its status; None if there is none.
    """
    what = "this attempt" if item.earlier else "it"
    match item.verdict, item.outcome:
        case Verdict.WAITING, _:
            return f"{what} is not dispatched yet: the batch is running"
        case Verdict.UNKNOWN, _ if item.is_dropped:
            return f"{what} may have been dispatched; it was decided to leave that unknown"
        case Verdict.SKIPPED, _:
            return f"{what} was never dispatched: the batch was stopped before"
        case Verdict.UNKNOWN, _:
            is_accepted = getattr(item.error, "reason", None) == "accepted"
            was = "was" if is_accepted else "may have been"
            return f"it {was} dispatched: check at the service before you dispatch it again"
        case _, None:
            return one_line(why(item.error))
        case Verdict.ERROR, outcome:
            return f"finished with an undocumented status, {one_line(str(outcome.status), 24)!r}"
        case _, Generation() as generation:
            return _generation_reason(generation, log)
        case _, Run() as run:
            excuse = f"; {one_line(str(item.quarantine))}" if item.quarantine else ""
            return _run_reason(run) + excuse
        case _:
            assert_never(item.outcome)


def why(error: VibeError | None) -> str:  # noqa: C901, PLR0911, PLR0912 - a case for each error
    """Return why there is no outcome, in few words: no address, and nothing for programmers.

    The service's own text is in quotes.
    """
    match error:
        case None:
            return "still running"
        case errors.ConfigError():
            return str(error)
        case errors.WaitTimeoutError(failures=0):
            return f"still {error.status or 'in flight'} after {duration(error.elapsed)} of waiting"
        case errors.WaitTimeoutError(last_seen_at=None):
            return "never seen"
        case errors.WaitTimeoutError(last_seen_at=seen_at):
            state = f", {error.status} then" if error.status else ""
            return f"not seen since {seen_at:%H:%M:%S} UTC{state}"
        case errors.DispatchUnknownError(__cause__=cause):
            detail = f": {_what(cause).rstrip('.')}" if isinstance(cause, VibeError) else ""
            if error.reason == "accepted":
                return f"it was dispatched, but its id is unknown{detail}"
            lost = f"its dispatch was not acknowledged{detail}"
            if isinstance(cause, errors.ResponseError) and cause.status:
                said = quoted(cause.message) or "no text"
                lost = f"the service answered its dispatch with {cause.status} ({said})"
            return f"it may have started: {lost}{_found(error)}"
        case errors.NotSentError():
            return f"not sent: {error.what}"
        case errors.TransportError():
            return f"no whole answer came: {error.what}"
        case errors.OperationNotFoundError():
            return "the service does not know it: check the id, the project and the server"
        case errors.ObservationError(__cause__=VibeError() as cause):
            return f"not seen any more: {why(cause)}"
        case errors.FeatureNotGeneratedError(__cause__=OutcomeError(outcome=Generation() as end)):
            return f"the generation of its tests failed: {_generation_reason(end, None)}"
        case errors.UnauthorizedError(advice=hint) if hint.startswith("it came from"):
            return f"{error.brief}; the key {hint.removeprefix('it ')}"
        case errors.MalformedResponseError():
            return f"{error.fact}: {error.message}"
        case errors.EndpointNotFoundError() | errors.IncompleteListError():
            return error.explained
        case errors.ResponseError(hint=hint) if hint:
            return f"{error.brief}; {hint}"
        case _:
            return error.brief


def _what(error: VibeError) -> str:
    return error.what if isinstance(error, errors.TransportError) else why(error)


def _found(error: errors.DispatchUnknownError) -> str:
    """Describe what a later search found, if there was one."""
    if error.reason == "absent":
        return "; no trace of it was found, so most likely it did not"
    return f"; it may be {' or '.join(map(str, error.candidates))}" if error.candidates else ""


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
    skipped = count[CaseStatus.SKIPPED]
    which = tests if passed == total else f"{passed} of {tests}"
    return f"{which} passed" + (f", {skipped} skipped" if skipped else "")


def _generation_reason(generation: Generation, log: GenerationLog | None) -> str:
    if generation.is_success:
        return "tests generated"
    if generation.status is FeatureStatus.CANCELLED:
        return "it was cancelled"
    reasons = [
        f"{section.title or section.section}: {quoted(section.status_reason)}"
        for section in (log.sections if log else ())
        if section.status_reason and section.conclusion != "success"
    ] or [
        f"{section.section}: {section.conclusion}"
        for section in generation.sections
        if section.conclusion not in {None, "success"}
    ]
    return one_line("; ".join(reasons)) or "it made no tests; its log says why"
