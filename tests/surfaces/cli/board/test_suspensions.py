"""Which lists are suspended, by a client's events alone."""

from __future__ import annotations

import pytest

from testvibe_async import NotFoundError, ServerError, VibeError
from testvibe_async.cli.board.suspensions import Suspensions
from testvibe_async.events import ListPollingSuspended, RequestFinished

GONE = NotFoundError("none here", status=404, method="GET", url="http://s/runs")
DOWN = ServerError("down", status=503, method="GET", url="http://s/runs")


def suspended(
    error: VibeError | None, *, seconds: float = 600.0, operation: str = "list_runs"
) -> Suspensions:
    """Return what is known after a list was suspended at 10 s."""
    made = Suspensions()
    made.begin(ListPollingSuspended(operation, "p", seconds=seconds, error=error), now=10)
    return made


def answer(known: Suspensions, operation: str, status: int | None, now: float) -> None:
    known.note(RequestFinished(operation, "GET", "http://s", status=status, seconds=0.1), now=now)


def told(known: Suspensions, now: float) -> list[str]:
    return [str(each) for each in known.news(now)]


@pytest.mark.parametrize(
    ("error", "operation", "sentence"),
    [
        (
            GONE,
            "list_runs",
            "no list of runs for 10:00, so each run is polled by itself: none here",
        ),
        (
            None,
            "list_features",
            (
                "no list of features for 10:00, so each generation is polled by itself: it was "
                "wrong, or cost more than it saved"
            ),
        ),
    ],
)
def test_suspended_list_is_told_once(
    error: VibeError | None, operation: str, sentence: str
) -> None:
    """The sentence says what is done instead, and why; suspended again, it is no news."""
    known = suspended(error, operation=operation)
    assert told(known, 11) == [sentence]
    assert told(known, 12) == []
    known.begin(ListPollingSuspended(operation, "p", seconds=600, error=error), now=611)
    assert told(known, 612) == []


def test_end_is_told_once_the_list_was_of_use() -> None:
    """An answer ends it where no further suspension follows; one before its time does not."""
    known = suspended(GONE)
    assert len(told(known, 11)) == 1
    answer(known, "list_runs", 200, now=300)
    assert told(known, 302) == []
    answer(known, "list_runs", 200, now=611)
    known.begin(ListPollingSuspended("list_runs", "p", seconds=60, error=None), now=611.1)
    assert told(known, 613) == []
    answer(known, "list_runs", 200, now=672)
    assert told(known, 672.5) == []
    assert told(known, 673) == ["the list of runs is in use again, after 11:02"]
    assert told(known, 674) == []


def test_failure_is_the_lists_own_where_something_else_is_answered_right_after() -> None:
    """A list that alone answers 503 is told once a read by id was answered."""
    known = suspended(DOWN, seconds=30)
    assert told(known, 11) == []
    answer(known, "get_run", 503, now=11)
    assert told(known, 12) == []
    answer(known, "get_run", 200, now=12)
    assert len(told(known, 12)) == 1
    answer(known, "list_runs", 200, now=20)
    assert told(known, 21) == ["the list of runs is in use again, after 10 s"]


def test_list_that_fails_with_all_else_is_an_outages() -> None:
    """Where the next answer comes late the service was out, and neither begin nor end is told."""
    known = suspended(DOWN, seconds=30)
    answer(known, "get_run", None, now=13)
    answer(known, "get_run", 200, now=25)
    answer(known, "list_runs", 200, now=28)
    assert told(known, 30) == []
