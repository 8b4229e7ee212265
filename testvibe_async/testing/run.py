"""One run: queued, executing, finished; and the documents that show it.

It computes its state from the clock on request; nothing happens as time passes. It caches the JSON
that is costly: the list row of each phase, and the digest of a finished run. It never decides how
long it takes: see `scenario`.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from html import escape
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Literal

import attrs

from .answers import json_body
from .gherkin import GherkinCase, cases_of, slug, unique_slugs
from .scenario import Outcome, RunStatus, Scenario, is_run_status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from .project import Feature, Project

_SECOND_FAILURE = 0.25
_TICKS = {"passed": "✓", "failed": "✘", "skipped": "-"}
_EXCERPT = 4000
_SHARE_OF_TESTS = 0.9
"""The share of a run's duration that its tests take."""
_NOT_IN_DIAGNOSES = {"createdUtc", "startedUtc"}
_NOT_VISIBLE = """\
Error: expect(locator).toBeVisible() failed

Locator: getByTestId('{slug}')
Expected: visible
Received: <element(s) not found>
Timeout: 5000ms

Call log:
  - Expect "toBeVisible" with timeout 5000ms
  - waiting for getByTestId('{slug}')
"""
_TIMEOUT = """\
TimeoutError: locator.click: Timeout 5000ms exceeded.
Call log:
  - waiting for locator('#{slug}-button')
    - locator resolved to <button disabled id="{slug}-button">…</button>
  - attempting click action
    - waiting for element to be visible, enabled and stable
    - element is not enabled
  - retrying click action
"""
_NET_ERROR = """\
Error: page.goto: net::ERR_CONNECTION_RESET at {site}/{slug}
Call log:
  - navigating to "{site}/{slug}", waiting until "load"
"""
_ERRORS = (_NOT_VISIBLE, _TIMEOUT, _NET_ERROR)
"""Believable errors of a failing test."""


@attrs.frozen
class Case:
    """One test's result."""

    name: str
    slug: str
    """The name in artifact paths, unique in its run."""
    status: str
    """`passed`, `failed` or `skipped`."""
    duration_ms: int
    error: str | None

    def document(self) -> dict[str, object]:
        """Return the result's entry in the run digest."""
        return {
            "name": self.name,
            "status": self.status,
            "durationMs": self.duration_ms,
            "error": self.error,
        }


@attrs.frozen
class Artifact:
    """One file of a run."""

    kind: Literal["trace", "screenshot", "report"]
    path: str
    content: bytes

    def document(self) -> dict[str, object]:
        """Return the file's entry in the run digest."""
        return {"kind": self.kind, "path": self.path, "size": len(self.content)}


@attrs.define(eq=False, kw_only=True)
class Run:
    """One run. Instants are emulator seconds."""

    id: int
    ordinal: int
    """1 for its feature's first run."""
    project: Project = attrs.field(repr=False)
    feature: Feature
    feature_name: str = attrs.field(init=False)
    """The feature's name at the dispatch."""
    config: str
    site_url: str
    created_at: float
    started_at: float = attrs.field(init=False)
    finished_at: float = attrs.field(init=False)
    verdict: RunStatus = attrs.field(init=False, validator=is_run_status)
    """The status at its end."""
    generated_from: str
    """The text from which its tests were generated."""
    scenario: Scenario
    _row: tuple[int, bytes] | None = attrs.field(default=None, init=False)
    _digest: bytes | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Follow the scenario's plan."""
        self.feature_name = self.feature.name
        queue, duration, self.verdict = self.scenario.plan_run(self.feature_name, self.ordinal)
        self.started_at = self.created_at + queue
        self.finished_at = self.started_at + duration

    @property
    def status(self) -> str:
        """The current status."""
        return self.status_at(self.feature.clock.now())

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
            counts = _summary(self.cases()) if now >= self.finished_at else None
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
        counts = _summary(cases)
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
        failing = _choose_failing(cases, rng, fixed) if self.verdict == "failed" else set[int]()
        seconds = (self.finished_at - self.started_at) * _SHARE_OF_TESTS
        milliseconds = 1000 * seconds / (sum(weights) or 1)
        slugs = unique_slugs(case.title for case in cases)
        results: list[Case] = []
        for index, (case, word, weight) in enumerate(zip(cases, slugs, weights, strict=True)):
            status, error = "skipped" if case.skipped else "passed", None
            if index in failing:
                status = "failed"
                names = {"slug": slug(case.title), "site": self.site_url.rstrip("/")}
                error = fixed.error or rng.choice(_ERRORS).format_map(names)
            results.append(Case(case.title, word, status, round(weight * milliseconds), error))
        return results

    def artifacts(self, now: float) -> list[Artifact]:
        """Make its files; there are none before it is finished.

        The report shows the results. Each failed test has the same sample of a trace, and the same
        screenshot.
        """
        if now < self.finished_at:
            return []
        cases, files = self.cases(), list[Artifact]()
        for case in cases:
            if case.status == "failed":
                files += [
                    Artifact("trace", f"trace/{case.slug}.zip", _sample("trace.zip")),
                    Artifact(
                        "screenshot", f"screenshots/{case.slug}.png", _sample("screenshot.png")
                    ),
                ]
        return [*files, Artifact("report", "report/index.html", _report(self.feature_name, cases))]

    def _head(self, now: float) -> dict[str, object]:
        stamp = self.feature.clock.stamp
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
            "summary": _summary(cases),
            "tests": [case.document() for case in cases],
            "artifacts": [file.document() for file in self.artifacts(self.finished_at)],
        }
        if self.verdict == "failed":
            results["log"] = self._log(cases)
        return results

    def _log(self, cases: Sequence[Case]) -> str:
        """Return the end of the runner's output in a failed run."""
        place = f"[chromium] › {self.feature.spec_path} › {self.feature_name} ›"  # noqa: RUF001 - as Playwright does
        lines = [f"Running {len(cases)} tests using 1 worker", ""]
        for case in cases:
            seconds = case.duration_ms / 1000
            lines.append(f"  {_TICKS[case.status]}  {place} {case.name} ({seconds:.1f}s)")
        for case in cases:
            if case.error:
                error = indent(case.error.rstrip(), "    ")
                lines += ["", f"  {place} {case.name}", "", error]
        counts = _summary(cases)
        lines += ["", f"  {counts['failed']} failed", f"  {counts['passed']} passed"]
        return "\n".join(lines)[-_EXCERPT:]


def _summary(cases: Sequence[Case]) -> dict[str, int]:
    """Count results for the run digest."""
    found = Counter(case.status for case in cases)
    passed, failed, other = found["passed"], found["failed"], found["skipped"]
    return {"total": len(cases), "passed": passed, "failed": failed, "other": other}


def _choose_failing(cases: Sequence[GherkinCase], rng: Random, fixed: Outcome) -> set[int]:
    """Return the indexes of the tests that fail, at least one: those that are fixed, or drawn."""
    named = {name.casefold() for name in fixed.failing}
    chosen = {index for index, case in enumerate(cases) if case.title.casefold() in named}
    if chosen:
        return chosen
    candidates = [index for index, case in enumerate(cases) if not case.skipped]
    if not candidates:
        return {0}
    count = 2 if len(candidates) > 1 and rng.random() < _SECOND_FAILURE else 1
    return set(rng.sample(candidates, count))


def spec(feature: str, cases: Sequence[GherkinCase]) -> str:
    """Return the TypeScript of a feature's generated tests."""
    tests = "\n".join(_spec_test(case) for case in cases)
    return (
        "import { expect, test } from '@playwright/test';\n\n"
        f"test.describe({_quoted(feature)}, () => {{\n{tests}}});\n"
    )


def _spec_test(case: GherkinCase) -> str:
    call = "test.skip" if case.skipped else "test"
    steps = "".join(
        f"    await test.step({_quoted(step)}, async () => {{\n"
        f"      await expect(page.getByTestId('{slug(step)}')).toBeVisible();\n    }});\n"
        for step in case.steps
    )
    opening = "    await page.goto('/');\n"
    return f"  {call}({_quoted(case.title)}, async ({{ page }}) => {{\n{opening}{steps}  }});\n"


def _quoted(text: str) -> str:
    """Return a text as a TypeScript string literal."""
    return "'" + json.dumps(text, ensure_ascii=False)[1:-1].replace("'", "\\'") + "'"


@cache
def _sample(name: str) -> bytes:
    return (Path(__file__).parent / "samples" / name).read_bytes()


def _report(feature: str, cases: Sequence[Case]) -> bytes:
    rows = "".join(
        f"<tr class={case.status}><td>{case.status}<td>{escape(case.name)}<td>{case.duration_ms} ms"
        f"<td><pre>{escape(case.error or '')}</pre>"
        for case in cases
    )
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{escape(feature)}</title><h1>{escape(feature)}</h1><table>{rows}</table>\n"
    )
    return page.encode("utf-8", "replace")
