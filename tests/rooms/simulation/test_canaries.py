"""The simulation catches clients that break their promises: a test of the checker.

A few mutants are tried with the other tests, and all of them, with all seeds, in the full amounts.
"""

import re

import pytest

from tests.promises.simulation.search import BrokenScheduleError, replay, search
from tests.rooms.simulation.canaries import CANARIES, SEEDS, schedules_until_caught
from tests.support.amounts import FULL

pytestmark = pytest.mark.timeout(600)

NAMES = [*CANARIES] if FULL else ["a POST is sent again", "refs are not stored"]


@pytest.mark.parametrize("seed", SEEDS if FULL else SEEDS[:1])
@pytest.mark.parametrize("name", NAMES)
def test_a_mutant_is_caught(name: str, seed: int) -> None:
    """Each planted mutant breaks the invariant that it is there for, with each seed."""
    schedules = schedules_until_caught(name, seed)

    assert schedules is not None
    print(f"caught after {schedules} schedules: {name}")  # noqa: T201


def test_a_broken_schedule_is_a_bug_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report has the seed and the schedule made simple, and can be replayed."""
    CANARIES["a null is taken for a value"].mutate(monkeypatch)

    with pytest.raises(BrokenScheduleError) as caught:
        search(100, seed=1)

    report = str(caught.value)
    assert re.search(r"Shrunk from \d+ deviations to \d+:", report)
    assert re.search(r"--seed 1 --first \d+ --schedules 1", report)
    token = re.search(r"--replay (\S+)", report)
    assert token is not None
    assert replay(token[1]) is not None
    monkeypatch.undo()
    assert replay(token[1]) is None
