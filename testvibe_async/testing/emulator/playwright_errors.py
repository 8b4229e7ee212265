"""Errors of failing tests, as Playwright words them.

Pure text, made of the test's name. It decides the kind of an error, never which tests fail.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .gherkin import slug

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

__all__ = ["failure", "quoted"]


def failure(rng: Random, title: str, site_url: str) -> str:
    """Return a believable error of a failing test.

    Args:
        rng: The random numbers that decide the kind of the error.
        title: The test's name; locators are made of it.
        site_url: The site under test.
    """
    kind: Callable[[str, str], str] = rng.choice(_KINDS)
    return kind(title, site_url)


def quoted(text: str) -> str:
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
        f"    2) <h1>{title}</h1> aka getByRole('heading', {{ name: {quoted(title)} }})\n\n"
        f"Call log:\n  - waiting for getByText('{word}')\n"
    )


def _net_error(title: str, site_url: str) -> str:
    url = f"{site_url.rstrip('/')}/{slug(title)}"
    return (
        f"Error: page.goto: net::ERR_CONNECTION_RESET at {url}\nCall log:\n"
        f'  - navigating to "{url}", waiting until "load"\n'
    )


_KINDS = (_not_visible, _timeout, _text_mismatch, _strict_mode, _net_error)
