"""Texts for runs and generations: in a line, and in a digest of many.

Decides how operations and batches are summarized; the reason for a result is worded as in reports.
The content of a wait reports in `inFlight` that the operation is still running, and in `note` the
next step. Pure; it never calls the service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from testvibe_async import BatchItem, BatchSummary, Generation, Run, RunRef, Verdict
from testvibe_async._core.wire import serialize
from testvibe_async.mcp_server.advice import capitalized, described, explain, reason_of
from testvibe_async.mcp_server.answers import ROOM, Answer, Document, fitting, quoted, text_of
from testvibe_async.reports.entries import Case, Entry
from testvibe_async.reports.reasons import URGENCY
from testvibe_async.reports.text import counted, one_line
from testvibe_async.runner.stability import stability_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testvibe_async import Operation, Ref, StoredBatch
    from testvibe_async.mcp_server.batches import Carried
    from testvibe_async.models import Snapshot

MAX_NAME_CHARACTERS = 200
"""Length of a test's name in a digest of many runs; `get_run` returns all of it."""

MAX_ERROR_CHARACTERS = 300
"""Length of a test's error in a digest of many runs; `get_run` returns all of it."""

MAX_FAILURES = 5
"""Maximum number of failed tests listed for a run in a digest of many."""


_IDS = {"runId", "requestId", "featureId"}
_UNFINISHED = {Verdict.IN_FLIGHT, Verdict.WAITING}
_LEFT = {*_UNFINISHED, Verdict.SKIPPED, Verdict.UNKNOWN}
"""While a batch is in flight, what is unknown may still be found."""


def again(tool: str) -> str:
    """Say how to continue a wait."""
    return f"Nothing was cancelled: call {tool} again with the same arguments."


def answer_of_wait(line: str, content: Document, *, note: str | None) -> Answer:
    """Return the result of a wait.

    Args:
        line: The operation's status, for a human.
        content: The document as last observed.
        note: The next step while it is in flight; None once it is over.
    """
    content = {**content, "inFlight": note is not None, "note": note}
    return Answer(f"{line} {note or ''}".rstrip(), content)


def not_started(tool: str, carried: Carried, outage: str) -> Answer:
    """Say that a call has not started an operation yet, and why."""
    error = carried.items[0].error if carried.items else None
    why = outage or (reason_of(error) if error else "the service has not answered")
    line = f"The next operation of this call is not started yet: {why}."
    content = {} if carried.number is None else {"batch": carried.number}
    return answer_of_wait(line, content, note=again(tool))


def answer_of_start(
    operation: Operation[Any], feature: str, stored: StoredBatch, *, is_new: bool
) -> Answer:
    """Return the result of a call that starts one operation.

    Args:
        operation: Its handle.
        feature: The feature's name.
        stored: Its batch.
        is_new: True if this call started it.
    """
    content: Document = {
        **ids_of(operation.ref),
        "batch": stored.number,
        "startedAt": serialize(stored.started_at),
    }
    next_step = f"wait_for_{stored.kind} waits for it."
    if is_new:
        is_run = isinstance(operation.ref, RunRef)
        what = capitalized(str(operation.ref)) if is_run else "The generation"
        return Answer(f"{what} of {quoted(feature)} was started. {next_step}", content)
    note = not_again(stored) if operation.done else f"{not_again(stored)} {next_step}"
    line = f"{note} {say_of(operation)}"
    return Answer(line, {**content, "status": operation.status, "note": note})


def not_again(stored: StoredBatch) -> str:
    """Say that an earlier call started what this one asked for."""
    return f"Nothing was started: your call at {stored.started_at:%Y-%m-%d %H:%M:%S} UTC did."


def ids_of(ref: Ref) -> Document:
    """Return the ids of an operation, as the service names them."""
    return {name: value for name, value in ref.to_dict().items() if name in _IDS}


def brief_of(operation: Operation[Any]) -> str:
    """Return an operation and its status in a few words, for a report of progress."""
    seen = operation.snapshot
    return f"{operation.ref}: {'not observed' if seen is None else f'{seen.status} ({seen.phase})'}"


def progress_of(carried: Carried) -> tuple[str, int, int]:
    """Return a batch and its operations in flight, how many are over, and of how many."""
    items = carried.items
    left = [item for item in items if item.is_unfinished or item.verdict in _LEFT]
    refs = ", ".join(str(item.ref) for item in left if item.ref is not None)
    message = f"batch {carried.number}{refs and f', in flight: {refs}'}"
    return message, len(items) - len(left), len(items)


def say_of(operation: Operation[Any]) -> str:
    """Describe the status of an operation in a line, also if it was not observed."""
    if operation.snapshot is None:
        return f"{capitalized(str(operation.ref))}: not observed yet."
    return say(operation.snapshot)


def say(seen: Snapshot) -> str:
    """Say in a line how an operation stands."""
    number = f"feature {seen.feature_id}" if seen.feature_id else "a feature"
    what = quoted(seen.feature_name) if seen.feature_name else number
    match seen:
        case Run():
            name, tool = f"Run {seen.run_id} of {what}", "diagnose_run"
            state = f"{seen.status} ({seen.phase})"
        case Generation():
            name, tool = f"The generation of {what}", "get_generation_log"
            concluded = sum(section.conclusion is not None for section in seen.sections)
            done = f"{concluded} of {counted(len(seen.sections), 'section')} done"
            state = f"{seen.status} ({seen.phase}, {done})"
            if seen.request_id is None and not seen.is_finished:
                return f"{name} was never started (its status is {seen.status or 'unknown'})."
        case _:
            assert_never(seen)
    if not seen.is_finished:
        return f"{name} is {state}."
    entry = Entry(item=BatchItem(feature="", outcome=seen))
    if entry.verdict is Verdict.ERROR:
        return f"{name} is {entry.reason}."
    if entry.verdict is Verdict.SUCCEEDED:
        return f"{name} is over: {entry.reason}."
    said = [str(seen.status)] if isinstance(seen, Generation) else [str(seen.status), entry.reason]
    if tests := _tests_of(entry):
        first = tests[0]
        error = quoted(first.message) if first.message else "no error given"
        said.append(f"first {quoted(first.name)}: {error}")
    return f"{name} is over: {', '.join(said)} ({tool} says why)."


def _tests_of(entry: Entry) -> list[Case]:
    """Return the failed tests of a run."""
    return [case for case in entry.failures if not case.is_operation]


def digest(stored: StoredBatch, max_output: int, *, in_flight: bool, remark: str = "") -> Answer:
    """Return the result that summarizes a batch of runs: lists failures, counts the rest.

    Args:
        stored: The batch.
        max_output: Maximum characters of the answer.
        in_flight: True if it is waited for.
        remark: Text to append to the note.
    """
    items, options = stored.items, stored.options
    not_run: list[Document] = options.get("mcp", {}).get("notRun", [])
    summary = BatchSummary.of(items)
    steps = _steps_of(stored, in_flight=in_flight)
    note = " ".join(filter(None, [*steps, remark])) or None
    content: Document = {
        "batch": stored.number,
        "verdict": Verdict.IN_FLIGHT if in_flight else _verdict_of(items),
        "summary": {"total": summary.total, **serialize(summary)},
        "inFlight": in_flight,
        "note": note,
        "startedAt": serialize(stored.started_at),
    }
    refs = [item.ref for item in items if item.verdict is Verdict.IN_FLIGHT]
    if refs:
        content["runIds"] = [ref.run_id for ref in refs if isinstance(ref, RunRef)]
    stability = stability_of(items) if options.get("spec", {}).get("repeat", 1) > 1 else []
    if stability:
        content["stability"] = serialize(stability)
    listed = [item for item in items if item.verdict is not Verdict.SUCCEEDED or item.earlier]
    if in_flight:
        listed = [item for item in listed if item.verdict not in _UNFINISHED]
    listed.sort(key=lambda item: URGENCY.index(item.verdict))
    room, left_out = max_output - ROOM - len(text_of(content)), list[str]()
    for name, rows, count in (
        ("runs", (_row(item, in_flight=in_flight) for item in listed), len(listed)),
        ("notRun", not_run, len(not_run)),
    ):
        if name == "runs" or count:
            content[name] = fitting(rows, room)
            room -= len(text_of(content[name]))
            if missing := count - len(content[name]):
                more = f"{counted(missing, 'more row')} of {name}"
                left_out.append(f"{more}: {_ELSEWHERE[name]}.")
    if left_out:
        content["leftOut"] = " ".join(left_out)
    has_failed = bool(items) and all(
        item.verdict is Verdict.ERROR and item.ref is None for item in items
    )
    line = f"{summary}." if summary.total else "Nothing was run."
    if in_flight:
        left = summary.in_flight + summary.skipped + summary.waiting + summary.unknown
        over = f"{summary.total - left} of {counted(summary.total, 'run')}"
        line = f"In flight: {over} over ({summary})."
    elif stability:
        line = ". ".join(f"{quoted(each.name)}: {each}" for each in stability) + "."
    more = f" Not run: {counted(len(not_run), 'feature')}, see `notRun`." if not_run else ""
    return Answer(f"{line}{more} {note or ''}".rstrip(), content, is_error=has_failed)


_ELSEWHERE = {
    "runs": "list_runs shows those that ran, and a call with fewer features the others",
    "notRun": "list_features shows them",
}
"""By list of a digest, the call that reads the omitted rest."""


def _verdict_of(items: Sequence[BatchItem[Run]]) -> str:
    """Return the one verdict of runs that are over: the worst, without excused failures."""
    found = {item.verdict for item in items} - {Verdict.QUARANTINED}
    excused = Verdict.QUARANTINED if items else "not run"
    return min(found, key=URGENCY.index, default=excused)


def _row(item: BatchItem[Run], *, in_flight: bool) -> Document:
    entry, ref = Entry(item=item), item.ref
    row: Document = {"feature": item.feature_name, "verdict": item.verdict}
    if item.quarantine is not None:
        row["quarantine"] = str(item.quarantine)
    if isinstance(ref, RunRef):
        row["runId"] = ref.run_id
    if item.outcome is not None:
        row |= _result_of(entry, item.outcome)
    elif item.error is not None and (item.is_bad or item.is_unseen):
        # In flight, what is unknown is being reconciled: nobody need do anything.
        row["error"] = described(item.error) if in_flight else explain(item.error, ["feature"])
    if item.earlier:
        row["flaky"] = item.is_flaky
        row["earlier"] = list(map(_result_of, entry.earlier, item.earlier))
    return row


def _result_of(entry: Entry, run: Run) -> Document:
    """Return the result of a run, with its first failures."""
    tests = _tests_of(entry)
    failures = [
        {
            "name": one_line(test.name, MAX_NAME_CHARACTERS),
            "error": one_line(test.message, MAX_ERROR_CHARACTERS) or "no error given",
        }
        for test in tests[:MAX_FAILURES]
    ]
    more = {"moreFailures": len(tests) - MAX_FAILURES} if len(tests) > MAX_FAILURES else {}
    result = {"runId": run.run_id, "status": run.status, "summary": serialize(run.summary)}
    return {**result, "failures": failures, **more}


def _steps_of(stored: StoredBatch, *, in_flight: bool) -> list[str]:
    """Say how to continue; nothing if every run is finished."""
    if in_flight:
        return [f"Nothing was cancelled: wait_for_batch waits on for batch {stored.number}."]
    verdicts, steps = {item.verdict for item in stored.items}, list[str]()
    if verdicts & {Verdict.SKIPPED, Verdict.IN_FLIGHT}:
        steps.append(f"wait_for_batch resumes batch {stored.number}.")
    if Verdict.UNKNOWN in verdicts:
        steps.append(
            "Those whose verdict is 'unknown' may have been dispatched: before you run them again, "
            "check list_runs of each feature, or in TestVibe itself where that list is missing."
        )
    return steps
