"""A batch as a CTRF document (https://ctrf.io), the JSON format of test results.

Decides which key holds what, and what makes a test the same in two batches: project, feature,
configuration and name. It never adds a key to the specification's: other facts are in
`extra`, under the service's own names.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Unpack
from uuid import NAMESPACE_URL, uuid5

from testvibe_async._util import __version__, clean
from testvibe_async.models import DEFAULT_CONFIG
from testvibe_async.reports.cases import Case, CaseStatus
from testvibe_async.reports.report import Report, ReportOptions

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from testvibe_async.reports.entries import Entry, Item

__all__ = ["to_ctrf"]

_TOOL = "testvibe-async"
_NAMESPACE = uuid5(NAMESPACE_URL, "https://pypi.org/project/testvibe-async")
_STATUSES = ("passed", "failed", "skipped", "pending", "other")
_NOT_OBSERVED = {CaseStatus.ERROR, CaseStatus.UNKNOWN}
_FAILED = {*_NOT_OBSERVED, CaseStatus.PENDING}
"""Statuses without an outcome; they become `failed`, so that no gate lets them pass."""

_CONTENT_TYPES = {
    ".zip": "application/zip",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webm": "video/webm",
    ".html": "text/html",
    ".json": "application/json",
    ".txt": "text/plain",
}
"""Types of Playwright's artifacts. Those of `mimetypes` depend on the machine's settings."""


def to_ctrf(items: Iterable[Item], **options: Unpack[ReportOptions]) -> str:
    """Return a CTRF document, for tools that read test results as JSON.

    An operation that could not be dispatched or observed, may have been dispatched, or is in flight
    has the status `failed`, and its raw status is the reason. A test that passed after it failed is
    `flaky`. Tests have a duration alone, operations also a start and an end.

    Args:
        items: The items of a batch, from `run_features` or `generate_features`.
        options: See `ReportOptions`.

    Raises:
        ConfigError: A time has no time zone.
    """
    report = Report.of(items, **options)
    project = report.shared_facts.get("project")
    tests = [_test(entry, case, project) for entry in report.entries for case in entry.cases]
    document = {
        "reportFormat": "CTRF",
        "specVersion": "0.0.0",
        "timestamp": report.finished_at and report.finished_at.astimezone(UTC).isoformat(),
        "generatedBy": f"{_TOOL} {__version__}",
        "results": {
            "tool": {"name": _TOOL, "version": __version__},
            "summary": _summary(report, tests),
            "tests": tests,
            "environment": _environment(report),
        },
    }
    return json.dumps(_without_empty(document), ensure_ascii=False, indent=2) + "\n"


def _summary(report: Report, tests: list[dict[str, Any]]) -> dict[str, Any]:
    counts = {status: sum(test["status"] == status for test in tests) for status in _STATUSES}
    return {
        "tests": len(tests),
        **counts,
        "flaky": sum(test.get("flaky", False) for test in tests),
        "suites": len(report.entries),
        "start": _milliseconds(report.started_at) or 0,
        "stop": _milliseconds(report.finished_at) or 0,
        "duration": round(1000 * (report.seconds or 0)),
    }


def _environment(report: Report) -> dict[str, Any]:
    shared = report.shared_facts
    return _without_empty(
        {
            "reportName": report.title,
            "testEnvironment": shared.get("siteUrl"),
            "healthy": report.summary.is_success,
            "extra": {name: shared[name] for name in ("server", "project") if name in shared},
        }
    )


def _test(entry: Entry, case: Case, project: str | None) -> dict[str, Any]:
    project = entry.facts.get("project", project)
    test_id = _id(project, entry.feature.casefold(), entry.config or DEFAULT_CONFIG, case.name)
    is_first = case is (entry.failures or entry.cases)[0]
    own_times = entry.times if case.is_operation else None
    return _without_empty(
        {
            "name": case.name,
            "testId": test_id,
            "executionId": _execution_id(test_id, entry),
            "status": _status(case),
            "duration": _duration(case),
            "start": own_times and _milliseconds(own_times.began_at),
            "stop": own_times and _milliseconds(own_times.finished_at),
            "suite": [entry.name],
            "message": case.message,
            "trace": case.error,
            "rawStatus": case.status if case.status in _NOT_OBSERVED else case.raw_status,
            "type": "e2e",
            "retries": len(case.earlier) or None,
            "retryAttempts": [_attempt(each, test_id, entry) for each in case.earlier],
            "flaky": case.is_flaky or None,
            "stdout": entry.log.split("\n") if entry.log and is_first else None,
            "attachments": [_attachment(file) for file in entry.files]
            if is_first or case in entry.failures
            else None,
            "extra": {"verdict": entry.verdict, **entry.facts},
        }
    )


def _id(*parts: str | None) -> str:
    return str(uuid5(_NAMESPACE, json.dumps(parts)))


def _execution_id(test_id: str, entry: Entry) -> str | None:
    """Return the id of a test in one run or generation; None where it is unknown which."""
    operation = entry.facts.get("runId") or entry.facts.get("requestId")
    return _id(test_id, operation) if operation else None


def _attempt(case: Case, test_id: str, entry: Entry) -> dict[str, Any]:
    of_attempt = entry.earlier[case.attempt - 1]
    return _without_empty(
        {
            "attempt": case.attempt,
            "attemptId": _execution_id(test_id, of_attempt),
            "status": _status(case),
            "duration": _duration(case),
            "message": case.message,
            "trace": case.error,
            "extra": _without_empty({"runId": of_attempt.facts.get("runId")}),
        }
    )


def _status(case: Case) -> str:
    return "failed" if case.status in _FAILED else case.status


def _duration(case: Case) -> int:
    return round(1000 * (case.seconds or 0))


def _attachment(file: Path) -> dict[str, str]:
    return {
        "name": clean(file.name),
        "contentType": _CONTENT_TYPES.get(file.suffix.lower(), "application/octet-stream"),
        "path": clean(file.as_posix()),
    }


def _without_empty(values: dict[str, Any]) -> dict[str, Any]:
    """Return the members that hold something: the specification allows no null."""
    return {name: value for name, value in values.items() if value not in (None, "", {}, [])}


def _milliseconds(instant: datetime | None) -> int | None:
    return None if instant is None else round(1000 * instant.timestamp())
