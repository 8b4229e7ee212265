"""One generation: warm-up, work on one section after the other, verification, end.

There is a section for each scenario of the feature. A generation computes its status and its log
from the clock on request; nothing happens as time passes. It never draws its stages: see
`scenario`.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

import attrs

from .gherkin import scenarios_of, slug
from .scenario import is_generation_status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .gherkin import GherkinScenario
    from .scenario import EmulatorClock, GenerationStatus

__all__ = ["Generation", "plan_sections"]

_LINE_LIMIT = 600
_CONCLUSIONS = {"generated": "success", "failed": "failure", "cancelled": "cancelled"}
_REASONS = {"failure": "Tests did not pass verification", "cancelled": "Cancelled on request"}


@attrs.frozen
class Section:
    """The planned work on one scenario."""

    slug: str
    title: str
    tests: int
    """The number of its generated tests."""
    starts_at: float
    ends_at: float
    lines: tuple[str, ...]
    """The lines of its log, without the closing one."""

    def lines_at(self, now: float) -> list[str]:
        """Return the lines that are logged up to an instant."""
        if now < self.starts_at:
            return []
        share = (now - self.starts_at) / ((self.ends_at - self.starts_at) or 1)
        return list(self.lines[: 1 + int(share * len(self.lines))])


def plan_sections(
    gherkin: str, feature: str, *, started_at: float, seconds: Sequence[float]
) -> Iterator[Section]:
    """Plan the work on a text, one scenario after the other.

    Args:
        gherkin: The text; it counts as one scenario where it has none.
        feature: The feature's name.
        started_at: The start of the work, in emulator seconds.
        seconds: The duration of each section.
    """
    bounds = list(accumulate(seconds, initial=started_at))
    taken: set[str] = set()
    for number, scenario in enumerate(scenarios_of(gherkin, feature), 1):
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
    """Return the last line of a section's log.

    Args:
        section: The section.
        conclusion: Its conclusion: `success`, `failure` or `cancelled`.
    """
    if conclusion == "cancelled":
        return "Stopped: the generation was cancelled."
    if conclusion == "success":
        return f"Verification: {section.tests}/{section.tests} passed."
    return (
        f"Verification: {section.tests - 1}/{section.tests} passed"
        f" — selector '#{section.slug}-button' not found on retry."
    )


@attrs.define(eq=False, kw_only=True)
class Generation:
    """One generation. Instants are emulator seconds."""

    request_id: str
    feature_id: int
    gherkin: str
    """The feature's text at the dispatch."""
    site_url: str
    created_at: float
    started_at: float
    """The start of its runner: the end of the warm-up."""
    finished_at: float
    sections: tuple[Section, ...]
    failing_section: int | None
    """The index of the section that fails; None if none does."""
    outcome: GenerationStatus = attrs.field(validator=is_generation_status)
    """The status at its end."""
    clock: EmulatorClock

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
        seen = min(now, self.finished_at)
        is_finished = now >= self.finished_at
        started = seen >= self.started_at
        return {
            "requestId": self.request_id,
            "runnerStarted": started,
            "overallStatus": "completed" if is_finished else "in_progress" if started else "queued",
            "overallConclusion": _CONCLUSIONS[self.outcome] if is_finished else None,
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
