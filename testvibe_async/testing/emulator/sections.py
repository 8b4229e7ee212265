"""The sections of a generation, one for each scenario of the feature, and their logs.

Pure. It plans sections, and words their logs. It never decides which of them fails.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

import attrs

from .gherkin import scenarios_of, slug

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .gherkin import GherkinScenario

__all__ = ["Section", "closing_line", "plan_sections"]


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


def closing_line(section: Section, conclusion: str) -> str:
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
