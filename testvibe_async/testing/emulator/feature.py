"""One feature: its text, its status, and the tests that were last generated from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from .clock import EmulatorClock
    from .generation import Generation
    from .run import Run

__all__ = ["Feature"]


@attrs.define(eq=False, kw_only=True)
class Feature:
    """One feature. Instants are emulator seconds."""

    id: int
    name: str
    gherkin: str
    kind: str
    """`feature` or `suggestion`."""
    status: str
    """As of the last `settle`."""
    rationale: str | None
    slug: str
    """Its name in the paths of generated specs; it stays when the feature is renamed."""
    updated_at: float
    generated_from: str | None
    """The text that its tests were last generated from; None where there are no tests."""
    clock: EmulatorClock
    generation: Generation | None = None
    """The latest one; None where none was dispatched here."""
    generations_dispatched: int = 0
    runs: list[Run] = attrs.field(factory=list["Run"], repr=False)
    """All that were dispatched, the oldest first."""

    @property
    def spec_path(self) -> str:
        """Where its generated tests are."""
        return f"tests/{self.slug}.spec.ts"

    def settle(self, now: float) -> None:
        """Take over what the latest generation has come to, where it is over."""
        generation = self.generation
        if self.status != "generating" or generation is None or now < generation.finished_at:
            return
        self.status = generation.outcome
        self.updated_at = generation.finished_at
        if generation.outcome == "generated":
            self.generated_from = generation.gherkin

    def row(self) -> dict[str, object]:
        """Return the feature as lists show it."""
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
