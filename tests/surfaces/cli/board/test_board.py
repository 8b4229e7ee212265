"""The board: its state after a client's hooks and a batch's items."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from testvibe_async import (
    BatchItem,
    DispatchUnknownError,
    ForbiddenError,
    Generation,
    GenerationRef,
    NotSentError,
    ObservationError,
    Phase,
    Run,
    RunRef,
    RunStatus,
    Transition,
    Verdict,
    WaitTimeoutError,
)
from testvibe_async.cli.board import Board
from testvibe_async.cli.board.table import counts
from testvibe_async.events import Dispatched, Emitter, RequestFinished, StatusChanged

if TYPE_CHECKING:
    from testvibe_async import Ref
    from testvibe_async.cli.board import Row
    from testvibe_async.events import Event


RUN = RunRef(server="http://s", project="p", run_id=214, feature_id=12)
GENERATION = GenerationRef(server="http://s", project="p", request_id="r", feature_id=15)
PASSED = Run(214, RunStatus.PASSED, 12, "Checkout")
REFUSED = ForbiddenError("no", status=403, method="POST", url="http://s")


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> Board:
    return Board(clock)


def emit(board: Board, event: Event) -> None:
    Emitter(board.hooks).emit(event)


def change(
    phase: Phase, status: str, snapshot: Run | Generation | None = None
) -> Transition[Run | Generation]:
    return Transition(phase, status, datetime.now(UTC), snapshot)


def item(**values: Any) -> BatchItem[Run | Generation]:
    return evolve(BatchItem[Run | Generation](feature=12), **values)


def only_row(board: Board) -> Row:
    (row,) = board.rows
    return row


def test_dispatch_adds_a_row_of_the_features_name(board: Board, clock: Clock) -> None:
    """A dispatched operation is queued from then on, under its feature's name."""
    board.expect([item(name="Checkout"), item(feature=13, name="Returns")], RunRef)
    clock.now = 103.0
    emit(board, Dispatched(RUN))
    row = only_row(board)
    assert (row.ref, row.feature, row.word, row.started) == (RUN, "Checkout", "queued", 103.0)
    assert board.elapsed == 3.0


def test_name_that_was_typed_is_shown_until_the_service_sends_its_own(board: Board) -> None:
    """A feature that was asked for by name is shown by that name before any list is read."""
    board.expect([item(feature="checkout"), item(feature="returns")], RunRef)
    emit(board, Dispatched(RUN, feature="checkout", config="Mobile"))
    assert (only_row(board).feature, only_row(board).config) == ("checkout", "Mobile")
    board.update(RUN, change(Phase.FINISHED, "passed", PASSED))
    assert only_row(board).feature == "Checkout"


@pytest.mark.parametrize("config", [None, "Default", "Mobile"])
def test_configuration_is_shown_where_it_is_not_the_usual(board: Board, config: str) -> None:
    """The default configuration is not named."""
    run = Run(214, RunStatus.RUNNING, 12, "Checkout", config)
    board.update(RUN, change(Phase.ACTIVE, "running", run))
    assert only_row(board).name == ("Checkout [Mobile]" if config == "Mobile" else "Checkout")


@pytest.mark.parametrize("ref", [RUN, GENERATION])
def test_operation_that_was_not_dispatched_here_has_a_row_too(board: Board, ref: Ref) -> None:
    """An operation that was attached has a row from then on, or from its first transition."""
    board.follow(ref)
    emit(board, StatusChanged(ref, change(Phase.ACTIVE, "running")))
    board.follow(ref)
    row = only_row(board)
    assert row.feature in {"feature 12", "feature 15"}
    assert row.word == "running"


def test_feature_without_a_name(board: Board) -> None:
    """A run that was attached by its id alone has no feature's name before its first poll."""
    board.follow(RunRef(server="http://s", project="p", run_id=1))
    assert only_row(board).feature == "run 1"


def test_end_stops_the_clock_of_a_row(board: Board, clock: Clock) -> None:
    """An operation's time runs until it is first seen to be over."""
    emit(board, Dispatched(RUN))
    clock.now = 105.0
    emit(board, StatusChanged(RUN, change(Phase.FINISHED, "passed")))
    clock.now = 109.0
    board.update(RUN, change(Phase.FINISHED, "passed"))
    assert only_row(board).elapsed(clock()) == 5.0
    assert board.state.ended == 1


def test_changes_are_reported_once(board: Board) -> None:
    """A transition without a new phase or status is recorded, but not reported as a change."""
    changes: list[str] = []
    board.on_change = lambda row: changes.append(row.word)
    emit(board, Dispatched(GENERATION))
    for snapshot in (None, Generation(15), Generation(15, "Checkout")):
        board.update(GENERATION, change(Phase.ACTIVE, "generating", snapshot))
    assert changes == ["queued", "generating"]
    assert only_row(board).snapshot == Generation(15, "Checkout")


def test_item_of_what_is_over_already_ends_its_row(board: Board) -> None:
    """An operation that was over before its first poll ends with its item."""
    changes: list[str] = []
    board.on_change = lambda row: changes.append(row.word)
    board.follow(RUN)
    board.record(item(ref=RUN, outcome=PASSED))
    board.record(item(ref=RUN, outcome=PASSED))
    assert changes == ["passed"]
    assert board.in_flight == []


def test_item_that_could_not_be_dispatched_has_a_row(board: Board) -> None:
    """A refused dispatch has a row without an operation, one for each configuration."""
    for config in ("Default", "Mobile"):
        board.record(item(name="Checkout", config=config, error=REFUSED))
    assert [(row.name, row.operation, row.word) for row in board.rows] == [
        ("Checkout", "—", "error"),
        ("Checkout [Mobile]", "—", "error"),
    ]
    assert board.in_flight == []


def test_item_that_could_not_be_observed_keeps_its_row(board: Board) -> None:
    """An operation that can't be observed any more is given up in its own row."""
    emit(board, Dispatched(RUN))
    board.record(item(ref=RUN, error=ObservationError("lost", ref=RUN)))
    row = only_row(board)
    assert (row.ref, row.word, row.is_bad) == (RUN, "error", True)


def test_item_whose_time_was_over_is_still_in_flight(board: Board) -> None:
    """An operation is not over when the wait for it ends."""
    emit(board, Dispatched(RUN))
    board.record(item(ref=RUN, error=WaitTimeoutError(ref=RUN, status="running", elapsed=5)))
    assert [row.ref for row in board.in_flight] == [RUN]


def test_standing_counts_what_waits(board: Board) -> None:
    """A job without a row is waiting."""
    board.expect([item(feature=number) for number in range(5)], RunRef)
    emit(board, Dispatched(RUN))
    assert (board.state.waiting, board.state.ended) == (4, 0)
    assert counts(board.rows, waiting=board.state.waiting) == "4 waiting, 1 queued"


def test_generation_on_the_way_to_a_run_comes_on_top(board: Board) -> None:
    """A generation that precedes a run is counted in addition to the runs."""
    board.expect([item(), item(feature=15)], RunRef)
    emit(board, Dispatched(GENERATION))
    assert (board.state.total, board.state.waiting) == (3, 2)


def test_items_are_those_of_a_batch(board: Board) -> None:
    """The items of a board are those of a batch that would be over now."""
    board.record(item(ref=RUN, outcome=PASSED))
    board.record(item(name="Returns", error=REFUSED))
    emit(board, Dispatched(GENERATION))
    board.update(GENERATION, change(Phase.ACTIVE, "generating", Generation(15, "Gift cards")))
    assert [(each.feature, each.verdict) for each in board.items] == [
        ("Checkout", Verdict.SUCCEEDED),
        ("Returns", Verdict.ERROR),
        ("Gift cards", Verdict.IN_FLIGHT),
    ]


def test_dispatch_without_an_answer_is_listed(board: Board) -> None:
    """A dispatch is unanswered, by its URL, until its answer or its item's error."""
    urls = [f"http://s/features/{name}/run" for name in ("a%20b", "c", "d")]
    for url in urls:
        emit(board, RequestFinished("run_feature", "POST", url, None, 0.1))
    emit(board, RequestFinished("run_feature", "POST", urls[1], 202, 0.1))
    emit(board, RequestFinished("get_run", "GET", "http://s/runs/1", None, 0.1))
    board.record(item(feature="d", error=NotSentError("refused", method="POST", url=urls[2])))
    assert board.unanswered == urls[:1]
    assert [each.feature for each in board.items if each.error] == ["d", "a b"]


def run_ref(number: int) -> RunRef:
    return RunRef(server="http://s", project="p", run_id=number, feature_id=12)


PASSED_AGAIN = Run(2, RunStatus.PASSED, 12, "Checkout")


def failed(number: int) -> Run:
    return Run(number, RunStatus.FAILED, 12, "Checkout")


def dispatch(board: Board, number: int, *, config: str | None = None) -> None:
    emit(board, Dispatched(run_ref(number), feature=12, config=config))


def test_an_attempt_takes_the_row_of_the_one_that_failed(board: Board) -> None:
    """A feature that runs again has one row, which is flaky once it passed."""
    board.expect([item()], RunRef)
    dispatch(board, 1)
    board.update(run_ref(1), change(Phase.FINISHED, "failed", failed(1)))
    assert board.state.ended == 1
    dispatch(board, 2)
    assert (only_row(board).result, only_row(board).word) == ("attempt 2", "queued")
    assert (board.state.ended, board.state.total, board.state.waiting) == (1, 2, 0)
    board.update(run_ref(2), change(Phase.FINISHED, "passed", PASSED_AGAIN))

    assert (only_row(board).word, only_row(board).is_bad) == ("flaky", False)
    assert (board.state.ended, board.items[0].is_flaky) == (2, True)
    assert counts(board.rows) == "1 flaky"


def test_an_attempt_after_one_of_an_earlier_command(board: Board) -> None:
    """What an earlier command dispatched is known by its job, so that its next attempt is one."""
    board.expect([item(ref=run_ref(1), config="Mobile")], RunRef)
    board.update(run_ref(1), change(Phase.FINISHED, "failed", failed(1)))
    dispatch(board, 2, config="Mobile")
    assert (only_row(board).result, board.state.total) == ("attempt 2", 2)


def test_other_dispatches_of_a_feature_are_no_attempts(board: Board) -> None:
    """A run after a generation, with another configuration or after a success has its own row."""
    emit(board, Dispatched(GENERATION, feature=12))
    board.update(GENERATION, change(Phase.FINISHED, "failed", Generation(12, "x", "failed")))
    dispatch(board, 1)
    board.update(run_ref(1), change(Phase.FINISHED, "failed", failed(1)))
    dispatch(board, 2, config="Mobile")
    board.update(run_ref(2), change(Phase.FINISHED, "passed", PASSED_AGAIN))
    dispatch(board, 3, config="Mobile")

    assert [row.earlier for row in board.rows] == [()] * 4


def test_an_attempt_that_could_not_be_dispatched(board: Board) -> None:
    """The row of a feature whose next attempt may have started is unknown, and keeps its run."""
    dispatch(board, 1)
    board.update(run_ref(1), change(Phase.FINISHED, "failed", failed(1)))
    error = DispatchUnknownError("lost", method="POST", url="http://s", project="p", feature=12)
    board.record(item(feature=12, error=error))

    row = only_row(board)
    assert (row.word, row.is_bad, row.earlier) == ("unknown", True, (failed(1),))
    assert (board.state.ended, board.state.total) == (2, 2)
    assert board.items[0].verdict is Verdict.UNKNOWN
    assert counts(board.rows) == "1 unknown"


def test_requests_are_counted(board: Board) -> None:
    """Each answer counts, whatever it was."""
    emit(board, RequestFinished("get_run", "GET", "http://s", None, 0.1))
    assert board.requests == 1


def test_attached_run_took_the_time_between_its_own_times(board: Board, clock: Clock) -> None:
    """Of a run that was dispatched before the command began, the service's times say how long."""
    begin = datetime(2026, 6, 10, 16, 2, 11, tzinfo=UTC)
    run = evolve(PASSED, created_at=begin, finished_at=begin + timedelta(seconds=43))
    board.update(RUN, change(Phase.FINISHED, "passed", run))
    assert only_row(board).elapsed(clock.now) == 43
    emit(board, Dispatched(evolve(RUN, run_id=215)))
    clock.now += 7
    board.update(evolve(RUN, run_id=215), change(Phase.FINISHED, "passed", run))
    assert board.rows[1].elapsed(clock.now) == 7
