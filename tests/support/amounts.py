"""How much is tried: little by default, to answer soon; all with TESTVIBE_TESTS=full.

The full amounts are what `.ci/run` tries.
"""

import os
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")

FULL = os.environ.get("TESTVIBE_TESTS") == "full"


def amount(full: int, few: int) -> int:
    """Return how many examples, schedules or steps are tried in this session."""
    return full if FULL else few


def some(rows: Iterable[T], few: int) -> list[T]:
    """Return the rows of a table that this session tries: all, or one of so many.

    Those are spread evenly, and by no step that could be the length of a table's lines.
    """
    return [row for place, row in enumerate(rows) if FULL or place * 61 % 100 < 100 // few]
