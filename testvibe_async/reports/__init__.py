"""Reports of a batch: JUnit XML, CTRF JSON, Markdown for a CI summary, and one HTML page.

What a report says is decided once for all formats: `text` (how texts, counts and durations look),
`reasons` (how a test ended, and why an item ended as it did), `entries` (one item: its tests, times
and facts), `report` (the whole: names, order, headline). Each format then decides its own form:
`junit`, `ctrf`, `markdown` and `page`, which `template/` and `timeline` draw. `files` has the
table, and writes to the disk. The other surfaces word what they say with `text` and `reasons`.
"""

from __future__ import annotations

from testvibe_async.reports.ctrf import to_ctrf
from testvibe_async.reports.files import write_report
from testvibe_async.reports.junit import to_junit
from testvibe_async.reports.markdown import to_markdown
from testvibe_async.reports.page import to_html
from testvibe_async.reports.report import ReportOptions

__all__ = ["ReportOptions", "to_ctrf", "to_html", "to_junit", "to_markdown", "write_report"]
