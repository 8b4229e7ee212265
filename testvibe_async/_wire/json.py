"""JSON text: a document at once, or the rows of a long list one after the other.

It is as strict as JSON, and says why a text does not parse. It never knows what a value means.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8, getincrementaldecoder
from math import isinf
from reprlib import Repr
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "UnreadableError",
    "array",
    "envelope_of",
    "expected",
    "mapping",
    "parse",
    "read_rows",
    "rows_of",
]

PIECE_BYTES = 2**16
"""How much of a long list is decoded at once."""


PAGE_BYTES = 4096
"""How much of a web page is searched for its title."""


class UnreadableError(Exception):
    """A document is not what it should be."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems


def parse(body: bytes) -> object:
    """Read a document of JSON, in UTF-8.

    Raises:
        UnreadableError: It is not JSON, or nested too deep.
    """
    try:
        return _decoder.decode(_decoded(body))
    except (ValueError, RecursionError) as error:
        raise UnreadableError(_why_not_json(body, error)) from error


def _decoded(body: bytes) -> str:
    """Decode a document without its byte order mark, as `utf-8-sig` does, and faster."""
    return body.removeprefix(BOM_UTF8).decode()


def _finite(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise ValueError(f"{text} is beyond what a number can hold")
    return number


def read_rows(body: bytes) -> Iterator[object]:
    """Go through the rows of a list answer, decoding each only when its turn comes.

    A long list takes long to decode; a caller that yields in between does not block the event loop.

    Raises:
        UnreadableError: It is not a list, or is cut off; the rows before that were yielded.
    """
    text = _Text(body)
    try:
        if not text.skip("["):
            yield from rows_of(parse(body))
            return
        if text.skip("]"):
            return
        while True:
            yield text.value()
            if text.skip(","):
                continue
            if text.skip("]"):
                return
            raise UnreadableError(_why_not_json(body, ValueError(f"no row at {text.place}")))
    except (TypeError, ValueError, RecursionError) as error:
        raise UnreadableError(_why_not_json(body, error)) from error


class _Text:
    """A document's text, decoded piece by piece, so that a long one is not in memory twice."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._decoder = getincrementaldecoder("utf-8-sig")()
        self._taken = 0
        """How many bytes were decoded."""
        self._text = ""
        """What of them was not left behind yet."""
        self._behind = self._at = 0

    @property
    def place(self) -> str:
        """Where it was read up to."""
        return f"character {self._behind + self._at}"

    def skip(self, sign: str) -> bool:
        """Go over space, and a sign if it comes next; say whether it did."""
        while (following := self._text[self._at : self._at + 1]) in _JSON_SPACE:
            if following:
                self._at += 1
            elif not self._decode():
                return False
        is_next = following == sign
        self._at += is_next
        return is_next

    def value(self) -> object:
        """Read the JSON value that comes next.

        Raises:
            ValueError: There is none.
        """
        self.skip("")
        while True:
            try:
                value, end = _decoder.raw_decode(self._text, self._at)
            except ValueError:
                if not self._decode():
                    raise
            else:
                # A number may go on in the next piece: "1e+" reads as 1, with two left over.
                if end + 2 < len(self._text) or not self._decode():
                    self._at = end
                    return value

    def _decode(self) -> bool:
        """Decode a piece more, at least as long as what is not read yet; False at the end."""
        start, end = self._taken, self._taken + max(PIECE_BYTES, len(self._text) - self._at)
        if start >= len(self._body):
            return False
        piece = self._decoder.decode(self._body[start:end], end >= len(self._body))
        self._text = self._text[self._at :] + piece
        self._behind += self._at
        self._at, self._taken = 0, end
        return True


_shown = Repr()
"""Shows some of a value in a message, however large it is."""
_shown.maxlevel = 2
_shown.maxstring = _shown.maxlong = _shown.maxother = 60

_JSON_SPACE = frozenset(["", *" \t\n\r"])


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def web_page(body: bytes) -> str | None:
    """Describe a body that is a web page, such as a login page; None where it is none."""
    start = body[:PAGE_BYTES].decode(errors="replace").lstrip("\ufeff \t\r\n")
    if not re.match(r"<(!doctype\s+html|html|head|body)\b", start, re.IGNORECASE):
        return None
    title = re.search(r"<title[^>]*>([^<]{1,200})", start, re.IGNORECASE)
    return f"a web page titled {' '.join(title[1].split())!r}" if title else "a web page"


def _why_not_json(body: bytes, error: Exception) -> str:
    if not body.strip():
        return "expected JSON, got an empty body"
    if page := web_page(body):
        return f"expected JSON, got {page}: the server's address may not be the service's"
    if isinstance(error, RecursionError):
        return "the JSON is nested too deep"
    start = body[:60].decode(errors="replace")
    return f"expected JSON, got {start!r} ({error})"


def rows_of(document: object) -> list[object]:
    """Return the rows of a list answer: bare, or the one list of an object around it.

    Raises:
        TypeError: It has none, or more lists than one.
    """
    if isinstance(document, dict):
        members = [*cast("dict[str, object]", document).values()]
        lists: list[object] = [member for member in members if isinstance(member, list)]
        document = lists[0] if len(lists) == 1 else cast("object", document)
    return array(document)


def envelope_of(document: object) -> dict[str, object]:
    """Return what stands around the rows of a list answer; nothing where they are bare."""
    if not isinstance(document, dict):
        return {}
    members = cast("dict[str, object]", document)
    return {name: member for name, member in members.items() if not isinstance(member, list)}


def envelope_in(body: bytes) -> dict[str, object]:
    """Return what stands around the rows of a list answer that `read_rows` could read."""
    return envelope_of(parse(body)) if body.lstrip().startswith(b"{") else {}


def array(value: object) -> list[object]:
    """Return a value that must be a list; a `TypeError` says what else it is."""
    if not isinstance(value, list):
        raise expected("a list", value)
    return cast("list[object]", value)


def mapping(value: object) -> dict[str, object]:
    """Return a value that must be an object; a `TypeError` says what else it is."""
    if not isinstance(value, dict):
        raise expected("an object", value)
    return cast("dict[str, object]", value)


def expected(what: str, value: object) -> TypeError:
    """Return an error which says that a value is another than it should be."""
    return TypeError(f"expected {what}, got {_shown.repr(value)}")
