"""The results of a run, test by test, and their words, as Playwright has them.

Pure, and always the same for the same run: verdicts, durations, errors, the generated specs and the
runner's log are computed on request from the words of the feature's scenarios.
"""

from __future__ import annotations

import json
from textwrap import indent
from typing import TYPE_CHECKING

import attrs

from .gherkin import slug

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from .gherkin import GherkinCase
    from .scenario import Outcome

__all__ = ["Case", "choose_failing", "draw_error", "runner_log", "spec", "summary"]

_SECOND_FAILURE = 0.25
_TICKS = {"passed": "✓", "failed": "✘", "skipped": "-"}
_EXCERPT = 4000


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


def summary(cases: Sequence[Case]) -> dict[str, int]:
    """Count results for the run digest."""
    passed = sum(case.status == "passed" for case in cases)
    failed = sum(case.status == "failed" for case in cases)
    return {
        "total": len(cases),
        "passed": passed,
        "failed": failed,
        "other": len(cases) - passed - failed,
    }


def choose_failing(cases: Sequence[GherkinCase], rng: Random, fixed: Outcome) -> set[int]:
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


def draw_error(rng: Random, title: str, site_url: str) -> str:
    """Return a believable error of a failing test."""
    return rng.choice(_ERRORS).format(slug=slug(title), site=site_url.rstrip("/"))


def spec(feature: str, cases: Sequence[GherkinCase]) -> str:
    """Return the TypeScript of a feature's generated tests."""
    tests = "\n".join(_spec_test(case) for case in cases)
    return (
        "import { expect, test } from '@playwright/test';\n\n"
        f"test.describe({_quoted(feature)}, () => {{\n{tests}}});\n"
    )


def runner_log(feature: str, spec_path: str, cases: Sequence[Case]) -> str:
    """Return the end of the runner's output in a failed run."""
    places = [_place(spec_path, feature, case.name) for case in cases]
    failing = [(place, case.error) for place, case in zip(places, cases, strict=True) if case.error]
    lines = [f"Running {len(cases)} tests using 1 worker", ""]
    lines += [
        f"  {_TICKS[case.status]}  {number} {place} ({case.duration_ms / 1000:.1f}s)"
        for number, (place, case) in enumerate(zip(places, cases, strict=True), 1)
    ]
    for number, (place, error) in enumerate(failing, 1):
        lines += ["", f"  {number}) {place}", "", indent(error.rstrip(), "    ")]
    lines += ["", f"  {len(failing)} failed", *(f"    {place}" for place, _ in failing)]
    lines.append(f"  {sum(case.status == 'passed' for case in cases)} passed")
    return "\n".join(lines)[-_EXCERPT:]


def _place(*names: str) -> str:
    return " › ".join(("[chromium]", *names))  # noqa: RUF001 - as Playwright prints it


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
