"""How much is tried: little by default, to answer soon; all with TESTVIBE_TESTS=full.

The full amounts are what `.ci/run` tries.
"""

import itertools
import os
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

FULL = os.environ.get("TESTVIBE_TESTS") == "full"


def amount(full: int, few: int) -> int:
    """Return how many examples, schedules or steps are tried in this session."""
    return full if FULL else few


def by_turns(*axes: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return all combinations in full; by default each value once, beside the others by turns."""
    if FULL:
        return list(itertools.product(*axes))
    longest = max(map(len, axes))
    return [tuple(axis[number % len(axis)] for axis in axes) for number in range(longest)]


def some(rows: Iterable[T], few: int) -> list[T]:
    """Return the rows of a table that this session tries: all, or one of so many.

    Those are spread evenly, and by no step that could be the length of a table's lines.
    """
    return [row for place, row in enumerate(rows) if FULL or place * 61 % 100 < 100 // few]
