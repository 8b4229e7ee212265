"""How operations look: pure functions, judged by the text that a console of 80 columns shows."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from rich.cells import cell_len
from rich.console import Console

from testvibe_async import (
    CaseResult,
    Generation,
    GenerationRef,
    Phase,
    Run,
    RunRef,
    RunStatus,
    RunSummary,
    Section,
)
from testvibe_async.cli import view
from testvibe_async.cli.view import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

QUEUED, ACTIVE, FINISHED = Phase.QUEUED, Phase.ACTIVE, Phase.FINISHED

GENERATION = GenerationRef(
    server="http://s", project="p", request_id="b23a0571-ef27-4fe7-bd70-a09093d44bf9", feature_id=15
)


def row(number: int = 214, **values: Any) -> Row:
    ref = RunRef(server="http://s", project="p", run_id=number)
    return evolve(Row(ref=ref, feature=f"Feature {number}", began=0.0), **values)


def ended(number: int = 214, *tests: CaseResult, at: float = 3.0, **counts: Any) -> Row:
    status = RunStatus.FAILED if counts.get("failed") else RunStatus.PASSED
    run = Run(number, status, summary=RunSummary(**counts), tests=tests)
    return row(number, phase=FINISHED, status=status, ended=at, snapshot=run)


def shown(renderable: RenderableType, *, width: int = 80, colours: bool = False) -> list[str]:
    console = Console(
        file=StringIO(), record=True, width=width, force_terminal=colours, color_system="standard"
    )
    console.print(renderable)
    return [line.rstrip() for line in console.export_text(styles=colours).splitlines()]


def board(rows: Sequence[Row], *, width: int = 80, height: int | None = None) -> list[str]:
    return shown(view.board(rows, now=2.5, width=width, height=height), width=width)


def test_board_shows_each_operation_and_what_they_add_up_to() -> None:
    """The table has a line for each operation, and counts them beneath."""
    rows = [
        row(ref=GENERATION, feature="Checkout", phase=ACTIVE, status="generating"),
        row(214, began=1.0),
        row(215, phase=ACTIVE, status="running"),
        ended(216, total=4, passed=4),
        ended(217, total=4, passed=3, failed=1),
    ]
    assert board(rows) == [
        "Feature      Operation   Status      Elapsed  Result",
        "Checkout     generation  generating    2.5 s",
        "Feature 214  run 214     queued        1.5 s",
        "Feature 215  run 215     running       2.5 s",
        "Feature 216  run 216     passed        3.0 s  4 tests passed",
        "Feature 217  run 217     failed        3.0 s  1 of 4 tests failed",
        "",
        "1 queued, 1 generating, 1 running, 1 passed, 1 failed",
    ]


def test_board_without_operations_is_a_heading() -> None:
    """Before anything was dispatched there is the heading alone."""
    assert board([]) == ["Feature  Operation   Status      Elapsed  Result", "", ""]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_board_never_breaks_a_line(width: int) -> None:
    """Names that are too long are cut, in a wide script too, so that each row is one line."""
    rows = [row(feature="A feature of a long name " * 9), row(feature="買い物かご" * 30)]
    lines = board(rows, width=width)
    assert len(lines) == 5
    assert all(cell_len(line) <= width for line in lines)
    assert all("…" in line for line in lines[1:3])


def test_low_board_shows_what_is_at_work_first() -> None:
    """Where lines are few, active rows go before queued ones, and those before the latest ends."""
    rows = [
        ended(1, total=1, passed=1, at=1.0),
        ended(2, total=1, passed=1, at=2.0),
        row(3),
        row(4, phase=ACTIVE, status="running"),
        ended(5, total=1, failed=1, at=0.5),
    ]
    lines = board(rows, height=7)
    assert len(lines) == 7
    assert [line.split()[3] for line in lines[1:4]] == ["2", "3", "4"]
    assert lines[4:] == [
        "… and 2 more: 1 passed, 1 failed",
        "",
        "1 queued, 1 running, 2 passed, 1 failed",
    ]


def test_board_keeps_to_its_height() -> None:
    """A board of any height takes no more lines, but for those that every board has."""
    rows = [row(number) for number in range(50)]
    for height in (1, 4, 5, 6, 24, 52, 53, 60):
        assert len(board(rows, height=height)) == max(5, min(height, 53))


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [
        (None, ""),
        (Run(1, RunStatus.RUNNING, summary=RunSummary()), ""),
        (Run(1, RunStatus.PASSED), ""),
        (Run(1, RunStatus.PASSED, summary=RunSummary(total=1, passed=1)), "1 test passed"),
        (
            Run(1, RunStatus.PASSED, summary=RunSummary(total=3, passed=2, other=1)),
            "2 of 3 tests passed",
        ),
        (Generation(), ""),
        (Generation(sections=(Section("a"),)), "0 of 1 section"),
        (
            Generation(sections=(Section("a", conclusion="success"), Section("b"))),
            "1 of 2 sections",
        ),
    ],
)
def test_result_says_what_is_known(snapshot: object, expected: str) -> None:
    """A result is what the snapshot tells, and nothing where it tells nothing."""
    assert row(phase=ACTIVE, status="running", snapshot=snapshot).result == expected


def test_unknown_status_is_shown_as_it_came() -> None:
    """A status that this release does not know is a word like any other, and counted last."""
    rows = [row(phase=FINISHED, status="exploded", ended=1.0), row()]
    assert view.counts(rows) == "1 queued, 1 exploded"


def test_line_tells_all_of_one_change() -> None:
    """A line has the time, the operation, how it stands, and the result."""
    assert shown(view.line(row(), 0.04)) == ["  0.0 s  run 214     queued      Feature 214"]
    assert shown(view.line(ended(total=2, passed=1, failed=1), 12.34)) == [
        " 12.3 s  run 214     failed      Feature 214: 1 of 2 tests failed"
    ]


def test_failures_begin_with_what_was_expected() -> None:
    """Of each error the first lines are shown, and a sign where there are more."""
    tests = [
        CaseResult("Passes", "passed"),
        CaseResult("Long", "failed", error="Error: a\n\nLocator: b\n\tc\nd\n"),
        CaseResult("Short", "failed", error="\x1b[31mError:\x1b[39m short"),
        CaseResult("Silent", "failed"),
    ]
    rows = [ended(214, *tests, total=4, passed=1, failed=3), ended(215, total=1, passed=1)]
    assert shown(view.failures(rows)) == [
        "Feature 214, run 214",
        "  Long",
        "    Error: a",
        "    Locator: b",
        "            c …",
        "  Short",
        "    Error: short",
        "  Silent",
        "    no error given",
    ]


def test_failures_are_wrapped_to_a_width() -> None:
    """On a terminal long lines go on beneath themselves; elsewhere they stay whole."""
    test = CaseResult("Test", "failed", error="Error: strict mode violation: it has two elements")
    rows = [ended(214, test, total=1, failed=1)]
    assert shown(view.failures(rows, width=40))[2:] == [
        "    Error: strict mode violation: it has",
        "      two elements",
    ]
    assert len(shown(view.failures(rows))) == 3


def test_in_flight_names_what_is_not_over() -> None:
    """The refs of what is not over stand one a line; only what follows a ref is ever cut."""
    rows = [row(ref=GENERATION, feature="Checkout with gift card"), row(), ended(215, total=1)]
    assert str(view.in_flight(rows, width=80)).splitlines() == [
        "  generation b23a0571-ef27-4fe7-bd70-a09093d44bf9 of feature 15  Checkout with …",
        "  run 214  Feature 214",
    ]
    assert "  Checkout with gift card\n" in str(view.in_flight(rows))
    assert not view.in_flight([])


HOSTILE = "[red]x[/red] \x1b]0;owned\x07\x9b2J\r\nnext \u202eflip \ud800"


def test_what_came_from_the_service_is_only_text() -> None:
    """Neither markup nor control characters in names, words and errors take effect."""
    test = CaseResult(HOSTILE, "failed", error=HOSTILE)
    run = Run(1, RunStatus.FAILED, summary=RunSummary(total=1, failed=1), tests=(test,))
    hostile = row(feature=HOSTILE, phase=FINISHED, status="failed", ended=1.0, snapshot=run)
    strange = row(feature=HOSTILE, phase=ACTIVE, status=HOSTILE)
    for renderable in (
        view.board([hostile, strange], now=1.0, width=200),
        view.line(hostile, 1.0),
        view.line(strange, 1.0),
        view.failures([hostile]),
        view.in_flight([strange]),
    ):
        text = "\n".join(shown(renderable, width=200))
        assert "[red]x[/red] \\x1b]0;owned\\x07\\x9b2J" in text
        assert not set(text) & set("\x1b\x07\x9b\r\u202e\ud800")


def test_colours_follow_the_status() -> None:
    """On a terminal with colours what failed is red, and what passed green."""
    rows = [ended(1, total=1, passed=1), ended(2, total=1, failed=1)]
    text = "\n".join(shown(view.board(rows, now=0.0, width=80), colours=True))
    assert "\x1b[32mpassed" in text
    assert "\x1b[1;31mfailed" in text
