"""Parsing of JSON: a document at once, or the rows of a long list one after the other.

It is as strict as JSON, and explains why a text does not parse. It never knows what a value means.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from contextlib import suppress
from reprlib import Repr
from typing import TYPE_CHECKING, cast

from testvibe_async._wire.text import AT_ONCE, PIECE_BYTES, Text, UnreadableError, decoder

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Rows",
    "UnreadableError",
    "array",
    "envelope_of",
    "expected",
    "mapping",
    "parse",
    "read_rows",
    "rows_of",
]

MAX_ROWS = 250_000
"""Maximum number of rows in one answer: 64 MiB of rows of 270 bytes, the size of a run's row.

The interpreter's garbage collector stops all threads for 0.2 µs for each.
"""

PAGE_BYTES = 4096
"""Number of bytes of a web page that are searched for its title."""


def parse(body: bytes) -> object:
    """Read a JSON document, in UTF-8.

    Raises:
        UnreadableError: The document is not JSON, is nested too deeply, or holds too many values.
    """
    try:
        if len(body) <= AT_ONCE:
            # Equal to decoding `utf-8-sig`, and faster.
            return decoder.decode(body.removeprefix(BOM_UTF8).decode())
        text = Text(body)
        document = text.value()
        text.require_end()
    except (ValueError, RecursionError) as error:
        raise UnreadableError(_why_not_json(body, error)) from error
    return document


class Rows:
    """The rows of a list answer, each parsed when it is reached, and the members around them."""

    def __init__(self, body: bytes, *, are_short: bool = False) -> None:
        """Start at the beginning.

        Args:
            body: The answer.
            are_short: True to refuse a row of more than 256 KiB, which takes long to parse. A
                document that is not a list is then an `UnreadableError`.
        """
        self.envelope: dict[str, object] = {}
        """The members around the rows; complete after the last row."""
        self._body = body
        self._text = Text(body, are_short=are_short)
        self._faults = (ValueError, RecursionError, *((TypeError,) if are_short else ()))

    def __iter__(self) -> Iterator[object]:
        """Iterate over the rows, once.

        Raises:
            UnreadableError: The answer is not JSON, or is truncated; earlier rows were yielded.
            TypeError: The answer is not a list, nor an object around one.
        """
        try:
            for number, row in enumerate(self._rows(), start=1):
                if number > MAX_ROWS:
                    raise UnreadableError(
                        f"it has more than {MAX_ROWS:,} rows, and not so many are read"
                    )
                yield row
            self._text.require_end()
        except self._faults as error:
            raise UnreadableError(_why_not_json(self._body, error)) from error

    def _rows(self) -> Iterator[object]:
        if self._text.skip("["):
            return self._text.elements()
        if self._text.skip("{"):
            return self._rows_inside()
        raise expected("a list", self._text.value())

    def _rows_inside(self) -> Iterator[object]:
        """Iterate over the one list of an object."""
        found: str | None = None
        for name in self._text.names(1):
            if not self._text.skip("["):
                self.envelope[name] = self._text.value(1)
            elif found is None:
                found = name
                yield from self._text.elements()
            else:
                raise TypeError(f"expected a list, got an object with two: {found!r}, {name!r}")
        if found is None:
            raise expected("a list", self.envelope)


def read_rows(body: bytes) -> Iterator[object]:
    """Iterate over the rows of a list answer, decoding each only when it is reached.

    A long list takes long to decode; a caller that yields in between does not block the event loop.

    Raises:
        UnreadableError: The answer is not a list, is truncated, or has a row of more than 256 KiB;
            earlier rows were yielded.
    """
    if len(body) <= PIECE_BYTES:  # it is decoded at once in any case
        with suppress(UnreadableError, TypeError):  # rows before a fault come first
            return iter(rows_of(parse(body)))
    return iter(Rows(body, are_short=True))


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
        return "the JSON is nested too deep"
    start = body[:60].decode(errors="replace")
    return f"expected JSON, got {start!r} ({error})"


def rows_of(document: object) -> list[object]:
    """Return the rows of a list answer: bare, or the one list of an object around it.

    Raises:
        TypeError: There is no list, or more than one.
    """
    if isinstance(document, dict):
        members = [*cast("dict[str, object]", document).values()]
        lists: list[object] = [member for member in members if isinstance(member, list)]
        document = lists[0] if len(lists) == 1 else cast("object", document)
    return array(document)


def envelope_of(document: object) -> dict[str, object]:
    """Return the members around the rows of a list answer; none if the rows are bare."""
    if not isinstance(document, dict):
        return {}
    members = cast("dict[str, object]", document)
    return {name: member for name, member in members.items() if not isinstance(member, list)}


def envelope_in(body: bytes) -> dict[str, object]:
    """Return the members around the rows of a list answer that `read_rows` could read."""
    if body[:PAGE_BYTES].lstrip().startswith(b"["):
        return {}
    rows = Rows(body)
    for _ in rows:
        pass
    return rows.envelope


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
