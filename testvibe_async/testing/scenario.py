"""The emulator's time, and the durations and outcomes of operations, drawn from a seed.

Each draw depends on the seed, the feature's name and the number of earlier draws for that feature.
It never depends on the order of requests, so that two emulators with the same scenario behave the
same. The clock decides what "now" is; nothing else in the emulator reads one.
"""

from __future__ import annotations

import math
import time
from email.utils import formatdate
from random import Random
from typing import TYPE_CHECKING, Any, Literal, get_args
from uuid import UUID

import attrs
from attrs.validators import and_, ge, in_, le, lt, optional

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

RunStatus = Literal["passed", "failed"]
GenerationStatus = Literal["generated", "failed", "cancelled"]


is_run_status: Any = in_(get_args(RunStatus))
is_generation_status: Any = in_(get_args(GenerationStatus))
_duration: Any = optional(and_(ge(0.0), lt(math.inf)))
_share: Any = [ge(0), le(1)]


class EmulatorClock:
    """Emulator seconds: 0.0 until the start, then the source's seconds times the speed."""

    def __init__(self, *, speed: float, epoch: float | None) -> None:
        """Make a clock that stands still until `start`.

        Args:
            speed: Emulator seconds per second of the source.
            epoch: The Unix time, in seconds, of emulator second 0.0. None: the wall time now.
        """
        if not 0 < speed < math.inf:
            raise ValueError(f"speed must be a number above 0, got {speed}.")
        self._speed = speed
        # A whole second, so that rounding a timestamp depends only on the scenario.
        self._epoch = int(time.time() if epoch is None else epoch)
        self._read: Callable[[], float] | None = None
        self._started_at = 0.0

    def start(self, read: Callable[[], float]) -> None:
        """Let time run from now on.

        Args:
            read: The source, in seconds from any origin.
        """
        self._read = read
        self._started_at = read()

    def now(self) -> float:
        """Return the emulator seconds since the start."""
        if self._read is None:
            return 0.0
        return (self._read() - self._started_at) * self._speed

    def unix(self, at: float) -> float:
        """Return the Unix time, in seconds, of an instant in emulator seconds."""
        return self._epoch + at

    def stamp(self, at: float) -> str:
        """Format an instant in emulator seconds for the API: ISO-8601, UTC, whole seconds."""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.unix(at)))

    def http_date(self) -> str:
        """Return the current time in the format of the `Date` header."""
        return formatdate(self.unix(self.now()), usegmt=True)


def _as_range(value: float | tuple[float, float]) -> tuple[float, float]:
    low, high = value if isinstance(value, tuple) else (value, value)
    if not 0 <= low <= high:
        raise ValueError(
            f"A duration needs 0 <= shortest <= longest in seconds, got {low} and {high}."
        )
    return float(low), float(high)


def _by_folded_name(outcomes: Mapping[str, Outcome]) -> Mapping[str, Outcome]:
    return {name.casefold(): outcome for name, outcome in outcomes.items()}


@attrs.frozen(kw_only=True)
class Outcome:
    """The fixed behaviour of one feature; None leaves it to the draw.

    The statuses are those of the service's documentation. To send any other word, edit the answer:
    `emulator.fail("get_run", Fault.edit(lambda run: run | {"status": "archived"}))`.
    """

    run_queue: float | None = attrs.field(default=None, validator=_duration)
    """Seconds from a run's dispatch to its start."""
    run_duration: float | None = attrs.field(default=None, validator=_duration)
    """Seconds from a run's start to its end."""
    run_status: RunStatus | None = attrs.field(default=None, validator=optional(is_run_status))
    """`passed` or `failed`, at the end of runs. None: `failed` if `failing` or `error` is given."""
    failing: tuple[str, ...] = ()
    """The names of the scenarios whose tests fail, in any case; empty if they are drawn."""
    error: str | None = None
    """The error of the failing tests."""
    generation_duration: float | None = attrs.field(default=None, validator=_duration)
    """Seconds from a generation's dispatch to its end; the stages keep their proportions."""
    generation_status: Literal["generated", "failed"] | None = attrs.field(
        default=None, validator=optional(in_(("generated", "failed")))
    )
    """`generated` or `failed`, at the end of generations."""

    def __attrs_post_init__(self) -> None:
        """Refuse a contradiction.

        Raises:
            ValueError: Runs pass, with failing tests or an error.
        """
        if self.run_status == "passed" and (self.failing or self.error):
            raise ValueError("A run that passed needs an Outcome without failing and error.")


@attrs.frozen(kw_only=True)
class Scenario:
    """The behaviour of the emulated service; durations are seconds, (shortest, longest) or one.

    The defaults follow the service's documentation: a run takes about 30 s, a generation minutes.
    """

    seed: int | str = 0
    """The seed; the same one gives the same durations, verdicts, errors and ids."""
    run_queue: tuple[float, float] = attrs.field(default=(2.0, 8.0), converter=_as_range)
    """Seconds from the dispatch of a run to its start."""
    run_duration: tuple[float, float] = attrs.field(default=(15.0, 40.0), converter=_as_range)
    """Seconds from the start of a run to its end."""
    generation_warm_up: tuple[float, float] = attrs.field(default=(15.0, 25.0), converter=_as_range)
    """Seconds from the dispatch of a generation to the start of its runner."""
    generation_section: tuple[float, float] = attrs.field(default=(30.0, 50.0), converter=_as_range)
    """Seconds for one section; there is one for each scenario of the feature."""
    verification: tuple[float, float] = attrs.field(default=(10.0, 20.0), converter=_as_range)
    """Seconds from the end of the last section to the end of the generation."""
    failing_runs: float = attrs.field(default=0.2, validator=_share)
    """The share of runs that fail, 0 to 1."""
    failing_generations: float = attrs.field(default=0.1, validator=_share)
    """The share of generations that fail, 0 to 1."""
    outcomes: Mapping[str, Outcome] = attrs.field(
        factory=dict[str, Outcome], converter=_by_folded_name
    )
    """The fixed behaviour of features, by name in any case.

    Tests with other features may share a scenario, so a name that no feature has is no error; the
    emulator logs a warning when it closes.
    """

    def require_tests(self, feature: str, names: Iterable[str]) -> None:
        """Refuse an outcome of a feature whose `failing` names a test that does not exist.

        Args:
            feature: The feature's name.
            names: The names of its tests.

        Raises:
            ValueError: There is no such test.
        """
        known = list(names)
        folded = {name.casefold() for name in known}
        for name in self.outcome(feature).failing:
            if name.casefold() not in folded:
                raise ValueError(f"{feature!r} has no scenario {name!r}, but {known}.")

    def outcome(self, feature: str) -> Outcome:
        """Return the fixed behaviour of a feature."""
        return self.outcomes.get(feature.casefold(), _NOTHING_FIXED)

    def rng(self, kind: str, feature: str, ordinal: int) -> Random:
        """Return the random numbers for one purpose, always the same for the same arguments.

        Args:
            kind: The purpose: `"run"`, `"cases"`, `"generation"` or `"project"`.
            feature: The name of the feature, or of the project.
            ordinal: The number of the run or generation of this feature, or of the project.
        """
        return Random(f"{self.seed}/{kind}/{feature}/{ordinal}")  # noqa: S311 - no secret

    def plan_run(self, feature: str, ordinal: int) -> tuple[float, float, RunStatus]:
        """Draw a feature's run: its seconds in the queue, those from its start on, and its status.

        Args:
            feature: The feature's name.
            ordinal: 1 for the feature's first run.
        """
        rng = self.rng("run", feature, ordinal)
        queue, duration = rng.uniform(*self.run_queue), rng.uniform(*self.run_duration)
        fixed = self.outcome(feature)
        fails = rng.random() < self.failing_runs or fixed.failing or fixed.error
        return (
            queue if fixed.run_queue is None else fixed.run_queue,
            duration if fixed.run_duration is None else fixed.run_duration,
            fixed.run_status or ("failed" if fails else "passed"),
        )

    def plan_generation(
        self, feature: str, ordinal: int, sections: int
    ) -> tuple[str, list[float], int | None]:
        """Draw a feature's generation: its id, the seconds of its stages, and the failing section.

        The stages are the warm-up, each section and the verification. The section is an index, and
        None if all succeed.

        Args:
            feature: The feature's name.
            ordinal: 1 for the first that is dispatched; 0 for one before the emulator's start.
            sections: The number of its sections, at least 1.
        """
        rng = self.rng("generation", feature, ordinal)
        request_id = str(UUID(int=rng.getrandbits(128), version=4))
        warm_up, verification = (
            rng.uniform(*span) for span in (self.generation_warm_up, self.verification)
        )
        work = [rng.uniform(*self.generation_section) for _ in range(sections)]
        fails, failing = rng.random() < self.failing_generations, rng.randrange(sections)
        fixed = self.outcome(feature)
        if fixed.generation_status is not None:
            fails = fixed.generation_status == "failed"
        stages, wanted = [warm_up, *work, verification], fixed.generation_duration
        if wanted is not None and (drawn := sum(stages)) > 0:
            stages = [seconds * wanted / drawn for seconds in stages]
        return request_id, stages, failing if fails else None


_NOTHING_FIXED = Outcome()
