"""Several attempts of one item, and items of which nobody knows, in every format."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from junitparser.xunit2 import JUnitXml

from tests.conftest import client_of
from tests.surfaces.reports.items import (
    ERROR,
    FAILED,
    ITEMS,
    PASSED,
    Item,
    at,
    attempted,
    every_kind,
    flaky_item,
    run_item,
)
from tests.surfaces.reports.parsed import Node, parsed, rendered
from tests.surfaces.reports.test_ctrf import VALIDATOR
from testvibe_async import CaseResult, Journal, RunStatus, Verdict
from testvibe_async.reports import FORMATS, Format, to_ctrf, to_html, to_junit, to_markdown
from testvibe_async.reports.reasons import CaseStatus
from testvibe_async.reports.report import Report
from testvibe_async.testing import Emulator, Fault

if TYPE_CHECKING:
    from pathlib import Path

    from testvibe_async.reports.entries import Entry

UNNAMED = run_item(run_id=213, status=RunStatus.FAILED)
"""A run that failed without any test."""


def entry_of(item: Item) -> Entry:
    (entry,) = Report.of([item]).entries
    return entry


def junit_cases(item: Item) -> list[Any]:
    xml: Any = JUnitXml.fromstring(to_junit([item]).encode())
    (suite,) = xml
    return list(suite)


def reruns(case: Any, tag: str) -> list[tuple[str | None, str | None, str | None]]:
    """Return message, type and stack trace of the elements of a tag."""
    return [
        (each.get("message"), each.get("type"), each.findtext("stackTrace"))
        for each in case._elem.findall(tag)
    ]


def ctrf_tests(*items: Item) -> Any:
    document = json.loads(to_ctrf(items))
    VALIDATOR.validate(document)
    return document["results"]["tests"]


def operation_of(*items: Item) -> Node:
    return parsed(to_html(items)).all("details", "operation")[0]


def test_the_same_test_of_each_attempt_is_matched_by_its_name() -> None:
    """A test has those of the same name in the attempts before, and is flaky if it failed there."""
    passed, recovered = entry_of(ITEMS["flaky"]).cases

    assert [(each.attempt, each.status) for each in passed.earlier] == [(1, CaseStatus.PASSED)]
    assert [(each.attempt, each.error) for each in recovered.earlier] == [(1, ERROR)]
    assert (passed.is_flaky, recovered.is_flaky) == (False, True)
    assert entry_of(ITEMS["flaky"]).is_flaky


def test_an_item_says_which_attempt_it_was() -> None:
    """The reason names the attempt, and each earlier attempt has its own run, reason and times."""
    entry = entry_of(ITEMS["flaky"])
    (earlier,) = entry.earlier

    assert entry.reason == "2 tests passed (attempt 2)"
    assert (earlier.reason, earlier.verdict) == ("1 of 2 tests failed", Verdict.FAILED)
    assert (earlier.operation, earlier.times.finished_at) == ("run 215", at(43))
    assert entry_of(run_item(PASSED)).reason == "1 test passed"
    assert Report.of([ITEMS["flaky"]]).started_at == at(0)


@pytest.mark.parametrize(
    ("item", "names"),
    [
        (attempted(run_item(PASSED), run_item(FAILED)), [PASSED.name, "run"]),
        (attempted(run_item(PASSED), UNNAMED), [PASSED.name, "run"]),
        (attempted(run_item(), UNNAMED), ["run"]),
        (attempted(ITEMS["in flight"], run_item(PASSED, FAILED)), ["run"]),
        (ITEMS["flaky"], [PASSED.name, FAILED.name]),
        (attempted(run_item(FAILED), UNNAMED), [FAILED.name]),
    ],
)
def test_the_operation_is_a_case_where_no_test_shows_a_failure(
    item: Item, names: list[str]
) -> None:
    """A failure of an earlier attempt that is no test of the last one is shown by the operation."""
    entry = entry_of(item)

    assert [case.name for case in entry.cases] == names
    if "run" in names:
        assert [case.status for case in entry.cases[-1].earlier] == [CaseStatus.FAILED]


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_an_attempt_without_an_outcome_keeps_the_errors_before(form: Format) -> None:
    """The error of a test that failed before the last attempt was lost is in every format."""
    item = attempted(ITEMS["in flight"], run_item(PASSED, FAILED))
    assert "Timeout 5000ms exceeded." in form.render([item])


def test_an_attempt_that_was_not_dispatched() -> None:
    """An item that failed and was stopped before its next attempt does not say it never ran."""
    item = attempted(ITEMS["skipped"], run_item(FAILED))

    expected = "this attempt was never dispatched: the batch was stopped before (attempt 2)"
    assert entry_of(item).reason == expected


def test_junit_counts_what_is_flaky_as_passed() -> None:
    """A test that passed after a failure has a `flakyFailure` with its stack trace, and passed."""
    first, second = junit_cases(ITEMS["flaky"])
    xml: Any = JUnitXml.fromstring(to_junit([ITEMS["flaky"]]).encode())
    (suite,) = xml

    assert reruns(first, "flakyFailure") == []
    message = "TimeoutError: locator.click: Timeout 5000ms exceeded."
    assert reruns(second, "flakyFailure") == [(message, "TimeoutError", ERROR)]
    assert second.is_passed
    assert (xml.tests, xml.failures, xml.errors) == (2, 0, 0)
    properties = {each.name: each.value for each in suite.properties()}
    assert (properties["attempts"], properties["flaky"]) == ("2", "true")


def test_junit_has_the_first_failure_and_its_reruns() -> None:
    """A test that failed in all attempts is one failure, the first, with one rerun for each."""
    errors = ["Error: one", "Error: two", "Error: three"]
    items = [run_item(CaseResult("x", "failed", error=error)) for error in errors]
    (case,) = junit_cases(attempted(items[2], items[0], items[1]))

    (failure,) = case.result
    assert failure.text == "Error: one"
    assert reruns(case, "rerunFailure") == [
        ("Error: two", "Error", "Error: two"),
        ("Error: three", "Error", "Error: three"),
    ]


def test_junit_shows_a_failure_without_tests() -> None:
    """An attempt that failed without tests is a flaky failure of the operation."""
    _, operation = junit_cases(attempted(run_item(PASSED), UNNAMED))

    assert reruns(operation, "flakyFailure") == [
        ("the service reports no tests", "run failed", "the service reports no tests")
    ]
    assert operation.is_passed


def test_ctrf_marks_what_is_flaky() -> None:
    """A test that passed after a failure is flaky, with its retries and the attempts before."""
    first, second = ctrf_tests(ITEMS["flaky"])
    (alone,) = ctrf_tests(run_item(PASSED))
    document = json.loads(to_ctrf([ITEMS["flaky"], run_item(FAILED)]))

    assert ("flaky" in first, first["retries"]) == (False, 1)
    assert (second["status"], second["flaky"], second["retries"]) == ("passed", True, 1)
    attempt_id = second["retryAttempts"][0].pop("attemptId")
    assert attempt_id not in {second["executionId"], first["executionId"]}
    assert second["retryAttempts"] == [
        {
            "attempt": 1,
            "extra": {"runId": "215"},
            "status": "failed",
            "duration": 9120,
            "message": "TimeoutError: locator.click: Timeout 5000ms exceeded.",
            "trace": ERROR,
        }
    ]
    assert not {"flaky", "retries", "retryAttempts"} & alone.keys()
    summary = document["results"]["summary"]
    assert (summary["passed"], summary["failed"], summary["flaky"]) == (2, 1, 1)


def test_markdown_names_what_is_flaky() -> None:
    """A line names what is flaky, its row has a mark of its own, and its failure unfolds."""
    text = to_markdown([run_item(PASSED, feature="Cart"), flaky_item(config="Mobile")])
    (details,) = rendered(text).all("details")

    assert "✅ **All 2 succeeded, 1 flaky**" in text
    assert "3 tests: 3 passed (1 flaky)" in text
    assert "\n🔁 **1 flaky**: Login &#91;Mobile&#93;\n" in text
    assert "| 🔁 | Login | Mobile | flaky&#58; 2 tests passed (attempt 2) | 29&nbsp;s |" in text
    assert "| ✅ | Cart |" in text
    assert "Attempt 1, run 215: 1 of 2 tests failed" in details.text
    assert [pre.text for pre in details.all("pre")] == [f"{ERROR}\n"]


def test_markdown_names_a_few() -> None:
    """Of many flaky items only the first are named."""
    text = to_markdown([flaky_item(feature=f"F{number}") for number in range(12)])

    assert "**12 flaky**: F0, F1, F2, F3, F4, F5, F6, F7, F8, F9 and 2 more\n" in text


def test_the_page_has_a_badge_and_a_filter() -> None:
    """What is flaky has a badge, a filter, a share of its own, and comes before what passed."""
    page = parsed(to_html([run_item(PASSED, feature="Cart"), ITEMS["flaky"]]))
    (header,) = page.all("header")
    first, second = page.all("details", "operation")

    assert [button.text for button in header.all("button")] == ["2 Succeeded", "1 Flaky"]
    assert [b.attributes["data-verdict"] for b in header.all("button")] == ["succeeded", "flaky"]
    assert [rect.attributes["class"] for rect in header.all("rect")] == ["flaky", "succeeded"]
    assert [badge.text for badge in first.all("span", "flaky")] == ["flaky"]
    assert ("data-flaky" in first.attributes, "data-flaky" in second.attributes) == (True, False)
    assert first.attributes["data-verdict"] == "succeeded"
    assert not second.all("span", "flaky")


def test_the_page_lists_the_runs_before() -> None:
    """Each earlier run is listed with its errors, unfolded where the item itself shows none."""
    (attempt,) = operation_of(ITEMS["flaky"]).all("details", "attempt")
    (folded,) = operation_of(attempted(run_item(FAILED), UNNAMED)).all("details", "attempt")

    assert attempt.all("summary")[0].text == (
        "Attempt 1: run 215 failed, 1 of 2 tests failed, 35 s"
    )
    assert [pre.text for pre in attempt.all("pre")] == [ERROR]
    assert "open" in attempt.attributes
    assert "open" not in folded.attributes


def test_the_matrix_says_flaky() -> None:
    """The table of features by configuration says which cell is flaky."""
    page = parsed(to_html([run_item(PASSED, config="Desktop"), flaky_item(config="Mobile")]))

    (link,) = page.all("table")[0].all("a", "flaky")
    assert (link.text, link.attributes["aria-label"]) == (
        "passed, flaky",
        "Login [Mobile]: passed, flaky",
    )


def test_the_timeline_shows_each_attempt() -> None:
    """Each attempt is a bar, with the number of its item."""
    bars = parsed(to_html([ITEMS["flaky"]])).all("svg", "timeline")[0].all("g")

    assert [bar.all("title")[0].text for bar in bars] == [
        "Login, attempt 1: failed, 35 s",
        "Login, attempt 2: passed, 29 s",
    ]
    assert {bar.attributes["data-number"] for bar in bars} == {"1"}


def test_unknown_is_its_own_word() -> None:
    """What may have been dispatched is unknown in every format, and never an ordinary error."""
    entry = entry_of(ITEMS["unknown"])
    (case,) = entry.cases
    (test,) = ctrf_tests(ITEMS["unknown"])
    (pill,) = operation_of(ITEMS["unknown"]).all("span", "pill")

    assert (entry.verdict, entry.status) == (Verdict.UNKNOWN, "unknown")
    assert (case.status, entry.failures) == (CaseStatus.UNKNOWN, (case,))
    assert case.error.endswith("\nit may have started: the answer to its dispatch was lost")
    assert (test["status"], test["rawStatus"]) == ("failed", "unknown")
    assert (pill.text, pill.attributes["class"]) == ("unknown", "pill unknown")
    assert "| ❓ | Refund | unknown&#58; it may have been dispatched" in to_markdown(
        [ITEMS["unknown"]]
    )


async def test_a_dispatch_that_was_dropped_may_have_been_one(tmp_path: Path) -> None:
    """A lost dispatch that was decided to stay unknown is not said to have never been sent."""
    async with Emulator() as emulator, client_of(emulator) as client:
        emulator.fail("run_feature", Fault.lost())
        emulator.fail("list_runs", Fault.status(404))
        async with Journal(tmp_path / "journal.sqlite") as journal:
            await client.project().run_features(["Checkout"], journal=journal)
            await journal.decide("drop")
            (item,) = journal.items

    assert item.verdict is Verdict.SKIPPED
    for form in FORMATS:
        assert "it may have been dispatched" in form.render([item])


def test_reports_of_every_kind_have_no_attempts() -> None:
    """Items with one attempt say nothing of attempts."""
    items = every_kind()
    assert "ttempt" not in to_junit(items) + to_ctrf(items) + to_markdown(items)
    assert Report.of(items).flaky == []
