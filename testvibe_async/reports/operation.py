"""One operation on the page: a line to unfold, with its tests, errors, times, log and files.

Decides what is shown in which order, and what is unfolded at first. It never decides how that
looks; `template/page.css` does.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from testvibe_async.reports.attachments import is_trace, show_trace
from testvibe_async.reports.cases import CaseStatus
from testvibe_async.reports.markup import Html, described, element, href, joined, slug
from testvibe_async.reports.text import duration

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from pathlib import Path

    from testvibe_async.reports.cases import Case
    from testvibe_async.reports.entries import Entry

__all__ = ["FACT_LABELS", "anchor", "operation"]

FACT_LABELS = {
    "runId": "Run",
    "requestId": "Generation",
    "featureId": "Feature id",
    "siteUrl": "Site",
    "project": "Project",
    "server": "Server",
}
_MARKS = {CaseStatus.PASSED: "✓", CaseStatus.FAILED: "✕"}
_NO_MARK = "·"


def operation(entry: Entry, known: Collection[str]) -> Html:
    """Return the line of an operation, with all else of it to expand.

    Args:
        entry: The operation.
        known: The names of the facts that the page shows once for all operations.
    """
    return element(
        "details",
        element(
            "summary",
            element("span", entry.status, class_=f"pill {slug(entry.verdict)}"),
            element("span", _name(entry), class_="name"),
            element("span", entry.reason, class_="result"),
            element("span", duration(entry.times.seconds), class_="time"),
        ),
        element("div", *_body(entry), _facts(entry, known), class_="body"),
        id=anchor(entry),
        class_="operation",
        data_verdict=slug(entry.verdict),
        data_config=entry.config,
        data_number=entry.number,
        data_flaky=entry.is_flaky,
    )


def anchor(entry: Entry) -> str:
    """Return the id of an operation's line."""
    return f"operation-{entry.number}"


def _name(entry: Entry) -> Html:
    config = entry.config and element("span", entry.config, class_="config")
    flaky = element("span", "flaky", class_="pill flaky") if entry.is_flaky else None
    marks = (joined(" ", mark) for mark in (config, flaky) if mark)
    return joined(element("bdi", entry.feature), *marks)


def _body(entry: Entry) -> list[Html | None]:
    attempts = [_attempt(entry, *each) for each in enumerate(entry.earlier, 1)]
    return [*_outcome(entry), *attempts]


def _outcome(entry: Entry) -> list[Html | None]:
    failures = entry.failures
    others = [case for case in entry.cases if case not in failures and not case.is_operation]
    return [
        *(_failure(case) for case in failures if not _is_shown_by_line(case, entry)),
        element("ul", *map(_case, others), class_="cases") if others else None,
        _files(entry),
        _log(entry),
    ]


def _attempt(entry: Entry, number: int, attempt: Entry) -> Html:
    """Return an attempt before the last one, unfolded where it is the only failure to show."""
    took = duration(attempt.times.seconds)
    facts = (f"{attempt.operation} {attempt.status}", attempt.reason, took)
    return element(
        "details",
        element("summary", f"Attempt {number}: {', '.join(fact for fact in facts if fact)}"),
        *_outcome(attempt),
        class_="attempt",
        open=entry.is_flaky,
    )


def _is_shown_by_line(case: Case, entry: Entry) -> bool:
    """Return whether the operation's line shows the error already."""
    return case.is_operation and case.error == entry.reason


def _failure(case: Case) -> Html:
    title = None if case.is_operation else _case_line(case, "h3")
    return element(
        "div",
        title,
        element("pre", case.error or "no error given"),
        class_=f"failure {case.status}",
    )


def _case(case: Case) -> Html:
    return _case_line(case, "li")


def _case_line(case: Case, tag: str) -> Html:
    return element(
        tag,
        element("span", _MARKS.get(case.status, _NO_MARK), class_=f"mark {case.status}"),
        element("span", element("bdi", case.name), class_="name"),
        element("span", case.raw_status or case.status, class_="status"),
        element("span", duration(case.seconds), class_="time"),
    )


def _files(entry: Entry) -> Html | None:
    if entry.files:
        links = (element("li", _link(file), _command(file)) for file in entry.files)
        return element("div", element("h3", "Files"), element("ul", *links), class_="files")
    if entry.remote_files:
        number = entry.remote_files
        what = "1 file" if number == 1 else f"{number} files"
        return element("p", f"{what} at the service, not downloaded", class_="note")
    return None


def _link(file: Path) -> Html:
    return element("a", "/".join(file.parts[-2:]), href=href(file))


def _command(file: Path) -> Html | None:
    return element("code", show_trace(file)) if is_trace(file) else None


def _log(entry: Entry) -> Html | None:
    if not entry.log:
        return None
    log_explains_failure = any(case.is_operation for case in entry.failures)
    return element(
        "details",
        element("summary", "Log"),
        element("pre", entry.log),
        class_="log",
        open=log_explains_failure,
    )


def _facts(entry: Entry, known: Collection[str]) -> Html | None:
    times = entry.times
    facts = {name: fact for name, fact in entry.facts.items() if name not in known}
    rows = {
        "Queued": duration(times.queue_seconds),
        "Began": _time(times.started_at or times.queued_at),
        "Ended": _time(times.finished_at),
    } | {label: facts.get(name) for name, label in FACT_LABELS.items()}
    return described(rows) if any(rows.values()) else None


def _time(instant: datetime | None) -> str:
    return f"{instant.astimezone(UTC):%H:%M:%S} UTC" if instant else ""
