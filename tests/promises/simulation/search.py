"""The search for a schedule that breaks an invariant, and the report on one that does.

A schedule is named by its seed and number alone: no other schedule has to run before it.
"""

import gc
import time
import warnings
from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import detangle
from attrs import define, field

from tests.promises.simulation.process import local_clocks
from tests.promises.simulation.world import play
from testvibe_async.events import logger

CONFIG = detangle.SimConfig(
    check_leaks=True,
    max_steps=50_000,
    net=detangle.NetConfig(latency=(0.01, 0.1), latency_steps=3, fragment=0.03),
)
Play: TypeAlias = "Callable[[], Coroutine[Any, Any, Counter[str]]]"

STEPS_OF_A_SCHEDULE = 150
"""About how many choices of the next task a schedule has: where PCT puts its changes."""
COLLECT_EVERY = 50
"""After how many schedules garbage is collected: never in one, where it would add chance."""
DEVIATIONS_SHOWN = 60


class BrokenScheduleError(AssertionError):
    """A schedule broke an invariant; the message is the bug report."""

    def __init__(self, report: str, *, number: int) -> None:
        super().__init__(report)
        self.number = number
        """The schedule's number."""


@define
class Search:
    """What a search came to."""

    schedules: int = 0
    steps: int = 0
    seconds: float = 0.0
    seen: Counter[str] = field(factory=Counter[str])
    """How often the schedules saw what."""

    def never_seen(self, expected: Sequence[str]) -> list[str]:
        """Return what ought to have been seen and was not."""
        return [what for what in expected if not self.seen[what]]

    def table(self, expected: Sequence[str]) -> str:
        """Return what was seen and how often, those first that have to be."""
        others = sorted(self.seen.keys() - set(expected))
        return "\n".join(f"{self.seen[what]:>9,}  {what}" for what in (*expected, *others))


class _PCT(detangle.PCT):
    """Priorities for tasks, with few changes. It learns nothing from one schedule for the next."""

    def finish(self, decisions: Sequence[detangle.Decision], failed: bool) -> None:  # noqa: FBT001
        pass


def search(
    schedules: int, *, seed: int, first: int = 0, shrinks: bool = True, play: Play = play
) -> Search:
    """Play schedules, one after the other.

    Args:
        schedules: How many.
        seed: Of all of them.
        first: The number of the first.
        shrinks: Whether one that breaks an invariant is made simpler for the report.
        play: Plays one, and returns what was seen in it.

    Raises:
        BrokenScheduleError: One of them broke an invariant.
    """
    result = Search()
    began = time.perf_counter()
    with _alone():
        for number in range(first, first + schedules):
            strategy = _strategy(seed, number)
            run = detangle.execute(play, config=CONFIG, strategy=strategy)
            result.schedules += 1
            result.steps += run.steps
            if run.failure is not None:
                what = _shrunk(run.values, play) if shrinks else run.failure.message
                del run  # and with it what the schedule left open
                raise BrokenScheduleError(_report(what, seed, number), number=number)
            result.seen.update(run.value)
            if number % COLLECT_EVERY == 0:
                gc.collect()
    result.seconds = time.perf_counter() - began
    return result


def replay(token: str, play: Play = play) -> str | None:
    """Play one schedule again by the token of a report; return what it breaks, None if nothing."""
    with _alone():
        try:
            detangle.explore(play, replay=token, config=CONFIG)
        except detangle.BugFound as bug:
            return _account(bug.report, play)
    return None


def _strategy(seed: int, number: int) -> detangle.Strategy:
    strategies: tuple[detangle.Strategy, ...] = (
        detangle.RandomWalk(seed),
        _PCT(seed, depth=3, horizon=STEPS_OF_A_SCHEDULE),
    )
    strategy = strategies[number % len(strategies)]
    strategy.start(number)
    return strategy


@contextmanager
def _alone() -> Generator[None]:
    """Keep what is outside of the world out: clocks, garbage collection, the log, warnings."""
    was_enabled, was_disabled = gc.isenabled(), logger.disabled
    gc.disable()
    logger.disabled = True
    with local_clocks(), warnings.catch_warnings():
        # A schedule that breaks an invariant ends there, and leaves clients and sessions open.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            yield
        finally:
            gc.collect()
            logger.disabled = was_disabled
            if was_enabled:
                gc.enable()


def _shrunk(values: list[int], play: Play) -> str:
    """Return an account of the simplest schedule that breaks the same invariant."""
    try:
        detangle.explore(
            play,
            runs=1,
            strategy=detangle.Replay(values),
            config=CONFIG,
            shrink=True,
            database=False,
        )
    except detangle.BugFound as bug:
        return _account(bug.report, play)
    return "It broke an invariant, and a second time nothing: something in it is left to chance."


def _account(bug: detangle.BugReport, play: Play) -> str:
    """Return what a schedule breaks, by which deviations, and how to play it again."""
    lines = [bug.failure.message, ""]
    if bug.original_deviations is not None:
        lines += [f"Shrunk from {bug.original_deviations} deviations to {bug.deviations}:", ""]
    if bug.trace is not None:
        events = [
            event
            for event in bug.trace.events
            if event.deviation or event.verb in {"note", "fault", "error"}
        ]
        shown = type(bug.trace)(events, bug.trace.actors)
        lines += [shown.render(limit=DEVIATIONS_SHOWN), ""]
    command = f"python -m tests.promises.simulation --world {play.__name__} --replay {bug.token}"
    return "\n".join([*lines, f"Replay: {command}"])


def _report(what: str, seed: int, number: int) -> str:
    return f"{what}\nBefore it was shrunk: --seed {seed} --first {number} --schedules 1"
