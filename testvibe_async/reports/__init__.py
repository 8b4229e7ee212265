"""Reports of a batch: JUnit XML, CTRF JSON, Markdown for a CI summary, and one HTML page.

For other packages: `FORMATS` is the table of all formats, `write_report` chooses one by the file's
ending, each `to_…` function returns one as text, an `Entry` has one item in the words of reports,
and other rooms word names and counts with the text helpers.

What a report says is decided once for all formats: `text` (how texts, counts and durations look),
`reasons` (how a test ended, and why an item ended as it did), `entries` (one item: its tests, times
and facts), `report` (the whole: names, order, headline). Each format then decides its own form:
`junit`, `ctrf`, `markdown` and `page`, which `template/` and `timeline` draw. `files` has the
table, and writes to the disk.
"""

from __future__ import annotations

from testvibe_async.reports.ctrf import to_ctrf
from testvibe_async.reports.entries import Case, Entry
from testvibe_async.reports.files import (
    FORMATS,
    Format,
    report_target,
    write_report,
    write_reports,
)
from testvibe_async.reports.junit import to_junit
from testvibe_async.reports.markdown import to_markdown
from testvibe_async.reports.page import to_html
from testvibe_async.reports.reasons import CaseStatus, why
from testvibe_async.reports.report import URGENCY, ReportOptions
from testvibe_async.reports.text import counted, essence, one_line, tail

__all__ = [
    "FORMATS",
    "URGENCY",
    "Case",
    "CaseStatus",
    "Entry",
    "Format",
    "ReportOptions",
    "counted",
    "essence",
    "one_line",
    "report_target",
    "tail",
    "to_ctrf",
    "to_html",
    "to_junit",
    "to_markdown",
    "why",
    "write_report",
    "write_reports",
]
