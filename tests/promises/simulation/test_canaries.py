"""The simulation catches clients that break their promises: a test of the checker."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.promises.simulation.canaries import CANARIES, schedules_until_caught
from tests.promises.simulation.search import BrokenScheduleError, replay, search

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("name", CANARIES)
def test_a_mutant_is_caught(name: str, record_property: Callable[[str, object], None]) -> None:
    """Each planted mutant breaks the invariant that it is there for, within 100 schedules."""
    schedules = schedules_until_caught(name)

    assert schedules is not None
    record_property("schedules", schedules)
    print(f"caught after {schedules} schedules: {name}")  # noqa: T201


def test_a_broken_schedule_is_a_bug_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report has the seed, the commit and the schedule made simple, and can be replayed."""
    mutate, _ = CANARIES["a slot is lost with each error"]
    mutate(monkeypatch)

    with pytest.raises(BrokenScheduleError) as caught:
        search(100, seed=1)

    report = str(caught.value)
    assert re.search(r"Shrunk from \d+ deviations to \d+:", report)
    assert re.search(r"--seed 1 --first \d+ --schedules 1, at commit \w+", report)
    token = re.search(r"--replay (\S+)", report)
    assert token is not None
    assert replay(token[1]) is not None
    monkeypatch.undo()
    assert replay(token[1]) is None
