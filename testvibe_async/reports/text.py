"""What text from outside looks like in a report: printable, bounded, and on one line where asked.

Pure. It decides which characters and how many of them are shown, and never how they are escaped:
that is each format's own business.
"""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import count
from typing import TYPE_CHECKING

from testvibe_async._util import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["clock", "counted", "cut", "distinct", "duration", "one_line", "tail"]

NAME_CHARACTERS = 500
ERROR_CHARACTERS = 20_000
LOG_LINES = 100


def one_line(text: str, limit: int = NAME_CHARACTERS) -> str:
    """Return it clean and on one line, of at most `limit` characters."""
    line = " ".join(clean(text[: 4 * limit]).split())
    is_whole = len(line) <= limit and len(text) <= 4 * limit
    return line if is_whole else line[: limit - 1] + "…"


def cut(text: str, limit: int = ERROR_CHARACTERS) -> str:
    """Return it clean, without what is beyond `limit` characters in its middle."""
    text = clean(text).strip("\n").rstrip()
    if (excess := len(text) - limit) <= 0:
        return text
    head = limit * 3 // 4
    return f"{text[:head]}\n… {excess:,} characters left out …\n{text[head + excess :]}"


def tail(text: str, lines: int = LOG_LINES, limit: int = ERROR_CHARACTERS) -> str:
    """Return its last lines, clean, of at most `limit` characters and a note of what is missing."""
    every = clean(text).strip("\n").rstrip().split("\n")
    note = f"… {len(every) - lines:,} earlier lines left out …\n" if len(every) > lines else ""
    return note + cut("\n".join(every[-lines:]), limit)


def distinct(names: Iterable[str]) -> list[str]:
    """Number the later ones of those that are the same: `Login`, `Login (2)`.

    Some readers of reports keep one test of each name alone
    (https://docs.gitlab.com/ci/testing/unit_test_reports).
    """
    told: dict[str, None] = {}
    numbers: defaultdict[str, Iterator[int]] = defaultdict(lambda: count(2))
    for wanted in names:
        name = wanted
        while name in told:
            name = f"{wanted} ({next(numbers[wanted])})"
        told[name] = None
    return list(told)


def counted(number: int, what: str) -> str:
    """Say how many there are: `1 test`, `1,234 tests`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def duration(seconds: float | None) -> str:
    """Say how long something took: `0.4 s`, `31 s`, `2 min 5 s`, `1 h 4 min`; empty for None."""
    if seconds is None:
        return ""
    if seconds < 9.95:  # noqa: PLR2004 - below ten, tenths are of interest
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    if not minutes:
        return f"{left} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"


def clock(seconds: float) -> str:
    """Say a point of time as a stopwatch does: `0:00`, `1:30`, `1:00:00`."""
    minutes, left = divmod(math.floor(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
