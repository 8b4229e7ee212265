"""Reports of a batch: JUnit XML, CTRF JSON, Markdown for a CI summary, and one HTML page."""

from __future__ import annotations

from .ctrf import to_ctrf
from .files import require_known_ending, write_report
from .junit import to_junit
from .markdown import to_markdown
from .page import to_html
from .report import ReportOptions
from .text import counted, duration, one_line

__all__ = [
    "ReportOptions",
    "counted",
    "duration",
    "one_line",
    "require_known_ending",
    "to_ctrf",
    "to_html",
    "to_junit",
    "to_markdown",
    "write_report",
]
