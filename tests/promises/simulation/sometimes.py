"""States that the simulation has to see sometimes: else it proves less than it seems to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import Counter

__all__ = ["SOMETIMES", "never_seen", "table"]

SOMETIMES = (
    "a 404 within its grace",
    "a cancellation in mid-dispatch",
    "a close with operations in flight",
    "a dispatch again after its Retry-After",
    "a dispatch that was not sent",
    "a generation that was joined",
    "a list that misses a row",
    "a list that shows what was",
    "a run that passed at its second attempt",
    "a stale replica",
    "a supersession",
    "a throttle pause",
    "an adoption",
    "an answer from a cache",
    "an unknown dispatch that did nothing",
    "an unknown dispatch that took effect",
    "unknown: absent",
    "unknown: ambiguous",
    "unknown: unseen",
)


def never_seen(seen: Counter[str]) -> list[str]:
    """Return what ought to have been seen and was not."""
    return [what for what in SOMETIMES if not seen[what]]


def table(seen: Counter[str]) -> str:
    """Return what was seen and how often, those first that have to be."""
    others = sorted(seen.keys() - set(SOMETIMES))
    return "\n".join(f"{seen[what]:>9,}  {what}" for what in (*SOMETIMES, *others))
