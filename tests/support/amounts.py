"""How much is tried: little by default, to answer soon; all with TESTVIBE_TESTS=full.

The full amounts are what `.ci/run` tries.
"""

import itertools
import os
from collections.abc import Sequence
from typing import Any

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
