"""A batch as Markdown, for the summary of a CI step.

Decides the order, and what is left out where a summary would be too long. Data never becomes
markup: names and errors are shown unchanged.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import TYPE_CHECKING, Unpack

from testvibe_async._core.util import clean
from testvibe_async.outcomes import Verdict
from testvibe_async.reports.reasons import URGENCY, VERDICTS
from testvibe_async.reports.report import Report, ReportOptions
from testvibe_async.reports.text import cut, one_line, tail
from testvibe_async.runner.words import duration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from testvibe_async.reports.entries import Case, Entry, Item

MAX_BYTES = 1_000_000
"""Limit of a summary in bytes. GitHub refuses the summary of a step from 1 MiB on."""

_TABLE_SHARE = 0.6
"""Share of the space that the table may take; failures have the rest."""

_ERROR_CHARACTERS = 4_000
_LOG_LINES = 40
_NAME_CHARACTERS = 200
_NAMES = 10
"""Number of new and of flaky items that are named at the top; the table has all."""

_FLAKY_MARK = "🔁"

_MARKUP = re.compile(r"[#$&*:<>@\[\\\]_`|~]|(?<=www)\.", re.IGNORECASE)


def to_markdown(
    items: Iterable[Item], *, max_bytes: int = MAX_BYTES, **options: Unpack[ReportOptions]
) -> str:
    """Return Markdown in GitHub's flavour: the outcome, a table, and each failure to unfold.

    What is flaky has a mark of its own, is named at the top, and unfolds to its earlier failures.

    Args:
        items: As of `write_report`.
        max_bytes: The limit in bytes of UTF-8. A note says how much is left out.
        options: As of `write_report`.
    """
    report = Report.of(items, **options)
    entries = report.by_urgency
    bad = [entry for entry in entries if entry.failures or entry.earlier]
    head = _head(report)
    space = max_bytes - _size(head) - 500  # for the notes on what is left out
    columns = ["", "Feature", "Config", "Result", "Time"]
    if len(report.configs) < 2:  # noqa: PLR2004 - one is all the same
        columns.remove("Config")
    rows = _fill("rows", [_row(entry, columns) for entry in entries], space * _TABLE_SHARE)
    details = _fill("details", map(_details, bad), space - _size(rows))
    rules = ["---:" if column == "Time" else "---" for column in columns]
    table = f"{_line(columns)}{_line(rules)}{rows}" if entries else ""
    return head + table + details


def _head(report: Report) -> str:
    verdicts = (each.item.verdict for each in report.entries)
    _, mark = VERDICTS[min(verdicts, key=URGENCY.index, default=Verdict.SUCCEEDED)]
    facts = " · ".join(filter(None, (report.tests_in_words, duration(report.seconds))))
    head = f"## {_escape(report.title)}\n\n{mark} **{_escape(report.headline)}**\n\n{facts}\n\n"
    if news := report.news:
        lines = [f"- **{_name(each.name)}**: {_escape(each.news)}\n" for each in news[:_NAMES]]
        head += f"🆕 **{len(news):,} new**\n\n{''.join(lines)}{_more(len(news), '- ')}\n"
    if flaky := report.flaky:
        names = ", ".join(_name(each.name) for each in flaky[:_NAMES])
        head += f"{_FLAKY_MARK} **{len(flaky):,} flaky**: {names}{_more(len(flaky), ' ')}\n\n"
    return head


def _more(number: int, sign: str) -> str:
    return f"{sign}and {number - _NAMES:,} more" if number > _NAMES else ""


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _row(entry: Entry, columns: list[str]) -> str:
    cells = {
        "": _mark(entry),
        "Feature": _name(entry.feature),
        "Config": _name(entry.config or ""),
        "Result": _escape(_result(entry)),
        "Time": duration(entry.times.seconds).replace(" ", "&nbsp;"),
    }
    return _line(cells[column] for column in columns)


def _details(entry: Entry) -> str:
    log = f"Log:\n\n{_fenced(tail(entry.log, _LOG_LINES, _ERROR_CHARACTERS))}" if entry.log else ""
    facts = ", ".join(f"{key} {value}" for key, value in entry.facts.items())
    parts = (
        "".join(map(_failure, entry.failures)),
        log,
        "".join(f"- <code>{_escape(one_line(file.as_posix()))}</code>\n" for file in entry.files),
        "".join(map(_attempt, entry.earlier)),
        f"{_escape(facts)}\n",
    )
    body = "\n".join(part for part in parts if part)
    summary = f"{_mark(entry)} <b>{_name(entry.name)}</b>: {_escape(_reason(entry))}"
    return f"\n<details><summary>{summary}</summary>\n\n{body}\n</details>\n"


def _attempt(entry: Entry) -> str:
    title = f"Attempt {entry.attempt}, {entry.operation}: {_result(entry)}"
    return f"{_escape(title)}\n\n" + "".join(map(_failure, entry.failures))


def _failure(case: Case) -> str:
    took = f" after {duration(case.seconds)}" if case.seconds else ""
    error = cut(case.error or "no error given", _ERROR_CHARACTERS)
    return f"**{_name(case.name)}** {case.status}{took}\n\n{_fenced(error)}\n"


def _mark(entry: Entry) -> str:
    return _FLAKY_MARK if entry.item.is_flaky else VERDICTS[entry.item.verdict][1]


def _result(entry: Entry) -> str:
    reason = one_line(_reason(entry), _NAME_CHARACTERS)
    return reason if entry.status in reason else f"{entry.status}: {reason}"


def _reason(entry: Entry) -> str:
    return f"flaky: {entry.reason}" if entry.item.is_flaky else entry.reason


def _name(text: str) -> str:
    return _escape(one_line(text, _NAME_CHARACTERS))


def _fenced(text: str) -> str:
    """Return a code block whose fence is longer than any run of backticks in the text."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}text\n{text}\n{fence}\n"


def _escape(text: str) -> str:
    """Return a text with each character that could be markup, or start a link, as an entity."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", clean(text))


def _fill(what: str, parts: Iterable[str], space: float) -> str:
    """Return as many of the first parts as fit into a number of bytes, and a note on the others."""
    parts = list(parts)
    kept = [
        part
        for part, size in zip(parts, accumulate(map(_size, parts)), strict=True)
        if size <= space
    ]
    left = len(parts) - len(kept)
    return "".join(kept) + (f"\n_The {what} of {left:,} more are left out here._\n" if left else "")


def _size(text: str) -> int:
    return len(text.encode())
