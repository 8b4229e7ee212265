"""A batch as annotations of a GitHub job, which GitHub shows beside it.

Decides which workflow commands are printed
(https://docs.github.com/actions/reference/workflow-commands); other CI systems read reports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from testvibe_async._core.util import escape
from testvibe_async.models import Run
from testvibe_async.reports.report import Report, ReportOptions
from testvibe_async.runner.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from testvibe_async.reports.entries import Case, Entry, Item

MOST_ANNOTATIONS = 10
"""Maximum number of annotated failures; GitHub shows no more for a step."""

MESSAGE_LINES = 12
"""Maximum lines of an error in an annotation."""


def to_annotations(items: Iterable[Item], **options: Unpack[ReportOptions]) -> str:
    """Return a workflow command for each failure, and a warning for what is flaky.

    The arguments are those of `write_report`.
    """
    report = Report.of(items, **options)
    found = [_failure(entry, case) for entry, case in report.failures]
    unseen = [each for each in report.entries if each.item.is_unseen]
    found += [_command("error", each, each.reason) for each in unseen]
    if (more := len(found) - MOST_ANNOTATIONS) > 0:
        found[MOST_ANNOTATIONS:] = [f"::notice::{counted(more, 'failure')} more: see the log"]
    found += map(_flaky, report.flaky[:MOST_ANNOTATIONS])
    return "".join(f"{each}\n" for each in found)


def _failure(entry: Entry, case: Case) -> str:
    test = None if case.is_operation else case.name
    return _command("error", entry, case.error or "no error given", test)


def _flaky(entry: Entry) -> str:
    run = entry.item.earlier[-1]
    tests = run.failures if isinstance(run, Run) else ()
    message = "flaky: it failed, and passed when it ran again"
    return _command("warning", entry, message, tests[0].name if tests else None)


def _command(kind: str, entry: Entry, message: str, test: str | None = None) -> str:
    title = _data(escape(f"{entry.name}: {test}" if test else entry.name))
    lines = [escape(line).rstrip() for line in message.splitlines()]
    text = "\n".join([line for line in lines if line][:MESSAGE_LINES])
    return f"::{kind} title={title.replace(':', '%3A').replace(',', '%2C')}::{_data(text)}"


def _data(text: str) -> str:
    """Return a text as the data of a command, in which nothing else is one."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
