"""How long things take in the emulator and how they end, drawn from a seed.

Pure. Each draw depends on the seed, the feature's name and how many came before it for that
feature, never on the order of requests, so that two emulators with one scenario tell one story.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["GenerationPlan", "Outcome", "RunPlan", "Scenario"]

RunStatus = Literal["passed", "failed"]
GenerationStatus = Literal["generated", "failed", "cancelled"]


def _as_range(value: float | tuple[float, float]) -> tuple[float, float]:
    low, high = value if isinstance(value, tuple) else (value, value)
    if not 0 <= low <= high:
        raise ValueError(
            f"A duration needs 0 <= shortest <= longest in seconds, got {low} and {high}."
        )
    return float(low), float(high)


def _as_share(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"A share needs to be from 0 to 1, got {value}.")
    return float(value)


def _by_folded_name(outcomes: Mapping[str, Outcome]) -> Mapping[str, Outcome]:
    return {name.casefold(): outcome for name, outcome in outcomes.items()}


@attrs.frozen(kw_only=True)
class Outcome:
    """What is fixed about one feature; None leaves it to the draw."""

    run_queue: float | None = None
    """Seconds that a run waits before it executes."""
    run_duration: float | None = None
    """Seconds that a run executes."""
    run_status: RunStatus | None = None
    """How runs end; `failed` where only `failing` is given."""
    failing: tuple[str, ...] = ()
    """The tests that fail in a failed run, by name; none, or none that exists: drawn."""
    error: str | None = None
    """The error text of the failing tests."""
    generation_duration: float | None = None
    """Seconds from dispatch to end; the stages keep their shares."""
    generation_status: Literal["generated", "failed"] | None = None
    """How generations end."""

    @property
    def fixed_run_status(self) -> RunStatus | None:
        """How runs end, where that is fixed."""
        return self.run_status or ("failed" if self.failing else None)


@attrs.frozen
class RunPlan:
    """One run's course."""

    queue: float
    """Seconds before it executes."""
    duration: float
    """Seconds that it executes."""
    status: RunStatus
    """How it ends."""


@attrs.frozen
class GenerationPlan:
    """One generation's course: it warms up, works section by section, verifies, ends."""

    request_id_bits: int
    """128 random bits."""
    warm_up: float
    """Seconds before the runner starts."""
    sections: tuple[float, ...]
    """Seconds that each section takes."""
    verification: float
    """Seconds after the last section."""
    failing_section: int | None
    """The index of the section that fails; None where all succeed."""

    @property
    def duration(self) -> float:
        """Seconds from dispatch to end."""
        return self.warm_up + sum(self.sections) + self.verification


@attrs.frozen(kw_only=True)
class Scenario:
    """How the emulated service behaves. The durations are seconds: (shortest, longest), or one.

    The defaults are what the service's documentation tells of: a run takes about 30 s, a
    generation minutes.
    """

    seed: int | str = 0
    """The same seed gives the same durations, verdicts, errors and ids."""
    run_queue: tuple[float, float] = attrs.field(default=(2.0, 8.0), converter=_as_range)
    """From the dispatch of a run to its start."""
    run_duration: tuple[float, float] = attrs.field(default=(15.0, 40.0), converter=_as_range)
    """From the start of a run to its end."""
    generation_warm_up: tuple[float, float] = attrs.field(default=(15.0, 25.0), converter=_as_range)
    """From the dispatch of a generation until its runner starts."""
    generation_section: tuple[float, float] = attrs.field(default=(30.0, 50.0), converter=_as_range)
    """The work on one section; there is one for each scenario of the feature."""
    verification: tuple[float, float] = attrs.field(default=(10.0, 20.0), converter=_as_range)
    """From the end of the last section to the end of the generation."""
    failing_runs: float = attrs.field(default=0.2, converter=_as_share)
    """The share of runs that fail, 0 to 1."""
    failing_generations: float = attrs.field(default=0.1, converter=_as_share)
    """The share of generations that fail, 0 to 1."""
    outcomes: Mapping[str, Outcome] = attrs.field(
        factory=dict[str, Outcome], converter=_by_folded_name
    )
    """What is fixed, by feature name; the case of a name does not matter."""

    def outcome(self, feature: str) -> Outcome:
        """Return what is fixed about a feature."""
        return self.outcomes.get(feature.casefold(), _NOTHING_FIXED)

    def dice(self, kind: str, feature: str, ordinal: int) -> Random:
        """Return the randomness of one thing, always the same for the same thing.

        Args:
            kind: What it is for: `"run"`, `"cases"`, `"generation"`.
            feature: The feature's name.
            ordinal: Which run or generation of this feature it is.
        """
        return Random(f"{self.seed}/{kind}/{feature}/{ordinal}")  # noqa: S311 - no secret

    def plan_run(self, feature: str, ordinal: int) -> RunPlan:
        """Draw the course of a feature's run.

        Args:
            feature: The feature's name.
            ordinal: 1 for the feature's first run.
        """
        dice = self.dice("run", feature, ordinal)
        queue, duration = dice.uniform(*self.run_queue), dice.uniform(*self.run_duration)
        fails = dice.random() < self.failing_runs
        fixed = self.outcome(feature)
        return RunPlan(
            queue=queue if fixed.run_queue is None else fixed.run_queue,
            duration=duration if fixed.run_duration is None else fixed.run_duration,
            status=fixed.fixed_run_status or ("failed" if fails else "passed"),
        )

    def plan_generation(self, feature: str, ordinal: int, sections: int) -> GenerationPlan:
        """Draw the course of a feature's generation.

        Args:
            feature: The feature's name.
            ordinal: 1 for the first that is dispatched; 0 for one before the emulator's start.
            sections: How many sections it has, at least 1.
        """
        dice = self.dice("generation", feature, ordinal)
        bits = dice.getrandbits(128)
        warm_up, verification = (
            dice.uniform(*span) for span in (self.generation_warm_up, self.verification)
        )
        work = [dice.uniform(*self.generation_section) for _ in range(sections)]
        fails, failing = dice.random() < self.failing_generations, dice.randrange(sections)
        fixed = self.outcome(feature)
        if fixed.generation_status is not None:
            fails = fixed.generation_status == "failed"
        factor = _factor(fixed.generation_duration, warm_up + sum(work) + verification)
        return GenerationPlan(
            request_id_bits=bits,
            warm_up=warm_up * factor,
            sections=tuple(seconds * factor for seconds in work),
            verification=verification * factor,
            failing_section=failing if fails else None,
        )


def _factor(wanted: float | None, drawn: float) -> float:
    """Return what to stretch a drawn time by; one that is drawn as zero stays zero."""
    return 1.0 if wanted is None or drawn == 0 else wanted / drawn


_NOTHING_FIXED = Outcome()
