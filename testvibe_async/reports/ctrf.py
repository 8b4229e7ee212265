"""A batch as a CTRF document (https://ctrf.io), the JSON format of test results.

Decides which key holds what, and what makes a test the same in two batches: project, feature,
configuration and name. It never adds a key to the specification's: other facts are in
`extra`, under the service's own names.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from mimetypes import MimeTypes
from typing import TYPE_CHECKING, Any, Unpack
from uuid import NAMESPACE_URL, uuid5

from testvibe_async._core.util import __version__, clean
from testvibe_async.models import DEFAULT_CONFIG
from testvibe_async.reports.reasons import FORMS
from testvibe_async.reports.report import Report, ReportOptions

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from testvibe_async.reports.entries import Case, Entry, Item

_TOOL = "testvibe-async"
_NAMESPACE = uuid5(NAMESPACE_URL, "https://pypi.org/project/testvibe-async")
_STATUSES = ("passed", "failed", "skipped", "pending", "other")
_TYPES = MimeTypes()
"""The types of files by their endings, independent of the machine's settings."""


def to_ctrf(items: Iterable[Item], **options: Unpack[ReportOptions]) -> str:
    """Return a CTRF document, for tools that read test results as JSON.

    An operation that could not be dispatched or observed, may have been dispatched, or is in flight
    has the status `failed`, and its raw status is the reason. A test that passed after it failed is
    `flaky`. Tests have a duration alone, operations also a start and an end.

    The arguments are those of `write_report`.
    """
    report = Report.of(items, **options)
    shared = report.shared_facts
    project = shared.get("project")
    tests = [_test(entry, case, project) for entry in report.entries for case in entry.cases]
    document = {
        "reportFormat": "CTRF",
        "specVersion": "0.0.0",
        "timestamp": report.finished_at and report.finished_at.astimezone(UTC).isoformat(),
        "generatedBy": f"{_TOOL} {__version__}",
        "results": {
            "tool": {"name": _TOOL, "version": __version__},
            "summary": {
                "tests": len(tests),
                **{status: sum(test["status"] == status for test in tests) for status in _STATUSES},
                "flaky": sum(test.get("flaky", False) for test in tests),
                "suites": len(report.entries),
                "start": _milliseconds(report.started_at) or 0,
                "stop": _milliseconds(report.finished_at) or 0,
                "duration": round(1000 * (report.seconds or 0)),
            },
            "tests": tests,
            "environment": _without_empty(
                {
                    "reportName": report.title,
                    "testEnvironment": shared.get("siteUrl"),
                    "healthy": report.summary.is_success,
                    "extra": {name: fact for name, fact in shared.items() if name != "siteUrl"},
                }
            ),
        },
    }
    return json.dumps(_without_empty(document), ensure_ascii=False, indent=2) + "\n"


def _test(entry: Entry, case: Case, project: str | None) -> dict[str, Any]:
    project = entry.facts.get("project", project)
    test_id = _id(project, entry.feature.casefold(), entry.config or DEFAULT_CONFIG, case.name)
    own_times = entry.times if case.is_operation else None
    quarantine = {"quarantine": q.to_dict()} if (q := entry.item.quarantine) else {}
    return _without_empty(
        {
            "name": case.name,
            "testId": test_id,
            "executionId": _execution_id(test_id, entry),
            **_result(case),
            "start": own_times and _milliseconds(own_times.began_at),
            "stop": own_times and _milliseconds(own_times.finished_at),
            "suite": [entry.name],
            "rawStatus": case.raw_status,
            "type": "e2e",
            "retries": len(case.earlier) or None,
            "retryAttempts": [
                _attempt(earlier, test_id, entry.earlier[earlier.attempt - 1])
                for earlier in case.earlier
            ],
            "flaky": case.is_flaky or None,
            "stdout": (log := entry.log_of(case)) and log.split("\n"),
            "attachments": [_attachment(file) for file in entry.files if case in entry.shown],
            "extra": {"verdict": entry.word, **entry.facts, **quarantine},
        }
    )


def _attempt(case: Case, test_id: str, entry: Entry) -> dict[str, Any]:
    ids = {name: entry.facts[name] for name in entry.ids}
    execution_id = _execution_id(test_id, entry)
    return _without_empty(
        {"attempt": case.attempt, "attemptId": execution_id, **_result(case), "extra": ids}
    )


def _result(case: Case) -> dict[str, Any]:
    return {
        "status": FORMS[case.status][1],
        "duration": round(1000 * (case.seconds or 0)),
        "message": case.message,
        "trace": case.error,
    }


def _id(*parts: str | None) -> str:
    return str(uuid5(_NAMESPACE, json.dumps(parts)))


def _execution_id(test_id: str, entry: Entry) -> str | None:
    """Return the id of a test in one operation; None if unknown which."""
    ids = [entry.facts[name] for name in entry.ids]
    return _id(test_id, *ids) if ids else None


def _attachment(file: Path) -> dict[str, str]:
    name = clean(file.name)
    kind, _ = _TYPES.guess_type(name)
    path = clean(file.as_posix())
    return {"name": name, "contentType": kind or "application/octet-stream", "path": path}


def _without_empty(values: dict[str, Any]) -> dict[str, Any]:
    """Return the members that hold something: the specification allows no null."""
    return {name: value for name, value in values.items() if value not in (None, "", {}, [])}


def _milliseconds(instant: datetime | None) -> int | None:
    return None if instant is None else round(1000 * instant.timestamp())
