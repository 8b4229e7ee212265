"""What all formats show: names, verdicts, reasons, tests, times; how texts and numbers look."""

from datetime import datetime
from fnmatch import fnmatchcase
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve

from tests.surfaces.reports import items as made
from tests.surfaces.reports.items import FAILED, ITEMS, PASSED, Item, at, attempted, run_item
from tests.surfaces.reports.parsed import ctrf_of, junit_of
from testvibe_async import BatchItem, CaseResult, RunStatus, errors
from testvibe_async.errors import UnknownReason
from testvibe_async.models import FeatureStatus, GenerationLog, Section
from testvibe_async.pytest_plugin.features import outcome_of
from testvibe_async.reports import to_html, to_markdown
from testvibe_async.reports.entries import Entry
from testvibe_async.reports.reasons import CaseStatus, why
from testvibe_async.reports.report import Report
from testvibe_async.runner.limit import GenerationLimitError


def entry_of(item: Item, log: GenerationLog | None = None) -> Entry:
    (entry,) = Report.of([item], generation_logs={"a1b2": log} if log else {}).entries
    return entry


HALF = (Section("a", conclusion="success"), Section("b", conclusion="failure"))
SKIPPED = CaseResult("x", "skipped")
KINDS: dict[str, Item] = {
    **ITEMS,
    "two": run_item(PASSED, PASSED),
    "one of two": run_item(PASSED, SKIPPED),
    "nothing executed": run_item(SKIPPED, status=RunStatus.PASSED),
    "aborted": run_item(PASSED, status="aborted"),
    "no reason": run_item(PASSED, status=RunStatus.FAILED),
    "generated": made.generation_item(FeatureStatus.GENERATED),
    "cancelled": made.generation_item(FeatureStatus.CANCELLED),
    "half": made.generation_item(sections=HALF),
    "forgotten": BatchItem(
        feature="x", ref=made.run_ref(), error=errors.OperationNotFoundError("", ref=made.run_ref())
    ),
    "accepted": BatchItem(feature="x", error=made.lost(reason="accepted")),
    "closed": BatchItem(
        feature="x", ref=made.run_ref(9), error=errors.ClientClosedError(ref=made.run_ref(9))
    ),
    "limited": BatchItem(feature="x", error=GenerationLimitError()),
}
WORDS = """
passed: run, succeeded, passed: 1 test passed | | passed
two: run, succeeded, passed: 2 tests passed | | passed
one of two: run, succeeded, passed: 1 of 2 tests passed, 1 skipped | skipped None | skipped
failed: run, failed, failed: 1 of 2 tests failed | failure TimeoutError | failed
no tests: run, failed, passed: the service reports no tests | failure run passed | failed
nothing executed: run, failed, passed: it passed, but executed no * | failure run passed | failed
aborted: run, error, aborted: finished with an undocumented status, 'aborted' | | passed
no reason: run, failed, failed: it did not pass, and none of its * | failure run failed | failed
generated: generation, succeeded, generated: tests generated | | passed
cancelled: generation, failed, cancelled: it was * | failure generation cancelled | failed
half: generation, failed, failed: b: failure | failure generation failed | failed
generation failed: generation, failed, failed: it made no * | failure generation failed | failed
refused: dispatch, error, error: the service says "Only * | error FeatureNotGeneratedError | failed
unseen: run, error, error: run 300 could not be observed: * | error ObservationError | failed
not seen: run, in flight, not seen: not seen since 16:02* | error WaitTimeoutError | failed
in flight: run, in flight, in flight: * 2:30 of waiting | error WaitTimeoutError | failed
generation in flight: generation, in flight, in flight: still * | error in flight | failed
skipped: dispatch, skipped, skipped: it was never dispatched: the * | error skipped | failed
waiting: dispatch, waiting, waiting: it is not dispatched yet: the * | error waiting | failed
unknown: dispatch, unknown, unknown: it may have been * | error DispatchUnknownError | failed
accepted: dispatch, unknown, unknown: it was dispatched: * | error DispatchUnknownError | failed
dropped: dispatch, unknown, unknown: it may have been dispatched* | error unknown | failed
quarantined: run, quarantined, failed: 1 of 2 tests failed; quarantined * | skipped None | other
forgotten: run, error, error: the service does not know it* | error OperationNotFoundError | failed
closed: run, error, error: this client is closed* | error ClientClosedError | failed
limited: dispatch, error, stopped at the limit: not gen* | error GenerationLimitError | failed
"""
"""By name: kind, verdict, status and reason; the last result of JUnit; the last status of CTRF."""


@pytest.mark.parametrize("row", WORDS.strip().splitlines())
def test_an_item_in_words(row: str) -> None:
    """Each item has its kind, verdict, status and reason, and each format the one that fits."""
    name, _, rest = row.partition(": ")
    words, element, status = map(str.strip, rest.split("|"))
    item = KINDS[name]
    entry = entry_of(item)
    assert fnmatchcase(f"{entry.kind}, {item.verdict}, {entry.status}: {entry.reason}", words)

    *_, case = junit_of(item).iter("testcase")
    assert "".join(f"{each.tag} {each.get('type')}" for each in case) == element
    if entry.cases[-1].is_operation:
        assert [each.get("message") for each in case] == [entry.reason] * len(case)
    test = ctrf_of(item)["results"]["tests"][-1]
    assert (test["status"], test["rawStatus"]) == (status, entry.cases[-1].raw_status)


LOST = "it may have started: its dispatch was not acknowledged"


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("absent", f"{LOST}; no trace of it was found, so most likely it did not"),
        ("unseen", LOST),
        ("ambiguous", f"{LOST}; it may be run 12 or run 13"),
        ("accepted", "it was dispatched, but its id is unknown"),
    ],
)
def test_an_unknown_dispatch_says_what_was_found(reason: UnknownReason, said: str) -> None:
    """What was looked for since is in the reason, in other words for each."""
    candidates = (made.run_ref(12), made.run_ref(13)) if reason == "ambiguous" else ()
    assert why(made.lost(reason=reason, candidates=candidates)) == said


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        ("passed", None, CaseStatus.PASSED),
        ("failed", None, CaseStatus.FAILED),
        ("skipped", None, CaseStatus.SKIPPED),
        ("timedOut", "Test timeout", CaseStatus.FAILED),
        ("flaky", None, CaseStatus.OTHER),
        (None, None, CaseStatus.OTHER),
        ("error", "no browser", CaseStatus.FAILED),
        ("skipped", "no browser", CaseStatus.FAILED),
        ("passed", "no browser", CaseStatus.PASSED),
        ("", "", CaseStatus.OTHER),
    ],
)
def test_statuses_that_are_not_documented(
    status: str | None, error: str | None, expected: CaseStatus
) -> None:
    """A test with an undocumented status failed if it has an error, in reports and for pytest."""
    test = CaseResult("x", status, error=error)

    (case, *_) = entry_of(run_item(test, status=RunStatus.PASSED)).cases
    is_plain = expected in {CaseStatus.PASSED, CaseStatus.FAILED}
    assert case.status is expected
    assert outcome_of(case)[0] == (expected if is_plain else "skipped")


@pytest.mark.parametrize(
    ("items", "headline"),
    [
        ([], "no operations yet"),
        ([ITEMS["passed"]], "1 passed"),
        ([ITEMS["passed"]] * 2, "2 passed"),
        ([ITEMS["in flight"], ITEMS["passed"]], "1 passed, 1 in flight"),
        ([ITEMS["waiting"], ITEMS["in flight"]], "1 in flight, 1 waiting"),
        (
            [ITEMS["skipped"], ITEMS["not seen"], ITEMS["in flight"]],
            "1 not seen, 1 in flight, 1 skipped",
        ),
        (
            [KINDS["limited"], ITEMS["refused"], ITEMS["passed"]],
            "1 passed, 1 error, 1 stopped at the limit",
        ),
        (made.every_kind(), "1 passed, 2 failed, 2 errors, 1 in flight, 1 skipped"),
        ([ITEMS["flaky"]], "1 flaky"),
        ([ITEMS["flaky"], ITEMS["failed"]], "1 flaky, 1 failed"),
        ([attempted(run_item(FAILED), run_item(FAILED))], "1 failed"),
        ([ITEMS["unknown"], ITEMS["passed"]], "1 passed, 1 unknown"),
    ],
)
def test_headline(items: list[Item], headline: str) -> None:
    """The headline keeps the kinds of failure apart, and the filters of the page count alike."""
    report = Report.of(items)
    assert report.headline == headline
    others = {"succeeded", "error"}  # They have another word, or a plural.
    counts = [f"{n} {word}" for word, n in report.verdicts.items() if word not in others]
    assert all(each in headline for each in counts)


def test_what_was_left_out_is_counted() -> None:
    """Features that were not selected are in the headline, apart from what was skipped."""
    report = Report.of([ITEMS["passed"]], left_out={"Draft": "without tests (draft)"})
    assert report.headline == "1 passed, 1 left out"


def test_what_is_new_comes_first() -> None:
    """With earlier batches each format names what failed and did not before, before the others."""
    earlier: Any = SimpleNamespace(number=17, started_at=at(0), items=[ITEMS["passed"]])
    items = [run_item(FAILED, feature="Returns"), evolve(run_item(FAILED), name="Login")]
    said = f"newly failing, new since batch 17, {at(0):%Y-%m-%d %H:%M} UTC (passed)"
    history: dict[str, Any] = {"history": [earlier]}
    properties = junit_of(*items, **history).findall(".//property[@name='change']")
    assert [each.get("value") for each in properties] == [said]
    tests = ctrf_of(*items, **history)["results"]["tests"]
    assert [test["extra"].get("change") for test in tests] == [None, said]
    assert [each.name for each in Report.of(items, **history).by_urgency] == ["Login", "Returns"]
    assert said.replace(":", "&#58;") in to_markdown(items, **history).partition("| --- ")[0]
    assert f"<b>Login</b>: {said}" in to_html(items, **history).partition("</header>")[0]
    assert "new since" not in to_html(items)


@pytest.mark.parametrize(
    ("item", "began_at", "queued", "took"),
    [
        (ITEMS["passed"], at(0), 8, 35),
        (made.generation_item(), at(0), None, 170),
        (ITEMS["in flight"], at(0), None, None),
        (ITEMS["refused"], None, None, None),
        # It finished before it started, by two clocks.
        (run_item(PASSED, created_at=at(50), started_at=at(60), finished_at=at(43)), at(50), 10, 0),
        (run_item(PASSED, created_at=None, started_at=None, finished_at=at(20)), at(0), None, 20),
    ],
)
def test_times(
    item: Item, began_at: datetime | None, queued: float | None, took: float | None
) -> None:
    """A run has its own times; without them, and for others, the dispatch is the start."""
    times = entry_of(item).times

    assert (times.began_at, times.queue_seconds, times.seconds) == (began_at, queued, took)
