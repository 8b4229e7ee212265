"""A batch as JUnit XML, the way GitHub's actions, GitLab and Jenkins read it.

Decides which element holds what: one `testsuite` for each item, one `testcase` for each test. There
is no standard, so it never goes beyond what all of them read, and the schema that Jenkins' xUnit
plugin validates against (junit-10.xsd). Attempts are written as Maven Surefire writes reruns
(https://maven.apache.org/surefire/maven-surefire-plugin/examples/rerun-failing-tests.html).
"""

from __future__ import annotations

import re
from datetime import UTC
from typing import TYPE_CHECKING, Unpack
from xml.etree import ElementTree as ET

from testvibe_async._core.util import clean
from testvibe_async.reports.reasons import FORMS, CaseStatus
from testvibe_async.reports.report import Report, ReportOptions
from testvibe_async.reports.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from testvibe_async.reports.entries import Case, Entry, Item


def to_junit(items: Iterable[Item], **options: Unpack[ReportOptions]) -> str:
    """Return a JUnit XML document, for CI systems.

    Each item is a suite, and each test of its run a case. An item without tests is one case. An
    operation that could not be dispatched or observed, may have been dispatched, or is in flight,
    is an `error`, so that no unfinished batch looks green; one that was never dispatched, or failed
    in quarantine, is `skipped`, with the reason. Times are UTC.

    A test that passed after it failed is counted as passed, and has a `flakyFailure` for each
    failure. One that failed in several attempts has its first failure as `failure`, and a
    `rerunFailure` for each other.

    The arguments are those of `write_report`.
    """
    report = Report.of(items, **options)
    root = ET.Element("testsuites", name=report.title)
    root.extend(map(_suite, report.entries))
    _count(root, tests="testcase", failures="failure", errors="error")
    root.set("time", _time(report.seconds))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _count(parent: ET.Element, **tags: str) -> None:
    for name, tag in tags.items():
        parent.set(name, str(sum(1 for _ in parent.iter(tag))))


def _suite(entry: Entry) -> ET.Element:
    suite = ET.Element("testsuite", name=entry.name, time=_time(entry.times.seconds))
    if entry.times.began_at:
        # Of the schemas in use, the strict ones allow neither an offset nor fractions.
        began_at = entry.times.began_at.astimezone(UTC).replace(tzinfo=None, microsecond=0)
        suite.set("timestamp", began_at.isoformat())
    facts = dict(entry.facts)
    if entry.earlier:  # for readers that know no `flakyFailure`
        facts |= {"attempts": str(entry.attempt), "flaky": str(entry.item.is_flaky).lower()}
    if entry.item.quarantine is not None:
        facts |= {"quarantine": one_line(str(entry.item.quarantine))}
    properties = ET.SubElement(suite, "properties")
    for name, value in facts.items():
        ET.SubElement(properties, "property", name=name, value=value)
    suite.extend(_case(entry, case) for case in entry.cases)
    _count(suite, tests="testcase", failures="failure", errors="error", skipped="skipped")
    return suite


def _case(entry: Entry, case: Case) -> ET.Element:
    element = ET.Element("testcase", name=case.name, classname=entry.name, time=_time(case.seconds))
    failures = [each for each in (*case.earlier, case) if each.is_failed]
    # A failed test shows its first failure; the schema has any other result behind the attempts.
    first = [_result(entry, failures.pop(0))] if case.is_failed else []
    last = [] if case.is_failed or case.status is CaseStatus.PASSED else [_result(entry, case)]
    tag = "flakyFailure" if case.status is CaseStatus.PASSED else "rerunFailure"
    element.extend([*first, *(_result(entry, each, tag) for each in failures), *last])
    if output := _output(entry, case):
        ET.SubElement(element, "system-out").text = output
    return element


def _output(entry: Entry, case: Case) -> str:
    """Return the file that shows a failed test, and for the first one the log of the run.

    GitLab and Jenkins' JUnit Attachments plugin look for such a line; GitLab shows one file of a
    test (https://docs.gitlab.com/ci/testing/unit_test_reports). The log stands here, since the
    schema of Surefire has no output of a suite.
    """
    files = entry.files_of(case)[:1]
    attachment = "".join(clean(f"[[ATTACHMENT|{file.as_posix()}]]") for file in files)
    # A run's output must not make a CI system read a file.
    log = entry.log_of(case).replace("[[ATTACHMENT|", "[[ATTACHMENT: ")
    return "\n".join(part for part in (attachment, log) if part)


def _result(entry: Entry, case: Case, rerun: str | None = None) -> ET.Element:
    """Return the element of a result, or of a failed attempt that another one followed."""
    tag = rerun or FORMS[case.status][0] or ""
    is_quarantined = case.status is CaseStatus.QUARANTINED
    result = ET.Element(tag, message=entry.reason if is_quarantined else _message(case))
    if tag != "skipped":
        result.set("type", _type(entry, case))
        text = ET.SubElement(result, "stackTrace") if rerun else result
        text.text = case.error or None
    return result


def _message(case: Case) -> str:
    words = {
        CaseStatus.SKIPPED: "it was skipped",
        CaseStatus.OTHER: f"its status is {case.raw_status or 'not known'}",
    }
    return case.message or words.get(case.status, "no error given")


def _type(entry: Entry, case: Case) -> str:
    """Return the error's class, with which Playwright's errors begin."""
    if case.is_operation:
        if case.is_failed:
            return f"{case.name} {case.raw_status}"
        return type(entry.item.error).__name__ if entry.item.error else case.raw_status
    found = re.match(r"\w{1,80}Error\b|Error\b", case.error)
    return found[0] if found else "failure"


def _time(seconds: float | None) -> str:
    return f"{seconds or 0:.3f}"
