"""How progress looks: pure functions by the text on a console, and the live table around them."""

from __future__ import annotations

import asyncio
import re
from io import StringIO
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from attrs import evolve
from rich.cells import cell_len
from rich.console import Console

from testvibe_async import (
    BatchItem,
    CaseResult,
    ForbiddenError,
    Generation,
    GenerationRef,
    Phase,
    Run,
    RunRef,
    RunStatus,
    RunSummary,
)
from testvibe_async.cli.display import (
    FRAME_SECONDS,
    line_of,
    showing,
    table_of,
)
from testvibe_async.cli.output import Output
from testvibe_async.cli.progress import Contact, Progress, Row, count_words
from testvibe_async.events import Emitter, RequestFinished
from testvibe_async.models import Section

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from testvibe_async import Client, Ref, VibeError

GENERATION = GenerationRef(
    server="http://s", project="p", request_id="b23a0571-ef27-4fe7-bd70-a09093d44bf9", feature_id=15
)


def row(  # noqa: PLR0913 - each by name
    number: int = 214,
    *,
    feature: str | None = None,
    config: str | None = None,
    ref: Ref | None = None,
    error: VibeError | None = None,
    status: str | None = None,
    **values: Any,
) -> Row:
    """Return the row of a run that is queued, or is given up where it has an error."""
    item = BatchItem[Run | Generation](
        feature=feature or f"Feature {number}",
        config=config,
        ref=ref or RunRef(server="http://s", project="p", run_id=number),
        error=error,
    )
    phase = None if status is None else Phase.ACTIVE
    return evolve(Row(item=item, is_final="ended" in values, phase=phase, status=status), **values)


def never_sent(feature: str) -> Row:
    """Return the row of a run whose dispatch was refused."""
    made = row(feature=feature, error=refused(), ended=2.0)
    return evolve(made, item=evolve(made.item, ref=None))


def ended(number: int = 214, *, passed: int = 0, failed: int = 0, at: float = 3.0) -> Row:
    words = ["passed"] * passed + ["failed"] * failed
    tests = tuple(CaseResult(str(name), word) for name, word in enumerate(words))
    run = Run(number, RunStatus.FAILED if failed else RunStatus.PASSED, tests=tests)
    made = row(number, ended=at, snapshot=run)
    return evolve(made, item=evolve(made.item, outcome=run))


def shown(renderable: RenderableType, *, width: int = 80, colours: bool = False) -> list[str]:
    console = Console(
        file=StringIO(), record=True, width=width, force_terminal=colours, color_system="standard"
    )
    console.print(renderable)
    return [line.rstrip() for line in console.export_text(styles=colours).splitlines()]


def refused(message: str = "Not with this key.") -> ForbiddenError:
    return ForbiddenError(message, status=403, method="POST", url="http://s/run")


class Shown(Progress):
    """Rows at one moment, 2.5 s after the begin, without an event loop."""

    def __init__(self, rows: Sequence[Row], *, total: int = 0) -> None:
        waiting = [waits(number) for number in range(total - len(rows))]
        self.clock, self.started = lambda: 2.5, 0.0
        self.contact = Contact(self.clock)
        self._rows = {(number, None, 1): row for number, row in enumerate([*rows, *waiting])}


def waits(number: int) -> Row:
    return Row(item=BatchItem(feature=f"Waiting {number}"))


def drawn(
    rows: Sequence[Row], *, total: int = 0, width: int = 80, height: int | None = None
) -> list[str]:
    table = table_of(Shown(rows, total=total), width=width, height=height)
    return shown(table, width=width)


def test_board_shows_each_operation_and_what_they_add_up_to() -> None:
    """The table has a line for each operation; a bar and the counts are beneath."""
    rows = [
        row(ref=GENERATION, feature="Checkout", status="generating"),
        row(214, started=1.0),
        row(215, status="running", config="Mobile"),
        ended(216, passed=4),
        ended(217, passed=3, failed=1),
        never_sent("Returns"),
    ]
    assert drawn(rows, total=12) == [
        "Feature               Operation   Status      Elapsed  Result",
        "Checkout              generation  generating    2.5 s",
        "Feature 214           run 214     queued        1.5 s",
        "Feature 215 [Mobile]  run 215     running       2.5 s",
        "Feature 216           run 216     passed        3.0 s  4 tests passed",
        "Feature 217           run 217     failed        3.0 s  1 of 4 tests failed",
        "Returns               —           error         2.0 s  Not with this key.",
        "",
        "3 of 12 in 2.5 s: 1 passed, 1 failed, 1 error, 1 running, 1 generating, 1 queue…",
    ]


def test_board_without_operations_is_a_heading() -> None:
    """Before anything was dispatched there is the heading, and what waits."""
    lines = drawn([], total=3)
    assert lines[:2] == ["Feature  Operation   Status      Elapsed", ""]
    assert lines[2:] == ["0 of 3 in 2.5 s: 3 waiting"]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_board_never_breaks_a_line(width: int) -> None:
    """Names and reasons that are too long are cut, in a wide script too: each row is one line."""
    rows = [
        row(feature="A feature of a long name " * 9),
        row(feature="買い物かご" * 30),
        row(error=refused("It says a lot " * 20), ended=1.0),
    ]
    lines = drawn(rows, width=width)
    assert len(lines) == 6
    assert all(cell_len(line) <= width for line in lines)
    assert all("…" in line for line in lines[1:4])


def test_wide_board_has_more_of_a_reason() -> None:
    """A reason takes the room that the names leave free."""
    reason = "This feature has no generated tests, so nothing could be run."
    lines = drawn([row(feature="Login", error=refused(reason), ended=1.0)], width=110)
    assert lines[1].endswith(reason)


def test_low_board_shows_what_is_at_work_first() -> None:
    """Where lines are few, a failure comes first, then what is active, and what is queued."""
    rows = [
        ended(1, passed=1, at=1.0),
        ended(2, passed=1, at=2.0),
        row(3),
        row(4, status="running"),
        ended(5, failed=1, at=0.5),
    ]
    lines = drawn(rows, height=9)
    assert len(lines) == 7
    assert [line.split()[3] for line in lines[1:4]] == ["3", "4", "5"]
    assert lines[4:6] == ["… and 2 more: 2 passed", ""]
    assert lines[6] == "3 of 5 in 2.5 s: 2 passed, 1 failed, 1 running, 1 queued"


def test_narrow_board_has_names_before_ids() -> None:
    """On fifty columns a name is whole, and the id of the run is left out."""
    rows = [row(feature="Checkout with gift card", status="running")]
    lines = drawn(rows, width=50)
    assert lines[0] == "Feature                  Status      Elapsed"
    assert lines[1] == "Checkout with gift card  running       2.5 s"


def test_board_that_fits_is_whole() -> None:
    """A board of few rows shows all of them."""
    rows = [row(number) for number in range(19)]
    assert len(drawn(rows, height=24)) == 22
    assert not any("more" in line for line in drawn(rows, height=24))
    assert len(drawn([*rows, row(19)], height=24)) == 22
    assert len(drawn(rows, height=1)) == 6


def test_unknown_status_is_shown_as_it_came() -> None:
    """A status that this release does not know is a word like any other, and counted last."""
    odd = Run(1, "exploded")
    rows = [row(snapshot=odd, ended=1.0), row()]
    rows[0] = evolve(rows[0], item=evolve(rows[0].item, outcome=odd))
    assert count_words(each.word for each in rows) == "1 queued, 1 exploded"


HOSTILE = "[red]x[/red] \x1b]0;owned\x07\x9b2J\r\nnext \u202eflip \ud800"


def test_what_came_from_the_service_is_only_text() -> None:
    """Neither markup nor control characters in names, words and reasons take effect."""
    run = Run(1, RunStatus.FAILED)
    hostile = row(feature=HOSTILE, ended=1.0, snapshot=run)
    hostile = evolve(hostile, item=evolve(hostile.item, outcome=run))
    strange = row(feature="x", config=HOSTILE, status=HOSTILE)
    wrong = row(feature="x", error=refused(HOSTILE), ended=1.0)
    rows = [hostile, strange, wrong]
    renderables: list[RenderableType] = [
        table_of(Shown(rows), width=400),
        *(line_of(each, Shown(rows)) for each in rows),
    ]
    for renderable in renderables:
        text = "\n".join(shown(renderable, width=400))
        assert "[red]x[/red] \\x1b]0;owned\\x07\\x9b2J" in text
        assert not set(text) & set("\x1b\x07\x9b\r\u202e\ud800")


def test_colours_follow_the_status() -> None:
    """On a terminal with colours what failed is red, and what passed green."""
    rows = [ended(1, passed=1), ended(2, failed=1)]
    text = "\n".join(shown(table_of(Shown(rows), width=80), colours=True))
    assert "\x1b[32mpassed" in text
    assert "\x1b[1;31mfailed" in text


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [
        (None, ""),
        (Run(1, RunStatus.RUNNING, summary=RunSummary()), ""),
        (Generation(), ""),
        (Generation(sections=(Section("a"),)), "0 of 1 section"),
        (
            Generation(sections=(Section("a", conclusion="success"), Section("b"))),
            "1 of 2 sections",
        ),
    ],
)
def test_result_says_what_is_known(snapshot: object, expected: str) -> None:
    """A result is what the snapshot shows, and empty where it shows nothing."""
    assert row(snapshot=snapshot).result == expected


def test_line_shows_all_of_one_change() -> None:
    """A line has the time, how many are over, the operation, its state, and the result."""
    rows = [row(), ended(215, passed=1, failed=1)]
    assert shown(line_of(rows[0], Shown(rows, total=200))) == [
        "   2.5 s    1/200  run 214     queued      Feature 214"
    ]
    assert shown(line_of(rows[1], Shown(rows))) == [
        "   2.5 s  1/2  run 215     failed      Feature 215: 1 of 2 tests failed"
    ]


class Screen(Output):
    """An output to a console in memory."""

    def __init__(self, *, is_live: bool = True, file: StringIO | None = None) -> None:
        super().__init__()
        self.console = Console(file=file or StringIO(), force_terminal=is_live, width=80, height=24)

    @property
    def is_live(self) -> bool:
        return self.console.is_terminal

    @property
    def written(self) -> str:
        assert isinstance(self.console.file, StringIO)
        return self.console.file.getvalue()


class Batch:
    """Some runs whose progress is shown."""

    def __init__(self, *numbers: int) -> None:
        self.items = {
            number: BatchItem[Run | Generation](feature=f"Feature {number}")
            for number in numbers or (214,)
        }
        self.progress = Progress()
        self.progress.follow(None, (), lambda: list(self.items.values()))
        self.dispatch(*self.items)

    def dispatch(self, *numbers: int) -> None:
        for number in numbers:
            ref = RunRef(server="http://s", project="p", run_id=number)
            self.items[number] = evolve(self.items[number], ref=ref)
        self.progress.is_changed = True

    def end(self, status: str, *numbers: int) -> None:
        for number in numbers or self.items:
            tests = (CaseResult("Signs in", status),)
            outcome = Run(number, RunStatus(status), 12, f"Feature {number}", tests=tests)
            self.items[number] = evolve(self.items[number], outcome=outcome)
            self.progress.end(self.items[number])


async def test_table_is_drawn_anew_while_time_goes_by() -> None:
    """Each frame shows the time at that moment; at the end the table is removed."""
    batch, screen = Batch(), Screen()
    with showing(batch.progress, screen):
        await asyncio.sleep(2.1)
    assert screen.written.startswith("\x1b[?25l")
    shown_, _, left = screen.written.rpartition("\x1b[?25h")
    assert all(f"{at}.0 s" in shown_ for at in range(3))
    assert "3.0 s" not in shown_
    assert "run 214" in shown_
    assert "run 214" not in left
    assert "\x1b[2K" in left


async def test_table_is_removed_after_an_error() -> None:
    """An error leaves no table behind either."""
    batch, screen = Batch(), Screen()

    async def body() -> None:
        with showing(batch.progress, screen):
            await asyncio.sleep(1)
            raise LookupError

    with pytest.raises(LookupError):
        await body()
    left = screen.written.rpartition("\x1b[?25h")[2]
    assert "\x1b[2K" in left
    assert "run 214" not in left


async def test_resized_terminal_is_cleared_and_drawn_anew() -> None:
    """On a terminal of another size nothing of the old table is left."""
    batch, screen = Batch(214, 215), Screen()
    with showing(batch.progress, screen):
        batch.end("failed", 214)
        await asyncio.sleep(2 * FRAME_SECONDS)
        screen.console.size = (60, 12)
        await asyncio.sleep(2 * FRAME_SECONDS)
    before, _, after = screen.written.partition("\x1b[2J\x1b[H")
    assert all("failed" in part and "queued" in part for part in (before, after))
    widths = [len(re.sub(r"\x1b\[[\d;?]*\w", "", line)) for line in after.splitlines()]
    assert max(widths) <= 60


async def test_no_frame_is_higher_than_the_terminal() -> None:
    """With 200 operations on 24 lines the table leaves room for what is above it."""
    batch, screen = Batch(*range(200)), Screen()
    with showing(batch.progress, screen):
        await asyncio.sleep(1)
    frames = screen.written.split("\r\x1b[2K")
    assert 10 < max(frame.count("\n") for frame in frames) < 24


@pytest.mark.parametrize("is_live", [True, False])
async def test_output_that_is_closed_ends_the_wait(is_live: bool) -> None:  # noqa: FBT001 - a case
    """Drawing or printing that fails ends the body with that error."""

    class Gone(StringIO):
        def write(self, text: str, /) -> int:
            if "run 214" in text:
                raise OSError(5, "Input/output error")
            return len(text)

    async def body() -> None:
        with showing(Batch().progress, Screen(is_live=is_live, file=Gone())):
            await asyncio.sleep(3600)

    with pytest.raises(OSError, match="Input/output"):
        await body()
    assert asyncio.get_running_loop().time() < 1


async def test_pipe_has_a_line_for_each_change_of_a_few() -> None:
    """Of a few operations each change is told, and nothing afterwards."""
    batch, screen = Batch(214, 215), Screen(is_live=False)
    with showing(batch.progress, screen):
        await asyncio.sleep(1)
        batch.end("passed", 214)
    batch.end("passed", 215)
    await asyncio.sleep(1)
    assert screen.written.splitlines() == [
        "   0.0 s  0/2  run 214     queued      Feature 214",
        "   0.0 s  0/2  run 215     queued      Feature 215",
        "   1.0 s  1/2  run 214     passed      Feature 214: 1 test passed",
    ]


async def test_pipe_has_a_line_for_each_result_of_many() -> None:
    """Of 60 operations the log has 60 lines, and the counts each half minute."""
    batch, screen = Batch(*range(60)), Screen(is_live=False)
    with showing(batch.progress, screen):
        for number in range(60):
            await asyncio.sleep(1)
            Emitter(batch.progress.hooks).emit(
                RequestFinished("get_run", "GET", "http://s", 200, 0.1)
            )
            batch.end("passed", number)
    lines = screen.written.splitlines()
    counts = [line for line in lines if "/60" not in line]
    assert (len(lines) - len(counts), len(counts)) == (60, 2)
    assert re.fullmatch(r"  30\.\d s  \d+ passed, \d+ queued", counts[0])


async def test_end_is_reported_with_its_item() -> None:
    """What a poll saw to end is reported once the batch has its outcome, and not before."""
    run = Run(214, RunStatus.PASSED, 12, "Checkout", tests=(CaseResult("Pays", "passed"),))
    seen = SimpleNamespace(snapshot=None, phase=Phase.ACTIVE, status="running")

    def attach(_ref: Ref) -> SimpleNamespace:
        return seen

    client = cast("Client", SimpleNamespace(attach=attach))
    ref = RunRef(server="http://s", project="p", run_id=214)
    items = [BatchItem[Run | Generation](feature="Checkout", ref=ref)]
    progress = Progress()
    progress.follow(client, (), lambda: items)
    seen.snapshot, seen.phase, seen.status = run, Phase.FINISHED, "passed"
    assert progress.update() == []
    items[0] = evolve(items[0], outcome=run)
    progress.end(items[0])
    assert [(row.word, row.result) for row in progress.update()] == [("passed", "1 test passed")]


async def test_attempt_that_failed_is_told_before_the_next() -> None:
    """A feature that runs again has one row; each failed attempt is a line of its own."""
    batch, screen = Batch(), Screen(is_live=False)
    failed = Run(214, RunStatus.FAILED, 12, "Feature 214", tests=(CaseResult("Pays", "failed"),))
    with showing(batch.progress, screen):
        await asyncio.sleep(1)
        batch.items[214] = evolve(batch.items[214], ref=None, earlier=(failed,))
        await asyncio.sleep(1)
        batch.items[214] = evolve(
            batch.items[214], ref=RunRef(server="http://s", project="p", run_id=215)
        )
        await asyncio.sleep(1)
        batch.end("passed", 214)
    assert [line[9:] for line in screen.written.splitlines()] == [
        " 0/1  run 214     queued      Feature 214",
        " 0/1  run 214     failed      Feature 214: 1 of 1 test failed",
        " 0/1  run 215     queued      Feature 214: attempt 2",
        " 1/1  run 215     flaky       Feature 214: 1 test passed, attempt 2",
    ]
