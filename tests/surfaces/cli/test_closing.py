"""What went wrong, as a person reads it: pure functions, tested by their text."""

from __future__ import annotations

from typing import Any

import pytest

from tests.surfaces.cli.test_details import LONG, PASSES, lines_of, run
from tests.surfaces.cli.test_refs import RUNS
from tests.surfaces.cli.test_result import (
    CASE,
    GENERATION,
    PASSED,
    RUN,
    generated,
    item,
    lost,
    ran,
    refused,
    result,
    timed_out,
    unsent,
)
from testvibe_async import (
    BatchItem,
    CaseResult,
    FeatureNotGeneratedError,
    ForbiddenError,
    Generation,
    GenerationInProgressError,
    GenerationLog,
    Run,
    RunStatus,
)
from testvibe_async.cli.closing import failures_text, named
from testvibe_async.cli.result import Result
from testvibe_async.models import SectionLog


def shown(*runs: Run, width: int | None = None, **values: Any) -> list[str]:
    """Return the lines that failures of runs have."""
    items = [BatchItem[Run | Generation](feature="Checkout", outcome=run, **values) for run in runs]
    text = failures_text(Result(items=items, seconds=1.0), width=width)
    return [line for line in lines_of(text) if line]


def test_each_failed_test_is_a_line_above_its_error() -> None:
    """The whole error is beneath the test, without colours and empty lines."""
    short = CaseResult("Short", "failed", error="\x1b[31mError:\x1b[39m short")
    silent = CaseResult("Silent", "failed")
    assert shown(run(PASSES, LONG, short, silent)) == [
        "Checkout, run 214: Long",
        "    Error: a",
        "    Locator: b",
        "            c",
        "    d",
        "Checkout, run 214: Short",
        "    Error: short",
        "Checkout, run 214: Silent",
        "    no error given",
    ]


def test_equal_errors_are_shown_once_with_their_number() -> None:
    """Errors that differ by the place in the code alone are one; the most frequent come first."""
    errors = [
        f"Error: no button\n\nCall log:\n  - waited {n} ms\n    at pay.ts:{n}" for n in range(3)
    ]
    tests = [CaseResult(f"Pays {n}", "failed", error=error) for n, error in enumerate(errors)]
    other = CaseResult("Other", "failed", error="Error: other")
    lines = shown(run(other, *tests))
    assert lines[:2] == ["Checkout, run 214: Pays 0", "    Error: no button"]
    assert lines[-5:] == [
        "  The same error in 2 more:",
        "    Checkout, run 214: Pays 1",
        "    Checkout, run 214: Pays 2",
        "Checkout, run 214: Other",
        "    Error: other",
    ]


def test_received_is_never_cut_from_expected() -> None:
    """A long error is cut, but not before what was received."""
    many = [f"line {n}" for n in range(60)]
    plain = CaseResult("Plain", "failed", error="\n".join(many))
    assert shown(run(plain))[-1] == "    line 39 …"
    compared = CaseResult(
        "Compared", "failed", error="\n".join(["Expected: 1", *many, "Received: 2", *many])
    )
    assert shown(run(compared))[-1] == "    Received: 2 …"


def test_failures_are_wrapped_to_a_width() -> None:
    """On a terminal long lines go on beneath themselves; elsewhere they stay whole."""
    test = CaseResult("Test", "failed", error="Error: strict mode violation: it has two elements")
    assert shown(run(test), width=40)[1:] == [
        "    Error: strict mode violation: it has",
        "      two elements",
    ]
    assert len(shown(run(test))) == 2
    call = CaseResult("Test", "failed", error="Call log:\n  - navigating, waiting until it loads")
    assert shown(run(call), width=40)[2:] == [
        "      - navigating, waiting until it",
        "        loads",
    ]


def test_failed_run_without_failed_tests_shows_its_log() -> None:
    """Where no test says why a run failed, the end of its log may."""
    assert shown(run(PASSES, log="one\ntwo\n\nthree\n")) == [
        "Checkout, run 214",
        "    no failed test is reported; the end of the log:",
        "    one",
        "    two",
        "    three",
    ]


def test_unknown_names_the_commands_that_show_it() -> None:
    """Each dispatch that may have taken effect comes with the command to check it, up to a few."""
    items = [item("a b", error=lost("a b")), item("c", error=lost("c", "generate"))]
    text = str(failures_text(result(*items, place=("--server", "http://s")), width=None))
    assert text.splitlines() == [
        "a b",
        "    unknown: it may have started: the answer to its dispatch was lost",
        "  The same error in 1 more:",
        "    c",
        "Before you start it again, see whether it did with:",
        "  testvibe-async runs list --feature 'a b' --server http://s",
        "  testvibe-async generation status c --server http://s",
    ]
    many = result(*(item(str(number), error=lost(str(number))) for number in range(12)))
    assert str(failures_text(many, width=None)).endswith("--feature 9\n  and 2 more")


def test_each_unknown_has_its_own_reason() -> None:
    """What may be one run is not said to be that of another feature."""
    items = [
        item(name, error=lost(name, reason="ambiguous", candidates=(ref,)))
        for name, ref in (("a", RUNS[1]), ("b", RUNS[2]))
    ]
    lines = str(failures_text(result(*items), width=None)).splitlines()
    assert (lines[0], lines[2]) == ("a", "b")
    assert lines[1].startswith("    unknown: ")
    assert lines[1].endswith("; it may be run 1")
    assert lines[3].endswith("; it may be run 2")
    assert lines[4].startswith("Before you start it again")


def test_story_has_failed_tests_then_errors() -> None:
    """Failed tests come run by run, then each reason once with its features."""
    some = [item(f"Feature {number}", error=unsent()) for number in range(13)]
    text = str(
        failures_text(result(*some, PASSED, ran("failed", CASE, config="Mobile")), width=None)
    )
    assert text.splitlines() == [
        "Checkout [Mobile], run 214: Pays",
        "    Error: no button",
        "",
        "Feature 0",
        "    the service was not reachable: refused",
        "  The same error in 12 more:",
        *(f"    Feature {number}" for number in range(1, 11)),
        "  and 2 more",
    ]


def test_configuration_is_named_where_it_is_not_the_usual() -> None:
    """The default configuration is not named, also where it was asked for by name.

    The configuration of an attached run is that of its outcome.
    """
    for config, name in (("Mobile", "Checkout [Mobile]"), ("Default", "Checkout")):
        run = Run(214, RunStatus.FAILED, 12, "Checkout", config, tests=(CASE,))
        for asked in (None, config):
            text = str(failures_text(result(item(ref=RUN, outcome=run, config=asked)), width=None))
            assert text.startswith(f"{name}, run 214: ")
        text = str(failures_text(result(item(error=refused(), config=config)), width=None))
        assert text.startswith(f"{name}\n")


def test_story_without_trouble_is_empty() -> None:
    """Where all passed, or is in flight, there is nothing to print."""
    assert not failures_text(result(PASSED, timed_out(), item()), width=80)


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        (FeatureNotGeneratedError, "--on-conflict generate"),
        (GenerationInProgressError, "--on-conflict attach"),
    ],
)
def test_conflict_comes_with_a_way_out(kind: type[ForbiddenError], hint: str) -> None:
    """A refusal because of a feature's state names the option that helps."""
    assert hint in str(failures_text(result(item(error=refused(kind))), width=None))
    assert hint not in str(failures_text(result(item(error=refused())), width=None))


def test_failed_generation_shows_the_end_of_its_log() -> None:
    """A generation that failed has no tests to name; its log says why, where it could be read."""
    section = SectionLog("a", "Pays", "completed", "failure", "No button", ("1", "2", "3", "4"))
    log = GenerationLog(12, "Checkout", "r", (section,))
    shown = failures_text(result(generated("failed"), logs={"r": log}), width=None)
    assert str(shown).splitlines() == [
        "Checkout, generation: failed",
        "    Pays: failure",
        "        No button",
        "        2",
        "        3",
        "        4",
    ]
    assert (
        str(failures_text(result(generated("failed")), width=None))
        == "Checkout, generation: failed"
    )


def test_what_came_from_the_service_is_only_text() -> None:
    """Control characters in names and reasons are shown, never obeyed."""
    hostile = "[red]\x1b]0;owned\x07\x9b\u202e"
    items = [
        item(hostile, error=refused(message=hostile)),
        item(hostile, ref=GENERATION, outcome=Generation(1, hostile, "failed", "r")),
        ran("failed", CaseResult(hostile, "failed", error=hostile), config=hostile),
    ]
    text = str(failures_text(result(*items), width=None))
    assert text.count("[red]\\x1b]0;owned\\x07\\x9b\\u202e") == 6
    assert not set(text) & set("\x1b\x07\x9b\u202e")


def test_what_continues_is_named() -> None:
    """The refs stand one a line, with the names of their features."""
    left = [item("Checkout", ref=GENERATION), item("\x1b[2J", ref=RUN)]
    assert named(left).splitlines() == [
        "  generation r of feature 12  Checkout",
        "  run 214  \\x1b[2J",
    ]
