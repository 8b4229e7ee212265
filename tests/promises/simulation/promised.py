"""Promises that the client does not keep yet, and the one line that holds it to them."""

from collections import Counter
from enum import StrEnum


class Promise(StrEnum):
    """What a client promises about dispatches whose answer it did not read, or not as expected."""

    NOT_RESENT = "what was accepted is not sent again, whatever the answer's body"
    PAID_ONCE = "no generation is paid for twice across a restart"
    RUN_ONCE = "nothing runs twice across a restart"
    JOINED = "no generation is paid for beside one that was joined"
    NOT_ADOPTED = "no run is adopted that somebody else started"
    GENERATION_NOT_ADOPTED = "no generation is adopted that somebody else started later"
    RESUMED = "what is resumed ends with its true outcome"
    NOT_LOST = "nothing that was started is lost across a restart"


HELD: frozenset[Promise] = frozenset(Promise) - {Promise.GENERATION_NOT_ADOPTED}
"""The promises that a schedule must not break. What breaks another one is only counted, as
`not kept: …` among what was seen. `frozenset(Promise)` holds the client to all."""


def expect(promise: Promise, is_kept: object, message: str, seen: Counter[str]) -> None:
    """Expect a promise to be kept.

    Args:
        promise: Which.
        is_kept: Whether it is.
        message: What the client did instead.
        seen: Counts what breaks it while it is not held.

    Raises:
        AssertionError: It is held, and not kept.
    """
    if is_kept:
        return
    if promise in HELD:
        raise AssertionError(f"{promise}: {message}")
    seen[f"not kept: {promise}"] += 1
