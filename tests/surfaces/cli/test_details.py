"""Single runs and generations at length: pure functions, tested by their text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from testvibe_async import (
    Artifact,
    CaseResult,
    Diagnosis,
    Generation,
    GenerationLog,
    ProjectFile,
    Run,
    RunStatus,
    RunSummary,
)
from testvibe_async.cli import details
from testvibe_async.models import Section, SectionLog

HOSTILE = "[red]x[/red] \x1b]0;owned\x07\x9b2J\r\nnext \u202eflip \ud800"
ESCAPED = "[red]x[/red] \\x1b]0;owned\\x07\\x9b2J"

LONG = CaseResult("Long", "failed", 9120, error="Error: a\n\nLocator: b\n\tc\nd\n")
PASSES = CaseResult("Passes", "passed", 4210)


def run(*tests: CaseResult, status: str = "failed", **values: Any) -> Run:
    return Run(214, RunStatus(status), 12, "Checkout", tests=tests, **values)


def at(second: int) -> datetime:
    return datetime(2026, 6, 10, 16, 2, second, tzinfo=UTC)


def lines_of(text: object) -> list[str]:
    return str(text).splitlines()


def test_story_of_a_run_has_all_that_is_known() -> None:
    """A run that failed: what it was, each test, what failed and why, files, and the log."""
    failed = run(
        PASSES,
        LONG,
        config="Mobile",
        site_url="https://shop.example",
        created_at=at(11),
        started_at=at(19),
        finished_at=at(54),
        summary=RunSummary(total=2, passed=1, failed=1),
        artifacts=(Artifact("trace", "trace/long.zip", 482133), Artifact("video", "v.webm")),
        log="Running 2 tests\n  1 failed\n",
    )
    assert lines_of(details.run_details(failed)) == [
        "Run 214 of Checkout: failed, 2 tests: 1 failed, 1 passed",
        "  config    Mobile",
        "  site      https://shop.example",
        "  created   2026-06-10 16:02:11 UTC",
        "  took      35.0 s",
        "",
        "  passed       4.2 s  Passes",
        "  failed       9.1 s  Long",
        "    Error: a",
        "    Locator: b",
        "            c …",
        "",
        "Artifacts",
        "  trace        482.1 kB  trace/long.zip",
        "  video                  v.webm",
        "",
        "Log",
        "    Running 2 tests",
        "      1 failed",
    ]


def test_story_of_a_run_in_flight_is_short() -> None:
    """What is not known yet is left out."""
    running = Run(214, RunStatus.RUNNING, 12, summary=RunSummary(), tests=(CaseResult("Pays"),))
    assert lines_of(details.run_details(running)) == [
        "Run 214 of feature 12: running",
        "",
        "  no result           Pays",
    ]


def test_diagnosis_has_whole_errors_and_the_sources() -> None:
    """A diagnosis has the whole errors, the specs and the Gherkin."""
    diagnosis = Diagnosis(
        214,
        RunStatus.FAILED,
        "failed",
        12,
        "Checkout",
        "Default",
        summary=RunSummary(total=1, failed=1),
        failures=(LONG,),
        gherkin="Feature: Checkout\n\n  Scenario: Long\n",
        specs=(ProjectFile("tests/checkout.spec.ts", content="test('Long', () => {\n\tx();\n})"),),
        log="1 failed",
    )
    story = lines_of(details.diagnosis_details(diagnosis, with_sources=True))
    assert lines_of(details.diagnosis_details(diagnosis)) == story[:11]
    assert story == [
        "Run 214 of Checkout: failed, 1 test: 1 failed",
        "  config    Default",
        "",
        "  Long",
        "    Error: a",
        "    Locator: b",
        "            c",
        "    d",
        "",
        "Log",
        "    1 failed",
        "",
        "tests/checkout.spec.ts",
        "    test('Long', () => {",
        "            x();",
        "    })",
        "",
        "Gherkin",
        "    Feature: Checkout",
        "    ",
        "      Scenario: Long",
    ]


def test_long_log_is_shown_from_its_end() -> None:
    """The last lines of a log are shown."""
    failed = run(log="\n".join(f"line {number}" for number in range(100)))
    shown = [line.strip() for line in lines_of(details.run_details(failed)) if "line" in line]
    assert shown == [f"line {number}" for number in range(80, 100)]


def test_story_of_a_generation_has_its_sections() -> None:
    """A generation is shown with the state of its sections."""
    generation = Generation(
        12,
        "Checkout",
        "failed",
        "r-1",
        sections=(Section("guest", "completed", "failure"), Section("voucher", "in_progress")),
        updated_at=at(1),
    )
    assert lines_of(details.generation_details(generation)) == [
        "Generation of Checkout: failed",
        "  request   r-1",
        "  updated   2026-06-10 16:02:01 UTC",
        "",
        "  failure       guest",
        "  in_progress   voucher",
    ]


def test_feature_that_was_never_generated() -> None:
    """The service then sends next to nothing, and the text says what that means."""
    assert str(details.generation_details(Generation(12))) == "feature 12 was never generated."
    assert str(details.log_details(GenerationLog(12, "Checkout"))) == (
        "Checkout has no generation log."
    )


def test_log_has_each_sections_reason_first() -> None:
    """The reason of a section comes before its lines, which may be limited to the last."""
    log = GenerationLog(
        12,
        "Checkout",
        sections=(
            SectionLog("guest", "A guest", "completed", "failure", "No", ("one", "two", "three")),
            SectionLog("voucher", state="in_progress", log=("four",)),
            SectionLog("kit"),
        ),
    )
    assert lines_of(details.log_details(log)) == [
        "A guest: failure",
        "    No",
        "    one",
        "    two",
        "    three",
        "",
        "voucher: in_progress",
        "    four",
        "",
        "kit: queued",
    ]
    assert lines_of(details.log_details(log, limit=1))[1:3] == ["    No", "    three"]


def test_what_came_from_the_service_is_only_text() -> None:
    """Control characters in names, errors, logs, paths and sources are shown, never obeyed."""
    test = CaseResult(HOSTILE, "failed", error=HOSTILE)
    section = SectionLog(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, (HOSTILE,))
    spec = ProjectFile(HOSTILE, content=HOSTILE)
    artifact = Artifact(HOSTILE, HOSTILE)
    hostile_run = Run(
        1, HOSTILE, 1, HOSTILE, HOSTILE, HOSTILE, tests=(test,), artifacts=(artifact,)
    )
    for text in (
        details.run_details(hostile_run),
        details.diagnosis_details(
            Diagnosis(1, HOSTILE, failures=(test,), specs=(spec,), gherkin=HOSTILE, log=HOSTILE),
            with_sources=True,
        ),
        details.generation_details(Generation(1, HOSTILE, HOSTILE, HOSTILE)),
        details.generation_details(Generation(1, HOSTILE)),
        details.generation_details(
            Generation(1, "", "", "r", sections=(Section(HOSTILE, HOSTILE),))
        ),
        details.log_details(GenerationLog(1, HOSTILE, sections=(section,)), width=200),
        details.log_details(GenerationLog(1, HOSTILE)),
    ):
        assert ESCAPED in str(text)
        assert not set(str(text)) & set("\x1b\x07\x9b\r\u202e\ud800")
