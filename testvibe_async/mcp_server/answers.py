"""Results of tools: a line for a human, and structured content with its schema for the model.

Decides how runs, generations and batches are worded and summarized. Each result holds its content
twice, as structured content and as JSON text, since some clients read only the one and some only
the other. The content of a wait says in `inFlight` whether the operation goes on, and in `note`
what to do then. Pure; it never calls the service.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from mcp.types import Annotations, CallToolResult, TextContent

from testvibe_async import BatchItem, BatchSummary, Generation, Listing, Run, RunRef, Verdict
from testvibe_async._util import clean
from testvibe_async._wire import Schema, json_schema, nullable, serialize
from testvibe_async.mcp_server.advice import explain
from testvibe_async.reports import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from attrs import AttrsInstance

__all__ = [
    "DIGEST",
    "OK",
    "RUN_OF_GENERATED",
    "Document",
    "answer",
    "answer_of_wait",
    "digest",
    "encodable",
    "rows",
    "say_generation",
    "say_rows",
    "say_run",
    "schema_of_rows",
    "schema_of_wait",
]

Document: TypeAlias = dict[str, Any]
"""The structured content of an answer, which is an object of JSON."""

MAX_ERROR_CHARACTERS = 300
"""Length of a test's error in a digest of many runs; `get_run` returns all of it."""

_NOTE: dict[str, Schema] = {
    "inFlight": {"type": "boolean", "description": "whether it goes on at the service"},
    "note": nullable({"type": "string", "description": "what to do next"}),
}


def _object(required: Sequence[str], **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required)}


OK = _object(["ok"], ok={"type": "boolean"})
"""The schema of the answer to a tool that changes something."""

_COUNTS = (
    "total",
    "succeeded",
    "flaky",
    "failed",
    "errors",
    "unknown",
    "inFlight",
    "notDispatched",
)

_FAILURES: Schema = {
    "type": "array",
    "items": _object(["name"], name={"type": "string"}, error={"type": "string"}),
}

DIGEST = _object(
    ["summary", "runs", "inFlight"],
    summary=_object(_COUNTS, **{name: {"type": "integer"} for name in _COUNTS}),
    runs={
        "type": "array",
        "items": _object(
            ["feature", "verdict"],
            feature={"type": "string"},
            verdict={"type": "string", "description": ", ".join(Verdict)},
            runId={"type": "integer"},
            status={"type": "string"},
            summary=json_schema(Run)["properties"]["summary"],
            failures=_FAILURES,
            error={"type": "string", "description": "why there is no outcome"},
            flaky={"type": "boolean", "description": "whether it passed after a run that failed"},
            earlier={
                "type": "array",
                "description": "the runs before, each of them failed, oldest first",
                "items": _object(
                    ["runId", "status", "failures"],
                    runId={"type": "integer"},
                    status={"type": "string"},
                    failures=_FAILURES,
                ),
            },
        ),
    },
    **_NOTE,
)
"""The schema of the results of many runs."""


def schema_of_wait(model: type[Run | Generation]) -> Schema:
    """Return the schema of a wait's answer: the model's document, `inFlight` and `note`."""
    return json_schema(model, required=["inFlight"], also=_NOTE)


RUN_OF_GENERATED = _object(
    ["inFlight"],
    generation=nullable(json_schema(Generation)),
    run=nullable(json_schema(Run, required=["runId"])),
    **_NOTE,
)
"""The schema of the answer to a generation followed by a run."""


def answer(line: str, content: Document) -> CallToolResult:
    """Return a result that holds a line for a human and a document for the model."""
    text = encodable(json.dumps(content, ensure_ascii=False))
    return CallToolResult(
        content=[
            TextContent(type="text", text=clean(line), annotations=Annotations(audience=["user"])),
            TextContent(type="text", text=text, annotations=Annotations(audience=["assistant"])),
        ],
        structured_content=json.loads(text),
    )


def encodable(text: str) -> str:
    """Return a text without lone surrogates: JSON can hold them, and MCP's UTF-8 can't."""
    return text.encode(errors="replace").decode()


def rows(name: str, values: Iterable[AttrsInstance]) -> Document:
    """Return a list as an object of one member. Its rows have no nulls, to keep them short."""
    return {
        name: [
            {field: member for field, member in serialize(value).items() if member is not None}
            for value in values
        ]
    }


def say_rows(listing: Listing[Any], noun: str) -> str:
    """Say how many rows there are, and that some are missing where some are."""
    missing = listing.incomplete
    return f"{counted(len(listing), noun)}.{f' {missing.message}.' if missing else ''}"


def schema_of_rows(name: str, model: type[AttrsInstance]) -> Schema:
    """Return the JSON schema of what `rows` makes of a list of models."""
    array = {"type": "array", "items": json_schema(model)}
    return _object([name], **{name: array})


def answer_of_wait(line: str, snapshot: Document, *, note: str | None) -> CallToolResult:
    """Return the result of a wait.

    Args:
        line: How the operation stands, for a human.
        snapshot: The document last seen.
        note: What to do next, where the operation goes on; None where it is finished.
    """
    content = {**snapshot, "inFlight": note is not None, "note": note}
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
    first = f"first {run.failures[0].name!r}: {_first_line(run.failures[0].error)}"
    return f"{name} {run.status}: {len(run.failures)} of {total} failed, {first} ({more})."


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


def digest(items: Sequence[BatchItem[Run]]) -> CallToolResult:
    """Return the result that summarizes many runs."""
    summary = BatchSummary.of(items)
    counts = {
        "total": summary.total,
        "succeeded": summary.succeeded,
        "flaky": summary.flaky,
        "failed": summary.failed,
        "errors": summary.errors,
        "unknown": summary.unknown,
        "inFlight": summary.in_flight,
        "notDispatched": summary.skipped,
    }
    note = _note_of(items)
    content: Document = {
        "summary": counts,
        "runs": [_row(item) for item in items],
        "inFlight": bool(summary.in_flight or summary.skipped),
        "note": note,
    }
    return answer(f"{summary}. {note or ''}".rstrip(), content)


def _row(item: BatchItem[Run]) -> Document:
    row: Document = {"feature": item.feature_name, "verdict": item.verdict.value}
    if isinstance(item.ref, RunRef):
        row["runId"] = item.ref.run_id
    if item.outcome is not None:
        run = serialize(item.outcome)
        row |= {"status": run["status"], "summary": run["summary"]}
        row["failures"] = _failures_of(item.outcome)
    elif item.verdict in {Verdict.ERROR, Verdict.UNKNOWN} and item.error is not None:
        row["error"] = explain(item.error, "run_features")
    if item.earlier:
        row["flaky"] = item.is_flaky
        row["earlier"] = [
            {"runId": run.run_id, "status": str(run.status), "failures": _failures_of(run)}
            for run in item.earlier
        ]
    return row


def _failures_of(run: Run) -> list[Document]:
    return [{"name": test.name, "error": _first_line(test.error)} for test in run.failures]


def _note_of(items: Sequence[BatchItem[Run]]) -> str | None:
    """Say how to go on; None where every run is finished."""
    verdicts = {item.verdict for item in items}
    steps: list[str] = []
    if Verdict.IN_FLIGHT in verdicts:
        steps.append(
            "Still in flight, nothing was cancelled: call wait_for_runs with the runId of those "
            "whose verdict is 'in flight'."
        )
    if Verdict.SKIPPED in verdicts:
        steps.append("Call run_features again with those whose verdict is 'skipped'.")
    if Verdict.UNKNOWN in verdicts:
        steps.append(
            "Those whose verdict is 'unknown' may have been dispatched: before you run them again, "
            "check list_runs of each feature, or in TestVibe itself where that list is missing."
        )
    return " ".join(steps) or None
