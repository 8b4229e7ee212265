"""Values of JSON: a document at once, or the rows of a list a few at a time.

msgspec reads them. The standard library's parser reads what msgspec refuses and JSON allows, such
as half a character or an integer of more than 64 bits, and explains what is no JSON. Both hold the
interpreter's lock from the first character to the last: a long list is cut between its rows. This
module never knows what a value means.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from itertools import chain, islice
from math import isinf
from reprlib import Repr
from typing import TYPE_CHECKING, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE_BYTES = 2**16
"""Number of bytes from which a list is cut after the row that they end in."""

AT_ONCE = 2**20
"""Maximum number of bytes of a list that are parsed at once, and thus of one of its rows."""

MAX_CUTS = 64
"""Maximum number of places at which a list is cut on trial: each may be within a row."""

MAX_VALUES = 300_000
"""Maximum number of values in what is parsed at once, counted by the commas between them.

As empty objects, they take 20 MiB.
"""

MAX_ROWS = 250_000
"""Maximum number of rows in one answer: 64 MiB of rows of 270 bytes, the size of a run's row.

The interpreter's garbage collector stops all threads for 0.2 µs for each.
"""

_TOO_DEEP = "the JSON is nested too deep"

PAGE_BYTES = 4096
"""Number of bytes of a web page that are searched for its title."""


class UnreadableError(Exception):
    """A document does not have the expected form."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise ValueError(f"{text} is beyond what a number can hold")
    return number


_decode = msgspec.json.Decoder().decode
_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def parse(body: bytes) -> object:
    """Read a JSON document, in UTF-8.

    Raises:
        UnreadableError: The document is not JSON, is nested too deeply, or holds too many values.
    """
    if len(body) > PIECE_BYTES and body.count(b",") > MAX_VALUES:
        raise UnreadableError("it holds more values than are read at once")
    text = body.removeprefix(BOM_UTF8)
    try:
        return _decode(text)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        value: object = _decoder.decode(text.decode())
    except (ValueError, RecursionError) as error:
        raise UnreadableError(_why_not_json(body, error)) from error
    return value


_BETWEEN = re.compile(rb"(?<=\})[ \t\n\r]*,[ \t\n\r]*(?=\{)")
"""The text between two objects in a list, unless it is in a string or within a row."""


class Rows:
    """The rows of a list answer, built a few at a time, and the members around them.

    A long list takes long to parse; a caller that yields in between does not block the event loop.
    """

    def __init__(self, body: bytes) -> None:
        """Start at the beginning."""
        self.envelope: dict[str, object] = {}
        """The members around the rows; complete after the last row."""
        self._body = body

    def __iter__(self) -> Iterator[object]:
        """Iterate over the rows, once.

        Raises:
            UnreadableError: The answer is not JSON, is truncated, or is neither a list nor an
                object around one; or it has too many rows, or a row is too large. Earlier rows were
                yielded.
        """
        return chain.from_iterable(self._pieces())

    def _pieces(self) -> Iterator[list[object]]:
        """Iterate over the rows, many at a time."""
        body, count = self._body, 0
        # Where the rows begin: no list in an object around them comes first.
        start = at = body.find(b"[", 0, PIECE_BYTES) + 1
        while len(body) - at > AT_ONCE:
            rows, at = _piece(body, at)
            count += len(rows)
            yield _limited(rows, count)
        rows = self._last(parse(body if at == start else body[:start] + body[at:]))
        yield _limited(rows, count + len(rows))

    def _last(self, document: object) -> list[object]:
        """Return the last rows, from a document that lacks all before; note what is around them."""
        if isinstance(document, list):
            return cast("list[object]", document)
        if not isinstance(document, dict):
            raise UnreadableError(f"{expected('a list', document)} at $")
        members = cast("dict[str, object]", document)
        names = [name for name, each in members.items() if isinstance(each, list)]
        if not names:
            raise UnreadableError(f"{expected('a list', members)} at $")
        if len(names) > 1:
            two = ", ".join(map(repr, names[:2]))
            raise UnreadableError(f"expected a list, got an object with two: {two} at $")
        self.envelope = {name: each for name, each in members.items() if name != names[0]}
        return cast("list[object]", members[names[0]])


def _piece(body: bytes, start: int) -> tuple[list[object], int]:
    """Parse the next rows of a long list; return them, and where the rest begins."""
    for gap in islice(_BETWEEN.finditer(body, start + PIECE_BYTES, start + AT_ONCE), MAX_CUTS):
        try:
            return array(parse(b"[%b]" % body[start : gap.start()])), gap.end()
        except UnreadableError:
            continue  # The gap is within a row: nothing but whole rows is JSON.
    raise UnreadableError("it has rows that can't be told apart, or that are too large")


def _limited(rows: list[object], count: int) -> list[object]:
    """Return rows, unless an answer has too many with them."""
    if count > MAX_ROWS:
        raise UnreadableError(f"it has more than {MAX_ROWS:,} rows, and not so many are read")
    return rows


_shown = Repr()
"""Shows an excerpt of a value in a message, however large it is."""
_shown.maxlevel = 2
_shown.maxstring = _shown.maxlong = _shown.maxother = 60


def web_page(body: bytes) -> str | None:
    """Describe a body that is a web page, such as a login page; None if it is not."""
    start = body[:PAGE_BYTES].decode(errors="replace").lstrip("\ufeff \t\r\n")
    if not re.match(r"<(!doctype\s+html|html|head|body)\b", start, re.IGNORECASE):
        return None
    title = re.search(r"<title[^>]*>([^<]{1,200})", start, re.IGNORECASE)
    return f"a web page titled {' '.join(title[1].split())!r}" if title else "a web page"


NO_DOCUMENT: tuple[str, ...] = ("expected JSON, got an empty body", "expected JSON, got a web page")
"""How the problem begins of a body that is no document: a proxy may have sent it."""


def _why_not_json(body: bytes, error: Exception) -> str:
    if not body.strip():
        return NO_DOCUMENT[0]
    if page := web_page(body):
        return f"expected JSON, got {page}: the server's address may not be the service's"
    if isinstance(error, RecursionError):
        return _TOO_DEEP
    start = body[:60].decode(errors="replace")
    return f"expected JSON, got {start!r} ({error})"


def array(value: object) -> list[object]:
    """Return a value that must be a list; otherwise raise a `TypeError` that describes it."""
    if not isinstance(value, list):
        raise expected("a list", value)
    return cast("list[object]", value)


def mapping(value: object) -> dict[str, object]:
    """Return a value that must be an object; otherwise raise a `TypeError` that describes it."""
    if not isinstance(value, dict):
        raise expected("an object", value)
    return cast("dict[str, object]", value)


def expected(what: str, value: object) -> TypeError:
    """Return an error that states the expected form and the actual value."""
    return TypeError(f"expected {what}, got {_shown.repr(value)}")
