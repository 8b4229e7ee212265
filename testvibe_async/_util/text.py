r"""Text from outside, made harmless: the one place that decides which characters nothing may obey.

Three forms: `plain` for a line of a message, `clean` for the text of a report, `escape` for a
terminal, where it shows what was there as `\x1b`. None leaves a command that a CI system would obey
in a job's output; `without_commands` changes nothing else. How a format marks up its text (HTML,
XML, Markdown) is that format's own business.
"""

from __future__ import annotations

import re

__all__ = ["COMMAND", "LONGEST", "OBEYED", "clean", "escape", "id_in", "plain", "without_commands"]

MAX_DIGITS = 100
"""The most digits of an id."""

LONGEST = 200
"""How many characters of a text from outside a message quotes."""

OBEYED = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""Controls, line separators, what turns the direction of writing, surrogates, and what XML forbids.

A terminal, a log or a reader of XML would act on them, or fail (https://www.w3.org/TR/xml/#charsets).
"""

COMMAND = re.compile(
    r"""
    (?: ^ | (?<= [\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029] ) ) (?P<space> [^\S\n]* ) : (?= : )
    | \# (?= \# (?: vso | teamcity )? \[ )
    """,
    re.VERBOSE | re.MULTILINE | re.IGNORECASE,
)
"""The first sign of what a CI system takes for a command of the job, where it would.

GitHub: `::error::` after white space, and `##[error]` anywhere in a line (`ActionCommand.cs` of
https://github.com/actions/runner); Azure: `##vso[` and `##[`; TeamCity: `##teamcity[`. The sections
of GitLab and Buildkite need an escape, see `OBEYED`.
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
    """Return a whole text without terminal sequences; what nothing may obey becomes U+FFFD.

    Lines end as on Unix; tabs stay.
    """
    if text.isprintable():  # Most texts are, and there are many.
        return without_commands(text)
    text = _SEQUENCES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    text = OBEYED.sub(lambda found: found[0] if found[0] in "\t\n" else "\ufffd", text)
    return without_commands(text)


def escape(text: str) -> str:
    r"""Return a text without its colours, and with what a terminal might obey as `\x1b`."""
    return without_commands(OBEYED.sub(_escaped, _COLOURS.sub("", text)))


def without_commands(text: str) -> str:
    """Return a text with a space in each command of a CI system: `: :error::`, `# #vso[`."""
    if "::" not in text and "##" not in text:
        return text
    return COMMAND.sub(r"\g<0> ", text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def id_in(text: str) -> int | None:
    """Return the id that a text is: the service takes digits alone for one; None for a name."""
    is_id = text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
    return int(text) if is_id else None
