"""The API key, taken out of what a service answers, in any spelling that decodes to it.

Decides which bytes stand for the key: JSON, links and pages may write any of its characters as an
escape, within another one too. It is applied before anything is decoded, so that neither values nor
errors nor logs hold the key. An answer without the key stays as it is.
"""

from __future__ import annotations

import json
import re
import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["REDACTED", "Redactor"]

MIN_CHARACTERS = 16
"""How long a key is that answers are searched for: a short one may be part of any word in them."""

REDACTED = "tvb_..."
_REDACTED_AS_SENT = REDACTED.encode()

PIECE_BYTES = 2**16
"""How much is searched at once: in between other threads may run."""

_OF_ESCAPES = string.ascii_letters + string.digits + "\\%&#;[\x1b"

MAX_LAYERS = 8
"""How many escapes are unfolded that stand within another, such as `%255F` (two)."""

# Each alternative starts with another character, so a search skips all other text at once, and no
# repetition is unbounded, so none takes quadratic time.
_ESCAPE = re.compile(
    rb"""
    \\ (?: u00 | x ) (?P<json> [0-7][0-9A-Fa-f] )
    | % (?P<percent> [0-7][0-9A-Fa-f] )
    | & (?: \#0{0,8} (?P<decimal> [0-9]{1,3} ) (?![0-9]) ;?
          | \#[Xx]0{0,8} (?P<hex> [0-7][0-9A-Fa-f] ) (?![0-9A-Fa-f]) ;?
          | (?P<name> amp | bsol | lowbar | num | percnt | semi | UnderBar ) ; )
    | \x1b \[ [0-9;]{0,16} m
    """,
    re.VERBOSE,
)
"""An ASCII character, as JSON, a link or a page may write it; and a colour, which `clean` drops."""

_SEPARATOR = re.compile(rb'[\s"]')

_NAMED = {
    b"amp": b"&",
    b"bsol": b"\\",
    b"lowbar": b"_",
    b"num": b"#",
    b"percnt": b"%",
    b"semi": b";",
    b"UnderBar": b"_",
}


class Redactor:
    """Takes one key out of answers."""

    def __init__(self, key: str) -> None:
        self._is_searched_for = len(key) >= MIN_CHARACTERS
        self._spellings = {spelling.encode() for spelling in _usual_spellings(key)}
        self._key = _without_backslashes(key.encode())
        self._word = re.compile(rb'[^\s"]{%d,}' % len(self._key))
        """Matches what may be the key with escapes in it: neither space nor a quote is in that."""
        codes = "|".join(f"{ord(each):02x}" for each in sorted({*_OF_ESCAPES, *key}))
        self._hint = re.compile(
            rb"(?i:\\(?:u00|x)(?:%b)|%%(?:%b)|&(?:#|[a-z]+;)|\x1b)" % ((codes.encode(),) * 2)
        )
        """Matches an escape of what may be in the key, or in an escape."""

    def redact(self, body: bytes) -> bytes:
        """Return a body with `tvb_...` in place of the key, however it is spelt."""
        if not self._is_searched_for:
            return body
        for spelling in self._spellings:
            body = body.replace(spelling, _REDACTED_AS_SENT)
        if len(body) <= PIECE_BYTES:  # nearly all of them
            is_plain = b"%" not in body and b"&" not in body and b"\\" not in body
            if is_plain and b"\x1b" not in body:
                return body
            return self._redact_words(body) if self._has_escape(body) else body
        if not any(map(self._has_escape, _pieces(body))):
            return body
        return b"".join(map(self._redact_words, _pieces(body)))

    def redact_text(self, text: str) -> str:
        """Return a text with `tvb_...` in place of the key, however it is spelt."""
        return self.redact(text.encode(errors="surrogateescape")).decode(errors="surrogateescape")

    def _has_escape(self, piece: bytes) -> bool:
        """Say whether there is an escape of what may be in the key; few answers have one."""
        has_start = (
            b"%" in piece
            or b"&" in piece
            or b"\\u00" in piece
            or b"\\x" in piece
            or b"\x1b" in piece
        )
        return has_start and self._hint.search(piece) is not None

    def _redact_words(self, piece: bytes) -> bytes:
        return self._word.sub(self._redact_word, piece)

    def _redact_word(self, found: re.Match[bytes]) -> bytes:
        """Return a word without escapes for the key; else all of it is redacted."""
        word = found[0]
        if self._key not in _without_backslashes(_unescaped(word)):
            return word
        # The quote that follows may be escaped by what the word ends with.
        return _REDACTED_AS_SENT + word[len(word.rstrip(b"\\")) :]


def _pieces(body: bytes) -> Iterator[bytes]:
    """Cut a body between words, at least where a word is too long to be anything."""
    start = 0
    while start < len(body):
        latest = start + 16 * PIECE_BYTES
        end = _SEPARATOR.search(body, start + PIECE_BYTES, latest)
        stop = end.start() if end else latest
        yield body[start:stop]
        start = stop


def _usual_spellings(key: str) -> set[str]:
    """Return a key as JSON may repeat it, where its writer escapes what is no letter or digit."""
    as_json = json.dumps(key)[1:-1]
    dotnet = re.sub(r"[\"&'+<>\\`]", lambda found: f"\\u{ord(found[0]):04X}", key)
    return {key, as_json, as_json.replace("/", r"\/"), dotnet}


def _without_backslashes(text: bytes) -> bytes:
    """Remove what JSON within JSON puts before each escape."""
    return text.replace(b"\\", b"")


def _unescaped(word: bytes) -> bytes:
    for _ in range(MAX_LAYERS):
        before, word = word, _ESCAPE.sub(_character, word)
        if word == before:
            break
    return word


def _character(found: re.Match[bytes]) -> bytes:
    kind, value = found.lastgroup, found[found.lastindex or 0]
    if kind is None:  # a colour
        return b""
    if kind == "name":
        return _NAMED[value]
    code = int(value, 10 if kind == "decimal" else 16)
    return bytes([code]) if code < 128 else found[0]  # noqa: PLR2004 - ASCII
