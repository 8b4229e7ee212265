"""Texts as reports show them: clean, bounded, and on one line where asked.

Decides how much of a text is shown. Pure; it never escapes markup, which is each format's own
business.
"""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import count
from typing import TYPE_CHECKING

from testvibe_async._core.util import clean, without_commands
from testvibe_async.runner.words import counted as counted  # noqa: PLC0414 - for other surfaces

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NAME_CHARACTERS = 500
"""Length of a text on one line."""

ERROR_CHARACTERS = 20_000
"""Length of an error, or of the end of a log."""

_PLACE = re.compile(r"\s*(?:at\s|>?\s*\d+ \||\|)")
"""The beginning of a line of a stack, or of the source beneath an error."""

LOG_LINES = 100
"""Length of the end of a log in lines."""


def one_line(text: str, limit: int = NAME_CHARACTERS) -> str:
    """Return a text clean and on one line, of at most `limit` characters."""
    line = " ".join(clean(text[: 4 * limit]).split())
    is_whole = len(line) <= limit and len(text) <= 4 * limit
    return line if is_whole else line[: limit - 1] + "…"


def quoted(text: str) -> str:
    """Return a text of the service on one line, in quotes that it can't close."""
    return '"{}"'.format(one_line(text).replace('"', "'"))


def cut(text: str, limit: int = ERROR_CHARACTERS) -> str:
    """Return a clean text, with its middle omitted if it has more than `limit` characters."""
    text = clean(text).strip("\n").rstrip()
    if (excess := len(text) - limit) <= 0:
        return text
    head = limit * 3 // 4
    rest = without_commands(text[head + excess :])
    return f"{text[:head]}\n… {excess:,} characters left out …\n{rest}"


def tail(text: str, lines: int = LOG_LINES, limit: int = ERROR_CHARACTERS) -> str:
    """Return a text's last lines, clean, of at most `limit` characters, with a note on the rest."""
    every = clean(text).strip("\n").rstrip().split("\n")
    note = f"… {len(every) - lines:,} earlier lines left out …\n" if len(every) > lines else ""
    return note + cut("\n".join(every[-lines:]), limit)


def distinct(names: Iterable[str]) -> list[str]:
    """Return names without duplicates, the later ones numbered: `Login`, `Login (2)`.

    Some readers of reports keep only one test of each name
    (https://docs.gitlab.com/ci/testing/unit_test_reports).
    """
    used: dict[str, None] = {}
    numbers: defaultdict[str, Iterator[int]] = defaultdict(lambda: count(2))
    for wanted in names:
        name = wanted
        while name in used:
            name = f"{wanted} ({next(numbers[wanted])})"
        used[name] = None
    return list(used)


_VARYING = re.compile(
    r"""https?://[^\s'"]+
    | ^Locator:.*
    | (?:locator|getBy\w+)\((?:[^()]|\([^()]*\))*\)
    | (?P<quote>['"`])(?:\#|\.|\[|//)[^'"`]*(?P=quote)
    """,
    re.MULTILINE | re.VERBOSE,
)
"""A URL, a locator of Playwright, or a selector in quotes."""


def likeness(error: str) -> str:
    """Return what two errors have in common that differ in a locator or a URL at most."""
    return _VARYING.sub("…", essence(error))


def essence(error: str) -> str:
    """Return what two errors have in common that have the same cause.

    Left out are the places in the code, and what Playwright tried until then, which differs by the
    time that it took.
    """
    lines = [
        line.strip()
        for line in clean(error).partition("\nCall log:")[0].split("\n")
        if not _PLACE.match(line)
    ]
    return "\n".join(line for line in lines if line)
