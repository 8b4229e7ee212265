r"""Foreign text, neutralized: this module alone decides which characters are dangerous.

Three forms: `plain` for a line of a message, `clean` for the text of a report, and `escape` for a
terminal, where it shows dangerous characters as `\x1b`. None of them leaves a command that a CI
system would execute in a job's output; `without_commands` changes nothing else. Escaping for a
markup (HTML, XML, Markdown) is left to the writers of that format.
"""

from __future__ import annotations

import re

MAX_DIGITS = 100
"""Maximum number of digits of an id."""

LONGEST = 200
"""Maximum number of characters of a foreign text that a message quotes."""

OBEYED = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""Dangerous characters: controls, line separators, bidirectional marks, and surrogates.

Characters that XML forbids are included. A terminal, a log or a reader of XML would act on them, or
fail (https://www.w3.org/TR/xml/#charsets).
"""

COMMAND = re.compile(
    r"""
    (?: ^ | (?<= [\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029] ) ) (?P<space> [^\S\n]* ) : (?= : )
    | \# (?= \# (?: vso | teamcity )? \[ )
    """,
    re.VERBOSE | re.MULTILINE | re.IGNORECASE,
)
"""The first sign of a text that a CI system would execute as a command of the job.

GitHub: `::error::` after white space, and `##[error]` anywhere in a line (`ActionCommand.cs` of
https://github.com/actions/runner); Azure: `##vso[` and `##[`; TeamCity: `##teamcity[`. The sections
of GitLab and Buildkite need an escape character, see `OBEYED`.
"""

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_SEQUENCES = re.compile(
    r"""
    (?: \x1b\[ | \x9b ) [0-?]* [ -/]* [@-~]           # colours and cursor movements
    | \x1b\] [^\x07\x1b\n]* (?: \x07 | \x1b\\ )       # links and window titles
    | \x1b [ -/]* [0-~]                               # all other escapes
    """,
    re.VERBOSE,
)


def plain(text: str) -> str:
    """Return the beginning of a text on one line of at most 200 characters, for a message."""
    printable = "".join(char if char.isprintable() else " " for char in text[: 4 * LONGEST])
    return without_commands(" ".join(printable.split()))[:LONGEST]


def clean(text: str) -> str:
    """Return a whole text without terminal sequences; dangerous characters become U+FFFD.

    Lines end as on Unix; tabs stay.
    """
    if text.isprintable():  # True of most texts, and there are many.
        return without_commands(text)
    text = _SEQUENCES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    text = OBEYED.sub(lambda found: found[0] if found[0] in "\t\n" else "\ufffd", text)
    return without_commands(text)


def escape(text: str) -> str:
    r"""Return a text without its colours, and with dangerous characters in the form `\x1b`."""
    return without_commands(OBEYED.sub(_escaped, _COLOURS.sub("", text)))


def without_commands(text: str) -> str:
    """Return a text with a space in each command of a CI system: `: :error::`, `# #vso[`."""
    if "::" not in text and "##" not in text:
        return text
    return COMMAND.sub(r"\g<0> ", text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def id_in(text: str) -> int | None:
    """Return the id that a text represents; None for a name. The service's ids are digits alone."""
    is_id = text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
    return int(text) if is_id else None
