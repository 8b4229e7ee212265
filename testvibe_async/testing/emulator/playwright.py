"""Generated specs, and the log of a failed run, as Playwright prints it.

Pure text, made of the words of the feature's own scenarios. It decides no result.
"""

from __future__ import annotations

from textwrap import indent
from typing import TYPE_CHECKING

from .gherkin import slug
from .playwright_errors import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .cases import Case
    from .gherkin import GherkinCase

__all__ = ["runner_log", "spec"]

_TICKS = {"passed": "✓", "failed": "✘", "skipped": "-"}
_EXCERPT = 4000


def spec(feature: str, cases: Sequence[GherkinCase]) -> str:
    """Return the TypeScript of a feature's generated tests."""
    tests = "\n".join(_spec_test(case) for case in cases)
    return (
        "import { expect, test } from '@playwright/test';\n\n"
        f"test.describe({quoted(feature)}, () => {{\n{tests}}});\n"
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
        f"    await test.step({quoted(step)}, async () => {{\n"
        f"      await expect(page.getByTestId('{slug(step)}')).toBeVisible();\n    }});\n"
        for step in case.steps
    )
    opening = "    await page.goto('/');\n"
    return f"  {call}({quoted(case.title)}, async ({{ page }}) => {{\n{opening}{steps}  }});\n"
