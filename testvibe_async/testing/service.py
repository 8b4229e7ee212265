"""The service's state, the methods that change it, and the links to artifacts.

Decides which changes are allowed in which state, and refuses the others. It never reads requests or
makes answers: see `operations`.
"""

from __future__ import annotations

import hmac
import math
import secrets
from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import quote, urlencode
from uuid import UUID

import attrs

from .answers import Refusal
from .generation import Generation
from .project import Feature, Project, as_number
from .run import Run
from .scenario import EmulatorClock, GenerationStatus, Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


# Distinct numbers, so that a test that mixes up ids, or takes an index for one, fails.
_FIRST_FEATURE, _FIRST_RUN = 12, 214
_LONG_AGO = 86_400.0


@attrs.define(eq=False)
class Links:
    """The maker of signed links to artifacts, which also validates them.

    A link is valid for one path, until an instant of the emulator's clock, and never holds an API
    key.
    """

    _clock: EmulatorClock
    _lifetime: float
    """Emulator seconds until a link expires, rounded up to whole ones."""
    origin: str = ""
    """Scheme and host of the origin that serves them."""
    _secret: bytes = attrs.field(factory=lambda: secrets.token_bytes(32))

    def make(self, path: str) -> str:
        """Return a link to a path, which begins with a slash and is not encoded yet."""
        expires = str(math.ceil(self._clock.unix(self._clock.now() + self._lifetime)))
        query = urlencode({"se": expires, "sig": self._signature(path, expires)})
        return f"{self.origin}{quote(path)}?{query}"

    def is_valid(self, path: str, query: Mapping[str, str]) -> bool:
        """Return True if a link with this query may read a decoded path."""
        expires = query.get("se", "")
        until = as_number(expires)
        signature = query.get("sig", "").encode("utf-8", "replace")
        expected = self._signature(path, expires).encode()
        if until is None or not hmac.compare_digest(signature, expected):
            return False
        return self._clock.unix(self._clock.now()) < until

    def _signature(self, path: str, expires: str) -> str:
        signed = f"{path}\n{expires}".encode("utf-8", "replace")
        return hmac.new(self._secret, signed, sha256).hexdigest()


def artifact_path(run_id: int, path: str) -> str:
    """Return the path of a run's file at the second origin, not encoded yet."""
    return f"/artifacts/{run_id}/{path}"


@attrs.define(eq=False, kw_only=True)
class Service:
    """One workspace: projects, features, runs, generations."""

    clock: EmulatorClock
    """The source of all its time."""
    scenario: Scenario
    """The durations and outcomes of operations."""
    links: Links
    credits_left: int | None
    """The number of generations that may be dispatched. None: any number."""
    dispatch_lag: float
    """The seconds after a dispatch for which it can't be read."""
    retention: int | None
    """The number of runs and of generations that are kept. None: all."""
    projects: dict[str, Project] = attrs.field(factory=dict[str, Project], init=False)
    runs: dict[int, Run] = attrs.field(factory=dict[int, Run], init=False)
    generations: dict[str, Generation] = attrs.field(factory=dict[str, "Generation"], init=False)
    """The dispatched generations, by request id."""
    _feature_ids: Iterator[int] = attrs.field(factory=lambda: count(_FIRST_FEATURE), init=False)
    _run_ids: Iterator[int] = attrs.field(factory=lambda: count(_FIRST_RUN), init=False)

    def add_project(self, name: str, base_url: str, *, project_id: str | None = None) -> Project:
        """Add a project; without an id it gets one that depends on the seed."""
        if project_id is None:
            bits = self.scenario.rng("project", name, len(self.projects)).getrandbits(128)
            project_id = str(UUID(int=bits, version=4))
        project = Project(id=project_id, name=name, base_url=base_url)
        self.projects[project_id.casefold()] = project
        return project

    def add_feature(self, project: Project, **fields: Any) -> Feature:  # noqa: ANN401 - of each type
        """Add a feature of these fields.

        Raises:
            Refusal: 409, if the project has one of that name.
        """
        feature = Feature(id=next(self._feature_ids), clock=self.clock, **fields)
        project.add(feature)
        return feature

    def find_project(self, key: str) -> Project | None:
        """Return the project of an id in any case; None if there is none."""
        return self.projects.get(key.casefold())

    def find_run(self, key: str) -> Run | None:
        """Return the run of a number, in digits; None if there is none."""
        number = as_number(key)
        return None if number is None else self.runs.get(number)

    def dispatch_generation(self, feature: Feature, site_url: str) -> Generation:
        """Start to generate a feature's tests.

        Raises:
            Refusal: 409, while it is generating; 403, if no credits are left.
        """
        feature.require_idle("This feature is already generating.")
        if self.credits_left == 0:
            raise Refusal(403, "No credits left for another generation.")
        if self.credits_left is not None:
            self.credits_left -= 1
        feature.generations_dispatched += 1
        generation = self._begin_generation(
            feature, feature.generations_dispatched, feature.gherkin, site_url, self.clock.now()
        )
        feature.status = "generating"
        feature.updated_at = generation.created_at
        self.generations[generation.request_id] = generation
        self._drop_oldest(self.generations)
        return generation

    def cancel_generation(self, feature: Feature) -> None:
        """Cancel a feature's generation.

        Raises:
            Refusal: 409, if none is in flight.
        """
        if feature.status != "generating" or feature.generation is None:
            raise Refusal(409, "This feature has no generation in flight.")
        self.finish(feature.generation, "cancelled")

    def latest_generation(self, project: Project, feature: Feature) -> Generation | None:
        """Return a feature's latest generation, which may be from before the emulator's start."""
        status: Any = feature.status
        if feature.generation is None and status in get_args(GenerationStatus):
            text = feature.generated_from or feature.gherkin
            past = self._begin_generation(feature, 0, text, project.base_url, -_LONG_AGO)
            past.finish(status, min(past.finished_at, 0.0))
        return feature.generation

    def finish(self, operation: Run | Generation, status: Any) -> None:  # noqa: ANN401 - of either
        """Finish a run or a generation now; no effect if it is finished."""
        now = self.clock.now()
        if now < operation.finished_at:
            operation.finish(status, now)

    def dispatch_run(
        self, project: Project, feature: Feature, *, config: str, site_url: str
    ) -> Run:
        """Start to run a feature's tests.

        Raises:
            Refusal: 409, unless its tests are generated.
        """
        if feature.status != "generated" or feature.generated_from is None:
            raise Refusal(409, f"Only generated features can run; this one is {feature.status}.")
        feature.runs_dispatched += 1
        run = Run(
            id=next(self._run_ids),
            ordinal=feature.runs_dispatched,
            project=project,
            feature=feature,
            config=config,
            site_url=site_url,
            created_at=self.clock.now(),
            generated_from=feature.generated_from,
            scenario=self.scenario,
        )
        self.runs[run.id] = run
        self._drop_oldest(self.runs)
        return run

    def _drop_oldest(self, kept: dict[Any, Any]) -> None:
        """Drop the oldest operations beyond the retention, unless they are in flight."""
        while self.retention is not None and len(kept) > self.retention:
            key, oldest = next(iter(kept.items()))
            if self.clock.now() < oldest.finished_at:
                break
            del kept[key]

    def _begin_generation(
        self, feature: Feature, ordinal: int, gherkin: str, site_url: str, created_at: float
    ) -> Generation:
        feature.generation = Generation(
            feature_id=feature.id,
            feature_name=feature.name,
            ordinal=ordinal,
            gherkin=gherkin,
            site_url=site_url,
            created_at=created_at,
            clock=self.clock,
            scenario=self.scenario,
        )
        return feature.generation
