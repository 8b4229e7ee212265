"""One project: its features by id and by name, and its stored files.

It decides which feature a name or an id means. It knows nothing of runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from .feature import Feature

__all__ = ["Project", "as_number"]

_DIGITS = 18


@attrs.define(eq=False, kw_only=True)
class Project:
    """One project."""

    id: str
    """Its public id, a GUID."""
    name: str
    base_url: str
    """The site that its features test."""
    features: dict[int, Feature] = attrs.field(factory=dict[int, "Feature"], repr=False)
    """The features that are not deleted, by id."""
    stored: dict[str, str] = attrs.field(factory=dict[str, str], repr=False)
    """The content of written files, by path."""
    _by_name: dict[str, Feature] = attrs.field(factory=dict[str, "Feature"], init=False, repr=False)
    _slugs: set[str] = attrs.field(factory=set[str], init=False, repr=False)

    def document(self) -> dict[str, object]:
        """Return the project's document."""
        return {"id": self.id, "name": self.name, "baseUrl": self.base_url}

    def add(self, feature: Feature) -> None:
        """Add a feature, and make its slug unique."""
        if feature.slug in self._slugs:
            feature.slug = f"{feature.slug}-{feature.id}"
        self._slugs.add(feature.slug)
        self.features[feature.id] = feature
        self._by_name[feature.name.casefold()] = feature

    def remove(self, feature: Feature) -> None:
        """Remove a feature; its runs stay."""
        del self.features[feature.id]
        del self._by_name[feature.name.casefold()]

    def rename(self, feature: Feature, name: str) -> None:
        """Give a feature another name."""
        del self._by_name[feature.name.casefold()]
        feature.name = name
        self._by_name[name.casefold()] = feature

    def named(self, name: str) -> Feature | None:
        """Return the feature of a name in any case; None if there is none."""
        return self._by_name.get(name.casefold())

    def find(self, key: str) -> Feature | None:
        """Return the feature of a path segment: digits are an id, all else is a name."""
        number = as_number(key)
        return self.named(key) if number is None else self.features.get(number)


def as_number(text: str) -> int | None:
    """Return a text of digits as a number; None for any other text."""
    if len(text) <= _DIGITS and text.isascii() and text.isdigit():
        return int(text)
    return None
