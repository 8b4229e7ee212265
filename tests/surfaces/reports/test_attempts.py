"""Several attempts of one item, and items whose dispatch is unknown, in every format."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from junitparser.xunit2 import JUnitXml

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
from tests.surfaces.reports.parsed import parsed, rendered
from tests.surfaces.reports.test_ctrf import cases_in, ctrf_of
from testvibe_async import CaseResult, Verdict
from testvibe_async.reports import to_ctrf, to_html, to_junit, to_markdown
from testvibe_async.reports.files import FORMATS, Format
from testvibe_async.reports.reasons import CaseStatus
from testvibe_async.reports.report import Report

if TYPE_CHECKING:
    from testvibe_async.reports.entries import Entry

FLAKY, UNKNOWN = ITEMS["flaky"], ITEMS["unknown"]
UNNAMED = ITEMS["failed without tests"]
MESSAGE = "TimeoutError: locator.click: Timeout 5000ms exceeded."


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


def test_the_same_test_of_each_attempt_is_matched_by_its_name() -> None:
    """A test has its like in the attempts before, and is flaky if that failed."""
    passed, recovered = entry_of(FLAKY).cases

    assert [(each.attempt, each.status) for each in passed.earlier] == [(1, CaseStatus.PASSED)]
    assert [(each.attempt, each.error) for each in recovered.earlier] == [(1, ERROR)]
    assert (passed.is_flaky, recovered.is_flaky) == (False, True)


def test_an_item_says_which_attempt_it_was() -> None:
    """The reason names the attempt, and each earlier attempt has its own run, reason and times."""
    entry = entry_of(FLAKY)
    (earlier,) = entry.earlier

    assert entry.is_flaky
    assert entry.reason == "2 tests passed (attempt 2)"
    assert (earlier.reason, earlier.verdict) == ("1 of 2 tests failed", Verdict.FAILED)
    assert (earlier.operation, earlier.times.finished_at) == ("run 215", at(43))
    stopped = entry_of(attempted(ITEMS["skipped"], run_item(FAILED)))
    said = "this attempt was never dispatched: the batch was stopped before (attempt 2)"
    assert stopped.reason == said


@pytest.mark.parametrize(
    ("item", "names"),
    [
        (attempted(run_item(PASSED), run_item(FAILED)), [PASSED.name, "run"]),
        (attempted(run_item(PASSED), UNNAMED), [PASSED.name, "run"]),
        (attempted(run_item(), UNNAMED), ["run"]),
        (attempted(ITEMS["in flight"], run_item(PASSED, FAILED)), ["run"]),
        (FLAKY, [PASSED.name, FAILED.name]),
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
def test_each_format_keeps_what_is_known(form: Format) -> None:
    """The errors before an attempt without an outcome are shown, and what may have started."""
    item = attempted(ITEMS["in flight"], run_item(PASSED, FAILED))
    assert "Timeout 5000ms exceeded." in form.render([item])
    for kind in ("unknown", "dropped"):
        assert "may have been dispatched" in form.render([ITEMS[kind]])


def test_junit_counts_what_is_flaky_as_passed() -> None:
    """A test that passed after a failure has a `flakyFailure` with its stack trace, and passed."""
    first, second = junit_cases(FLAKY)
    xml: Any = JUnitXml.fromstring(to_junit([FLAKY]).encode())
    (suite,) = xml

    assert reruns(first, "flakyFailure") == []
    assert reruns(second, "flakyFailure") == [(MESSAGE, "TimeoutError", ERROR)]
    assert second.is_passed
    assert (xml.tests, xml.failures, xml.errors) == (2, 0, 0)
    properties = {each.name: each.value for each in suite.properties()}
    assert (properties["attempts"], properties["flaky"]) == ("2", "true")
    _, operation = junit_cases(attempted(run_item(PASSED), UNNAMED))
    said = "the service reports no tests"
    assert reruns(operation, "flakyFailure") == [(said, "run failed", said)]
    assert operation.is_passed


def test_junit_has_the_first_failure_and_its_reruns() -> None:
    """A test that failed in all attempts is one failure, the first, with one rerun for each."""
    errors = ["Error: one", "Error: two", "Error: three"]
    items = [run_item(CaseResult("x", "failed", error=error)) for error in errors]
    (case,) = junit_cases(attempted(items[2], items[0], items[1]))

    (failure,) = case.result
    assert failure.text == errors[0]
    assert reruns(case, "rerunFailure") == [(error, "Error", error) for error in errors[1:]]


def test_ctrf_marks_what_is_flaky() -> None:
    """A test that passed after a failure is flaky, with its retries and the attempts before."""
    first, second = cases_in(FLAKY)
    (alone,) = cases_in(run_item(PASSED))
    summary = ctrf_of([FLAKY, run_item(FAILED)])["results"]["summary"]

    assert ("flaky" in first, first["retries"]) == (False, 1)
    assert (second["status"], second["flaky"], second["retries"]) == ("passed", True, 1)
    (attempt,) = second["retryAttempts"]
    assert attempt.pop("attemptId") not in {second["executionId"], first["executionId"]}
    failure = {"status": "failed", "duration": 9120, "message": MESSAGE, "trace": ERROR}
    assert attempt == {"attempt": 1, "extra": {"runId": "215"}, **failure}
    assert not {"flaky", "retries", "retryAttempts"} & alone.keys()
    assert (summary["passed"], summary["failed"], summary["flaky"]) == (2, 1, 1)


def test_markdown_names_what_is_flaky() -> None:
    """A line names what is flaky, its row has a mark of its own, and its failure unfolds."""
    text = to_markdown([run_item(PASSED, feature="Cart"), flaky_item(config="Mobile")])
    many = to_markdown([flaky_item(feature=f"F{number}") for number in range(12)])
    (details,) = rendered(text).all("details")

    assert "✅ **All 2 succeeded, 1 flaky**" in text
    assert "3 tests: 3 passed (1 flaky)" in text
    assert "\n🔁 **1 flaky**: Login &#91;Mobile&#93;\n" in text
    assert "| 🔁 | Login | Mobile | flaky&#58; 2 tests passed (attempt 2) | 29&nbsp;s |" in text
    assert "| ✅ | Cart |" in text
    assert "Attempt 1, run 215: 1 of 2 tests failed" in details.text
    assert [pre.text for pre in details.all("pre")] == [f"{ERROR}\n"]
    assert "**12 flaky**: F0, F1, F2, F3, F4, F5, F6, F7, F8, F9 and 2 more\n" in many


def test_the_page_has_a_badge_and_a_filter() -> None:
    """What is flaky has a badge, a filter, a share of its own, and comes before what passed."""
    items = [run_item(PASSED, feature="Cart", config="Desktop"), flaky_item(config="Mobile")]
    page = parsed(to_html(items))
    (header,) = page.all("header")
    first, second = page.all("details", "operation")

    assert [button.text for button in header.all("button")] == ["2 Succeeded", "1 Flaky"]
    assert [b.attributes["data-verdict"] for b in header.all("button")] == ["succeeded", "flaky"]
    shares = [(rect.attributes["class"], rect.attributes["x"]) for rect in header.all("rect")]
    assert shares == [("flaky", "0.000%"), ("succeeded", "50.000%")]
    assert [badge.text for badge in first.all("span", "flaky")] == ["flaky"]
    assert ("data-flaky" in first.attributes, "data-flaky" in second.attributes) == (True, False)
    assert first.attributes["data-verdict"] == "succeeded"
    assert not second.all("span", "flaky")
    (link,) = page.all("table")[0].all("a", "flaky")
    assert link.text == "passed, flaky"
    assert link.attributes["aria-label"] == "Login [Mobile]: passed, flaky"


def test_the_page_lists_the_runs_before() -> None:
    """Each earlier run is listed with its errors, unfolded where the item itself shows none."""
    page = parsed(to_html([FLAKY, attempted(run_item(FAILED), UNNAMED)]))
    folded, attempt = page.all("details", "attempt")
    bars = page.all("svg", "timeline")[0].all("g")

    said = "Attempt 1: run 215 failed, 1 of 2 tests failed, 35 s"
    assert attempt.all("summary")[0].text == said
    assert [pre.text for pre in attempt.all("pre")] == [ERROR]
    assert ("open" in attempt.attributes, "open" in folded.attributes) == (True, False)
    titles = {bar.all("title")[0].text for bar in bars if bar.attributes["data-number"] == "1"}
    assert titles == {"Login, attempt 1: failed, 35 s", "Login, attempt 2: passed, 29 s"}


def test_unknown_is_its_own_word() -> None:
    """What may have been dispatched is unknown in every format, and never an ordinary error."""
    entry = entry_of(UNKNOWN)
    (case,) = entry.cases
    (pill,) = parsed(to_html([UNKNOWN])).all("span", "pill")

    assert (case.status, entry.failures) == (CaseStatus.UNKNOWN, (case,))
    assert case.error.endswith("\nit may have started: the answer to its dispatch was lost")
    assert (pill.text, pill.attributes["class"]) == ("unknown", "pill unknown")
    assert "| ❓ | Refund | unknown&#58; it may have been dispatched" in to_markdown([UNKNOWN])


def test_reports_of_every_kind_have_no_attempts() -> None:
    """Items with one attempt say nothing of attempts."""
    items = every_kind()
    text = to_junit(items) + to_ctrf(items) + to_markdown(items)
    assert "ttempt" not in text + json.dumps(cases_in(*items))
    assert Report.of(items).flaky == []
