"""What all formats show: names, verdicts, reasons, tests, times; how texts and numbers look."""

from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from attrs import evolve

from tests.support.ci_systems import obeyed
from tests.surfaces.reports import items as made
from tests.surfaces.reports.items import FAILED, ITEMS, PASSED, Item, at, attempted, run_item
from tests.surfaces.reports.parsed import ctrf_of, junit_of
from testvibe_async import BatchItem, CaseResult, RunStatus, errors
from testvibe_async.errors import UnknownReason
from testvibe_async.models import FeatureStatus, GenerationLog, Section
from testvibe_async.pytest_plugin.features import outcome_of
from testvibe_async.reports import text as texts
from testvibe_async.reports.entries import Entry
from testvibe_async.reports.reasons import CaseStatus, why
from testvibe_async.reports.report import Report
from testvibe_async.runner.generation_limit import GenerationLimitError


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
aborted: run, error, aborted: over with an undocumented status, 'aborted' | | passed
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
    assert fnmatchcase(f"{entry.kind}, {entry.verdict}, {entry.status}: {entry.reason}", words)

    *_, case = junit_of(item).iter("testcase")
    assert "".join(f"{each.tag} {each.get('type')}" for each in case) == element
    if entry.cases[-1].is_operation:
        assert [each.get("message") for each in case] == [entry.reason] * len(case)
    test = ctrf_of(item)["results"]["tests"][-1]
    assert (test["status"], test["rawStatus"]) == (status, entry.cases[-1].raw_status)


@pytest.mark.parametrize(
    ("item", "names"),
    [
        (attempted(run_item(PASSED), run_item(FAILED)), [PASSED.name, "run"]),
        (attempted(run_item(PASSED), ITEMS["failed without tests"]), [PASSED.name, "run"]),
        (attempted(run_item(), ITEMS["failed without tests"]), ["run"]),
        (attempted(ITEMS["in flight"], run_item(PASSED, FAILED)), ["run"]),
        (ITEMS["flaky"], [PASSED.name, FAILED.name]),
        (attempted(run_item(FAILED), ITEMS["failed without tests"]), [FAILED.name]),
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


def test_a_generation_log_says_why() -> None:
    """The reasons are those of the sections that failed, where there is a log."""
    entry = entry_of(made.generation_item(), made.LOG)

    assert entry.reason == 'Expired card: "Tests did not pass verification"'
    assert entry.log == (
        "Expired card:\nExploring…\nVerification: 0/1 passed\n\nuntitled:\nNothing to do"
    )


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


def test_names_tell_items_apart() -> None:
    """Names include a configuration other than the default, and a number where they repeat."""
    items = [
        run_item(PASSED, config="Mobile"),
        run_item(PASSED, config="Default"),
        run_item(PASSED),
        evolve(ITEMS["refused"], feature="Login"),
        run_item(PASSED, feature=" \n"),
        run_item(PASSED, feature="Login (2)"),
    ]

    names = [entry.name for entry in Report.of(items).entries]
    numbered = ["Login (2)", "Login (3)", "(no name)", "Login (2) (2)"]
    assert names == ["Login [Mobile]", "Login", *numbered]


def test_facts() -> None:
    """Facts identify an item under the service's names; shared ones are the same for all items."""
    items = [run_item(PASSED, site_url=f"https://{name}.example") for name in "ab"]
    place = {"project": "p-1", "server": "https://testvibe.example"}

    run = {"runId": "214", "featureId": "12", "config": "Default", "siteUrl": "https://a.example"}
    assert entry_of(items[0]).facts == {**run, **place}
    assert entry_of(made.generation_item()).facts["requestId"] == "a1b2"
    assert entry_of(ITEMS["refused"]).facts == {}
    assert Report.of([*items, ITEMS["refused"]]).shared_facts == place


def test_files_and_logs_find_their_items() -> None:
    """Artifacts are found by run id, and logs by request id, also for items without an outcome."""
    items = [ITEMS["passed"], ITEMS["unseen"], ITEMS["generation in flight"]]
    files = {214: [Path("a.zip")], 300: [Path("b.png")]}

    report = Report.of(items, artifacts=files, generation_logs={"a1b2": made.LOG})

    assert [list(entry.files) for entry in report.entries] == [*files.values(), []]
    assert "Exploring…" in report.entries[2].log


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
    """The headline says how many did not succeed, and keeps the kinds of failure apart."""
    assert Report.of(items).headline == headline


def test_the_time_of_a_report() -> None:
    """A report spans the known times of its items and attempts, or the times given as options."""
    assert Report.of([ITEMS["passed"]]).seconds == 43
    assert Report.of([ITEMS["flaky"]]).seconds == 80
    assert Report.of([ITEMS["passed"]], started_at=at(-7), finished_at=at(93)).seconds == 100
    assert Report.of([ITEMS["refused"]]).seconds is None
    assert Report.of([ITEMS["refused"]], started_at=at(0)).seconds == 0


def test_one_line() -> None:
    """White space of any kind is one blank, and a text that is too long ends in an ellipsis."""
    assert texts.one_line("  a\n\tb\u00a0c\x1b[0m  ") == "a b c"
    assert texts.one_line("a\u2028b") == "a\ufffdb"
    assert texts.one_line("abcdef", 6) == "abcdef"
    assert texts.one_line("abcdefg", 6) == "abcde…"
    assert texts.one_line("a" * 10_000_000, 6) == "aaaaa…"
    assert texts.one_line("a" + " " * 100 + "b", 6) == "a…"


def test_cut() -> None:
    """The middle of a long text is left out with a note; its ends stay."""
    assert texts.cut("\n  indented\nlast\n\n") == "  indented\nlast"
    assert texts.cut("a" * 100, 100) == "a" * 100
    assert texts.cut("a" * 750 + "b" * 1000 + "c" * 250, 1000) == (
        f"{'a' * 750}\n… 1,000 characters left out …\n{'c' * 250}"
    )


def test_tail() -> None:
    """The last lines of a log stay, with a note on the lines before them."""
    assert texts.tail("a\nb\n", lines=2) == "a\nb"
    assert texts.tail("a\nb\nc\n", lines=2) == "… 1 earlier lines left out …\nb\nc"
    assert len(texts.tail("x" * 100_000)) < 21_000
    assert texts.tail("") == ""


def test_quoted() -> None:
    """A text of the service is on one line, in quotes that it can't close."""
    assert texts.quoted('no\n"tests"') == "\"no 'tests'\""


def test_distinct() -> None:
    """Names that repeat are numbered, and no number makes two names the same."""
    assert texts.distinct(["a", "b", "a", "a (2)", "a", "a (2)"]) == [
        *("a", "b", "a (2)"),
        *("a (2) (2)", "a (3)", "a (2) (3)"),
    ]
    assert len(set(texts.distinct(["same"] * 20_000))) == 20_000


def test_errors_of_one_cause_have_one_essence() -> None:
    """Places in the code, what was tried and how long it took make no difference; words do."""
    error = "\x1b[31mError: no button\x1b[0m\n\nExpected: 1\nReceived: {}\n\nCall log:\n  - {} ms\n"
    stack = "    at pay.ts:{}:9\n  > 3 | await page.click()\n      |       ^\n"
    plain = "Error: no button\n\nExpected: 1\nReceived: 2\n"
    both = [texts.essence(plain + stack.format(n)) for n in (1, 2)]
    assert both[0] == both[1] == "Error: no button\nExpected: 1\nReceived: 2"
    assert texts.essence(error.format(2, 50)) == both[0]
    assert texts.essence(error.format(3, 50)) != both[0]


@pytest.mark.parametrize("offset", range(9))
def test_what_is_left_out_uncovers_no_command(offset: int) -> None:
    """A line that begins where a part was left out is no command of a CI system either."""
    text = "::error::" * 50 + "x" * offset
    assert not obeyed(texts.cut(text, 100))
    assert not obeyed(texts.tail(text, limit=100))
