"""What is known of an operation never goes back."""

from datetime import UTC, datetime

from testvibe_async import Phase, Run, RunRef, RunStatus
from testvibe_async._polling.states import RunState

AT = datetime(2026, 5, 4, 12, tzinfo=UTC)
REF = RunRef(server="https://testvibe.test", project="shop", run_id=7)
QUEUED = Run(7, RunStatus.RUNNING, feature_name="Checkout")
PASSED = Run(7, RunStatus.PASSED, feature_name="Checkout", started_at=AT, finished_at=AT)


def test_an_answer_from_before_a_list_saw_it_start_is_no_step_back() -> None:
    """The list shows that it executes; a read that was under way then still says queued."""
    state = RunState(REF, began=0.0, answered_at=AT)
    assert state.see_started(at=AT) is not None
    state.accept(QUEUED, sequence=1, now=1.0, at=AT)
    assert state.phase is Phase.ACTIVE
    assert state.snapshot is QUEUED


def test_a_list_that_shows_it_started_is_late_after_the_end() -> None:
    """Once the end was read, a row that says it executes changes nothing."""
    state = RunState(REF, began=0.0, answered_at=AT)
    state.accept(PASSED, sequence=1, now=1.0, at=AT)
    assert state.see_started(at=AT) is None
    assert state.phase is Phase.FINISHED
    assert state.latest.snapshot is PASSED
