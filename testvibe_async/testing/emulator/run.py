"""One run: queued, executing, finished; and the documents that show it.

It computes its state from the clock on request; nothing happens as time passes. It caches the JSON
that is costly: the list row of each phase, and the digest of a finished run. It never decides how
long it takes: see `scenario`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from .answers import json_body
from .artifacts import Artifact, collect
from .gherkin import cases_of, unique_slugs
from .results import Case, choose_failing, draw_error, runner_log, spec, summary
from .scenario import is_run_status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .project import Feature, Project
    from .scenario import EmulatorClock, RunPlan, RunStatus, Scenario

__all__ = ["Run"]

_SHARE_OF_TESTS = 0.9
"""The share of a run's duration that its tests take."""
_NOT_IN_DIAGNOSES = {"createdUtc", "startedUtc"}


@attrs.define(eq=False, kw_only=True)
class Run:
    """One run. Instants are emulator seconds."""

    id: int
    ordinal: int
    """1 for its feature's first run."""
    project: Project = attrs.field(repr=False)
    feature: Feature
    feature_name: str
    """The feature's name at the dispatch."""
    config: str
    site_url: str
    plan: RunPlan
    created_at: float
    started_at: float = attrs.field(init=False)
    finished_at: float = attrs.field(init=False)
    verdict: RunStatus = attrs.field(init=False, validator=is_run_status)
    """The status at its end."""
    generated_from: str
    """The text from which its tests were generated."""
    clock: EmulatorClock
    scenario: Scenario
    _row: tuple[int, bytes] | None = attrs.field(default=None, init=False)
    _digest: bytes | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Follow the plan."""
        self.started_at = self.created_at + self.plan.queue
        self.finished_at = self.started_at + self.plan.duration
        self.verdict = self.plan.status

    @property
    def status(self) -> str:
        """The current status."""
        return self.status_at(self.clock.now())

    def status_at(self, now: float) -> str:
        """Return `running`, `passed` or `failed`."""
        return "running" if now < self.finished_at else self.verdict

    def finish(self, status: RunStatus, now: float) -> None:
        """Finish now; it must be unfinished."""
        self.verdict = status
        self.started_at = min(self.started_at, now)
        self.finished_at = now

    def row(self, now: float) -> bytes:
        """Return the JSON of the digest without tests, artifacts and log."""
        phase = (now >= self.started_at) + (now >= self.finished_at)
        if self._row is None or self._row[0] != phase:
            counts = summary(self.cases()) if now >= self.finished_at else None
            self._row = (phase, json_body({**self._head(now), "summary": counts}))
        return self._row[1]

    def digest(self, now: float) -> bytes:
        """Return the JSON of the digest."""
        if now < self.finished_at:
            results = {"summary": None, "tests": None, "artifacts": None}  # as assumed
            return json_body({**self._head(now), **results})
        if self._digest is None:
            self._digest = json_body({**self._head(now), **self._results()})
        return self._digest

    def diagnosis(self, now: float) -> dict[str, object]:
        """Return the diagnosis, without the links to the artifacts."""
        head = self._head(now)
        is_finished = now >= self.finished_at
        cases = self.cases() if is_finished else []
        counts = summary(cases)
        del counts["other"]
        tests = cases_of(self.generated_from, self.feature_name)
        return {
            **{key: value for key, value in head.items() if key not in _NOT_IN_DIAGNOSES},
            "verdict": self.verdict if is_finished else None,
            "summary": counts if is_finished else None,
            "failures": [
                {**case.document(), "name": f"{self.feature_name} > {case.name}"}
                for case in cases
                if case.status == "failed"
            ],
            "gherkin": self.feature.gherkin,
            "specs": [{"path": self.feature.spec_path, "content": spec(self.feature_name, tests)}],
            "log": self._log(cases) if is_finished and self.verdict == "failed" else None,
        }

    def cases(self) -> list[Case]:
        """Compute the results of its tests, always the same."""
        cases = cases_of(self.generated_from, self.feature_name)
        rng = self.scenario.rng("cases", self.feature_name, self.ordinal)
        fixed = self.scenario.outcome(self.feature_name)
        weights = [0.0 if case.skipped else rng.uniform(1, 3) for case in cases]
        failing = choose_failing(cases, rng, fixed) if self.verdict == "failed" else set[int]()
        seconds = (self.finished_at - self.started_at) * _SHARE_OF_TESTS
        milliseconds = 1000 * seconds / (sum(weights) or 1)
        slugs = unique_slugs(case.title for case in cases)
        results: list[Case] = []
        for index, (case, word, weight) in enumerate(zip(cases, slugs, weights, strict=True)):
            status, error = "skipped" if case.skipped else "passed", None
            if index in failing:
                status = "failed"
                error = fixed.error or draw_error(rng, case.title, self.site_url)
            results.append(Case(case.title, word, status, round(weight * milliseconds), error))
        return results

    def artifacts(self, now: float) -> list[Artifact]:
        """Make its files; there are none before it is finished."""
        return collect(self.feature_name, self.cases()) if now >= self.finished_at else []

    def _head(self, now: float) -> dict[str, object]:
        stamp = self.clock.stamp
        return {
            "runId": self.id,
            "status": self.status_at(now),
            "featureId": self.feature.id,
            "featureName": self.feature_name,
            "config": self.config,
            "siteUrl": self.site_url,
            "createdUtc": stamp(self.created_at),
            "startedUtc": stamp(self.started_at) if now >= self.started_at else None,
            "finishedUtc": stamp(self.finished_at) if now >= self.finished_at else None,
        }

    def _results(self) -> dict[str, object]:
        cases = self.cases()
        results: dict[str, object] = {
            "summary": summary(cases),
            "tests": [case.document() for case in cases],
            "artifacts": [file.document() for file in collect(self.feature_name, cases)],
        }
        if self.verdict == "failed":
            results["log"] = self._log(cases)
        return results

    def _log(self, cases: Sequence[Case]) -> str:
        return runner_log(self.feature_name, self.feature.spec_path, cases)
