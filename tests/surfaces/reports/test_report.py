"""What all formats show: names, verdicts, reasons, tests, times."""

from __future__ import annotations

from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import pytest

from tests.surfaces.reports.items import (
    FAILED,
    LOG,
    PASSED,
    Item,
    at,
    attempted,
    every_kind,
    flaky_item,
    generation_item,
    generation_ref,
    in_flight_item,
    refused_item,
    run_item,
    run_ref,
    skipped_item,
    unknown_item,
    unseen_item,
    waiting_item,
)
from testvibe_async import (
    BatchItem,
    CaseResult,
    ClientClosedError,
    ConfigError,
    DispatchUnknownError,
    FeatureStatus,
    GenerationLog,
    RunRef,
    RunStatus,
    WaitTimeoutError,
)
from testvibe_async.models import Section
from testvibe_async.pytest_plugin.features import outcome_of
from testvibe_async.reports import ReportOptions
from testvibe_async.reports.reasons import CaseStatus, why
from testvibe_async.reports.report import Report

if TYPE_CHECKING:
    from testvibe_async.errors import UnknownReason
    from testvibe_async.reports.entries import Entry


def entry_of(item: Item, log: GenerationLog | None = None) -> Entry:
    (entry,) = Report.of([item], generation_logs={"a1b2": log} if log else {}).entries
    return entry


NOT_SEEN = BatchItem[Any](
    feature="Wishlist",
    ref=run_ref(),
    error=WaitTimeoutError(
        ref=run_ref(), status="running", elapsed=60, last_seen_at=at(3), failures=2
    ),
)
DROPPED = BatchItem[Any](feature="Refund", is_dropped=True)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (run_item(PASSED), "run, succeeded, passed: 1 test passed"),
        (run_item(PASSED, PASSED), "run, succeeded, passed: 2 tests passed"),
        (
            run_item(PASSED, CaseResult("x", "skipped")),
            "run, succeeded, passed: 1 of 2 tests passed, 1 skipped",
        ),
        (run_item(PASSED, FAILED), "run, failed, failed: 1 of 2 tests failed"),
        (run_item(), "run, failed, passed: the service reports no tests"),
        (
            run_item(PASSED, status="aborted"),
            "run, error, aborted: over with an undocumented status, 'aborted'",
        ),
        (
            run_item(PASSED, status=RunStatus.FAILED),
            "run, failed, failed: it did not pass, and none of its tests says why",
        ),
        (
            generation_item(FeatureStatus.GENERATED),
            "generation, succeeded, generated: tests generated",
        ),
        (
            generation_item(FeatureStatus.CANCELLED),
            "generation, failed, cancelled: it was cancelled",
        ),
        (
            generation_item(
                sections=(Section("a", conclusion="success"), Section("b", conclusion="failure"))
            ),
            "generation, failed, failed: b: failure",
        ),
        (generation_item(), "generation, failed, failed: it made no tests; its log says why"),
        (
            refused_item(),
            'dispatch, error, error: the service says "Only generated features can run."*',
        ),
        (
            unseen_item(),
            "run, error, error: run 300 could not be observed: nothing but 503 for 300 s",
        ),
        (NOT_SEEN, "run, error, not seen: not seen since 16:02:14 UTC, running then"),
        (in_flight_item(), "run, in flight, in flight: still running after 2 min 30 s of waiting"),
        (
            BatchItem(feature="x", ref=generation_ref()),
            "generation, in flight, in flight: it is still running",
        ),
        (
            skipped_item(),
            "dispatch, skipped, skipped: it was never dispatched: the batch was stopped before",
        ),
        (
            waiting_item(),
            "dispatch, waiting, waiting: it is not dispatched yet: the batch is running",
        ),
        (
            unknown_item(),
            "dispatch, unknown, unknown: it may have been dispatched: check at the service *",
        ),
        (
            DROPPED,
            "dispatch, skipped, skipped: it may have been dispatched*",
        ),
    ],
)
def test_an_item_in_words(item: Item, words: str) -> None:
    """Each item has its kind, its verdict, its status and the reason."""
    entry = entry_of(item)

    said = f"{entry.kind}, {entry.verdict}, {entry.status}: {entry.reason}"
    assert fnmatchcase(said, words)


def test_a_generation_log_says_why() -> None:
    """The reasons are those of the sections that failed, where there is a log."""
    entry = entry_of(generation_item(), LOG)

    assert entry.reason == 'Expired card: "Tests did not pass verification"'
    assert entry.log == (
        "Expired card:\nExploring…\nVerification: 0/1 passed\n\nuntitled:\nNothing to do"
    )


def test_the_tests_of_a_run() -> None:
    """Tests keep their order, name, time and error, without colours."""
    coloured = CaseResult("a\nb", "failed", 1500, "\x1b[31mError: no\x1b[0m\nmore")
    entry = entry_of(run_item(PASSED, coloured))

    assert [(c.name, c.status, c.seconds) for c in entry.cases] == [
        ("Valid user signs in", CaseStatus.PASSED, 4.21),
        ("a b", CaseStatus.FAILED, 1.5),
    ]
    assert entry.cases[1].error == "Error: no\nmore"
    assert entry.cases[1].message == "Error: no"
    assert entry.failures == entry.cases[1:]


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


@pytest.mark.parametrize("duration_ms", [None, float("nan"), float("inf"), -1.0])
def test_what_is_no_duration(duration_ms: float | None) -> None:
    """A number that can't be a duration is as good as none."""
    assert entry_of(run_item(CaseResult("x", "passed", duration_ms))).cases[0].seconds is None


@pytest.mark.parametrize(
    ("item", "name", "status"),
    [
        (run_item(), "run", CaseStatus.FAILED),
        (generation_item(), "generation", CaseStatus.FAILED),
        (refused_item(), "dispatch", CaseStatus.ERROR),
        (in_flight_item(), "run", CaseStatus.PENDING),
        (skipped_item(), "dispatch", CaseStatus.ERROR),
        (waiting_item(), "dispatch", CaseStatus.PENDING),
    ],
)
def test_an_item_without_tests_is_one(item: Item, name: str, status: CaseStatus) -> None:
    """An item without tests is one test, so that no format leaves it out."""
    (case,) = entry_of(item).cases

    assert (case.name, case.status, case.is_operation) == (name, status, True)


def test_a_failed_run_of_passed_tests_has_a_failure() -> None:
    """A failed run has a failure, even if all its tests passed."""
    entry = entry_of(run_item(PASSED, status=RunStatus.FAILED))

    assert [case.status for case in entry.cases] == [CaseStatus.PASSED, CaseStatus.FAILED]
    assert entry.failures[0].error == "it did not pass, and none of its tests says why"


def test_times() -> None:
    """A run has its own times; a generation and a run in flight have that of their dispatch."""
    run, generation = entry_of(run_item(PASSED)).times, entry_of(generation_item()).times

    assert (run.began_at, run.queue_seconds, run.seconds) == (at(0), 8, 35)
    assert (generation.began_at, generation.queue_seconds, generation.seconds) == (at(0), None, 170)
    assert entry_of(in_flight_item()).times.began_at == at(0)
    assert entry_of(refused_item()).times.began_at is None


def test_clocks_that_differ() -> None:
    """A run that finished before it started, by two clocks, took no time."""
    item = run_item(PASSED, created_at=at(50), started_at=at(60), finished_at=at(43))

    assert entry_of(item).times.seconds == 0


def test_a_run_without_times_was_dispatched() -> None:
    """The dispatch is the start of a run whose times the service does not report."""
    item = run_item(PASSED, created_at=None, started_at=None, finished_at=at(20))

    assert entry_of(item).times.seconds == 20


def test_names_tell_items_apart() -> None:
    """Names include a configuration other than the default, and a number where they repeat."""
    items = [
        run_item(PASSED, config="Mobile"),
        run_item(PASSED, config="Default"),
        run_item(PASSED),
        refused_item("Login"),
        run_item(PASSED, feature=" \n"),
        run_item(PASSED, feature="Login (2)"),
    ]

    names = [entry.name for entry in Report.of(items).entries]

    assert names == [
        "Login [Mobile]",
        "Login",
        "Login (2)",
        "Login (3)",
        "(no name)",
        "Login (2) (2)",
    ]


def test_facts() -> None:
    """Facts identify an item under the service's names."""
    assert entry_of(run_item(PASSED, site_url="https://shop.example")).facts == {
        "runId": "214",
        "featureId": "12",
        "config": "Default",
        "siteUrl": "https://shop.example",
        "project": "p-1",
        "server": "https://testvibe.example",
    }
    assert entry_of(generation_item()).facts["requestId"] == "a1b2"
    assert entry_of(refused_item()).facts == {}


def test_shared_facts() -> None:
    """Shared facts are those that are the same for all items."""
    items = [run_item(PASSED, site_url=f"https://{name}.example") for name in "ab"]

    assert Report.of([*items, refused_item()]).shared_facts == {
        "project": "p-1",
        "server": "https://testvibe.example",
    }


def test_files_and_logs_find_their_items() -> None:
    """Artifacts are found by run id, and logs by request id, also for items without an outcome."""
    zip_, png = Path("a.zip"), Path("b.png")
    items = [run_item(PASSED), unseen_item(), BatchItem(feature="x", ref=generation_ref())]

    report = Report.of(items, artifacts={214: [zip_], 300: [png]}, generation_logs={"a1b2": LOG})

    assert [entry.files for entry in report.entries] == [(zip_,), (png,), ()]
    assert "Exploring…" in report.entries[2].log


@pytest.mark.parametrize(
    ("items", "headline"),
    [
        ([], "Nothing was asked for"),
        ([run_item(PASSED)], "It succeeded"),
        ([run_item(PASSED)] * 2, "All 2 succeeded"),
        ([in_flight_item(), run_item(PASSED)], "1 of 2 in flight"),
        ([waiting_item(), in_flight_item()], "1 of 2 in flight, 1 waiting"),
        (every_kind(), "2 of 7 failed, 2 in error, 1 in flight, 1 skipped"),
        ([flaky_item()], "It succeeded, 1 flaky"),
        ([flaky_item(), run_item(FAILED)], "1 of 2 failed, 1 flaky"),
        ([attempted(run_item(FAILED), run_item(FAILED))], "1 of 1 failed"),
        ([unknown_item(), run_item(PASSED)], "1 of 2 unknown"),
    ],
)
def test_headline(items: list[Item], headline: str) -> None:
    """The headline says how many did not succeed, and keeps the kinds of failure apart."""
    assert Report.of(items).headline == headline


def test_failures_come_first() -> None:
    """The order is failed, error, in flight, skipped, succeeded."""
    report = Report.of(every_kind())

    assert [entry.number for entry in report.by_urgency] == [2, 3, 4, 5, 6, 7, 1]
    assert [entry.number for entry in report.entries] == [1, 2, 3, 4, 5, 6, 7]


def test_tests_are_counted() -> None:
    """Tests are counted by their status; an operation is no test."""
    assert Report.of(every_kind()).tests_in_words == "3 tests: 2 passed, 1 failed"
    assert Report.of([refused_item()]).tests_in_words == ""


def test_the_time_of_a_report() -> None:
    """A report spans the known times of its items, or the times given as options."""
    assert Report.of([run_item(PASSED)]).seconds == 43
    assert Report.of([run_item(PASSED)], started_at=at(-7), finished_at=at(93)).seconds == 100
    assert Report.of([refused_item()]).seconds is None
    assert Report.of([refused_item()], started_at=at(0)).seconds == 0


def test_a_time_without_a_zone_is_refused() -> None:
    """A naive time, which can't be compared with the service's, is refused."""
    naive = datetime.now(UTC).replace(tzinfo=None)

    with pytest.raises(ConfigError, match="has no time zone: pass one that has"):
        Report.of([], started_at=naive)


def test_the_options_can_be_inspected() -> None:
    """The types of `ReportOptions` are there at run time."""
    assert get_type_hints(ReportOptions)["title"] is str


def test_an_error_after_the_dispatch() -> None:
    """A client that was closed leaves an item with its ref and the error."""
    item: Item = BatchItem(feature="x", ref=run_ref(9), error=ClientClosedError(ref=run_ref(9)))
    entry = entry_of(item)

    assert entry.kind == "run"


@pytest.mark.parametrize(
    ("reason", "candidates", "end"),
    [
        ("absent", (), "; most likely it did not, for nothing of it was found"),
        ("unseen", (), "dispatch was lost"),
        (
            "ambiguous",
            tuple(RunRef(server="https://s", project="p", run_id=run) for run in (12, 13)),
            "; it may be run 12 or run 13",
        ),
    ],
)
def test_an_unknown_dispatch_says_what_was_found(
    reason: UnknownReason, candidates: tuple[RunRef, ...], end: str
) -> None:
    """What was looked for since is in the reason, in other words for each."""
    error = DispatchUnknownError(
        "lost",
        method="POST",
        url="https://s",
        project="p",
        feature=7,
        reason=reason,
        candidates=candidates,
    )
    assert why(error).startswith("it may have started: the answer to its dispatch was lost")
    assert why(error).endswith(end)
