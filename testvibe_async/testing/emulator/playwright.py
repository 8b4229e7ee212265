"""What Playwright would print: errors of failing tests, generated specs, a runner's log.

Pure text, made of the words of the feature's own scenarios.
"""

from __future__ import annotations

import json
from textwrap import indent
from typing import TYPE_CHECKING

from .gherkin import slug

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from .cases import Case
    from .gherkin import GherkinCase

__all__ = ["failure", "runner_log", "spec"]

_TICKS = {"passed": "✓", "failed": "✘", "skipped": "-"}
_EXCERPT = 4000


def failure(dice: Random, title: str, site_url: str) -> str:
    """Return a believable error of a failing test.

    Args:
        dice: Decides the kind of the error.
        title: The test's name; the locators are made of it.
        site_url: The site under test.
    """
    kind: Callable[[str, str], str] = dice.choice(_KINDS)
    return kind(title, site_url)


def spec(feature: str, cases: Sequence[GherkinCase]) -> str:
    """Return the TypeScript that a generation writes for a feature."""
    tests = "\n".join(_spec_test(case) for case in cases)
    return (
        "import { expect, test } from '@playwright/test';\n\n"
        f"test.describe({_quoted(feature)}, () => {{\n{tests}}});\n"
    )


def runner_log(feature: str, spec_path: str, cases: Sequence[Case]) -> str:
    """Return the end of what the runner printed in a failed run."""
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


def _text_mismatch(title: str, _site_url: str) -> str:
    return (
        "Error: expect(locator).toHaveText(expected) failed\n\n"
        f"Locator: locator('[data-test=\"{slug(title)}\"]')\n"
        f"Expected: {json.dumps(title, ensure_ascii=False)}\n"
        'Received: "Something went wrong. Please try again."\n'
        "Timeout: 5000ms\n\nCall log:\n"
        '  - Expect "toHaveText" with timeout 5000ms\n'
        '  - 9 × locator resolved to <p role="alert">Something went wrong.…</p>\n'  # noqa: RUF001 - as above
    )


def _strict_mode(title: str, _site_url: str) -> str:
    word = slug(title).split("-", maxsplit=1)[0]
    return (
        f"Error: locator.click: Error: strict mode violation: getByText('{word}') resolved to"
        " 2 elements:\n"
        f"    1) <a href=\"/{word}\">{word}</a> aka getByRole('link', {{ name: '{word}' }})\n"
        f"    2) <h1>{title}</h1> aka getByRole('heading', {{ name: {_quoted(title)} }})\n\n"
        f"Call log:\n  - waiting for getByText('{word}')\n"
    )


def _net_error(title: str, site_url: str) -> str:
    url = f"{site_url.rstrip('/')}/{slug(title)}"
    return (
        f"Error: page.goto: net::ERR_CONNECTION_RESET at {url}\nCall log:\n"
        f'  - navigating to "{url}", waiting until "load"\n'
    )


_KINDS = (_not_visible, _timeout, _text_mismatch, _strict_mode, _net_error)


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
    """Return a text as a TypeScript string."""
    return "'" + json.dumps(text, ensure_ascii=False)[1:-1].replace("'", "\\'") + "'"
