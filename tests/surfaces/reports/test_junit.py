"""JUnit XML as GitHub's actions, GitLab and Jenkins read it; junitparser is the oracle."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from junitparser import Failure, Skipped
from junitparser.xunit2 import JUnitXml
from xmlschema import XMLSchema, XMLSchemaValidationError

from tests.surfaces.reports.items import (
    ERROR,
    FAILED,
    ITEMS,
    LOG,
    PASSED,
    Item,
    at,
    attempted,
    every_kind,
    generation_item,
    run_item,
)
from testvibe_async import CaseResult, RunStatus
from testvibe_async.reports import to_junit


def read(xml: str) -> Any:
    """Read a document; junitparser's types are not complete."""
    return JUnitXml.fromstring(xml.encode())


def suite_of(item: Item, *files: str) -> Any:
    (suite,) = read(to_junit([item], artifacts={214: list(map(Path, files))}))
    return suite


def case_of(item: Item) -> Any:
    (case,) = suite_of(item)
    return case


def test_a_suite_for_each_run_and_a_case_for_each_test() -> None:
    """A run is a suite with its name and ids, and its tests are cases with their seconds."""
    suite = suite_of(run_item(PASSED, FAILED, site_url="https://shop.example", config="Mobile"))

    assert (suite.name, suite.time) == ("Login [Mobile]", 35)
    assert suite.timestamp == "2026-06-10T16:02:11"
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (2, 1, 0, 0)
    assert [(case.name, case.classname, case.time) for case in suite] == [
        ("Valid user signs in", "Login [Mobile]", 4.21),
        ("Locked-out user sees an error", "Login [Mobile]", 9.12),
    ]
    assert next(iter(suite)).is_passed
    properties = {prop.name: prop.value for prop in suite.properties()}
    expected = {"runId": "214", "config": "Mobile", "siteUrl": "https://shop.example"}
    assert properties.items() >= expected.items()


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ERROR, "TimeoutError", "TimeoutError: locator.click: Timeout 5000ms exceeded."),
        ("Error: expect(locator) failed", "Error", "Error: expect(locator) failed"),
        ("expect(locator) failed", "failure", "expect(locator) failed"),
        (None, "failure", "no error given"),
    ],
)
def test_a_failure(error: str | None, kind: str, message: str) -> None:
    """It has the first line as its message, the class that the error begins with, and the text."""
    (failure,) = case_of(run_item(CaseResult("x", "failed", error=error))).result

    assert failure.__class__ is Failure
    assert (failure.type, failure.message, failure.text) == (kind, message, error)


@pytest.mark.parametrize(("status", "said"), [("flaky", "flaky"), (None, "not known")])
def test_another_status_is_skipped(status: str | None, said: str) -> None:
    """A test whose status is not documented is neither passed nor failed."""
    (result,) = case_of(run_item(CaseResult("x", status), status=RunStatus.PASSED)).result
    assert (result.__class__, result.message) == (Skipped, f"its status is {said}")


def test_totals() -> None:
    """The root has the totals of all suites, and the time of the whole batch."""
    xml = read(to_junit(every_kind(), title="Nightly", started_at=at(0), finished_at=at(200)))

    assert (xml.name, xml.tests, xml.failures, xml.errors, xml.time) == ("Nightly", 8, 2, 3, 200)
    assert [suite.skipped for suite in xml] == [0, 0, 0, 0, 0, 0, 1]
    assert list(read(to_junit([]))) == []


def test_logs() -> None:
    """The end of the log is the output of the first failed test, and of a generation's case."""
    run = run_item(FAILED, log="\x1b[31mline\x1b[0m\n" * 150)
    suites = read(to_junit([run, generation_item()], generation_logs={"a1b2": LOG}))
    first, second = (next(iter(suite)) for suite in suites)

    assert first.system_out == "… 50 earlier lines left out …\n" + "line\n" * 99 + "line"
    assert "Verification: 0/1 passed" in second.system_out


def reruns(case: Any, tag: str) -> list[tuple[str | None, str | None, str | None]]:
    """Return message, type and stack trace of the elements of a tag."""
    return [
        (each.get("message"), each.get("type"), each.findtext("stackTrace"))
        for each in case._elem.findall(tag)
    ]


def test_junit_counts_what_is_flaky_as_passed() -> None:
    """A test that passed after a failure has a `flakyFailure` with its stack trace, and passed."""
    xml = read(to_junit([ITEMS["flaky"]]))
    (suite,) = xml
    first, second = suite

    assert reruns(first, "flakyFailure") == []
    assert reruns(second, "flakyFailure") == [(ERROR.partition("\n")[0], "TimeoutError", ERROR)]
    assert second.is_passed
    assert (xml.tests, xml.failures, xml.errors) == (2, 0, 0)
    properties = {each.name: each.value for each in suite.properties()}
    assert (properties["attempts"], properties["flaky"]) == ("2", "true")
    _, operation = suite_of(attempted(run_item(PASSED), ITEMS["failed without tests"]))
    said = "the service reports no tests"
    assert reruns(operation, "flakyFailure") == [(said, "run failed", said)]
    assert operation.is_passed


def test_junit_has_the_first_failure_and_its_reruns() -> None:
    """A test that failed in all attempts is one failure, the first, with one rerun for each."""
    errors = ["Error: one", "Error: two", "Error: three"]
    items = [run_item(CaseResult("x", "failed", error=error)) for error in errors]
    (case,) = suite_of(attempted(items[2], items[0], items[1]))

    (failure,) = case.result
    assert failure.text == errors[0]
    assert reruns(case, "rerunFailure") == [(error, "Error", error) for error in errors[1:]]


SHOT, TRACE = "out/screenshots/locked-out-user.png", "out/trace/locked-out-user.zip"
OTHER = CaseResult("Empty cart", "failed", error="Error: x")
THIRD = CaseResult("Third", "failed", error="Error: x")


@pytest.mark.parametrize(
    ("tests", "files", "expected"),
    [
        (
            (PASSED, FAILED, OTHER, THIRD),
            (TRACE, SHOT, "out/trace/empty-cart.zip"),
            [None, SHOT, "out/trace/empty-cart.zip", None],
        ),
        ((PASSED, FAILED), ("out/a.zip", "out/b.png"), [None, "out/b.png"]),
        ((PASSED, FAILED), ("out/a.webm", "out/b.zip"), [None, "out/b.zip"]),
        ((PASSED, PASSED), ("a.zip",), ["a.zip", None]),
    ],
    ids=["by its name", "of the only failure", "the most informative", "of a run that passed"],
)
def test_each_failed_test_has_one_attachment(
    tests: tuple[CaseResult, ...], files: tuple[str, ...], expected: list[str | None]
) -> None:
    """GitLab shows one file of a test: the screenshot of its name, else a trace."""
    outputs = [case.system_out for case in suite_of(run_item(*tests), *files)]
    assert outputs == [each and f"[[ATTACHMENT|{each}]]" for each in expected]


def test_output_of_a_run_is_no_attachment() -> None:
    """A run's log can't name files as attachments."""
    text = to_junit([run_item(FAILED, log="before [[ATTACHMENT|/etc/passwd]] after")])
    assert "[[ATTACHMENT|" not in text
    assert "/etc/passwd" in text


HERE = Path(__file__).parent

JENKINS, SUREFIRE = (
    XMLSchema(HERE / f"junit-{name}.xsd", allow="local") for name in ("jenkins", "surefire")
)
"""What Jenkins' xUnit plugin and Maven Surefire accept; see there."""


def validate(xml: str) -> None:
    """Check a report against both schemas."""
    JENKINS.validate(xml)
    for suite in ET.fromstring(xml):  # noqa: S314 - ours
        # A file of Surefire is one suite, and has no time of its begin, which all readers know.
        suite.attrib.pop("timestamp", None)
        SUREFIRE.validate(suite)


LATER: dict[str, Item] = {
    **{kind: item for kind, item in ITEMS.items() if not item.earlier},
    "skipped test": run_item(CaseResult(FAILED.name, "skipped"), run_id=215),
    "another word": run_item(CaseResult(FAILED.name, "interrupted"), run_id=215),
}


@pytest.mark.parametrize("later", LATER.values(), ids=LATER)
@pytest.mark.parametrize("count", [0, 1, 2])
def test_reports_are_valid(later: Item, count: int) -> None:
    """Whatever follows attempts that failed, the elements and their order are those of both."""
    item = attempted(later, *[run_item(FAILED, PASSED)] * count)
    files = {run_id: [Path("a.zip")] for run_id in (214, 215)}
    validate(to_junit([item, *every_kind()], artifacts=files, generation_logs={"a1b2": LOG}))


@pytest.mark.parametrize("seconds", [0.0004, 59.9999, 1234.5, 1_000_000.25])
def test_times_are_valid(seconds: float) -> None:
    """Any duration has a form that both read."""
    test = CaseResult("x", "passed", int(seconds * 1000))
    validate(to_junit([run_item(test, finished_at=at(seconds))]))


def test_schemas_refuse() -> None:
    """They would not take what they should not: an attribute, an order, a time."""
    xml = to_junit([ITEMS["flaky"], run_item(FAILED)])
    for wrong in (
        xml.replace('<failure message="', '<failure line="1" message="'),
        xml.replace('<testsuites name="', '<testsuites skipped="0" name="'),
        re.sub(r' time="[\d.]+"', ' time="soon"', xml),
        xml.replace("flakyFailure", "flakyWarning"),
    ):
        assert wrong != xml
        with pytest.raises(XMLSchemaValidationError):
            JENKINS.validate(wrong)
    (_, suite) = ET.fromstring(xml)  # noqa: S314 - written above
    with pytest.raises(XMLSchemaValidationError, match="timestamp"):
        SUREFIRE.validate(suite)
