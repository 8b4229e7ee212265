"""Values of JSON: a document at once, or the rows of a list a few at a time.

It is as strict as JSON, and explains why a text does not parse. The standard library's parser holds
the interpreter's lock from a document's first character to its last, and bounds neither the number
of values nor their size. It reads small documents, and pieces of large ones: a list is cut between
its rows, and what can't be cut is read value by value. This module never knows what a value means.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from itertools import chain
from json.scanner import make_scanner
from math import isinf
from reprlib import Repr
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

AT_ONCE = 2**18
"""Maximum number of bytes parsed at once: in the worst case 10 ms, and as many MiB."""

PIECE_BYTES = 2**14
"""Number of bytes that are parsed at once of a larger document, or of a list of rows."""

MAX_VALUES = 200_000
"""Maximum number of values in one row of a list, or in another large document.

60 MiB of empty objects would take 1.5 GiB.
"""

MAX_VALUES_A_TURN = 4_000
"""The same for a row that is read on the event loop: about 5 ms."""

MAX_DEPTH = 100
"""Maximum nesting of a large document; a small one is limited by the interpreter."""

TEXT_BYTES = 2**16
"""Number of bytes of a long string that are parsed at once."""

MAX_WORD_BYTES = 5_000
"""Maximum length of a number in a large document; of an integer, Python reads 4,300 digits."""

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


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
_scan: Callable[[str, int], tuple[Any, int]] = make_scanner(cast("Any", _decoder))
"""Returns the value at a place of a text, and its end; raises `StopIteration` if there is none."""


def parse(body: bytes) -> object:
    """Read a JSON document, in UTF-8.

    Raises:
        UnreadableError: The document is not JSON, is nested too deeply, or holds too many values.
    """
    try:
        if len(body) <= AT_ONCE:
            # Equal to decoding `utf-8-sig`, and faster.
            text = body.removeprefix(BOM_UTF8).decode()
            try:
                document, end = _scan(text, 0)
            except StopIteration:
                document, end = None, -1
            # Only white space around the document needs more, or what is not JSON.
            return document if end == len(text) else _decoder.decode(text)
        reader = _Reader(body, most=MAX_VALUES)
        document = reader.value()
        reader.end()
    except (ValueError, RecursionError) as error:
        raise UnreadableError(_why_not_json(body, error)) from error
    return document


_VISIBLE = re.compile(rb"[^ \t\n\r]")
"""The first character after white space."""

_TEXT = re.compile(
    rb"""(?:
        [^"\\\x00-\x1f\x80-\xff]++
        | \\[^u]
        | \\u(?![dD][89abAB])[0-9a-fA-F]{4}
        # Half a character, which the other half follows, or may not.
        | \\u[0-9a-fA-F]{4} (?:
            \\u[dD][c-fC-F][0-9a-fA-F]{2} | (?= [^\\] | \\[^u] | \\u[^dD] | \\u.[^c-fC-F] )
          )
        | [\xc2-\xdf][\x80-\xbf]
        | [\xe0-\xef][\x80-\xbf]{2}
        | [\xf0-\xf4][\x80-\xbf]{3}
    )*+""",
    re.VERBOSE | re.DOTALL,
)
"""As much of a string as ends with a whole character; what is wrong in it is found later."""

_WORD = re.compile(rb"[-+.0-9a-zA-Z]*+")
"""A number, `true`, `false` or `null`, or what is wrong in its place."""


class _Reader:
    """The values of a large document, read one after the other.

    No step takes long, whatever the document holds: long strings are read in pieces too.
    """

    def __init__(self, body: bytes, *, most: int) -> None:
        """Start at the beginning; `most` is the maximum number of values within a value."""
        self.body = body
        self.at = len(BOM_UTF8) if body.startswith(BOM_UTF8) else 0
        """Where the rest begins that was not read yet."""
        self._most = self._left = most

    def next(self) -> bytes:
        """Skip white space, and return the next character; empty at the end."""
        while not (found := _VISIBLE.search(self.body, self.at, self.at + PIECE_BYTES)):
            self.at += PIECE_BYTES
            if self.at >= len(self.body):
                return b""
        self.at = found.start()
        return found[0]

    def takes(self, mark: bytes) -> bool:
        """Return whether the next character is a mark, and skip it."""
        is_next = self.next() == mark
        self.at += is_next
        return is_next

    def take(self, mark: bytes) -> None:
        """Skip the next character, which must be a mark."""
        if not self.takes(mark):
            raise ValueError(f"expected {mark.decode()} at byte {self.at:,}")

    def end(self) -> None:
        """Check that nothing follows."""
        if self.next():
            raise ValueError(f"expected the end at byte {self.at:,}")

    def value(self, depth: int = 0) -> object:
        """Read the next value.

        Raises:
            ValueError: The document is not JSON.
            UnreadableError: The value holds too many values, or is nested too deeply.
        """
        self._left = self._left - 1 if depth else self._most
        if not self._left:
            raise UnreadableError("it holds more values than are read at once")
        if depth > MAX_DEPTH:
            raise UnreadableError(_TOO_DEEP)
        first = self.next()
        if first == b"{":
            return {name: self.value(depth + 1) for name in self.names()}
        if first == b"[":
            return [self.value(depth + 1) for _ in self.elements()]
        return self._text() if first == b'"' else self._word()

    def names(self) -> Iterator[str]:
        """Iterate over the names in an object; the caller reads the value after each."""
        self.take(b"{")
        is_over = self.takes(b"}")
        while not is_over:
            name = self._text()
            self.take(b":")
            yield name
            is_over = self._is_over(b"}")

    def elements(self) -> Iterator[None]:
        """Iterate over a list; the caller reads each element."""
        self.take(b"[")
        is_over = self.takes(b"]")
        while not is_over:
            yield
            is_over = self._is_over(b"]")

    def _is_over(self, mark: bytes) -> bool:
        """Return whether a list or an object ends after one of its members."""
        if self.takes(mark):
            return True
        self.take(b",")
        return False

    def _text(self) -> str:
        self.take(b'"')
        whole = bytearray()
        while (end := _end(_TEXT, self.body, self.at, TEXT_BYTES)) > self.at:
            piece: str = _decoder.decode(f'"{self.body[self.at : end].decode()}"')
            whole += piece.encode(errors="surrogatepass")
            self.at = end
        if self.body[self.at : self.at + 1] != b'"':
            raise ValueError(f"expected the rest of a string at byte {self.at:,}")
        self.at += 1
        return whole.decode(errors="surrogatepass")

    def _word(self) -> object:
        end = _end(_WORD, self.body, self.at, MAX_WORD_BYTES)
        word: object = _decoder.decode(self.body[self.at : end].decode())
        self.at = end
        return word


def _end(pattern: re.Pattern[bytes], body: bytes, start: int, most: int) -> int:
    """Return where a pattern that matches anything ends, within so many bytes."""
    found = pattern.match(body, start, start + most)
    assert found is not None
    return found.end()


_BETWEEN = re.compile(rb"(?<=\})[ \t\n\r]*,[ \t\n\r]*(?=\{)")
"""The text between two objects in a list, unless it is in a string."""


class Rows:
    """The rows of a list answer, built a few at a time, and the members around them.

    A long list takes long to parse; a caller that yields in between does not block the event loop.
    """

    def __init__(self, body: bytes, *, in_turns: bool = False) -> None:
        """Start at the beginning; rows that are read `in_turns` may have fewer values."""
        self.envelope: dict[str, object] = {}
        """The members around the rows; complete after the last row."""
        self._reader = _Reader(body, most=MAX_VALUES_A_TURN if in_turns else MAX_VALUES)
        self._count = 0
        """Number of rows so far."""
        self._next_piece = 0
        """Where the next piece may begin: what can't be cut is not tried again for each row."""

    def __iter__(self) -> Iterator[object]:
        """Iterate over the rows, once.

        Raises:
            UnreadableError: The answer is not JSON, is truncated, or is neither a list nor an
                object around one; or it has too many rows, or a row of too many values. Earlier
                rows were yielded.
        """
        return chain.from_iterable(self._pieces())

    def _pieces(self) -> Iterator[Iterable[object]]:
        """Iterate over the rows, many at a time."""
        reader = self._reader
        try:
            first = reader.next()
            if first == b"[":
                yield from self._list()
            elif first == b"{":
                yield from self._rows_inside()
            else:
                raise expected("a list", reader.value())
            reader.end()
        except TypeError as error:
            raise UnreadableError(f"{error} at $") from error
        except (ValueError, RecursionError) as error:
            raise UnreadableError(_why_not_json(reader.body, error)) from error

    def _rows_inside(self) -> Iterator[Iterable[object]]:
        """Iterate over the one list of an object."""
        reader, found = self._reader, None
        for name in reader.names():
            if reader.next() != b"[":
                self.envelope[name] = reader.value()
            elif found is None:
                found = name
                yield from self._list()
            else:
                raise TypeError(f"expected a list, got an object with two: {found!r}, {name!r}")
        if found is None:
            raise expected("a list", self.envelope)

    def _list(self) -> Iterator[Iterable[object]]:
        """Iterate over the elements of a list, in pieces where it can be cut."""
        for _ in self._reader.elements():
            rows = self._piece() or [self._reader.value()]
            self._count += len(rows)
            if self._count > MAX_ROWS:
                raise UnreadableError(
                    f"it has more than {MAX_ROWS:,} rows, and not so many are read"
                )
            yield rows

    def _piece(self) -> list[object]:
        """Parse the next rows at once, and skip them; none if they can't be cut from the rest.

        A piece ends with an object. If that is only a part of a row, the piece is not JSON.
        """
        reader = self._reader
        body, start = reader.body, reader.at
        if start < self._next_piece:
            return []
        self._next_piece = start + PIECE_BYTES
        if gap := _BETWEEN.search(body, self._next_piece, start + AT_ONCE):
            end = gap.start()
        elif len(body) - start <= AT_ONCE:
            end = body.rfind(b"]")
        else:
            return []
        try:
            rows = array(_decoder.decode(f"[{body[start:end].decode()}]"))
        except (ValueError, RecursionError):
            return []
        reader.at = self._next_piece = end
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


def _why_not_json(body: bytes, error: Exception) -> str:
    if not body.strip():
        return "expected JSON, got an empty body"
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
