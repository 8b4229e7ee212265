"""Texts for runs and generations: in a line, and in a digest of many.

Decides how operations and batches are worded and summarized. The content of a wait reports in
`inFlight` that the operation is still running, and in `note` the next step. Pure; it never calls
the service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testvibe_async import (
    BatchItem,
    BatchSummary,
    Generation,
    GenerationRef,
    Run,
    RunRef,
    Verdict,
)
from testvibe_async._wire import serialize
from testvibe_async.mcp_server.advice import explain
from testvibe_async.mcp_server.answers import (
    ROOM,
    Document,
    answer,
    fitted,
    page,
    quoted,
    text_of,
)
from testvibe_async.reports import counted
from testvibe_async.runner.stability import stability_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from mcp.types import CallToolResult

    from testvibe_async import Operation, Ref

MAX_ERROR_CHARACTERS = 300
"""Length of a test's error in a digest of many runs; `get_run` returns all of it."""

MAX_FAILURES = 5
"""Maximum number of failed tests listed for a run in a digest of many."""

STILL_IN_FLIGHT = "Still in flight, nothing was cancelled:"


def answer_of_wait(line: str, content: Document, *, note: str | None) -> CallToolResult:
    """Return the result of a wait.

    Args:
        line: The operation's status, for a human.
        content: The document as last observed.
        note: The next step while it is in flight; None if it is over.
    """
    content = {**content, "inFlight": note is not None, "note": note}
    return answer(f"{line} {note or ''}".rstrip(), content)


def not_started(tool: str, why: str) -> CallToolResult:
    """Say that a call has started nothing yet, and why."""
    note = f"{STILL_IN_FLIGHT} call {tool} again with the same arguments."
    return answer_of_wait(f"Nothing is started by this call yet: {why}.", {}, note=note)


def time_of(started_at: datetime | None) -> str:
    """Return when a call started something, for a sentence."""
    return f"{started_at:%Y-%m-%d %H:%M:%S} UTC"


def document_of(operation: Operation[Any]) -> Document:
    """Return an operation as last observed; only its ids if it never was."""
    return ids_of(operation.ref) if operation.snapshot is None else serialize(operation.snapshot)


def ids_of(ref: Ref) -> Document:
    """Return the ids of an operation, as the service names them."""
    if isinstance(ref, RunRef):
        return {"runId": ref.run_id, "featureId": ref.feature_id}
    assert isinstance(ref, GenerationRef)
    return {"requestId": ref.request_id, "featureId": ref.feature_id}


def document_of_run(run: Run, max_output: int) -> Document:
    """Return a run's digest, no longer than it may be."""
    rest = f"get_run with runId {run.run_id} and cursor '0' lists all tests, page by page."
    return fitted(serialize(run), max_output - ROOM, rest=rest)


def say(seen: Run | Generation) -> str:
    """Say in a line how a run or a generation stands."""
    what = seen.feature_name or (f"feature {seen.feature_id}" if seen.feature_id else "a feature")
    if isinstance(seen, Run):
        return _say_run(seen, f"Run {seen.run_id} of {what}")
    return _say_generation(seen, f"The generation of {what}")


def say_of(operation: Operation[Any], feature: str) -> str:
    """Describe the status of a feature's operation in a line, also if it was not observed."""
    if operation.snapshot is None:
        return f"{operation.ref} of {feature} was started, and not seen yet."
    return say(operation.snapshot)


def _say_run(run: Run, name: str) -> str:
    if not run.is_finished:
        return f"{name} is {run.status} ({run.phase})."
    total = counted(run.summary.total if run.summary else len(run.tests), "test")
    if run.is_success:
        return f"{name} {run.status} ({total})."
    if not run.is_failure:
        return f"{name} is over. {_undocumented(run)}"
    if not run.failures:
        return f"{name} {run.status} ({total}; diagnose_run says more)."
    first = run.failures[0]
    error = quoted(_first_line(first.error)) if first.error else "no error given"
    return (
        f"{name} {run.status}: {len(run.failures)} of {total} failed, first {first.name!r}: "
        f"{error} (diagnose_run says more)."
    )


def _say_generation(generation: Generation, name: str) -> str:
    if generation.is_success:
        return f"{name} is over: tests were generated."
    if generation.is_failure:
        return f"{name} is over: {generation.status} (get_generation_log says why)."
    if generation.is_finished:
        return f"{name} is over. {_undocumented(generation)}"
    if generation.request_id is None:
        return f"{name} was never started (its status is {generation.status or 'unknown'})."
    concluded = sum(section.conclusion is not None for section in generation.sections)
    done = f"{concluded} of {counted(len(generation.sections), 'section')} done"
    return f"{name} is {generation.status} ({generation.phase}, {done})."


def _undocumented(outcome: Run | Generation) -> str:
    return (
        f"Its status {str(outcome.status)!r} is not documented: it is neither success nor failure."
    )


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0][:MAX_ERROR_CHARACTERS]


def digest(  # noqa: PLR0913 - each by name
    items: Sequence[BatchItem[Run]],
    max_output: int,
    *,
    not_run: Sequence[Document] = (),
    again: str = "wait_for_runs",
    remark: str | None = None,
    started_at: str | None = None,
    is_over: bool = True,
    attempts: int = 1,
    repeat: int = 1,
) -> CallToolResult:
    """Return the result that summarizes many runs: lists failures, counts the rest.

    Args:
        items: The runs.
        max_output: Maximum characters of the answer.
        not_run: The features that were left out.
        again: The tool that continues with them.
        remark: Text to append to the note.
        started_at: The time of their start; None if another tool started them.
        is_over: True if nothing more is dispatched; before, a dispatch is without an answer yet.
        attempts: Maximum number of attempts for each feature; only with several can a run be flaky.
        repeat: Number of runs of each feature; with several, the digest reports its stability.
    """
    summary = BatchSummary.of(items)
    counts = {
        "total": summary.total,
        "succeeded": summary.succeeded,
        **({"flaky": summary.flaky} if attempts > 1 else {}),
        "failed": summary.failed,
        **({"quarantined": summary.quarantined} if summary.quarantined else {}),
        "errors": summary.errors,
        "unknown": summary.unknown,
        "inFlight": summary.in_flight,
        "notDispatched": summary.skipped + summary.waiting,
    }
    in_flight = not is_over or summary.in_flight + summary.skipped + summary.waiting > 0
    verdict = str(Verdict.IN_FLIGHT) if in_flight else _verdict_of(items)
    steps = [*_steps_of(items, again, is_over=is_over), *([remark] if remark else [])]
    note = " ".join(steps) or None
    listed = [item for item in items if item.verdict is not Verdict.SUCCEEDED or item.earlier]
    content: Document = {"verdict": verdict, "summary": counts}
    stability = stability_of(items) if repeat > 1 else []
    if stability:
        content["stability"] = serialize(stability)
    content |= _pages(
        max_output - len(note or ""),
        runs=[_row(item) for item in sorted(listed, key=_urgency)],
        notRun=list(not_run),
    )
    content |= {"inFlight": in_flight, "note": note}
    if started_at is not None:
        content["startedAt"] = started_at
    line = f"{summary}." if summary.total else "Nothing was run."
    if stability and not in_flight:
        line = ". ".join(f"{each.name}: {each}" for each in stability) + "."
    if in_flight:
        over = summary.total - summary.in_flight - summary.skipped - summary.waiting
        line = f"In flight: {over} of {counted(summary.total, 'run')} are over ({summary})."
    if not_run:
        line += f" Not run: {counted(len(not_run), 'feature')}, see `notRun`."
    result = answer(f"{line} {note or ''}".rstrip(), content)
    result.is_error = bool(items) and all(
        item.verdict is Verdict.ERROR and item.latest_ref is None for item in items
    )
    return result


_ELSEWHERE = {
    "runs": "list_runs shows those that ran, and a call with fewer features the others",
    "notRun": "list_features shows them",
}
"""By list of a digest, the call that reads the omitted rest."""


def _pages(room: int, **lists: list[Document]) -> Document:
    """Return as much of a digest's lists as fits, and a note on the omitted rest."""
    content: Document = {}
    left_out: list[str] = []
    for name, rows_ in lists.items():
        listed = page(name, rows_, room)
        content[name] = listed[name]
        room -= len(text_of(listed))
        if missing := len(rows_) - len(listed[name]):
            left_out.append(f"{counted(missing, 'more row')} of {name}: {_ELSEWHERE[name]}.")
    if left_out:
        content["leftOut"] = " ".join(left_out)
    if not lists["notRun"]:
        del content["notRun"]
    return content


_ORDER = (
    Verdict.FAILED,
    Verdict.ERROR,
    Verdict.UNKNOWN,
    Verdict.SUCCEEDED,
    Verdict.QUARANTINED,
)
"""The final verdicts, the most urgent first."""


def _urgency(item: BatchItem[Run]) -> int:
    return _ORDER.index(item.verdict) if item.verdict in _ORDER else len(_ORDER)


def _verdict_of(items: Sequence[BatchItem[Run]]) -> str:
    """Return the one verdict of runs that are over: the worst."""
    return str(min(items, key=_urgency).verdict) if items else "not run"


def _row(item: BatchItem[Run]) -> Document:
    row: Document = {"feature": item.feature_name, "verdict": item.verdict.value}
    if item.quarantine is not None:
        row["quarantine"] = str(item.quarantine)
    if isinstance(item.latest_ref, RunRef):
        row["runId"] = item.latest_ref.run_id
    if item.outcome is not None:
        run = serialize(item.outcome)
        row |= {"status": run["status"], "summary": run["summary"], **_failures_of(item.outcome)}
    elif item.error is not None and (
        item.verdict in {Verdict.ERROR, Verdict.UNKNOWN} or item.is_unseen
    ):
        row["error"] = explain(item.error, "run_features")
    if item.earlier:
        row["flaky"] = item.is_flaky
        row["earlier"] = [
            {"runId": run.run_id, "status": str(run.status), **_failures_of(run)}
            for run in item.earlier
        ]
    return row


def _failures_of(run: Run) -> Document:
    first = run.failures[:MAX_FAILURES]
    listed = [
        {"name": test.name[:200], "error": _first_line(test.error) or "no error given"}
        for test in first
    ]
    more = len(run.failures) - len(first)
    return {"failures": listed, "moreFailures": more} if more else {"failures": listed}


def _steps_of(items: Sequence[BatchItem[Run]], again: str, *, is_over: bool) -> list[str]:
    """Say how to continue; nothing if every run is finished."""
    verdicts = {item.verdict for item in items}
    steps: list[str] = []
    if not is_over or verdicts & {Verdict.IN_FLIGHT, Verdict.WAITING}:
        steps.append(f"{STILL_IN_FLIGHT} call {again} again with the same arguments.")
    if Verdict.SKIPPED in verdicts:
        steps.append("Call run_features again with those whose verdict is 'skipped'.")
    if is_over and Verdict.UNKNOWN in verdicts:
        steps.append(
            "Those whose verdict is 'unknown' may have been dispatched: before you run them again, "
            "check list_runs of each feature, or in TestVibe itself where that list is missing."
        )
    return steps
