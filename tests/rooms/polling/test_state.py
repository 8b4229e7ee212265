"""What is known of an operation never goes back, and when it is polled next."""

from datetime import UTC, datetime

import pytest

from testvibe_async import Phase, Run, RunRef, RunStatus
from testvibe_async._core.polling.kinds import PolledRun
from testvibe_async._core.polling.list_polling import _is_time
from testvibe_async._core.polling.schedule import standard_poll_plan
from testvibe_async.errors import KindName

AT = datetime(2026, 5, 4, 12, tzinfo=UTC)
REF = RunRef(server="https://testvibe.test", project="shop", run_id=7)
QUEUED = Run(7, RunStatus.RUNNING, feature_name="Checkout")
PASSED = Run(7, RunStatus.PASSED, feature_name="Checkout", started_at=AT, finished_at=AT)


def test_an_answer_from_before_a_list_saw_it_start_is_no_step_back() -> None:
    """The list shows that it executes; a read that was under way then still says queued."""
    state = PolledRun(REF, began=0.0, answered_at=AT)
    assert state.see_started(at=AT) is not None
    state.accept(QUEUED, sequence=1, now=1.0, at=AT)
    assert state.phase is Phase.ACTIVE
    assert state.snapshot is QUEUED


def test_a_list_that_shows_it_started_is_late_after_the_end() -> None:
    """Once the end was read, a row that says it executes changes nothing."""
    state = PolledRun(REF, began=0.0, answered_at=AT)
    state.accept(PASSED, sequence=1, now=1.0, at=AT)
    assert state.see_started(at=AT) is None
    assert state.phase is Phase.FINISHED
    assert state.latest.snapshot is PASSED


@pytest.mark.parametrize(
    ("kind", "age", "interval"),
    [
        *(("run", age, 3.0) for age in (0, 60, 86_400)),
        *(("generation", age, 3.0) for age in (0, 60)),
        *(("generation", *row) for row in ((100, 5.0), (200, 10.0), (86_400, 10.0))),
    ],
)
def test_the_steps_of_a_generation_grow(kind: KindName, age: float, interval: float) -> None:
    """A run is polled in even steps; the interval of a generation grows from 3 s to 10 s."""
    assert standard_poll_plan(3.0)(kind, age, None) == pytest.approx(interval)


@pytest.mark.parametrize(
    ("started", "is_started"),
    [("0001-01-01T00:00:00Z", False), ("2026-06-10T16:02:19Z", True), ({"at": 1}, True)],
)
def test_a_row_with_a_start_in_any_form_is_started(started: object, *, is_started: bool) -> None:
    """A time that can't be read is one too."""
    assert _is_time(started) is is_started
