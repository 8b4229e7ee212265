"""The whole client in a simulated world: no schedule breaks an invariant.

20 schedules are played with the other tests, 500 where all is tried, the same each time, and some
of a batch that is restarted. To play others, and more:

    python -m tests.promises.simulation --schedules 20000 --seed 7
    python -m tests.promises.simulation --schedules 20000 --seed 7 --world play_restarts
"""

from collections import Counter

import pytest

from tests.promises.simulation import restarts, world
from tests.promises.simulation.search import Play, Search, search
from tests.support.amounts import amount

SCHEDULES = amount(500, few=20)
SEED = 1
ENOUGH = 500
"""Among so many schedules each state has to be seen, and among so many of restarts."""
RESTARTS = 150


@pytest.mark.timeout(600 + SCHEDULES)
@pytest.mark.parametrize(
    ("play", "schedules", "expected"),
    [
        (world.play, SCHEDULES, world.SOMETIMES),
        (restarts.play_restarts, SCHEDULES * RESTARTS // ENOUGH, restarts.SOMETIMES),
    ],
    ids=["one process", "restarts"],
)
def test_no_schedule_breaks_a_rule(play: Play, schedules: int, expected: tuple[str, ...]) -> None:
    """Whatever fails, in whatever order tasks run and processes end, the promises are kept."""
    result = search(schedules, seed=SEED, play=play)

    print(result.table(expected))  # noqa: T201
    assert SCHEDULES < ENOUGH or result.never_seen(expected) == []


def test_a_schedule_is_named_by_its_seed_and_number() -> None:
    """A schedule goes the same way again, also without those before it."""
    both, again = search(2, seed=SEED), search(1, seed=SEED, first=1)
    first = search(1, seed=SEED)

    assert both.steps == first.steps + again.steps
    assert both.seen == first.seen + again.seen


def test_what_was_never_seen_is_told() -> None:
    """A search that misses a state that it must see says so."""
    assert "an adoption" in Search(seen=Counter({"a pause": 1})).never_seen(world.SOMETIMES)
