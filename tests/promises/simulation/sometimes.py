"""States that the simulation has to see sometimes: else it proves less than it seems to."""

from collections import Counter
from collections.abc import Sequence

SOMETIMES = (
    "a 202 that could not be read",
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
    "a wait that was resumed after a time-out",
    "an adoption",
    "an answer from a cache",
    "an iteration that was closed",
    "an unknown dispatch that did nothing",
    "an unknown dispatch that took effect",
    "unknown: absent",
    "unknown: accepted",
    "unknown: ambiguous",
    "unknown: unseen",
)


SOMETIMES_AFTER_RESTARTS = (
    "a 202 that can't be read",
    "a batch that was closed",
    "a batch with operations in flight at its end",
    "a dispatch that acted",
    "a generation that was joined",
    "a kill",
    "after restarts: error",
    "after restarts: failed",
    "after restarts: succeeded",
    "after restarts: unknown",
    "an outcome after a restart",
)


def never_seen(seen: Counter[str], expected: Sequence[str] = SOMETIMES) -> list[str]:
    """Return what ought to have been seen and was not."""
    return [what for what in expected if not seen[what]]


def table(seen: Counter[str], expected: Sequence[str] = SOMETIMES) -> str:
    """Return what was seen and how often, those first that have to be."""
    others = sorted(seen.keys() - set(expected))
    return "\n".join(f"{seen[what]:>9,}  {what}" for what in (*expected, *others))
