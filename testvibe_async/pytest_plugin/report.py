"""The text of a test's report about a run: plain, and without a traceback.

It decides what is shown of a run or of an error, and how much. The first line is the one in
pytest's summary. All text from the service is cleaned of what a terminal obeys; this package's
errors already are. It never decides how a test is reported: see `features`.
"""

from __future__ import annotations

from textwrap import indent
from typing import TYPE_CHECKING, Literal

from testvibe_async import (
    DispatchUnknownError,
    FeatureNotGeneratedError,
    ResponseError,
    Run,
    TransportError,
    UndocumentedStatusError,
    WaitTimeoutError,
)
from testvibe_async._util import clean
from testvibe_async.reports import CaseStatus, cut, one_line, status_of, tail, why

if TYPE_CHECKING:
    from testvibe_async import CaseResult
    from testvibe_async.pytest_plugin.suite import FinishedRun

__all__ = ["Verdict", "describe_case", "describe_error", "describe_failure", "verdict_of"]

LOG_LINES = 20
"""Number of lines that are shown of a log's end."""

Verdict = Literal["passed", "failed", "skipped"]
_VERDICTS: dict[CaseStatus, Verdict] = {CaseStatus.PASSED: "passed", CaseStatus.FAILED: "failed"}


def verdict_of(case: CaseResult) -> Verdict:
    """Return pytest's verdict on one test of a run."""
    return _VERDICTS.get(status_of(case), "skipped")


def describe_case(case: CaseResult) -> str:
    """Describe a test of a run that did not pass: its error, else its status."""
    return cut(case.error or f"the service calls it {case.status!r}")


def describe_failure(finished: FinishedRun) -> str:
    """Describe a run that did not pass: its failures, the end of its log, its artifacts."""
    run = finished.run
    attempts = len(finished.earlier) + 1
    parts = [_headline(run, attempt=attempts), *map(_failure, run.failures)]
    if finished.earlier:
        earlier = "\n".join(map(_headline, finished.earlier))
        parts.append("Its runs before:\n" + indent(earlier, "  "))
    if run.log:
        parts.append("The end of its log:\n" + indent(tail(run.log, LOG_LINES), "  "))
    if finished.artifacts:
        parts.append("Its artifacts:\n" + indent("\n".join(map(str, finished.artifacts)), "  "))
    if finished.artifacts_error:
        parts.append(f"Its artifacts could not be downloaded: {finished.artifacts_error}")
    return "\n\n".join(parts)


def _headline(run: Run, *, attempt: int = 1) -> str:
    counts = f": {len(run.failures)} of {len(run.tests)} tests failed" if run.failures else ""
    site = f", on {run.site_url}" if run.site_url else ""
    which = f" in attempt {attempt}" if attempt > 1 else ""
    return one_line(f"run {run.run_id} {run.status}{which}{counts}{site}")


def _failure(case: CaseResult) -> str:
    first = (case.error or "no error given").strip().partition("\n")[0]
    return f"{one_line(case.name)}\n  {one_line(first)}"


def describe_error(error: BaseException) -> str:
    """Describe why there is no outcome: the error, the request, and its causes."""
    cause = error.__cause__
    lines: list[str] = []
    match error:
        case FeatureNotGeneratedError():
            lines += [f"it can't run: {cause or f'{error.status} {error.message}'}"]
            cause = cause and cause.__cause__
        case ResponseError():
            lines += [f"{error.status} {error.message}", f"to {error.method} {error.url}"]
        case DispatchUnknownError():
            lines += [why(error), f"{error.what}, on {error.method} {error.url}"]
        case TransportError():
            lines += [error.what, f"on {error.method} {error.url}"]
        case WaitTimeoutError() if error.failures:
            lines += [f"{error.ref}: {why(error)}; it may go on, and nothing was cancelled"]
        case UndocumentedStatusError(outcome=Run(run_id=run_id, status=status)):
            lines += [one_line(f"run {run_id} {status}: it neither passed nor failed")]
        case _:
            lines += [str(error)]
    while cause is not None:
        lines.append(f"because: {cause}")
        cause = cause.__cause__
    return clean("\n".join([*lines, *getattr(error, "__notes__", ())]))
