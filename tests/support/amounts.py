"""How much is tried: little by default, to answer soon; all with TESTVIBE_TESTS=full.

The full amounts are what `.ci/run` tries.
"""

import os

FULL = os.environ.get("TESTVIBE_TESTS") == "full"


def amount(full: int, few: int) -> int:
    """Return how many examples, schedules or steps are tried in this session."""
    return full if FULL else few
