"""Patterns of feature names, and the rules to skip features or to expect their failure.

Pure. In a pattern `*` is any text, `?` any character, and all else is itself: brackets too, so that
`Login*[Mobile]` means a configuration. Case does not matter, as it does not for the service.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Rule", "is_exact", "matches", "read_rules", "reason_for"]


class Rule(NamedTuple):
    """One line of `GLOB: REASON`."""

    pattern: str
    reason: str


def is_exact(pattern: str) -> bool:
    """Return True if a pattern has no wildcard, so that only one name matches."""
    return "*" not in pattern and "?" not in pattern


def matches(pattern: str, *names: str) -> bool:
    """Return True if a pattern matches one of the names as a whole."""
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    compiled = re.compile(expression, re.IGNORECASE | re.DOTALL)
    return any(compiled.fullmatch(name) for name in names)


def read_rules(option: str, lines: Iterable[str]) -> list[Rule]:
    """Read lines of `GLOB: REASON`.

    Args:
        option: The option's name, for the error.
        lines: The lines.

    Raises:
        pytest.UsageError: A line has no pattern or no reason.
    """
    rules: list[Rule] = []
    for line in lines:
        pattern, colon, reason = (part.strip() for part in line.partition(": "))
        if not (pattern and colon and reason):
            raise pytest.UsageError(f"{option} takes lines of 'GLOB: REASON', not {line!r}")
        rules.append(Rule(pattern, reason))
    return rules


def reason_for(rules: Iterable[Rule], *names: str) -> str | None:
    """Return the reason of the first rule that matches one of the names; None if none does."""
    return next((rule.reason for rule in rules if matches(rule.pattern, *names)), None)
