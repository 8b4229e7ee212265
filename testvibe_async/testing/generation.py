"""One generation: warm-up, work on one section after the other, verification, end.

There is a section for each scenario of the feature. A generation computes its status and its log
from the clock on request; nothing happens as time passes. It never draws its stages: see
`scenario`.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import attrs

from .gherkin import GherkinScenario, scenarios_of, unique_slugs
from .scenario import EmulatorClock, GenerationStatus, Scenario, is_generation_status

if TYPE_CHECKING:
    from collections.abc import Iterator


_LINE_LIMIT = 600
_CONCLUSIONS = {"generated": "success", "failed": "failure", "cancelled": "cancelled"}
_REASONS = {"failure": "Tests did not pass verification", "cancelled": "Cancelled on request"}


@attrs.frozen
class Section:
    """The planned work on one scenario."""

    slug: str
    scenario: GherkinScenario
    starts_at: float
    ends_at: float

    def log(self, now: float, conclusion: str | None) -> list[str]:
        """Return the lines that are logged up to an instant; with a conclusion also the last."""
        lines: list[str] = []
        if now >= self.starts_at:
            lines = [*_work_lines(self.scenario)]
            share = (now - self.starts_at) / ((self.ends_at - self.starts_at) or 1)
            del lines[1 + int(share * len(lines)) :]
        if conclusion is not None:
            lines.append(self._closing_line(conclusion))
        return [line[:_LINE_LIMIT] for line in lines]

    def _closing_line(self, conclusion: str) -> str:
        tests = len(self.scenario.cases)
        if conclusion == "cancelled":
            return "Stopped: the generation was cancelled."
        if conclusion == "success":
            return f"Verification: {tests}/{tests} passed."
        reason = f"selector '#{self.slug}-button' not found on retry"
        return f"Verification: {tests - 1}/{tests} passed — {reason}."


def _work_lines(scenario: GherkinScenario) -> Iterator[str]:
    yield f"Exploring the site for “{scenario.title}”…"
    for step in scenario.cases[0].steps:
        yield f"Found a locator for “{step}”."
    count = len(scenario.cases)
    yield f"Generated {count} test {'case' if count == 1 else 'cases'} from the scenario."


@attrs.define(eq=False, kw_only=True)
class Generation:
    """One generation. Instants are emulator seconds."""

    request_id: str = attrs.field(init=False)
    feature_id: int
    feature_name: str
    ordinal: int
    """1 for its feature's first dispatch; 0 for one before the emulator's start."""
    gherkin: str
    """The feature's text at the dispatch; there is a section for each scenario."""
    site_url: str
    created_at: float
    started_at: float = attrs.field(init=False)
    """The start of its runner: the end of the warm-up."""
    finished_at: float = attrs.field(init=False)
    sections: list[Section] = attrs.field(init=False)
    failing_section: int | None = attrs.field(init=False)
    """The index of the section that fails; None if none does."""
    outcome: GenerationStatus = attrs.field(init=False, validator=is_generation_status)
    """The status at its end."""
    clock: EmulatorClock
    scenario: Scenario

    def __attrs_post_init__(self) -> None:
        """Follow the scenario's plan."""
        scenarios = scenarios_of(self.gherkin, self.feature_name)
        self.request_id, stages, self.failing_section = self.scenario.plan_generation(
            self.feature_name, self.ordinal, len(scenarios)
        )
        slugs = unique_slugs(scenario.title for scenario in scenarios)
        _, self.started_at, *ends, self.finished_at = accumulate(stages, initial=self.created_at)
        spans = pairwise([self.started_at, *ends])
        self.sections = [
            Section(slug, scenario, start, end)
            for slug, scenario, (start, end) in zip(slugs, scenarios, spans, strict=True)
        ]
        self.outcome = "generated" if self.failing_section is None else "failed"

    @property
    def status(self) -> str:
        """The current status."""
        return self.status_at(self.clock.now())

    def status_at(self, now: float) -> str:
        """Return `generating`, `generated`, `failed` or `cancelled`."""
        return "generating" if now < self.finished_at else self.outcome

    def finish(self, status: GenerationStatus, now: float) -> None:
        """Finish now, and with it all sections in progress."""
        self.outcome = status
        self.finished_at = now
        if status == "generated":
            self.failing_section = None
        elif status == "failed" and self.failing_section is None:
            self.failing_section = len(self.sections) - 1

    def progress(self, now: float) -> dict[str, object]:
        """Return its part of the status document."""
        is_finished = now >= self.finished_at
        started = min(now, self.finished_at) >= self.started_at
        bounds = [at for each in self.sections for at in (each.starts_at, each.ends_at)]
        return {
            "requestId": self.request_id,
            "runnerStarted": started,
            "overallStatus": "completed" if is_finished else "in_progress" if started else "queued",
            "overallConclusion": _CONCLUSIONS[self.outcome] if is_finished else None,
            "updatedUtc": self._changed(now, self.started_at, *bounds, self.finished_at),
            "sections": [
                {
                    "section": section.slug,
                    "status": state,
                    "conclusion": conclusion,
                    "updatedUtc": self._changed(
                        now, section.starts_at, min(section.ends_at, self.finished_at)
                    ),
                }
                for section, state, conclusion in self._states(now)
            ],
        }

    def log(self, now: float) -> list[dict[str, object]]:
        """Return the sections of the log document."""
        return [
            {
                "section": section.slug,
                "title": section.scenario.title,
                "state": state,
                "conclusion": conclusion,
                "statusReason": _REASONS.get(conclusion or ""),
                "log": section.log(min(now, self.finished_at), conclusion),
            }
            for section, state, conclusion in self._states(now)
        ]

    def _changed(self, now: float, *instants: float) -> str:
        """Return the last of some instants that has come before the end, or the dispatch."""
        seen = min(now, self.finished_at)
        return self.clock.stamp(max(at for at in (self.created_at, *instants) if at <= seen))

    def _states(self, now: float) -> Iterator[tuple[Section, str, str | None]]:
        """Yield each section with its state and its conclusion."""
        for index, section in enumerate(self.sections):
            if section.ends_at <= min(now, self.finished_at):
                is_failing = index == self.failing_section
                yield section, "completed", "failure" if is_failing else "success"
            elif now >= self.finished_at:
                yield section, "completed", _CONCLUSIONS[self.outcome]
            else:
                yield section, "in_progress" if now >= section.starts_at else "queued", None
