"""When an operation is polled next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testvibe_async import GenerationRef, RunRef
from testvibe_async._http import outage_interval
from testvibe_async._polling.plan import standard_poll_plan

RUN = RunRef(server="https://testvibe.example", project="p", run_id=214)
GENERATION = GenerationRef(
    server="https://testvibe.example", project="p", request_id="a1b2", feature_id=12
)


@pytest.mark.parametrize("age", [0, 1, 60, 86_400])
def test_a_run_is_polled_in_even_steps(age: float) -> None:
    """The interval of a run is the base, whatever its age."""
    assert standard_poll_plan(3.0)("run", age, None) == 3.0


@pytest.mark.parametrize(
    ("age", "interval"), [(0, 3.0), (60, 3.0), (100, 5.0), (200, 10.0), (86_400, 10.0)]
)
def test_a_generations_steps_grow_with_its_age(age: float, interval: float) -> None:
    """The interval of a generation grows from 3 s to 10 s."""
    assert standard_poll_plan(3.0)("generation", age, None) == pytest.approx(interval)


@given(base=st.floats(0.01, 600), ages=st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)))
def test_a_generation_never_hurries_with_age(base: float, ages: tuple[float, float]) -> None:
    """An older generation is polled no more often; an interval is one to 10/3 of the base."""
    younger, older = (standard_poll_plan(base)("generation", age, None) for age in sorted(ages))
    assert base <= younger <= older <= base * (10 / 3)


@pytest.mark.parametrize(
    ("failures", "interval"), [(0, 3.0), (1, 6.0), (2, 12.0), (3, 24.0), (4, 30.0), (99, 30.0)]
)
def test_failures_slow_the_polls_down(failures: int, interval: float) -> None:
    """Each failure in a row doubles the interval, up to 30 s."""
    assert outage_interval(3.0, failures) == interval


@given(interval=st.floats(0.001, 3600), failures=st.integers(0, 10**9))
def test_an_outage_never_stops_or_rushes_the_polls(interval: float, failures: int) -> None:
    """However many polls failed, the next is no sooner than usual, and within half a minute."""
    wait = outage_interval(interval, failures)
    assert interval <= wait <= max(interval, 30.0)
