"""One generation: warm-up, work section by section, verification, end, by the clock alone.

As with a run, nothing happens as time passes: status and log are worked out when somebody asks.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING
from uuid import UUID

import attrs

from .gherkin import scenarios_of, slug

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .clock import EmulatorClock
    from .feature import Feature
    from .gherkin import GherkinScenario
    from .scenario import GenerationPlan, GenerationStatus

__all__ = ["Generation", "Section", "begin"]

_LINE_LIMIT = 600
_CONCLUSIONS = {"generated": "success", "failed": "failure", "cancelled": "cancelled"}
_REASONS = {"failure": "Tests did not pass verification", "cancelled": "Cancelled on request"}


@attrs.frozen
class Section:
    """One section's course, as planned: the work on one scenario."""

    slug: str
    title: str
    tests: int
    """How many tests come of it."""
    starts_at: float
    ends_at: float
    lines: tuple[str, ...]
    """What its log says as the work goes on, without the closing line."""

    def lines_at(self, now: float) -> list[str]:
        """Return what its log says at an instant within its work."""
        if now < self.starts_at:
            return []
        share = (now - self.starts_at) / ((self.ends_at - self.starts_at) or 1)
        return list(self.lines[: 1 + int(share * len(self.lines))])


@attrs.define(eq=False, kw_only=True)
class Generation:
    """One generation. Instants are emulator seconds."""

    request_id: str
    feature_id: int
    gherkin: str
    """What it generates tests from: the feature's text at the dispatch."""
    site_url: str
    created_at: float
    started_at: float
    """When its runner starts: the end of the warm-up."""
    finished_at: float
    sections: tuple[Section, ...]
    failing_section: int | None
    """The index of the section that fails; None where none does."""
    outcome: GenerationStatus
    """How it ends, or ended."""
    clock: EmulatorClock

    @property
    def status(self) -> str:
        """The status now."""
        return self.status_at(self.clock.now())

    def status_at(self, now: float) -> str:
        """Return `generating`, `generated`, `failed` or `cancelled`."""
        return "generating" if now < self.finished_at else self.outcome

    def finish(self, status: GenerationStatus, now: float) -> None:
        """End it at once; what is under way ends with it."""
        self.outcome = status
        self.finished_at = now
        if status == "generated":
            self.failing_section = None
        elif status == "failed" and self.failing_section is None:
            self.failing_section = len(self.sections) - 1

    def progress(self, now: float) -> dict[str, object]:
        """Return its part of the status document."""
        seen = min(now, self.finished_at)
        over = now >= self.finished_at
        started = seen >= self.started_at
        return {
            "requestId": self.request_id,
            "runnerStarted": started,
            "overallStatus": "completed" if over else "in_progress" if started else "queued",
            "overallConclusion": _CONCLUSIONS[self.outcome] if over else None,
            "updatedUtc": self.clock.stamp(self._last_change(seen)),
            "sections": [self._section(index, now) for index in range(len(self.sections))],
        }

    def log(self, now: float) -> list[dict[str, object]]:
        """Return the sections of the log document."""
        return [self._section_log(index, now) for index in range(len(self.sections))]

    def _last_change(self, seen: float) -> float:
        changes = [self.created_at, self.started_at, self.finished_at]
        for section in self.sections:
            changes += [section.starts_at, section.ends_at]
        return max(change for change in changes if change <= seen)

    def _section(self, index: int, now: float) -> dict[str, object]:
        section = self.sections[index]
        state, conclusion = self._state(index, now)
        seen = min(now, self.finished_at)
        changes = (self.created_at, section.starts_at, min(section.ends_at, self.finished_at))
        return {
            "section": section.slug,
            "status": state,
            "conclusion": conclusion,
            "updatedUtc": self.clock.stamp(max(at for at in changes if at <= seen)),
        }

    def _section_log(self, index: int, now: float) -> dict[str, object]:
        section = self.sections[index]
        state, conclusion = self._state(index, now)
        lines = section.lines_at(min(now, self.finished_at))
        if conclusion is not None:
            lines.append(_closing_line(section, conclusion))
        return {
            "section": section.slug,
            "title": section.title,
            "state": state,
            "conclusion": conclusion,
            "statusReason": None if conclusion is None else _REASONS.get(conclusion),
            "log": [line[:_LINE_LIMIT] for line in lines],
        }

    def _state(self, index: int, now: float) -> tuple[str, str | None]:
        section = self.sections[index]
        if now >= section.ends_at and section.ends_at <= self.finished_at:
            return "completed", "failure" if index == self.failing_section else "success"
        if now >= self.finished_at:
            return "completed", _CONCLUSIONS[self.outcome]
        return ("in_progress" if now >= section.starts_at else "queued"), None


def begin(
    plan: GenerationPlan, feature: Feature, *, gherkin: str, site_url: str, created_at: float
) -> Generation:
    """Make a generation that begins at an instant and goes as planned.

    Args:
        plan: Its course.
        feature: The feature that it is for.
        gherkin: The text that it generates tests from; one section for each scenario.
        site_url: The site that it explores.
        created_at: When it was dispatched, in emulator seconds.
    """
    started_at = created_at + plan.warm_up
    scenarios = scenarios_of(gherkin, feature.name)
    sections = tuple(_plan_sections(scenarios, started_at, plan.sections))
    return Generation(
        request_id=str(UUID(int=plan.request_id_bits, version=4)),
        feature_id=feature.id,
        gherkin=gherkin,
        site_url=site_url,
        created_at=created_at,
        started_at=started_at,
        finished_at=sections[-1].ends_at + plan.verification,
        sections=sections,
        failing_section=plan.failing_section,
        outcome="generated" if plan.failing_section is None else "failed",
        clock=feature.clock,
    )


def _plan_sections(
    scenarios: Sequence[GherkinScenario], started_at: float, seconds: Sequence[float]
) -> Iterator[Section]:
    bounds = list(accumulate(seconds, initial=started_at))
    taken: set[str] = set()
    for number, scenario in enumerate(scenarios, 1):
        word = slug(scenario.title)
        word = word if word not in taken else f"{word}-{number}"
        taken.add(word)
        yield Section(
            slug=word,
            title=scenario.title,
            tests=len(scenario.cases),
            starts_at=bounds[number - 1],
            ends_at=bounds[number],
            lines=tuple(_work_lines(scenario)),
        )


def _work_lines(scenario: GherkinScenario) -> Iterator[str]:
    yield f"Exploring the site for “{scenario.title}”…"
    for step in scenario.cases[0].steps:
        yield f"Found a locator for “{step}”."
    count = len(scenario.cases)
    yield f"Generated {count} test {'case' if count == 1 else 'cases'} from the scenario."


def _closing_line(section: Section, conclusion: str) -> str:
    if conclusion == "cancelled":
        return "Stopped: the generation was cancelled."
    if conclusion == "success":
        return f"Verification: {section.tests}/{section.tests} passed."
    return (
        f"Verification: {section.tests - 1}/{section.tests} passed"
        f" — selector '#{section.slug}-button' not found on retry."
    )
