"""One request, as the operations see it: the meaning of its path, query and body.

It looks up what they name, and refuses what is invalid. It never changes the service's state.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

import attrs

from .answers import invalid_request, json_object, not_found
from .paging import DEFAULT_LIMIT
from .project import as_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .feature import Feature
    from .generation import Generation
    from .project import Project
    from .routes import Route
    from .run import Run
    from .service import Service

__all__ = ["Call", "Fields"]


@attrs.frozen
class Call:
    """One request, as the operations see it; to look up what it names may raise a 404."""

    service: Service
    route: Route
    query: Mapping[str, str]
    body: bytes
    now: float

    @property
    def project(self) -> Project:
        """The project that the path names."""
        project = self.service.projects.get((self.route.project or "").casefold())
        if project is None:
            raise not_found(f"No project has the id {self.route.project!r}.")
        return project

    @property
    def feature(self) -> Feature:
        """The feature that the path names, with its status as of now."""
        return self._feature_of(self.project, self.route.feature or "")

    @property
    def queried_feature(self) -> Feature | None:
        """The feature that the query names; None if it names none."""
        key = self.query.get("feature")
        return None if key is None else self._feature_of(self.project, key)

    @property
    def run(self) -> Run:
        """The run that the path names."""
        project, key = self.project, self.route.run or ""
        number = as_number(key)
        run = None if number is None else self.service.runs.get(number)
        if run is None or run.project is not project or self._lags(run.created_at):
            raise not_found(f"This project has no run {key!r}.")
        return run

    @property
    def generation(self) -> Generation | None:
        """The latest generation of the feature; None if it was never generated."""
        generation = self.service.latest_generation(self.project, self.feature)
        if generation is not None and self._lags(generation.created_at):
            raise not_found("This generation is not known yet.")
        return generation

    @property
    def limit(self) -> int:
        """The largest number of rows to list: that of the query, unless rows are cut later."""
        text = self.query.get("limit")
        limit = DEFAULT_LIMIT if text is None else as_number(text)
        if not limit:
            raise invalid_request(
                f"The query parameter 'limit' must be a whole number above 0, not {text!r}."
            )
        return sys.maxsize if self.service.scenario.dialect.cuts_lists else limit

    def fields(self) -> Fields:
        """Return the fields of the body."""
        return Fields(json_object(self.body))

    def _lags(self, created_at: float) -> bool:
        return self.now < created_at + self.service.scenario.dialect.dispatch_lag

    def _feature_of(self, project: Project, key: str) -> Feature:
        feature = project.find(key)
        if feature is None:
            raise not_found(f"This project has no feature {key!r}.")
        feature.reconcile(self.now)
        return feature


@attrs.frozen
class Fields:
    """The text fields of a body; unknown ones are ignored."""

    document: Mapping[str, object]

    def text(self, field: str) -> str | None:
        """Return an optional text; null counts as absent."""
        value = self.document.get(field)
        if value is not None and not isinstance(value, str):
            raise invalid_request(f"The field {field!r} must be a string.")
        return value

    def required(self, field: str) -> str:
        """Return a text that must not be absent."""
        value = self.name() if field == "name" else self.text(field)
        if value is None:
            raise invalid_request(f"The field {field!r} is required.")
        return value

    def name(self) -> str | None:
        """Return the field `name`, which must be valid in a path."""
        name = self.text("name")
        if name is not None and not (name.strip() and _is_unicode(name)):
            raise invalid_request("The field 'name' must not be empty, nor hold half a character.")
        return name


def _is_unicode(text: str) -> bool:
    try:
        quote(text)
    except UnicodeEncodeError:
        return False
    return True
