"""Each format as its readers take it: junitparser, two schemas, CTRF's schema and markdown-it."""

import re
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from junitparser.xunit2 import JUnitXml
from xmlschema import XMLSchema, XMLSchemaValidationError

from tests.support.amounts import by_turns
from tests.surfaces.reports import items as made
from tests.surfaces.reports.items import ERROR, FAILED, ITEMS, PASSED, Item, run_item
from tests.surfaces.reports.parsed import ctrf_of, rendered
from testvibe_async import CaseResult
from testvibe_async.reports import to_junit, to_markdown
from testvibe_async.reports.markdown import MAX_BYTES
from testvibe_async.reports.report import Report


def read(xml: str) -> Any:
    """Read a document; junitparser's types are not complete."""
    return JUnitXml.fromstring(xml.encode())


def suite_of(item: Item, *files: str) -> Any:
    (suite,) = read(to_junit([item], artifacts={214: list(map(Path, files))}))
    return suite


def test_a_suite_for_each_run_and_a_case_for_each_test() -> None:
    """A run is a suite with its name and ids, and its tests are cases with their seconds."""
    suite = suite_of(run_item(PASSED, FAILED, site_url="https://shop.example", config="Mobile"))

    assert (suite.name, suite.time) == ("Login [Mobile]", 35)
    assert suite.timestamp == "2026-06-10T16:02:11"
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (2, 1, 0, 0)
    assert [(case.name, case.classname, case.time, case.is_passed) for case in suite] == [
        (PASSED.name, "Login [Mobile]", 4.21, True),
        (FAILED.name, "Login [Mobile]", 9.12, False),
    ]
    properties = {prop.name: prop.value for prop in suite.properties()}
    expected = {"runId": "214", "config": "Mobile", "siteUrl": "https://shop.example"}
    assert properties.items() >= expected.items()


def test_logs_of_junit() -> None:
    """The end of the log is the output of the first failed test, and of a generation's case."""
    run = run_item(FAILED, PASSED, log="\x1b[31mline\x1b[0m\n" * 150)
    suites = read(to_junit([run, made.generation_item()], generation_logs={"a1b2": made.LOG}))
    (first, other), (second,) = suites

    assert other.system_out is None
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
    _, operation = suite_of(made.attempted(run_item(PASSED), ITEMS["failed without tests"]))
    said = "the service reports no tests"
    assert reruns(operation, "flakyFailure") == [(said, "run failed", said)]
    assert operation.is_passed


SHOT, TRACE = "out/screenshots/locked-out-user.png", "out/trace/locked-out-user.zip"


def test_output_of_a_run_is_no_attachment() -> None:
    """A run's log can't name files as attachments."""
    text = to_junit([run_item(FAILED, log="before [[ATTACHMENT|/etc/passwd]] after")])
    assert "[[ATTACHMENT|" not in text
    assert "/etc/passwd" in text


HERE = Path(__file__).parent


@cache
def schema(name: str) -> XMLSchema:
    """Return what Jenkins' xUnit plugin or Maven Surefire accepts; see there."""
    return XMLSchema(HERE / f"junit-{name}.xsd", allow="local")


def validate(xml: str) -> None:
    """Check a report against both schemas."""
    schema("jenkins").validate(xml)
    for suite in ET.fromstring(xml):  # noqa: S314 - ours
        # A file of Surefire is one suite, and has no time of its begin, which all readers know.
        suite.attrib.pop("timestamp", None)
        schema("surefire").validate(suite)


LATER: dict[str, Item] = {
    **{kind: item for kind, item in ITEMS.items() if not item.earlier},
    "skipped test": run_item(CaseResult(FAILED.name, "skipped"), run_id=215),
    "another word": run_item(CaseResult(FAILED.name, "interrupted"), run_id=215),
}


@pytest.mark.parametrize(("later", "count"), by_turns([*LATER], [0, 1, 2]))
def test_reports_are_valid(later: str, count: int) -> None:
    """Whatever follows attempts that failed, the elements and their order are those of both."""
    item = made.attempted(LATER[later], *[run_item(FAILED, PASSED)] * count)
    files = {run_id: [Path("a.zip")] for run_id in (214, 215)}
    validate(
        to_junit([item, *made.every_kind()], artifacts=files, generation_logs={"a1b2": made.LOG})
    )


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
            schema("jenkins").validate(wrong)
    (_, suite) = ET.fromstring(xml)  # noqa: S314 - written above
    with pytest.raises(XMLSchemaValidationError, match="timestamp"):
        schema("surefire").validate(suite)


MESSAGE = ERROR.partition("\n")[0]


def cases_in(*items: Item, **options: Any) -> list[dict[str, Any]]:
    tests: list[dict[str, Any]] = ctrf_of(*items, **options)["results"]["tests"]
    return tests


def test_a_test_of_ctrf() -> None:
    """A test has its suite, duration, message, trace and the log's lines, and no times."""
    item = run_item(PASSED, FAILED, config="Mobile", log="one\ntwo")
    (_, test) = cases_in(item)

    assert test.pop("testId") != test.pop("executionId")
    assert test == {
        "name": "Locked-out user sees an error",
        "status": "failed",
        "duration": 9120,
        "suite": ["Login [Mobile]"],
        "message": MESSAGE,
        "trace": ERROR,
        "rawStatus": "failed",
        "type": "e2e",
        "stdout": ["one", "two"],
        "extra": {"verdict": "failed", **Report.of([item]).entries[0].facts},
    }


def test_a_batch() -> None:
    """The outcome comes first, then a table with failures first, then each failure to unfold."""
    text = to_markdown(made.every_kind(), title="Nightly", generation_logs={"a1b2": made.LOG})

    assert text.startswith(
        "## Nightly\n\n"
        "❌ **1 passed, 2 failed, 2 errors, 1 in flight, 1 skipped**\n\n"
        "3 tests: 2 passed, 1 failed · 2:50\n\n"
        "|  | Feature | Config | Result | Time |\n"
        "| --- | --- | --- | --- | ---: |\n"
        "| ❌ | Login | Mobile | 1 of 2 tests failed | 35&nbsp;s |\n"
    )
    assert text.count("\n| ") == 9
    assert text.count("<details>") == 4
    assert "| ⏭️ | Newsletter |  | skipped&#58; it was never dispatched" in text


def test_markdown_names_what_is_flaky() -> None:
    """A line names what is flaky, its row has a mark of its own, and its failure unfolds."""
    text = to_markdown([run_item(PASSED, feature="Cart"), made.flaky_item(config="Mobile")])
    many = to_markdown([made.flaky_item(feature=f"F{number}") for number in range(12)])
    (details,) = rendered(text).all("details")

    assert "✅ **1 passed, 1 flaky**" in text
    assert "3 tests: 3 passed (1 flaky)" in text
    assert "\n🔁 **1 flaky**: Login &#91;Mobile&#93;\n" in text
    assert "| 🔁 | Login | Mobile | flaky&#58; 2 tests passed (attempt 2) | 29&nbsp;s |" in text
    assert "| ✅ | Cart |" in text
    assert "Attempt 1, run 215: 1 of 2 tests failed" in details.text
    assert [pre.text for pre in details.all("pre")] == [f"{ERROR}\n"]
    assert "**12 flaky**: F0, F1, F2, F3, F4, F5, F6, F7, F8, F9 and 2 more\n" in many


def test_it_stays_below_the_limit() -> None:
    """Rows and details beyond the limit are left out from the end, and counted."""
    bad = [run_item(CaseResult("x", "failed", error="e" * 900), run_id=n) for n in range(50)]
    good = [run_item(PASSED, run_id=n, feature="é" * 40) for n in range(100, 600)]

    text = to_markdown([*bad, *good], max_bytes=20_000)

    rows, details = text.count("\n| ") - 2, text.count("<details>")
    assert 15_000 < len(text.encode()) <= 20_000
    assert MAX_BYTES < 2**20  # GitHub's limit of a step
    assert 50 < rows < 550
    assert 3 < details < 50
    assert f"The rows of {550 - rows:,} more are left out here." in text
    assert f"The details of {50 - details} more are left out here." in text
