"""The results of a run, test by test, and their words, as Playwright has them.

Pure, and always the same for the same run: verdicts, durations, errors, the generated specs and the
runner's log are computed on request from the words of the feature's scenarios.
"""

from __future__ import annotations

import json
from textwrap import indent
from typing import TYPE_CHECKING, Literal

import attrs

from .gherkin import GherkinCase, slug

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from .scenario import Outcome

__all__ = ["Case", "execute", "runner_log", "spec", "summary"]

_SHARE_OF_TESTS = 0.9
_SECOND_FAILURE = 0.25
_TICKS = {"passed": "✓", "failed": "✘", "skipped": "-"}
_EXCERPT = 4000


@attrs.frozen
class Case:
    """One test's result."""

    name: str
    slug: str
    """The name in artifact paths, unique in its run."""
    status: Literal["passed", "failed", "skipped"]
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


def execute(  # noqa: PLR0913 - all that decides a run, by keyword
    cases: Sequence[GherkinCase],
    rng: Random,
    *,
    fails: bool,
    seconds: float,
    site_url: str,
    fixed: Outcome,
) -> list[Case]:
    """Compute the results of a run.

    Args:
        cases: The tests, at least one.
        rng: This run's random numbers.
        fails: True if at least one test fails.
        seconds: The run's duration; the tests take most of it.
        site_url: The site under test, for the errors.
        fixed: The outcome that the scenario fixes for the feature.
    """
    weights = [0.0 if case.skipped else rng.uniform(1, 3) for case in cases]
    failing = _failing(cases, rng, fixed) if fails else set[int]()
    millisecond_share = 1000 * seconds * _SHARE_OF_TESTS / (sum(weights) or 1)
    slugs = _unique_slugs(cases)
    return [
        Case(
            name=case.title,
            slug=slugs[index],
            status=_status(case, fails=index in failing),
            duration_ms=round(weights[index] * millisecond_share),
            error=(fixed.error or _error(rng, case.title, site_url)) if index in failing else None,
        )
        for index, case in enumerate(cases)
    ]


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


def _failing(cases: Sequence[GherkinCase], rng: Random, fixed: Outcome) -> set[int]:
    named = {name.casefold() for name in fixed.failing}
    chosen = {index for index, case in enumerate(cases) if case.title.casefold() in named}
    if chosen:
        return chosen
    candidates = [index for index, case in enumerate(cases) if not case.skipped]
    if not candidates:
        return {0}
    count = 2 if len(candidates) > 1 and rng.random() < _SECOND_FAILURE else 1
    return set(rng.sample(candidates, count))


def _status(case: GherkinCase, *, fails: bool) -> Literal["passed", "failed", "skipped"]:
    if fails:
        return "failed"
    return "skipped" if case.skipped else "passed"


def _unique_slugs(cases: Sequence[GherkinCase]) -> list[str]:
    slugs: list[str] = []
    for case in cases:
        word = slug(case.title)
        slugs.append(word if word not in slugs else f"{word}-{len(slugs) + 1}")
    return slugs


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


def _error(rng: Random, title: str, site_url: str) -> str:
    """Return a believable error of a failing test.

    Args:
        rng: The random numbers that decide the kind of the error.
        title: The test's name; locators are made of it.
        site_url: The site under test.
    """
    kind: Callable[[str, str], str] = rng.choice(_KINDS)
    return kind(title, site_url)


def _quoted(text: str) -> str:
    """Return a text as a TypeScript string literal."""
    return "'" + json.dumps(text, ensure_ascii=False)[1:-1].replace("'", "\\'") + "'"


def _not_visible(title: str, _site_url: str) -> str:
    locator = f"getByTestId('{slug(title)}')"
    return (
        "Error: expect(locator).toBeVisible() failed\n\n"
        f"Locator: {locator}\nExpected: visible\nReceived: <element(s) not found>\n"
        "Timeout: 5000ms\n\nCall log:\n"
        '  - Expect "toBeVisible" with timeout 5000ms\n'
        f"  - waiting for {locator}\n"
    )


def _timeout(title: str, _site_url: str) -> str:
    locator = f"locator('#{slug(title)}-button')"
    return (
        "TimeoutError: locator.click: Timeout 5000ms exceeded.\nCall log:\n"
        f"  - waiting for {locator}\n"
        f'    - locator resolved to <button disabled id="{slug(title)}-button">…</button>\n'
        "  - attempting click action\n    - waiting for element to be visible, enabled and stable\n"
        "    - element is not enabled\n  - retrying click action\n"
    )


def _net_error(title: str, site_url: str) -> str:
    url = f"{site_url.rstrip('/')}/{slug(title)}"
    return (
        f"Error: page.goto: net::ERR_CONNECTION_RESET at {url}\nCall log:\n"
        f'  - navigating to "{url}", waiting until "load"\n'
    )


_KINDS = (_not_visible, _timeout, _net_error)
