"""JSON text: a document at once, or the rows of a long list one after the other.

It is as strict as JSON, and says why a text does not parse. It never knows what a value means.
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
"""The most rows in one answer: 64 MiB of rows of 270 bytes, which is what one of a run has.

The interpreter's garbage collector stops all threads for 0.2 µs for each.
"""

PAGE_BYTES = 4096
"""How much of a web page is searched for its title."""


def parse(body: bytes) -> object:
    """Read a document of JSON, in UTF-8.

    Raises:
        UnreadableError: It is not JSON, nested too deep, or holds too many values.
    """
    try:
        if len(body) <= AT_ONCE:
            # As `utf-8-sig` decodes, and faster.
            return decoder.decode(body.removeprefix(BOM_UTF8).decode())
        text = Text(body)
        document = text.value()
        text.require_end()
    except (ValueError, RecursionError) as error:
        raise UnreadableError(_why_not_json(body, error)) from error
    return document


class Rows:
    """The rows of a list answer, each parsed when its turn comes, and what stands around them."""

    def __init__(self, body: bytes, *, are_short: bool = False) -> None:
        """Start at the beginning.

        Args:
            body: The answer.
            are_short: Whether a row of more than 256 KiB is refused, which takes long to parse.
                What is no list is an `UnreadableError` then.
        """
        self.envelope: dict[str, object] = {}
        """What stands around the rows; it is whole after the last one."""
        self._body = body
        self._text = Text(body, are_short=are_short)
        self._faults = (ValueError, RecursionError, *((TypeError,) if are_short else ()))

    def __iter__(self) -> Iterator[object]:
        """Go through the rows, once.

        Raises:
            UnreadableError: It is not JSON, or is cut off; the rows before that were given.
            TypeError: It is not a list, nor an object around one.
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
        """Go through the one list of an object."""
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
    """Go through the rows of a list answer, decoding each only when its turn comes.

    A long list takes long to decode; a caller that yields in between does not block the event loop.

    Raises:
        UnreadableError: It is not a list, is cut off, or has a row of more than 256 KiB; the rows
            before that were yielded.
    """
    if len(body) <= PIECE_BYTES:  # it is decoded at once in any case
        with suppress(UnreadableError, TypeError):  # the rows before a break come first
            return iter(rows_of(parse(body)))
    return iter(Rows(body, are_short=True))


_shown = Repr()
"""Shows some of a value in a message, however large it is."""
_shown.maxlevel = 2
_shown.maxstring = _shown.maxlong = _shown.maxother = 60


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
    if body[:PAGE_BYTES].lstrip().startswith(b"["):
        return {}
    rows = Rows(body)
    for _ in rows:
        pass
    return rows.envelope


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
