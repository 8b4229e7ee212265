"""Results of tools: a line for a human, and structured content for the model.

Decides how runs, generations and batches are worded and summarized. Each result holds its content
twice, as structured content and as JSON text, since some clients read only the one and some only
the other; no tool declares its schema, which would cost a model more than it says. The content of a
wait says in `inFlight` whether the operation does, and in `note` what to do then. Pure; it never
calls the service.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from mcp.types import Annotations, CallToolResult, TextContent

from testvibe_async import (
    BatchItem,
    BatchSummary,
    Generation,
    Listing,
    Run,
    RunRef,
    Verdict,
)
from testvibe_async._util import clean
from testvibe_async._wire import serialize
from testvibe_async.mcp_server.advice import explain, quoted
from testvibe_async.mcp_server.budget import ROOM, Document, fitted, page, text_of
from testvibe_async.mcp_server.characters import visible
from testvibe_async.reports import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from attrs import AttrsInstance

__all__ = [
    "STILL_IN_FLIGHT",
    "answer",
    "answer_of_wait",
    "digest",
    "document_of_run",
    "fitted_answer",
    "missing_of",
    "rows",
    "say_generation",
    "say_run",
]

MAX_ERROR_CHARACTERS = 300
"""Length of a test's error in a digest of many runs; `get_run` returns all of it."""

MAX_FAILURES = 5
"""How many tests that failed are listed of a run in a digest of many."""

STILL_IN_FLIGHT = "Still in flight, nothing was cancelled:"


def answer(line: str, content: Document) -> CallToolResult:
    """Return a result that holds a line for a human and a document for the model."""
    line, text = clean(visible(line)), text_of(content)
    return CallToolResult(
        content=[
            TextContent(type="text", text=line, annotations=Annotations(audience=["user"])),
            TextContent(type="text", text=text, annotations=Annotations(audience=["assistant"])),
        ],
        structured_content=json.loads(text),
    )


def fitted_answer(result: CallToolResult, max_output: int) -> CallToolResult:
    """Return a result that is no longer than it may be; see `fitted`."""
    line, text = result.content
    assert isinstance(line, TextContent)
    assert isinstance(text, TextContent)
    room = max_output - len(line.text[:ROOM])
    if len(text.text) <= room and len(line.text) <= ROOM:
        return result
    document = cast("Document", result.structured_content)
    shorter = answer(line.text[:ROOM], fitted(document, room))
    shorter.is_error = result.is_error
    return shorter


def rows(values: Iterable[AttrsInstance]) -> list[Document]:
    """Return the rows of a list, without nulls and empty lists, to keep them short."""
    return [
        {field: member for field, member in serialize(value).items() if member not in (None, [])}
        for value in values
    ]


def missing_of(listing: Listing[Any]) -> str:
    """Say that rows of a list are missing, where some are."""
    missing = listing.incomplete
    return f" {missing.message}." if missing else ""


def answer_of_wait(
    line: str, snapshot: Document, *, note: str | None, in_flight: bool | None = None
) -> CallToolResult:
    """Return the result of a wait.

    Args:
        line: How the operation stands, for a human.
        snapshot: The document last seen.
        note: What to do next; None where there is nothing to add.
        in_flight: Whether the operation is in flight; None where a note says so.
    """
    goes_on = note is not None if in_flight is None else in_flight
    content = {**snapshot, "inFlight": goes_on, "note": note}
    return answer(f"{line} {note or ''}".rstrip(), content)


def say_run(run: Run) -> str:
    """Say in a line how a run stands."""
    name = f"Run {run.run_id} of {_feature_of(run)}"
    if not run.is_finished:
        return f"{name} is {run.status} ({run.phase})."
    total = counted(run.summary.total if run.summary else len(run.tests), "test")
    if run.is_success:
        return f"{name} {run.status} ({total})."
    more = "diagnose_run says more"
    if not run.is_failure:
        return f"{name} is over. {_undocumented(run)}"
    if not run.failures:
        return f"{name} {run.status} ({total}; {more})."
    error = run.failures[0].error
    first = quoted(_first_line(error)) if error else "no error given"
    first = f"first {run.failures[0].name!r}: {first}"
    return f"{name} {run.status}: {len(run.failures)} of {total} failed, {first} ({more})."


def document_of_run(run: Run, max_output: int) -> Document:
    """Return a run's digest, no longer than it may be."""
    rest = f"get_run with runId {run.run_id} and cursor '0' lists all tests, page by page."
    return fitted(serialize(run), max_output - ROOM, rest=rest)


def say_generation(generation: Generation) -> str:
    """Say in a line how a generation stands."""
    name = f"The generation of {_feature_of(generation)}"
    if generation.is_success:
        return f"{name} is over: tests were generated."
    if generation.is_finished and not generation.is_failure:
        return f"{name} is over. {_undocumented(generation)}"
    if generation.is_finished:
        return f"{name} is over: {generation.status} (get_generation_log says why)."
    if generation.request_id is None:
        return f"{name} was never started (its status is {generation.status or 'unknown'})."
    concluded = sum(section.conclusion is not None for section in generation.sections)
    done = f"{concluded} of {counted(len(generation.sections), 'section')} done"
    return f"{name} is {generation.status} ({generation.phase}, {done})."


def _undocumented(outcome: Run | Generation) -> str:
    return (
        f"Its status {str(outcome.status)!r} is not documented: it is neither success nor failure."
    )


def _feature_of(snapshot: Run | Generation) -> str:
    nameless = "a feature" if snapshot.feature_id is None else f"feature {snapshot.feature_id}"
    return snapshot.feature_name or nameless


def _first_line(error: str | None) -> str:
    return (error or "no error given").strip().partition("\n")[0][:MAX_ERROR_CHARACTERS]


def digest(  # noqa: PLR0913 - each by name
    items: Sequence[BatchItem[Run]],
    *,
    max_output: int,
    not_run: Sequence[Document] = (),
    again: str = "wait_for_runs",
    told: str | None = None,
    started_at: str | None = None,
    is_over: bool = True,
    attempts: int = 1,
) -> CallToolResult:
    """Return the result that summarizes many runs: lists what did not succeed, counts the rest.

    Args:
        items: The runs.
        max_output: How many characters the answer may have.
        not_run: The features that were left out.
        again: The tool that continues with them.
        told: What to add to the note.
        started_at: When they were started; None where another tool did that.
        is_over: Whether nothing more is dispatched; before, a dispatch is without an answer yet.
        attempts: How often what failed may run; only then can a run be flaky.
    """
    summary = BatchSummary.of(items)
    counts = {
        "total": summary.total,
        "succeeded": summary.succeeded,
        "flaky": summary.flaky,
        "failed": summary.failed,
        "errors": summary.errors,
        "unknown": summary.unknown,
        "inFlight": summary.in_flight,
        "notDispatched": summary.skipped + summary.waiting,
    }
    if attempts == 1:
        del counts["flaky"]
    in_flight = bool(not is_over or summary.in_flight or counts["notDispatched"])
    steps = _note_of(items, again, is_over=is_over)
    note = " ".join(each for each in (steps, told) if each) or None
    listed_items = [item for item in items if item.verdict is not Verdict.SUCCEEDED or item.earlier]
    content: Document = {
        "verdict": str(Verdict.IN_FLIGHT) if in_flight else _verdict_of(items),
        "summary": counts,
    }
    left_out: list[str] = []
    room = max_output - len(note or "")
    for name, rows_, hint in (
        (
            "runs",
            [_row(item) for item in sorted(listed_items, key=_urgency)],
            "list_runs shows those that ran, and a call with fewer features the others",
        ),
        ("notRun", list(not_run), "list_features shows them"),
    ):
        listed = page(name, rows_, cursor=None, limit=None, max_output=room)
        content[name] = listed[name]
        room -= len(text_of(listed))
        if missing := len(rows_) - len(listed[name]):
            left_out.append(f"{counted(missing, 'more row')} of {name}: {hint}.")
    if left_out:
        content["leftOut"] = " ".join(left_out)
    if not not_run:
        del content["notRun"]
    content |= {"inFlight": in_flight, "note": note}
    if started_at is not None:
        content["startedAt"] = started_at
    line = f"{summary}." if summary.total else "Nothing was run."
    if in_flight:
        over = summary.succeeded + summary.failed + summary.errors + summary.unknown
        line = f"In flight: {over} of {counted(summary.total, 'run')} are over ({summary})."
    if not_run:
        line += f" Not run: {counted(len(not_run), 'feature')}, see `notRun`."
    result = answer(f"{line} {note or ''}".rstrip(), content)
    result.is_error = bool(items) and all(map(_is_refused, items))
    return result


def _verdict_of(items: Sequence[BatchItem[Run]]) -> str:
    """Return the one verdict of runs that are over: the worst."""
    verdicts = {item.verdict for item in items}
    order = (Verdict.FAILED, Verdict.ERROR, Verdict.UNKNOWN, Verdict.SUCCEEDED)
    return next((str(each) for each in order if each in verdicts), "not run")


def _is_refused(item: BatchItem[Run]) -> bool:
    """Whether a run was refused, so that there is none."""
    return item.verdict is Verdict.ERROR and item.latest_ref is None


def _urgency(item: BatchItem[Run]) -> int:
    """Order what a model has to act on before what is in flight."""
    order = [Verdict.FAILED, Verdict.ERROR, Verdict.UNKNOWN, Verdict.SUCCEEDED]
    return order.index(item.verdict) if item.verdict in order else len(order)


def _row(item: BatchItem[Run]) -> Document:
    row: Document = {"feature": item.feature_name, "verdict": item.verdict.value}
    if isinstance(item.latest_ref, RunRef):
        row["runId"] = item.latest_ref.run_id
    if item.outcome is not None:
        run = serialize(item.outcome)
        row |= {"status": run["status"], "summary": run["summary"]}
        row |= _failures_of(item.outcome)
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
    rows = [{"name": test.name[:200], "error": _first_line(test.error)} for test in first]
    more = len(run.failures) - len(first)
    return {"failures": rows, "moreFailures": more} if more else {"failures": rows}


def _note_of(items: Sequence[BatchItem[Run]], again: str, *, is_over: bool) -> str | None:
    """Say how to continue; None where every run is finished."""
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
    return " ".join(steps) or None
