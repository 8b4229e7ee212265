"""Single runs and generations at length: pure functions from values to text.

Decides what of a test, an error and a log is worth a line, and how it is indented.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rich.filesize import decimal
from rich.text import Text

from testvibe_async._core.util import escape
from testvibe_async.cli.text import tests_of
from testvibe_async.models import RunStatus
from testvibe_async.runner.words import duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from testvibe_async import CaseResult, Diagnosis, Generation, GenerationLog, Run
    from testvibe_async.models import SectionLog


ERROR_LINES = 40
"""Maximum lines of an error in a list of failures; more if `Received:` comes later."""

SHORT_ERROR_LINES = 3
"""Maximum lines of an error beside a test of one run."""

_COMPARED = ("Expected", "Received", "- Expected", "+ Received")
"""The beginnings of the lines of an error that belong together."""

ERROR_CHARACTERS = 20_000
"""Maximum length of an error, in characters."""

LOG_LINES = 20
"""Number of lines shown from the end of a log."""

Line = tuple[str, str]
"""A line and its style."""

_STATUS_STYLES = {"passed": "green", "failed": "red", "success": "green", "failure": "red"}


def run_details(run: Run, *, width: int | None = None) -> Text:
    """Return a run with its tests, errors and artifacts, and the end of its log."""
    took = None
    if run.started_at is not None and run.finished_at is not None:
        took = duration((run.finished_at - run.started_at).total_seconds())
    artifacts = (
        f"  {each.kind:<10}  {size(each.size_bytes):>9}  {each.path}" for each in run.artifacts
    )
    return _page(
        _run_facts(run, ("created", _instant(run.created_at)), ("took", took)),
        [line for test in run.tests for line in _test(test, width)],
        _titled("Artifacts", ((escape(each), "") for each in artifacts)),
        _titled("Log", _log(run.log, width)),
    )


def diagnosis_details(diagnosis: Diagnosis, *, width: int | None = None) -> Text:
    """Return the whole errors of a run that failed, and the end of its log."""
    failures = (
        [(f"  {escape(test.name)}", "red"), *error_lines(test.error, limit=None, width=width)]
        for test in diagnosis.failures
    )
    is_passed = diagnosis.status is RunStatus.PASSED and not diagnosis.failures
    return _page(
        _run_facts(diagnosis),
        *failures,
        [("It passed: there is nothing to diagnose.", "")] if is_passed else [],
        _titled("Log", _log(diagnosis.log, width)),
    )


def generation_details(
    generation: Generation, log: GenerationLog | None, *, width: int | None = None
) -> Text:
    """Return a feature's latest generation, each section with its log if there is one."""
    name = _feature(generation)
    if generation.request_id is None:
        return Text(escape(f"{name} was never generated."))
    heading = (escape(f"Generation of {name}: {generation.status or 'unknown'}"), "bold")
    updated = _instant(generation.updated_at)
    facts = _facts(("request", generation.request_id), ("updated", updated))
    logged = [_section(each, width) for each in log.sections] if log else []
    states = [
        _styled(f"{each.section}: {each.conclusion or each.status or 'queued'}", each.conclusion)
        for each in generation.sections
    ]
    return _page([heading, *facts], *(logged or [states]))


def size(number: int | None) -> str:
    """Return a size, such as `482.1 kB`; empty if unknown."""
    return "" if number is None else decimal(number)


def _run_facts(run: Run | Diagnosis, *facts: tuple[str, str | None]) -> list[Line]:
    said = ", ".join(filter(None, (str(run.status), tests_of(run))))
    heading = escape(f"Run {run.run_id} of {_feature(run)}: {said}"), "bold"
    return [heading, *_facts(("config", run.config), ("site", run.site_url), *facts)]


def _feature(value: Run | Diagnosis | Generation | GenerationLog) -> str:
    return value.feature_name or f"feature {value.feature_id}"


def _facts(*facts: tuple[str, str | None]) -> list[Line]:
    return [(f"  {name:<8}  {escape(value)}", "") for name, value in facts if value]


def _instant(at: datetime | None) -> str | None:
    return None if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _test(test: CaseResult, width: int | None) -> list[Line]:
    took = "" if test.duration_ms is None else duration(test.duration_ms / 1000)
    head = _styled(f"  {test.status or 'no result':<9}  {took:>7}  {test.name}", test.status)
    if test.error is None:
        return [head]
    return [head, *error_lines(test.error, limit=SHORT_ERROR_LINES, width=width)]


def _section(section: SectionLog, width: int | None) -> list[Line]:
    word = section.conclusion or section.state or "queued"
    lines = [_styled(f"{section.title or section.section}: {word}", section.conclusion)]
    if section.status_reason:
        lines.append((_indented(escape(section.status_reason), width), "bold"))
    return lines + [(_indented(escape(each), width), "") for each in section.log]


def error_lines(
    error: str | None, *, limit: int | None = ERROR_LINES, width: int | None
) -> list[Line]:
    """Return the first lines of an error, with an ellipsis if there are more.

    Args:
        error: The whole error.
        limit: Maximum number of lines; None for all. Expected and received values are never
            truncated.
        width: Cells that a line may take; None for lines of any length.
    """
    lines = _plain_lines((error or "no error given")[:ERROR_CHARACTERS])
    if limit is not None:
        compared = [n for n, line in enumerate(lines, 1) if line.strip().startswith(_COMPARED)]
        limit = max([limit, *compared])
        if len(lines) > limit:
            lines[limit - 1 :] = [f"{lines[limit - 1]} …"]
    return [(_indented(each, width), "") for each in lines]


def _log(log: str | None, width: int | None) -> list[Line]:
    return [(_indented(each, width), "") for each in end_of(log)]


def end_of(log: str | None) -> list[str]:
    """Return the last lines of a log."""
    return _plain_lines(log or "")[-LOG_LINES:]


def first_of(lines: Sequence[str], most: int) -> list[str]:
    """Return the first lines, and how many more there are."""
    more = [f"  and {len(lines) - most} more"] if len(lines) > most else []
    return [*lines[:most], *more]


def _plain_lines(text: str) -> list[str]:
    lines = (escape(part).rstrip() for part in text.expandtabs().splitlines())
    return [line for line in lines if line]


def _indented(text: str, width: int | None) -> str:
    """Return an indented line, which wraps with the same indentation if it is too long."""
    if width is None:
        return f"    {text}"
    indent = " " * (4 + len(text) - len(text.lstrip()))
    return textwrap.fill(
        text.lstrip(),
        max(width, 20),
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_on_hyphens=False,
    )


def _styled(text: str, status: str | None) -> Line:
    return escape(text), _STATUS_STYLES.get(status or "", "")


def _titled(title: str, lines: Iterable[Line]) -> list[Line]:
    """Return lines below a title; none if there are none."""
    lines = list(lines)
    return [(title, "bold"), *lines] if lines else []


def _page(*blocks: Iterable[Line]) -> Text:
    """Return blocks of lines, with an empty line between them."""
    return Text("\n\n").join(filter(None, (text_of(list(block)) for block in blocks)))


def text_of(lines: Sequence[Line]) -> Text:
    """Return lines with their styles as one text."""
    return Text("\n").join(Text(*each) for each in lines)
