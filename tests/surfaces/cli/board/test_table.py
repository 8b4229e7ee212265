"""How a board looks: pure functions, tested by the text on a console of 80 columns."""

from __future__ import annotations

import re
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from rich.cells import cell_len
from rich.console import Console

from testvibe_async import (
    CaseResult,
    ForbiddenError,
    GenerationRef,
    Phase,
    Run,
    RunRef,
    RunStatus,
    RunSummary,
)
from testvibe_async.cli.board import BoardState, Outage, Row, table_of
from testvibe_async.cli.board.table import counts, headline
from testvibe_async.cli.lines import row_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

QUEUED, ACTIVE, FINISHED = Phase.QUEUED, Phase.ACTIVE, Phase.FINISHED

GENERATION = GenerationRef(
    server="http://s", project="p", request_id="b23a0571-ef27-4fe7-bd70-a09093d44bf9", feature_id=15
)


def row(number: int = 214, **values: Any) -> Row:
    ref = RunRef(server="http://s", project="p", run_id=number)
    return evolve(Row(ref=ref, feature=f"Feature {number}", started=0.0), **values)


def ended(number: int = 214, *tests: CaseResult, at: float = 3.0, **numbers: Any) -> Row:
    status = RunStatus.FAILED if numbers.get("failed") else RunStatus.PASSED
    run = Run(number, status, summary=RunSummary(**numbers), tests=tests)
    return row(number, phase=FINISHED, status=status, ended=at, snapshot=run)


def shown(renderable: RenderableType, *, width: int = 80, colours: bool = False) -> list[str]:
    console = Console(
        file=StringIO(), record=True, width=width, force_terminal=colours, color_system="standard"
    )
    console.print(renderable)
    return [line.rstrip() for line in console.export_text(styles=colours).splitlines()]


def refused(message: str = "Not with this key.") -> ForbiddenError:
    return ForbiddenError(message, status=403, method="POST", url="http://s/run")


def state_of(rows: Sequence[Row], *, total: int = 0) -> BoardState:
    over = sum(each.ended is not None for each in rows)
    return BoardState(rows=rows, total=max(total, len(rows)), ended=over, started=0.0, now=2.5)


def board(
    rows: Sequence[Row], *, total: int = 0, width: int = 80, height: int | None = None
) -> list[str]:
    drawn = table_of(state_of(rows, total=total), width=width, height=height)
    return shown(drawn, width=width)


def test_board_shows_each_operation_and_what_they_add_up_to() -> None:
    """The table has a line for each operation; a bar and the counts are beneath."""
    rows = [
        row(ref=GENERATION, feature="Checkout", phase=ACTIVE, status="generating"),
        row(214, started=1.0),
        row(215, phase=ACTIVE, status="running", config="Mobile"),
        ended(216, total=4, passed=4),
        ended(217, total=4, passed=3, failed=1),
        row(feature="Returns", ref=None, error=refused(), ended=2.0),
    ]
    assert board(rows, total=12) == [
        "Feature               Operation   Status      Elapsed  Result",
        "Checkout              generation  generating    2.5 s",
        "Feature 214           run 214     queued        1.5 s",
        "Feature 215 [Mobile]  run 215     running       2.5 s",
        "Feature 216           run 216     passed        3.0 s  4 tests passed",
        "Feature 217           run 217     failed        3.0 s  1 of 4 tests failed",
        "Returns               —           error         2.0 s  Not with this key.",
        "",
        "━━━━━━━━━━╺━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  9 left, 2.5 s",
        "6 waiting, 1 queued, 1 generating, 1 running, 1 passed, 1 failed, 1 error",
    ]


def test_board_without_operations_is_a_heading() -> None:
    """Before anything was dispatched there is the heading, and what waits."""
    lines = board([], total=3)
    assert lines[:2] == ["Feature  Operation   Status      Elapsed  Result", ""]
    assert lines[2].endswith("  3 left, 2.5 s")
    assert lines[3:] == ["3 waiting"]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_board_never_breaks_a_line(width: int) -> None:
    """Names and reasons that are too long are cut, in a wide script too: each row is one line."""
    rows = [
        row(feature="A feature of a long name " * 9),
        row(feature="買い物かご" * 30),
        row(error=refused("It says a lot " * 20), ended=1.0),
    ]
    lines = board(rows, width=width)
    assert len(lines) == 7
    assert all(cell_len(line) <= width for line in lines)
    assert all("…" in line for line in lines[1:4])


def test_wide_board_has_more_of_a_reason() -> None:
    """A reason takes the room that the names leave free."""
    reason = "This feature has no generated tests, so nothing could be run."
    lines = board([row(feature="Login", error=refused(reason), ended=1.0)], width=110)
    assert lines[1].endswith(reason)


def test_low_board_shows_what_is_at_work_first() -> None:
    """Where lines are few, active rows precede queued ones, and those the latest completions."""
    rows = [
        ended(1, total=1, passed=1, at=1.0),
        ended(2, total=1, passed=1, at=2.0),
        row(3),
        row(4, phase=ACTIVE, status="running"),
        ended(5, total=1, failed=1, at=0.5),
    ]
    lines = board(rows, height=9)
    assert len(lines) == 8
    assert [line.split()[3] for line in lines[1:4]] == ["2", "3", "4"]
    assert lines[4:6] == ["… and 2 more: 1 passed, 1 failed", ""]
    assert lines[7] == "1 queued, 1 running, 2 passed, 1 failed"


def test_what_passed_stays_visible_beside_what_goes_on() -> None:
    """However many are at work, some lines show what ended last."""
    rows = [ended(n, total=1, passed=1, at=float(n)) for n in range(1, 9)]
    rows += [row(n, phase=ACTIVE, status="running") for n in range(10, 60)]
    lines = board(rows, height=24)
    passed = [line.split()[1] for line in lines if " passed  " in line]
    assert passed == ["5", "6", "7", "8"]


def test_narrow_board_has_names_before_ids() -> None:
    """On fifty columns a name is whole, and the id of the run is left out."""
    rows = [row(feature="Checkout with gift card", phase=ACTIVE, status="running")]
    lines = board(rows, width=50)
    assert lines[0] == "Feature                  Status      Elapsed"
    assert lines[1] == "Checkout with gift card  running       2.5 s"


def test_narrow_board_has_short_results() -> None:
    """On fifty columns a result is a number and a word, and not cut."""
    lines = board([ended(1, total=4, passed=3, failed=1), ended(2, total=4, passed=4)], width=50)
    assert [line.split("  ")[-1] for line in lines[1:3]] == ["1 failed", "4 passed"]


def test_board_at_the_end_of_an_outage() -> None:
    """What was not seen is said so, all rows are there, and nothing is tried again."""
    outage = Outage(seconds=16, seen_at=None, what="not reachable", unseen=4, unseen_word="run")
    rows = [row(number, phase=ACTIVE, status="running") for number in range(4)]
    state = evolve(state_of([*rows, ended(9, total=1, passed=1)]), outage=outage)
    end = state.at_end({each.ref for each in rows if each.ref})
    lines = shown(table_of(end, width=80))
    assert sum("not seen" in line for line in lines) == 5
    assert lines[-1] == "1 passed, 4 not seen"
    assert not any("trying" in line for line in lines)
    assert sum("running" in line for line in shown(table_of(state, width=80))) == 5


def test_board_leaves_room_for_what_is_printed_above() -> None:
    """On a usual terminal some lines stay free, on a low one just the cursor's."""
    rows = [row(number) for number in range(200)]
    drawn = {height: len(board(rows, height=height)) for height in (1, 7, 8, 12, 19, 20, 24, 40)}
    assert drawn == {1: 7, 7: 7, 8: 7, 12: 11, 19: 18, 20: 13, 24: 17, 40: 33}


def test_board_that_fits_is_whole() -> None:
    """A board of few rows shows all of them."""
    rows = [row(number) for number in range(19)]
    assert len(board(rows, height=24)) == 23
    assert not any("more" in line for line in board(rows, height=24))
    assert len(board([*rows, row(19)], height=24)) == 17


@pytest.mark.parametrize(("ended_rows", "filled"), [(0, 0), (1, 10), (2, 20), (4, 40)])
def test_bar_fills_with_what_is_over(ended_rows: int, filled: int) -> None:
    """The bar is as full as operations are over, and red from the first failure on."""
    rows = [ended(number, total=1, passed=1) for number in range(ended_rows)]
    drawn = table_of(state_of(rows, total=4), width=80)
    bar = shown(drawn, colours=True)[-2]
    green = re.search(r"\x1b\[32m(━+)", bar)
    assert len(green[1] if green else "") == filled
    failed = table_of(state_of([ended(9, total=1, failed=1)]), width=80)
    assert "\x1b[1;31m━" in shown(failed, colours=True)[-2]


def test_unknown_status_is_shown_as_it_came() -> None:
    """A status that this release does not know is a word like any other, and counted last."""
    rows = [row(phase=FINISHED, status="exploded", ended=1.0), row()]
    assert counts(rows) == "1 queued, 1 exploded"


def test_headline_says_what_went_wrong() -> None:
    """A headline has the word first, then what it is of, and why."""
    assert shown(headline(ended(total=2, failed=2))) == [
        "failed  Feature 214, run 214: 2 of 2 tests failed"
    ]
    assert shown(headline(row(ref=None, error=refused(), ended=1.0))) == [
        "error  Feature 214: Not with this key."
    ]
    unknown = row(phase=FINISHED, status="failed", ended=1.0)
    assert shown(headline(unknown)) == ["failed  Feature 214, run 214"]


HOSTILE = "[red]x[/red] \x1b]0;owned\x07\x9b2J\r\nnext \u202eflip \ud800"


def test_what_came_from_the_service_is_only_text() -> None:
    """Neither markup nor control characters in names, words and reasons take effect."""
    run = Run(1, RunStatus.FAILED, summary=RunSummary(total=1, failed=1))
    hostile = row(feature=HOSTILE, phase=FINISHED, status="failed", ended=1.0, snapshot=run)
    strange = row(feature="x", config=HOSTILE, phase=ACTIVE, status=HOSTILE)
    wrong = row(feature="x", error=refused(HOSTILE), ended=1.0)
    rows = [hostile, strange, wrong]
    renderables: list[RenderableType] = [
        table_of(state_of(rows), width=400),
        *(row_line(each, state_of(rows)) for each in rows),
        *(headline(each) for each in (hostile, wrong)),
    ]
    for renderable in renderables:
        text = "\n".join(shown(renderable, width=400))
        assert "[red]x[/red] \\x1b]0;owned\\x07\\x9b2J" in text
        assert not set(text) & set("\x1b\x07\x9b\r\u202e\ud800")


def test_colours_follow_the_status() -> None:
    """On a terminal with colours what failed is red, and what passed green."""
    rows = [ended(1, total=1, passed=1), ended(2, total=1, failed=1)]
    text = "\n".join(shown(table_of(state_of(rows), width=80), colours=True))
    assert "\x1b[32mpassed" in text
    assert "\x1b[1;31mfailed" in text
