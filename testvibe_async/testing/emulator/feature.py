"""One feature: its text, its status, and the text of its generated tests.

It decides its status from its latest generation. It knows nothing of runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import attrs

from .generation import Generation
from .sections import plan_sections

if TYPE_CHECKING:
    from .clock import EmulatorClock
    from .scenario import GenerationPlan

__all__ = ["NEVER_GENERATED", "Feature"]

NEVER_GENERATED = "draft"
"""The status of a feature that was never generated (assumed: the documentation names none)."""


@attrs.define(eq=False, kw_only=True)
class Feature:
    """One feature. Instants are emulator seconds."""

    id: int
    name: str
    gherkin: str
    kind: str
    """`feature` or `suggestion`."""
    status: str
    """As of the last `reconcile`."""
    rationale: str | None
    slug: str
    """Its name in the paths of generated specs; a new name does not change it."""
    updated_at: float
    generated_from: str | None
    """The text of its last generated tests; None if there are no tests."""
    clock: EmulatorClock
    generation: Generation | None = None
    """The latest one; None if none was dispatched here."""
    generations_dispatched: int = 0

    @property
    def spec_path(self) -> str:
        """The path of its generated tests."""
        return f"tests/{self.slug}.spec.ts"

    def begin_generation(
        self, plan: GenerationPlan, *, gherkin: str, site_url: str, created_at: float
    ) -> Generation:
        """Make its latest generation, which goes as planned; the status stays as it is.

        Args:
            plan: The durations of its stages, and its outcome.
            gherkin: The text to generate tests from; there is a section for each scenario.
            site_url: The site under test.
            created_at: The time of the dispatch, in emulator seconds.
        """
        started_at = created_at + plan.warm_up
        sections = tuple(
            plan_sections(gherkin, self.name, started_at=started_at, seconds=plan.sections)
        )
        self.generation = Generation(
            request_id=str(UUID(int=plan.request_id_bits, version=4)),
            feature_id=self.id,
            gherkin=gherkin,
            site_url=site_url,
            created_at=created_at,
            started_at=started_at,
            finished_at=sections[-1].ends_at + plan.verification,
            sections=sections,
            failing_section=plan.failing_section,
            outcome="generated" if plan.failing_section is None else "failed",
            clock=self.clock,
        )
        return self.generation

    def reconcile(self, now: float) -> None:
        """Take over the outcome of the latest generation, if it is finished."""
        generation = self.generation
        if self.status != "generating" or generation is None or now < generation.finished_at:
            return
        self.status = generation.outcome
        self.updated_at = generation.finished_at
        if generation.outcome == "generated":
            self.generated_from = generation.gherkin

    def row(self) -> dict[str, object]:
        """Return the feature's row in lists."""
        return {
            "id": self.id,
            "name": self.name,
            "kind": self.kind,
            "status": self.status,
            "updatedUtc": self.clock.stamp(self.updated_at),
        }

    def document(self) -> dict[str, object]:
        """Return the feature in full."""
        return self.row() | {"gherkin": self.gherkin, "rationale": self.rationale}
