"""The pace of traffic against services that limit it, each simulated without a socket."""

import pytest

from testvibe_async._core.http.pace import Pace


@pytest.mark.parametrize(("retry_after", "seconds"), [(7.0, 7.0), (None, 1.0)])
def test_three_of_few_refusals_pause_everybody(retry_after: float | None, seconds: float) -> None:
    """Two may be chance; the third begins a pause for the time that it asks for, or a second."""
    pace = Pace()
    refusals = [pace.refuse(0.0, retry_after=retry_after) for _ in range(3)]
    assert refusals == [None, None, seconds]
    assert pace.earliest_start(0.0) == seconds


def test_refusals_among_many_answers_pause_nobody() -> None:
    """Under a quarter is no limit."""
    pace = Pace()
    for _ in range(20):
        assert [pace.accept(0.1) for _ in range(4)] == [False] * 4
        assert pace.refuse(0.1, retry_after=9.0) is None
    assert pace.is_free


def test_one_probe_goes_out_after_the_pause() -> None:
    """The others wait for its answer, and go on when it is accepted."""
    pace = paused()
    pace.start(7.0)
    assert pace.earliest_start(7.0) > 7.0
    assert pace.accept(7.5)
    assert pace.earliest_start(7.5) == 7.5


def test_a_probe_that_is_refused_begins_the_pause_anew() -> None:
    """It is no second pause, but a longer one."""
    pace = paused()
    pace.start(7.0)
    assert pace.refuse(7.5, retry_after=20.0) is None
    assert pace.earliest_start(8.0) == 27.5


def test_a_probe_without_an_answer_is_followed_by_another() -> None:
    """A lost answer holds up nothing for ever."""
    pace = paused()
    pace.start(7.0)
    assert pace.earliest_start(8.0) == 12.0


def test_an_answer_from_before_the_pause_does_not_end_it() -> None:
    """What was under way when it began says nothing of its end."""
    pace = paused()
    assert not pace.accept(1.0)
    assert pace.earliest_start(1.0) == 7.0


def test_a_refusal_from_before_the_pause_may_make_it_longer() -> None:
    """The longest time that a refusal asks for counts, and a shorter one changes nothing."""
    pace = paused()
    pace.refuse(1.0, retry_after=2.0)
    assert pace.earliest_start(1.0) == 7.0
    pace.refuse(1.0, retry_after=20.0)
    assert pace.earliest_start(1.0) == 21.0


def test_a_pause_weighs_little_in_the_rate_that_is_come_back_to() -> None:
    """It is measured over more than ten seconds, of which the pause is one."""
    pace = Pace()
    for number in range(1020):
        pace.accept(number / 100)
    for _ in range(30):
        pace.refuse(10.2, retry_after=1.0)
    pace.start(11.2)
    assert pace.accept(11.3)
    pace.start(11.3)
    assert pace.earliest_start(11.3) - 11.3 == pytest.approx(1 / (0.9 * 1021 / 11.2))


def test_a_quiet_client_is_not_slowed_to_nothing() -> None:
    """Five requests a second go in any case."""
    pace = paused()
    pace.start(7.0)
    pace.accept(7.0)
    pace.start(7.0)
    assert pace.earliest_start(7.0) == pytest.approx(7.2)


def test_a_rate_that_has_grown_is_no_limit() -> None:
    """After enough time without refusals nothing is held back."""
    pace = paused()
    pace.start(7.0)
    pace.accept(7.0)
    assert not pace.is_free
    assert pace.earliest_start(60.0) == 60.0
    assert pace.is_free


def test_a_few_refusals_hold_the_rate() -> None:
    """They are what a limit that is used in full costs: the rate grows no further at once."""
    pace = paused()
    pace.start(7.0)
    pace.accept(7.0)
    assert [pace.accept(20.0) for _ in range(9)] == [False] * 9
    assert pace.refuse(20.0, retry_after=1.0) is None
    pace.earliest_start(25.0)
    assert not pace.is_free


def paused() -> Pace:
    """Return a pace that is paused from 0 to 7 s."""
    pace = Pace()
    for _ in range(3):
        pace.refuse(0.0, retry_after=7.0)
    return pace
