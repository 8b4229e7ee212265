"""Answers about runs and generations: of one, and digests of many.

Decides which of their facts an answer holds; the words and the counts are those of reports. The
content of a wait reports in `inFlight` that the operation is still running, and in `note` the next
step. Pure; it never calls the service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testvibe_async import BatchItem, Generation, Operation, Ref, Verdict
from testvibe_async._core.wire import serialize
from testvibe_async.mcp_server.advice import capitalized, described, explain, reason_of
from testvibe_async.mcp_server.answers import ROOM, Answer, Document, fitting, quoted, text_of
from testvibe_async.reports.entries import Case, Entry
from testvibe_async.reports.reasons import URGENCY
from testvibe_async.reports.text import one_line
from testvibe_async.runner.outcome import Outcome
from testvibe_async.runner.trends import stability_of
from testvibe_async.runner.words import count_words, counted, verdict_of, word_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from testvibe_async.models import Snapshot
    from testvibe_async.runner.history import KeptBatch

MAX_CHARACTERS = 300
"""Length of a test's name or error in a digest of many runs; `get_run` returns all of it."""

MAX_FAILURES = 5
"""Maximum number of failed tests listed for a run in a digest of many."""

_IDS = {"runId", "requestId", "featureId"}
_LEFT = {Verdict.IN_FLIGHT, Verdict.WAITING, Verdict.SKIPPED, Verdict.UNKNOWN}
"""While a batch is in flight, what is unknown may still be found."""


def answer_of_wait(
    line: str, content: Document, *, tool: str | None = None, outage: str = ""
) -> Answer:
    """Return the result of a wait.

    Args:
        line: The operation's status, for a human.
        content: The document as last observed.
        tool: The tool that waits on while it is in flight; None once it has finished.
        outage: Description of an outage of the service; empty without.
    """
    again = f"Nothing was cancelled: call {tool} again with the same arguments."
    away = f" {capitalized(outage)}." if outage else ""
    note = None if tool is None else again + away
    content = {**content, "inFlight": tool is not None, "note": note}
    return Answer(f"{line} {note or ''}".rstrip(), content)


def answer_without_id(kept: KeptBatch | None, *, tool: str, outage: str) -> Answer:
    """Say that a call has not started an operation yet, and why."""
    error = kept.items[0].error if kept else None
    why = outage or (reason_of(error) if error else "the service has not answered")
    line = f"The next operation of this call is not started yet: {why}."
    return answer_of_wait(line, {} if kept is None else {"batch": kept.number}, tool=tool)


def answer_of_start(kept: KeptBatch, ref: Ref, *, is_new: bool) -> Answer:
    """Return the result of a call that starts one operation.

    Args:
        kept: Its batch.
        ref: The operation.
        is_new: True if this call started it.
    """
    ids, item = ids_of(ref), kept.items[0]
    what = f"{kept.kind.capitalize()} {ids.get('runId', '')}".rstrip()
    line = f"{what} of {quoted(item.feature_name)} was started." if is_new else not_again(kept)
    note = f"{line} wait_for_{kept.kind} waits for it."
    times = {"batch": kept.number, "startedAt": serialize(kept.started_at)}
    return Answer(note, {**ids, **times, "note": note})


def not_again(kept: KeptBatch) -> str:
    """Say that an earlier call started what this one asked for."""
    return f"Nothing was started: your call at {kept.started_at:%Y-%m-%d %H:%M:%S} UTC did."


def ids_of(ref: Ref) -> Document:
    """Return the ids of an operation, as the service names them."""
    return {name: value for name, value in ref.to_dict().items() if name in _IDS}


def progress_of(kept: KeptBatch, *, in_flight: bool) -> tuple[str, int, int]:
    """Return a batch with its counts, how many of its items have finished, and of how many."""
    items = kept.items
    left = sum(item.is_unfinished or item.verdict in _LEFT for item in items)
    # While a batch is in flight, the answers to its dispatches may be on their way.
    names = {str(Verdict.UNKNOWN): "unacknowledged"} if in_flight else {}
    counts = count_words(names.get(word, word) for word in map(word_of, items))
    return f"batch {kept.number}: {counts}", len(items) - left, len(items)


def say_of(operation: Operation[Any]) -> str:
    """Describe the status of an operation in a line, also if it was not observed."""
    if operation.snapshot is None:
        return f"{capitalized(str(operation.ref))}: not observed yet."
    return say(operation.snapshot)


def say(seen: Snapshot) -> str:
    """Say in a line how an operation stands."""
    number = f"feature {seen.feature_id}" if seen.feature_id else "a feature"
    entry = Entry(item=BatchItem(feature="", outcome=seen))
    what = quoted(seen.feature_name) if seen.feature_name else number
    name, tool = f"{capitalized(entry.operation)} of {what}", "diagnose_run"
    reason = f"{entry.status}, {entry.reason}"
    if isinstance(seen, Generation):
        if seen.request_id is None and not seen.is_finished:
            return f"{name} was never started (its status is {seen.status or 'unknown'})."
        tool, reason = "get_generation_log", entry.status
    if not seen.is_finished:
        return f"{name} is {seen.status} ({seen.phase})."
    if entry.item.verdict is Verdict.ERROR:
        return f"{name} {entry.reason}."
    if entry.item.verdict is Verdict.SUCCEEDED:
        return f"{name} has finished: {entry.reason}."
    return f"{name} has finished: {reason} ({tool} says why)."


def digest(kept: KeptBatch, max_output: int, *, in_flight: bool, remark: str = "") -> Answer:
    """Return the result that summarizes a batch of runs: lists failures, counts the rest.

    Args:
        kept: The batch, with its present items.
        max_output: Maximum characters of the answer.
        in_flight: True if it is waited for.
        remark: Text to append to the note.
    """
    items, outcome = kept.items, Outcome.of(kept, ())
    note = " ".join(filter(None, [_step_of(kept, in_flight=in_flight), remark])) or None
    content: Document = {
        "batch": kept.number,
        "verdict": Verdict.IN_FLIGHT if in_flight else _verdict_of(items),
        "summary": {"total": len(items), **outcome.numbers},
        "inFlight": in_flight,
        "note": note,
        "startedAt": serialize(kept.started_at),
    }
    running = [item.ref for item in items if item.verdict is Verdict.IN_FLIGHT]
    if running:
        content["runIds"] = [ids_of(ref)["runId"] for ref in running if ref]
    if kept.spec.repeat > 1:
        content["stability"] = serialize(stability_of(items))
    room, left_out = max_output - ROOM - len(text_of(content)), list[str]()
    not_run = [{"feature": name, "reason": why} for name, why in kept.spec.left_out.items()]
    listed = _listed(items, in_flight=in_flight)
    rows = (_row(item, in_flight=in_flight) for item in listed)  # Made as long as they fit.
    for name, found, count in (("runs", rows, len(listed)), ("notRun", not_run, len(not_run))):
        content[name] = fitting(found, room)
        room -= len(text_of(content[name]))
        if missing := count - len(content[name]):
            left_out.append(f"{counted(missing, 'more row')} of {name}")
    if left_out:
        content["leftOut"] = f"{', '.join(left_out)}: list_runs and list_features show them."
    line = f"{outcome.line}."
    if not_run:
        line += f" Not run: {counted(len(not_run), 'feature')}, see `notRun`."
    return Answer(f"{line} {note or ''}".rstrip(), content)


def _listed(items: Iterable[BatchItem[Any]], *, in_flight: bool) -> list[BatchItem[Any]]:
    """Return the items that did not succeed, or not at once; the worst first."""
    unfinished = {Verdict.IN_FLIGHT, Verdict.WAITING} if in_flight else set[Verdict]()
    listed = [item for item in items if item.verdict is not Verdict.SUCCEEDED or item.earlier]
    listed = [item for item in listed if item.verdict not in unfinished]
    return sorted(listed, key=lambda item: URGENCY.index(item.verdict))


def _verdict_of(items: Sequence[BatchItem[Any]]) -> str:
    """Return the one verdict of finished runs: the worst, without excused failures."""
    found = {item.verdict for item in items} - {Verdict.QUARANTINED}
    excused = Verdict.QUARANTINED if items else "not run"
    return min(found, key=URGENCY.index, default=excused)


def _row(item: BatchItem[Any], *, in_flight: bool) -> Document:
    """Return what is known of an item, with the first failed tests."""
    entry = Entry(item=item)
    row: Document = {"feature": item.feature_name, "verdict": verdict_of(item), **entry.ids}
    if item.error is not None and (item.is_bad or item.is_unseen):
        # In flight, what is unknown is being reconciled: nobody need do anything.
        row["reason"] = described(item.error) if in_flight else explain(item.error, ["feature"])
    else:
        row["reason"] = entry.reason
    if item.earlier:
        row["flaky"] = item.is_flaky
        row["earlier"] = [{**each.ids, "reason": each.reason} for each in entry.earlier]
    tests = [case for case in entry.failures if not case.is_operation]
    if tests:
        row["failures"] = [_failure(case) for case in tests[:MAX_FAILURES]]
    if len(tests) > MAX_FAILURES:
        row["moreFailures"] = len(tests) - MAX_FAILURES
    return row


def _failure(case: Case) -> Document:
    error = one_line(case.message, MAX_CHARACTERS) or "no error given"
    return {"name": one_line(case.name, MAX_CHARACTERS), "error": error}


def _step_of(kept: KeptBatch, *, in_flight: bool) -> str:
    """Say how to continue; nothing if every run is finished."""
    if in_flight:
        return f"Nothing was cancelled: wait_for_batch waits on for batch {kept.number}."
    is_left = {item.verdict for item in kept.items} & {Verdict.SKIPPED, Verdict.IN_FLIGHT}
    return f"wait_for_batch resumes batch {kept.number}." if is_left else ""
