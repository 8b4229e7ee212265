"""One project and its features: which one a name or an id means, and the status that each has.

A feature decides its status from its latest generation. It knows nothing of runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from .answers import Refusal
from .gherkin import NEVER_GENERATED, slug

if TYPE_CHECKING:
    from .generation import Generation
    from .scenario import EmulatorClock

_DIGITS = 18


@attrs.define(eq=False, kw_only=True)
class Feature:
    """One feature. Instants are emulator seconds."""

    id: int
    name: str
    gherkin: str
    kind: str = "feature"
    """`feature` or `suggestion`."""
    status: str = NEVER_GENERATED
    """As of the last `reconcile`."""
    rationale: str | None = None
    slug: str = attrs.field(init=False)
    """Its name in the paths of generated specs; a new name does not change it."""
    updated_at: float = attrs.field(init=False)
    generated_from: str | None = attrs.field(init=False)
    """The text of its last generated tests; None if there are no tests."""
    clock: EmulatorClock
    generation: Generation | None = None
    """The latest one; None if none was dispatched here."""
    generations_dispatched: int = 0
    runs_dispatched: int = 0

    def __attrs_post_init__(self) -> None:
        """Begin with the tests of the current text, if there are tests."""
        self.slug, self.updated_at = slug(self.name), self.clock.now()
        self.generated_from = self.gherkin if self.status == "generated" else None

    @property
    def spec_path(self) -> str:
        """The path of its generated tests."""
        return f"tests/{self.slug}.spec.ts"

    def reconcile(self) -> None:
        """Take over the outcome of the latest generation, if it is finished."""
        generation, now = self.generation, self.clock.now()
        if self.status != "generating" or generation is None or now < generation.finished_at:
            return
        self.status = generation.outcome
        self.updated_at = generation.finished_at
        if generation.outcome == "generated":
            self.generated_from = generation.gherkin

    def require_idle(self, message: str) -> None:
        """Raise a 409 with the message while the feature is generating."""
        self.reconcile()
        if self.status == "generating":
            raise Refusal(409, message)

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


@attrs.define(eq=False, kw_only=True)
class Project:
    """One project."""

    id: str
    """Its public id, a GUID."""
    name: str
    base_url: str
    """The site that its features test."""
    features: dict[int, Feature] = attrs.field(factory=dict[int, Feature], repr=False)
    """The features that are not deleted, by id."""
    stored: dict[str, str] = attrs.field(factory=dict[str, str], repr=False)
    """The content of written files, by path."""
    _by_name: dict[str, Feature] = attrs.field(factory=dict[str, Feature], init=False, repr=False)
    _slugs: set[str] = attrs.field(factory=set[str], init=False, repr=False)

    def document(self) -> dict[str, object]:
        """Return the project's document."""
        return {"id": self.id, "name": self.name, "baseUrl": self.base_url}

    def add(self, feature: Feature) -> None:
        """Add a feature, and make its slug unique.

        Raises:
            Refusal: 409, if the name is taken.
        """
        self._claim(feature.name, feature)
        if feature.slug in self._slugs:
            feature.slug = f"{feature.slug}-{feature.id}"
        self._slugs.add(feature.slug)
        self.features[feature.id] = feature

    def remove(self, feature: Feature) -> None:
        """Remove a feature; its runs stay."""
        del self.features[feature.id]
        del self._by_name[feature.name.casefold()]
        self._slugs.discard(feature.slug)

    def rename(self, feature: Feature, name: str) -> None:
        """Give a feature another name.

        Raises:
            Refusal: 409, if the name is taken.
        """
        self._claim(name, feature)
        if name.casefold() != feature.name.casefold():
            del self._by_name[feature.name.casefold()]
        feature.name = name

    def _claim(self, name: str, feature: Feature) -> None:
        """Refuse a second feature of one name, because paths address features by name (assumed)."""
        taken = self._by_name.setdefault(name.casefold(), feature)
        if taken is not feature:
            raise Refusal(409, f"This project already has a feature named {taken.name!r}.")

    def find(self, key: str) -> Feature | None:
        """Return the feature of a path segment: digits are an id, all else is a name."""
        number = as_number(key)
        feature = self._by_name.get(key.casefold()) if number is None else self.features.get(number)
        if feature is not None:
            feature.reconcile()
        return feature

    def all_features(self) -> list[Feature]:
        """Return the features that are not deleted, in their current state."""
        for feature in self.features.values():
            feature.reconcile()
        return list(self.features.values())


def as_number(text: str) -> int | None:
    """Return a text of digits as a number; None for any other text."""
    if len(text) <= _DIGITS and text.isascii() and text.isdigit():
        return int(text)
    return None
