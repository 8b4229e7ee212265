"""What a test's report says of a run: plain text, without a traceback of ours.

Its first line is what pytest's summary shows. What the service tells of a run is cleaned of all
that a terminal obeys; our errors are so already.
"""

from __future__ import annotations

from textwrap import indent
from typing import TYPE_CHECKING, Literal

from testvibe_async import ResponseError, RunStatus, TransportError
from testvibe_async.reports.text import one_line, tail

if TYPE_CHECKING:
    from testvibe_async import CaseResult, Run
    from testvibe_async.pytest_plugin.suite import Ended

__all__ = ["Verdict", "describe_error", "describe_failure", "verdict_of"]

LOG_LINES = 20
"""How many lines of the log's end are shown."""

Verdict = Literal["passed", "failed", "skipped"]


def verdict_of(case: CaseResult) -> Verdict:
    """Return what pytest calls the end of one test of a run."""
    if case.status == RunStatus.PASSED:
        return "passed"
    return "failed" if case.status == RunStatus.FAILED or case.error else "skipped"


def describe_failure(ended: Ended) -> str:
    """Describe a run that did not pass: its failures, the end of its log, its artifacts."""
    run = ended.run
    parts = [_headline(run), *map(_failure, run.failures)]
    if run.log:
        parts.append("The end of its log:\n" + indent(tail(run.log, LOG_LINES), "  "))
    if ended.artifacts:
        parts.append("Its artifacts:\n" + indent("\n".join(map(str, ended.artifacts)), "  "))
    if ended.artifacts_error:
        parts.append(f"Its artifacts could not be downloaded: {ended.artifacts_error}")
    return "\n\n".join(parts)


def _headline(run: Run) -> str:
    counts = f": {len(run.failures)} of {len(run.tests)} tests failed" if run.failures else ""
    site = f", on {run.site_url}" if run.site_url else ""
    return one_line(f"run {run.run_id} {run.status}{counts}{site}")


def _failure(case: CaseResult) -> str:
    first = (case.error or "no error given").strip().partition("\n")[0]
    return f"{one_line(case.name)}\n  {one_line(first)}"


def describe_error(error: BaseException) -> str:
    """Describe why there is no outcome: the error, what was asked, and what caused it."""
    lines = [str(error)]
    if isinstance(error, ResponseError):
        lines = [f"{error.status} {error.message}", f"to {error.method} {error.url}"]
    if isinstance(error, TransportError):
        lines = [error.what, f"on {error.method} {error.url}"]
    cause = error.__cause__
    while cause is not None:
        lines.append(f"because: {cause}")
        cause = cause.__cause__
    return "\n".join(lines)
