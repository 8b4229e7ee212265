"""The whole client in a simulated world: no schedule breaks an invariant.

100 schedules are played with the other tests, 500 where all is tried, the same each time, and some
of a batch that is restarted. To play others, and more:

    TESTVIBE_SCHEDULES=20000 TESTVIBE_SIMULATION_SEED=7 pytest tests/promises/simulation
    python -m tests.promises.simulation --schedules 20000 --seed 7
    python -m tests.promises.simulation --schedules 20000 --seed 7 --world play_restarts
"""

import os
from collections import Counter

import pytest

from tests.promises.simulation.restarts import play_restarts
from tests.promises.simulation.search import search
from tests.promises.simulation.sometimes import SOMETIMES_AFTER_RESTARTS, never_seen, table
from tests.support.amounts import amount

SCHEDULES = int(os.environ.get("TESTVIBE_SCHEDULES", amount(500, few=100)))
SEED = int(os.environ.get("TESTVIBE_SIMULATION_SEED", "1"))
ENOUGH = 500
"""Among so many schedules each state has to be seen."""
RESTARTS = 150
"""How many schedules of restarts are played with so many others."""


@pytest.mark.timeout(600 + SCHEDULES)
def test_no_schedule_breaks_an_invariant() -> None:
    """Whatever fails and in whatever order tasks run, the client keeps its promises."""
    result = search(SCHEDULES, seed=SEED)

    print(table(result.seen))  # noqa: T201
    assert SCHEDULES < ENOUGH or never_seen(result.seen) == []


@pytest.mark.timeout(600 + SCHEDULES)
def test_no_restart_breaks_an_invariant() -> None:
    """However its processes end, a batch with a journal repeats nothing and loses nothing."""
    result = search(SCHEDULES * RESTARTS // ENOUGH, seed=SEED, play=play_restarts)

    print(table(result.seen, SOMETIMES_AFTER_RESTARTS))  # noqa: T201
    missed = never_seen(result.seen, SOMETIMES_AFTER_RESTARTS)
    assert SCHEDULES < ENOUGH or missed == []


def test_a_schedule_is_named_by_its_seed_and_number() -> None:
    """A schedule goes the same way again, also without those before it."""
    both, again = search(2, seed=SEED), search(1, seed=SEED, first=1)
    first = search(1, seed=SEED)

    assert both.steps == first.steps + again.steps
    assert both.seen == first.seen + again.seen


def test_what_was_never_seen_is_told() -> None:
    """A search that misses a state that it must see says so."""
    assert "an adoption" in never_seen(Counter({"a throttle pause": 1}))
