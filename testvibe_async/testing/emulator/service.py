"""The service's state, and the methods that change it.

Decides which changes are allowed in which state, and refuses the others. It never reads requests or
makes answers: see `operations`.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import count
from typing import TYPE_CHECKING
from uuid import UUID

from .answers import Refusal
from .gherkin import NEVER_GENERATED, scenarios_of, slug
from .project import Feature, Project
from .run import Run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .artifacts import Links
    from .generation import Generation
    from .scenario import (
        EmulatorClock,
        GenerationPlan,
        GenerationStatus,
        RunStatus,
        Scenario,
    )

__all__ = ["Service"]

# Distinct numbers, so that a test that mixes up ids, or takes an index for one, fails.
_FIRST_FEATURE, _FIRST_RUN = 12, 214
_LONG_AGO = 3600.0
_BUSY = "This feature is generating: wait for that, or cancel it."


class Service:
    """One workspace: projects, features, runs, generations."""

    def __init__(  # noqa: PLR0913 - each by name
        self,
        clock: EmulatorClock,
        scenario: Scenario,
        *,
        links: Links,
        credits_left: int | None,
        unfinished: Mapping[str, object],
        dispatch_lag: float,
    ) -> None:
        """Make an empty workspace.

        Args:
            clock: The source of all its time.
            scenario: The durations and outcomes of operations.
            links: The maker of links to artifacts.
            credits_left: The number of generations that may be dispatched. None: any number.
            unfinished: The values in place of the results in the digest of an unfinished run.
            dispatch_lag: The seconds after a dispatch for which it can't be read.
        """
        self.clock = clock
        self.dispatch_lag = dispatch_lag
        self.scenario = scenario
        self.links = links
        self.credits_left = credits_left
        self.projects: dict[str, Project] = {}
        self.runs: dict[int, Run] = {}
        self.generations: dict[str, Generation] = {}
        """The dispatched generations, by request id."""
        self._runs_of: defaultdict[Project | Feature, list[Run]] = defaultdict(list)
        self._unfinished = unfinished
        self._feature_ids = count(_FIRST_FEATURE)
        self._run_ids = count(_FIRST_RUN)

    def add_project(self, name: str, base_url: str, *, project_id: str | None = None) -> Project:
        """Add a project; without an id it gets one that depends on the seed."""
        if project_id is None:
            bits = self.scenario.rng("project", name, len(self.projects)).getrandbits(128)
            project_id = str(UUID(int=bits, version=4))
        project = Project(id=project_id, name=name, base_url=base_url)
        self.projects[project_id.casefold()] = project
        return project

    def add_feature(  # noqa: PLR0913 - the fields of a feature
        self,
        project: Project,
        name: str,
        gherkin: str,
        *,
        status: str = NEVER_GENERATED,
        kind: str = "feature",
        rationale: str | None = None,
    ) -> Feature:
        """Add a feature.

        Raises:
            Refusal: 409, if the project has one of that name.
        """
        _require_free_name(project, name)
        feature = Feature(
            id=next(self._feature_ids),
            name=name,
            gherkin=gherkin,
            kind=kind,
            status=status,
            rationale=rationale,
            slug=slug(name),
            updated_at=self.clock.now(),
            generated_from=gherkin if status == "generated" else None,
            clock=self.clock,
        )
        project.add(feature)
        return feature

    def update_feature(
        self, project: Project, feature: Feature, *, name: str | None, gherkin: str | None
    ) -> None:
        """Change a feature's name or text; its generated tests stay the same.

        Raises:
            Refusal: 409, while it is generating, or if the name is taken.
        """
        _require_idle(feature, _BUSY)
        if name is not None:
            _require_free_name(project, name, feature)
            project.rename(feature, name)
        if gherkin is not None:
            feature.gherkin = gherkin
        feature.updated_at = self.clock.now()

    def delete_feature(self, project: Project, feature: Feature) -> None:
        """Delete a feature; its runs can still be read.

        Raises:
            Refusal: 409, while it is generating.
        """
        _require_idle(feature, _BUSY)
        project.remove(feature)

    def dispatch_generation(self, feature: Feature, site_url: str) -> Generation:
        """Start to generate a feature's tests.

        Raises:
            Refusal: 409, while it is generating; 403, if no credits are left.
        """
        _require_idle(feature, "This feature is already generating.")
        self._spend_credit()
        now = self.clock.now()
        feature.generations_dispatched += 1
        plan = self._plan(feature, feature.gherkin, feature.generations_dispatched)
        generation = feature.begin_generation(
            plan, gherkin=feature.gherkin, site_url=site_url, created_at=now
        )
        feature.status = "generating"
        feature.updated_at = now
        self.generations[generation.request_id] = generation
        return generation

    def cancel_generation(self, feature: Feature) -> None:
        """Cancel a feature's generation.

        Raises:
            Refusal: 409, if none is in flight.
        """
        if feature.status != "generating" or feature.generation is None:
            raise Refusal(409, "This feature has no generation in flight.")
        now = self.clock.now()
        self.finish_generation(feature.generation, "cancelled", now)
        feature.reconcile(now)

    def latest_generation(self, project: Project, feature: Feature) -> Generation | None:
        """Return a feature's latest generation, which may be from before the emulator's start."""
        outcomes: dict[str, GenerationStatus] = {
            "generated": "generated",
            "failed": "failed",
            "cancelled": "cancelled",
        }
        outcome = outcomes.get(feature.status)
        if feature.generation is None and outcome is not None:
            text = feature.generated_from or feature.gherkin
            plan = self._plan(feature, text, 0)
            start = -plan.duration - _LONG_AGO
            past = feature.begin_generation(
                plan, gherkin=text, site_url=project.base_url, created_at=start
            )
            past.finish(outcome, past.finished_at)
        return feature.generation

    def finish_generation(
        self, generation: Generation, status: GenerationStatus, now: float
    ) -> None:
        """Finish a generation now; no effect if it is finished."""
        if now < generation.finished_at:
            generation.finish(status, now)

    def runs_of(self, owner: Project | Feature) -> Sequence[Run]:
        """Return the runs of a project or of a feature, in the order of their dispatch."""
        return self._runs_of.get(owner, ())

    def dispatch_run(
        self, project: Project, feature: Feature, *, config: str, site_url: str
    ) -> Run:
        """Start to run a feature's tests.

        Raises:
            Refusal: 409, unless its tests are generated.
        """
        if feature.status != "generated" or feature.generated_from is None:
            raise Refusal(409, f"Only generated features can run; this one is {feature.status}.")
        now = self.clock.now()
        ordinal = len(self.runs_of(feature)) + 1
        plan = self.scenario.plan_run(feature.name, ordinal)
        run = Run(
            id=next(self._run_ids),
            ordinal=ordinal,
            project=project,
            feature=feature,
            feature_name=feature.name,
            config=config,
            site_url=site_url,
            created_at=now,
            started_at=now + plan.queue,
            finished_at=now + plan.queue + plan.duration,
            verdict=plan.status,
            generated_from=feature.generated_from,
            clock=self.clock,
            scenario=self.scenario,
            unfinished=self._unfinished,
        )
        for owner in (project, feature):
            self._runs_of[owner].append(run)
        self.runs[run.id] = run
        return run

    def finish_run(self, run: Run, status: RunStatus, now: float) -> None:
        """Finish a run now; no effect if it is finished."""
        if now < run.finished_at:
            run.finish(status, now)

    def _spend_credit(self) -> None:
        if self.credits_left is None:
            return
        if self.credits_left <= 0:
            raise Refusal(403, "No credits left for another generation.")
        self.credits_left -= 1

    def _plan(self, feature: Feature, gherkin: str, ordinal: int) -> GenerationPlan:
        sections = len(scenarios_of(gherkin, feature.name))
        return self.scenario.plan_generation(feature.name, ordinal, sections)


def _require_idle(feature: Feature, message: str) -> None:
    if feature.status == "generating":
        raise Refusal(409, message)


def _require_free_name(project: Project, name: str, owner: Feature | None = None) -> None:
    """Refuse a second feature of one name, because paths address features by name (assumed)."""
    taken = project.named(name)
    if taken is not None and taken is not owner:
        raise Refusal(409, f"This project already has a feature named {taken.name!r}.")
