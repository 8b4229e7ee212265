"""Patterns of feature names.

Pure. In a pattern `*` is any text, `?` any character, and all else is itself: brackets too, so that
`Login*[Mobile]` means a configuration. Case does not matter, as it does not for the service.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["is_exact", "matches", "reason_for"]


def is_exact(pattern: str) -> bool:
    """Return True if a pattern has no wildcard, so that only one name matches."""
    return "*" not in pattern and "?" not in pattern


def matches(pattern: str, *names: str) -> bool:
    """Return True if a pattern matches one of the names as a whole."""
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    compiled = re.compile(expression, re.IGNORECASE | re.DOTALL)
    return any(compiled.fullmatch(name) for name in names)


def reason_for(rules: Mapping[str, str], *names: str) -> str | None:
    """Return the reason of the first pattern that matches one of the names; None if none does."""
    return next((reason for pattern, reason in rules.items() if matches(pattern, *names)), None)
