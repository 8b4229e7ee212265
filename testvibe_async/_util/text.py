r"""Text from outside, made harmless: the one place that decides which characters nothing may obey.

Three forms: `plain` for a line of a message, `clean` for the text of a report, `escape` for a
terminal, where it shows what was there as `\x1b`. How a format marks up its text (HTML, XML,
Markdown) is that format's own business.
"""

from __future__ import annotations

import re

__all__ = ["LONGEST", "OBEYED", "clean", "escape", "plain"]

LONGEST = 200
"""How many characters of a text from outside a message quotes."""

OBEYED = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""Controls, line separators, what turns the direction of writing, surrogates, and what XML forbids.

A terminal, a log or a reader of XML would act on them, or fail (https://www.w3.org/TR/xml/#charsets).
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
    return " ".join(printable.split())[:LONGEST]


def clean(text: str) -> str:
    """Return a whole text without terminal sequences; what nothing may obey becomes U+FFFD.

    Lines end as on Unix; tabs stay.
    """
    if text.isprintable():  # Most texts are, and there are many.
        return text
    text = _SEQUENCES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return OBEYED.sub(lambda found: found[0] if found[0] in "\t\n" else "\ufffd", text)


def escape(text: str) -> str:
    r"""Return a text without its colours, and with what a terminal might obey as `\x1b`."""
    return OBEYED.sub(_escaped, _COLOURS.sub("", text))


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
