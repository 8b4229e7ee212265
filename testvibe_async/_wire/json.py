"""Parsing of JSON: a document at once, or the rows of a long list one after the other.

It is as strict as JSON, and explains why a text does not parse. `json` holds the interpreter's lock
from a document's first character to its last, so a large one is parsed by `ijson`, piece by piece.
It never knows what a value means.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from io import BytesIO
from itertools import islice
from json.scanner import make_scanner
from math import isinf
from reprlib import Repr
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from ijson import JSONError, basic_parse  # pyright: ignore[reportMissingTypeStubs]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AT_ONCE = 2**18
"""Maximum number of bytes parsed at once: in the worst case 10 ms, and as many MiB."""

ROWS_AT_ONCE = 2**21
"""Maximum number of bytes of a list of rows that is parsed at once: 20 ms, in the worst case 35 ms.

Row by row, such a list takes three times as long.
"""

PIECE_BYTES = 2**16
"""Number of bytes that are parsed at once of a larger document."""

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
"""Reads the value at a place of a text; returns it and its end. A `StopIteration` means none."""


def parse(body: bytes, *, at_once: int | None = None) -> object:
    """Read a JSON document, in UTF-8.

    Args:
        body: The document.
        at_once: Number of bytes up to which the standard library reads it, in one go; None for
            `AT_ONCE`.

    Raises:
        UnreadableError: The document is not JSON, is nested too deeply, or holds too many values.
    """
    try:
        if len(body) <= (AT_ONCE if at_once is None else at_once):
            text = _text(body)
            try:
                document, end = _scan(text, 0)
            except StopIteration:
                document, end = None, 0
            # Only white space around it needs more, or what is not JSON.
            return document if end == len(text) > 0 else _decoder.decode(text)
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


class Rows:
    """The rows of a large list answer, built one by one, and the members around them."""

    def __init__(self, body: bytes, *, in_turns: bool = False) -> None:
        """Start at the beginning; rows that are read `in_turns` may have fewer values."""
        self.envelope: dict[str, object] = {}
        """The members around the rows; complete after the last row."""
        self._body = body
        self._values = _Values(body, most=MAX_EVENTS_A_TURN if in_turns else MAX_EVENTS)

    def __iter__(self) -> Iterator[object]:
        """Iterate over the rows, once.

        Raises:
            UnreadableError: The answer is not JSON, is truncated, or is neither a list nor an
                object around one; earlier rows were yielded.
        """
        try:
            for number, row in enumerate(self._rows(), start=1):
                if number > MAX_ROWS:
                    raise UnreadableError(
                        f"it has more than {MAX_ROWS:,} rows, and not so many are read"
                    )
                yield row
        except JSONError as error:
            raise UnreadableError(_why_not_json(self._body, error)) from error
        except TypeError as error:
            raise UnreadableError(f"{error} at $") from error

    def _rows(self) -> Iterator[object]:
        event, value = next(self._values.events)
        if event == "start_array":
            yield from self._elements()
        elif event == "start_map":
            yield from self._rows_inside()
        else:
            raise expected("a list", value)
        next(self._values.events, None)  # Raises an error if anything follows.

    def _elements(self) -> Iterator[object]:
        """Iterate over the elements of a list that has started."""
        for event, value in self._values.events:
            if event == "end_array":
                return
            yield self._values.build(event, value)

    def _rows_inside(self) -> Iterator[object]:
        """Iterate over the one list of an object that has started."""
        found: str | None = None
        while (key := next(self._values.events))[0] != "end_map":
            name, (first, scalar) = cast("str", key[1]), next(self._values.events)
            if first != "start_array":
                self.envelope[name] = self._values.build(first, scalar)
            elif found is None:
                found = name
                yield from self._elements()
            else:
                raise TypeError(f"expected a list, got an object with two: {found!r}, {name!r}")
        if found is None:
            raise expected("a list", self.envelope)


_SPACE = " \t\n\r"
_OPENED = re.compile(rf"[{_SPACE}]*\[[{_SPACE}]*")
_COMMA = re.compile(rf"[{_SPACE}]*,[{_SPACE}]*")


def _text(body: bytes) -> str:
    """Decode a document: equal to decoding `utf-8-sig`, and faster."""
    return body.removeprefix(BOM_UTF8).decode()


def read_rows(body: bytes) -> Iterator[object]:
    """Iterate over the rows of a list answer; of a bare or long one, build each when it is reached.

    A long list takes long to parse; a caller that yields in between does not block the event loop.
    All rows at once would take 1 KiB each.

    Raises:
        UnreadableError: The answer is not a list, is truncated, or has a row of very many values;
            earlier rows may have been yielded.
    """
    try:
        if len(body) > ROWS_AT_ONCE:
            yield from Rows(body, in_turns=True)
        elif opened := _OPENED.match(text := _text(body)):
            yield from _bare_rows(text, opened.end())
        else:
            yield from rows_of(_decoder.decode(text))
    except (ValueError, RecursionError) as error:
        raise UnreadableError(_why_not_json(body, error)) from error
    except TypeError as error:
        raise UnreadableError(f"{error} at $") from error


def _bare_rows(text: str, place: int) -> Iterator[object]:
    """Iterate over the rows of a list without an object around it, from the place of the first."""
    is_last = text.startswith("]", place)
    try:
        while not is_last:
            row, place = _scan(text, place)
            yield row
            comma = _COMMA.match(text, place)
            is_last = comma is None
            place = place if comma is None else comma.end()
    except StopIteration:
        place = 0
    if text[place:].strip(_SPACE) != "]":
        _decoder.decode(text)  # It says what is wrong.


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
    if len(body) <= AT_ONCE:
        return envelope_of(parse(body))
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
