"""JUnit XML as GitHub's actions, GitLab and Jenkins read it; junitparser is the oracle."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
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


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (ITEMS["refused"], 'Error FeatureNotGeneratedError: the service says "Only generated *'),
        (ITEMS["unseen"], "Error ObservationError: run 300 could not be observed: nothing but *"),
        (ITEMS["in flight"], "Error WaitTimeoutError: still running after 2 min 30 s of waiting"),
        (ITEMS["unknown"], "Error DispatchUnknownError: it may have been dispatched: check *"),
        (ITEMS["skipped"], "Error skipped: it was never dispatched: the batch was stopped before"),
        (ITEMS["waiting"], "Error waiting: it is not dispatched yet: the batch is running"),
        (generation_item(), "Failure generation failed: it made no tests; its log says why"),
        (
            run_item(CaseResult("x", "flaky"), status=RunStatus.PASSED),
            "Skipped None: its status is flaky",
        ),
        (
            run_item(CaseResult("x"), status=RunStatus.PASSED),
            "Skipped None: its status is not known",
        ),
    ],
)
def test_other_outcomes(item: Item, words: str) -> None:
    """A dispatch or observation that failed is an error, and so is an unfinished operation."""
    (result,) = case_of(item).result

    said = f"{result.__class__.__name__} {result.type}: {result.message}"
    assert fnmatchcase(said, words)


def test_a_run_that_executed_no_test_is_a_failure() -> None:
    """Beside the tests that were skipped, so that no dashboard is green."""
    skipped, run = suite_of(run_item(CaseResult("x", "skipped"), status=RunStatus.PASSED))

    assert [each.__class__ for each in (*skipped.result, *run.result)] == [Skipped, Failure]
    assert skipped.result[0].message == "it was skipped"
    assert run.result[0].message == "it passed, but executed no test"


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
