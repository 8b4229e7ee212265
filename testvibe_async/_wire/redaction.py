"""The API key, taken out of what a service answers, as writers of JSON, links and pages spell it.

Decides which bytes stand for the key. It is applied before anything is decoded, so that neither
values nor errors nor logs hold the key. A key of letters, digits, `_` and `-`, as the service gives
them, has one spelling: no writer escapes these. An answer without the key stays as it is.
"""

from __future__ import annotations

import html
import json
from urllib.parse import quote

__all__ = ["REDACTED", "Redactor"]

MIN_CHARACTERS = 16
"""How long a key is that answers are searched for: a short one may be part of any word in them."""

REDACTED = "tvb_..."
_REDACTED_AS_SENT = REDACTED.encode()


class Redactor:
    """Takes one key out of answers."""

    def __init__(self, key: str) -> None:
        is_searched_for = len(key) >= MIN_CHARACTERS
        self._spellings = [each.encode() for each in _spellings(key)] if is_searched_for else []

    def redact(self, body: bytes) -> bytes:
        """Return a body with `tvb_...` in place of the key."""
        for spelling in self._spellings:
            body = body.replace(spelling, _REDACTED_AS_SENT)
        return body

    def redact_text(self, text: str) -> str:
        """Return a text with `tvb_...` in place of the key."""
        return self.redact(text.encode(errors="surrogateescape")).decode(errors="surrogateescape")


def _spellings(key: str) -> set[str]:
    """Return a key as it is, in a link and in a page, and all of these within JSON."""
    texts = {key, quote(key), quote(key, safe=""), html.escape(key), html.escape(key, quote=False)}
    spellings = set(texts)
    for text in texts:
        as_json = json.dumps(text)[1:-1]
        doubled = text.replace("\\", r"\\")
        spellings |= {as_json, as_json.replace("/", r"\/")}  # most, PHP
        spellings.add(_escaped(as_json, "&<>", "04x"))  # Go
        spellings.add(_escaped(doubled, "\"&'+<>`", "04X"))  # .NET, and its older way
        spellings.add(_escaped(text, "\"&'+<>`\\", "04X"))
    return spellings


def _escaped(text: str, characters: str, form: str) -> str:
    return "".join(f"\\u{ord(each):{form}}" if each in characters else each for each in text)
