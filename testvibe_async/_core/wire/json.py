"""Parsing of JSON: a document at once, or the rows of a list a few at a time.

It is as strict as JSON, and explains why a text does not parse. `json` holds the interpreter's lock
from a document's first character to its last, so a large one is parsed piece by piece: by `ijson`,
unless it is a list that can be cut between its rows. It never knows what a value means.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from io import BytesIO
from itertools import chain, islice
from json.scanner import make_scanner
from math import isinf
from reprlib import Repr
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from ijson import JSONError, basic_parse  # pyright: ignore[reportMissingTypeStubs]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

AT_ONCE = 2**18
"""Maximum number of bytes parsed at once: in the worst case 10 ms, and as many MiB."""

PIECE_BYTES = 2**14
"""Number of bytes that are parsed at once of a larger document, or of a list of rows."""

MAX_EVENTS = 1_000_000
"""Maximum number of names, values and ends in one row of a list, or in another large document.

60 MiB of empty objects would take 1.5 GiB.
"""

MAX_EVENTS_A_TURN = 20_000
"""The same for a row that is read on the event loop: about 5 ms."""

MAX_DEPTH = 500
"""Maximum nesting of a large document; a small one is limited by the interpreter."""

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
        values = _Values(body, most=MAX_EVENTS)
        document = values.build(*next(values.events))
        next(values.events, None)  # Raises an error if anything follows.
    except (JSONError, ValueError, RecursionError) as error:
        raise UnreadableError(_why_not_json(body, error)) from error
    return document


_Container: TypeAlias = dict[Any, Any] | list[Any]

_BEGIN: dict[str, Callable[[], _Container]] = {
    "start_map": dict,
    "start_array": list,
}
"""The events that begin a value with members, and what holds them."""

_END = {"end_map", "end_array"}


class _Values:
    """The values of a large document, built from the events of a streaming parser.

    `ijson` could build them, but bounds neither their number nor their depth.
    """

    def __init__(self, body: bytes, *, most: int) -> None:
        """Start at the beginning; `most` is the maximum number of events within a value."""
        text = BytesIO(body.removeprefix(BOM_UTF8))
        # It refuses integers beyond 64 bits. Without `use_float`, long ones crash ijson 3.6.
        self.events: Iterator[tuple[str, object]] = basic_parse(
            text, buf_size=PIECE_BYTES, use_float=True
        )
        """The parser's events that were not consumed yet."""
        self._most = most

    def build(self, first: str, scalar: object) -> object:
        """Return the value that begins with an event.

        Args:
            first: The event.
            scalar: The value of the event, if it has no members.

        Raises:
            JSONError: The document is not JSON.
            UnreadableError: The value holds too many values, or is nested too deeply.
        """
        if first not in _BEGIN:
            return scalar
        whole: _Container = _BEGIN[first]()
        inner, outer = whole, list[_Container]()
        name: Any = ""
        for event, value in islice(self.events, self._most):
            if event == "map_key":
                name = value
            elif event in _END:
                if not outer:
                    return whole
                inner = outer.pop()
            else:
                container = _BEGIN[event]() if event in _BEGIN else None
                member = value if container is None else container
                if isinstance(inner, dict):
                    inner[name] = member
                else:
                    inner.append(member)
                if container is not None:
                    if len(outer) == MAX_DEPTH:
                        raise UnreadableError(_TOO_DEEP)
                    outer.append(inner)
                    inner = container
        raise UnreadableError("it holds more values than are read at once")


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
        self._body = body.removeprefix(BOM_UTF8)
        self._most = MAX_EVENTS_A_TURN if in_turns else MAX_EVENTS
        self._count = 0
        """Number of rows so far."""

    def __iter__(self) -> Iterator[object]:
        """Iterate over the rows, once.

        Raises:
            UnreadableError: The answer is not JSON, is truncated, or is neither a list nor an
                object around one; or it has too many rows, or a row of too many values. Earlier
                rows were yielded.
        """
        return chain.from_iterable(self._pieces())

    def _pieces(self) -> Iterator[Iterable[object]]:
        """Iterate over the rows, many at a time: `ijson` takes three times as long.

        Each piece ends with an object. If that is only a part of a row, the piece is not JSON, and
        the rest is read row by row; so is a long list with members around it.
        """
        body, start, opening = self._body, 0, b""
        while gap := _BETWEEN.search(body, start + PIECE_BYTES, start + AT_ONCE):
            piece = opening + body[start : gap.start()] + b"]"
            try:
                rows: list[object] = _decoder.decode(piece.decode())
            except (ValueError, RecursionError):
                break
            self._note(len(rows))
            yield rows
            start, opening = gap.end(), b"["
        rest = opening + body[start:]
        if len(rest) > AT_ONCE:
            yield self._one_by_one(_Values(rest, most=self._most))
            return
        document = parse(rest)
        try:
            rows = _rows_of(document)
        except TypeError as error:
            raise UnreadableError(f"{error} at $") from error
        self._note(len(rows))
        yield rows
        self.envelope = _envelope_of(document)

    def _note(self, count: int) -> None:
        self._count += count
        if self._count > MAX_ROWS:
            what = f"it has more than {MAX_ROWS:,} rows, and not so many are read"
            raise UnreadableError(what)

    def _one_by_one(self, values: _Values) -> Iterator[object]:
        """Iterate over rows that are built from the events of a parser."""
        try:
            event, value = next(values.events)
            if event == "start_array":
                yield from self._elements(values)
            elif event == "start_map":
                yield from self._rows_inside(values)
            else:
                raise expected("a list", value)
            next(values.events, None)  # Raises an error if anything follows.
        except JSONError as error:
            raise UnreadableError(_why_not_json(self._body, error)) from error
        except TypeError as error:
            raise UnreadableError(f"{error} at $") from error

    def _elements(self, values: _Values) -> Iterator[object]:
        """Iterate over the elements of a list that has started."""
        for event, value in values.events:
            if event == "end_array":
                return
            self._note(1)
            yield values.build(event, value)

    def _rows_inside(self, values: _Values) -> Iterator[object]:
        """Iterate over the one list of an object that has started."""
        found: str | None = None
        while (key := next(values.events))[0] != "end_map":
            name, (first, scalar) = cast("str", key[1]), next(values.events)
            if first != "start_array":
                self.envelope[name] = values.build(first, scalar)
            elif found is None:
                found = name
                yield from self._elements(values)
            else:
                raise TypeError(f"expected a list, got an object with two: {found!r}, {name!r}")
        if found is None:
            raise expected("a list", self.envelope)


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
    return f"expected JSON, got {start!r} ({_first_line(error)})"


def _first_line(error: Exception) -> str:
    """Return what an error says; `ijson` adds lines with the text around."""
    said: object = error.args[0] if error.args else ""
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(error)
    return text.partition("\n")[0]


def _rows_of(document: object) -> list[object]:
    """Return the rows of a list answer: bare, or the one list of an object around it.

    Raises:
        TypeError: There is no list, or more than one.
    """
    if isinstance(document, dict):
        members = [*cast("dict[str, object]", document).values()]
        lists: list[object] = [member for member in members if isinstance(member, list)]
        document = lists[0] if len(lists) == 1 else cast("object", document)
    return array(document)


def _envelope_of(document: object) -> dict[str, object]:
    """Return the members around the rows of a list answer; none if the rows are bare."""
    if not isinstance(document, dict):
        return {}
    members = cast("dict[str, object]", document)
    return {name: member for name, member in members.items() if not isinstance(member, list)}


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
