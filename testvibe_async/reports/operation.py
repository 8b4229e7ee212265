"""One operation on the page: a line to unfold, with its tests, errors, times, log and files."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

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
    """Return the line, unfolded where there is something to look into.

    Args:
        entry: What it tells of.
        known: The facts that the page tells once for all.
    """
    return element(
        "details",
        element(
            "summary",
            element("span", entry.word, class_=f"pill {slug(entry.verdict)}"),
            element("span", _name(entry), class_="name"),
            element("span", entry.reason, class_="result"),
            element("span", duration(entry.times.seconds), class_="time"),
        ),
        element("div", *_body(entry), _facts(entry, known), class_="body"),
        id=anchor(entry),
        class_="operation",
        open=bool(entry.failures),
        data_verdict=slug(entry.verdict),
        data_config=entry.config,
        data_number=entry.number,
    )


def anchor(entry: Entry) -> str:
    """Return the id of its line."""
    return f"operation-{entry.number}"


def _name(entry: Entry) -> Html:
    config = entry.config and element("span", entry.config, class_="config")
    return joined(element("bdi", entry.feature), " " if config else None, config)


def _body(entry: Entry) -> list[Html | None]:
    failures = entry.failures
    others = [case for case in entry.cases if case not in failures and not case.is_operation]
    return [
        *(_failure(case) for case in failures if not _says_no_more(case, entry)),
        element("ul", *map(_case, others), class_="cases") if others else None,
        _files(entry),
        _log(entry),
    ]


def _says_no_more(case: Case, entry: Entry) -> bool:
    """Whether the line above it tells its error already."""
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
        element("span", case.word or case.status, class_="word"),
        element("span", duration(case.seconds), class_="time"),
    )


def _files(entry: Entry) -> Html | None:
    if entry.files:
        links = (element("li", _link(file)) for file in entry.files)
        return element("div", element("h3", "Files"), element("ul", *links), class_="files")
    if entry.remote_files:
        number = entry.remote_files
        what = "1 file" if number == 1 else f"{number} files"
        return element("p", f"{what} at the service, not downloaded", class_="note")
    return None


def _link(file: Path) -> Html:
    return element("a", "/".join(file.parts[-2:]), href=href(file))


def _log(entry: Entry) -> Html | None:
    if not entry.log:
        return None
    only_log_says_why = any(case.is_operation for case in entry.failures)
    return element(
        "details",
        element("summary", "Log"),
        element("pre", entry.log),
        class_="log",
        open=only_log_says_why,
    )


def _facts(entry: Entry, known: Collection[str]) -> Html | None:
    times = entry.times
    facts = {name: fact for name, fact in entry.facts.items() if name not in known}
    told = {
        "Queued": duration(times.queue_seconds),
        "Began": _time(times.started_at or times.queued_at),
        "Ended": _time(times.finished_at),
    } | {label: facts.get(name) for name, label in FACT_LABELS.items()}
    return described(told) if any(told.values()) else None


def _time(instant: datetime | None) -> str:
    return f"{instant.astimezone(UTC):%H:%M:%S} UTC" if instant else ""
