"""JSON text that is decoded piece by piece: no step takes long, however large the document is.

`json` holds the interpreter's lock from a value's first character to its last. It therefore parses
at most 256 KiB at once; a longer value is split here, and its parts are joined. This module decides
how much of a document is parsed at once, and how many values one document may hold.
"""

from __future__ import annotations

import json
import re
from codecs import getincrementaldecoder
from contextlib import suppress
from math import isinf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["AT_ONCE", "PIECE_BYTES", "Text", "UnreadableError", "decoder"]

AT_ONCE = 2**18
"""Maximum number of characters parsed at once: in the worst case 10 ms, and as many MiB."""

PIECE_BYTES = 2**16
"""Number of bytes decoded at once, except within a longer value."""

MAX_VALUES = 1_000_000
"""Maximum number of values and names in one row of a list, or in a document of another kind.

Each takes up to 250 bytes: 60 MiB of empty objects would take 1.5 GiB.
"""

MAX_DEPTH = 16
"""Maximum nesting of values longer than `AT_ONCE`: each is first tried as a whole."""

MAX_TRIES = 4
"""Maximum number of attempts to find the end of an element, which may belong to an inner one."""

ESCAPE_CHARACTERS = 6
"""The length of an escape such as `\\u00e4`, the longest."""


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


decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)

_SPACE = frozenset(["", *" \t\n\r"])
_SPACES = re.compile(r"[ \t\n\r]*")
_ENDS = {"{": "},", "[": "],", '"': '",'}
"""The possible ends of an element that is not the last of its list, by its first character."""

_STRETCH = re.compile(r'[^"\\]*+(?:\\(?:[^u]|u[0-9a-fA-F]{4})[^"\\]*+)*+', re.DOTALL)
"""The continuation of a string, in whole escapes."""


class Text:
    """A document's text, read from its start to its end, with only a part of it in memory."""

    def __init__(self, body: bytes, *, are_short: bool = False) -> None:
        """Start at the beginning.

        Args:
            body: The document, in UTF-8.
            are_short: True to refuse a value that is longer than `AT_ONCE`.
        """
        self._body = body
        self._are_short = are_short
        self._decoder = getincrementaldecoder("utf-8-sig")()
        self._taken: int = 0
        """Number of bytes decoded."""
        self._text = ""
        """The decoded text that was not discarded yet."""
        self._tried: int = 0
        """The value of `_taken` when elements were last parsed together."""
        self._behind = self._at = 0
        self._values = 0
        """Number of values and names so far in the long value that is being read."""

    @property
    def place(self) -> str:
        """The position up to which the text was read, for messages."""
        return f"character {self._behind + self._at}"

    def require_end(self) -> None:
        """Raise a `ValueError` if anything but white space is left."""
        self.skip("")
        if self._at < len(self._text):
            raise ValueError(f"more comes at {self.place}")

    def skip(self, sign: str) -> bool:
        """Skip white space, and a character if it comes next; return whether it did."""
        while (following := self._text[self._at : self._at + 1]) in _SPACE:
            self._at = _end(_SPACES, self._text, self._at)
            if self._at == len(self._text) and not self._decode():
                return False
        is_next = following == sign
        self._at += is_next
        return is_next

    def elements(self, depth: int = 0) -> Iterator[object]:
        """Iterate over the elements of a list whose bracket was read; see `value`."""
        if self.skip("]"):
            return
        while True:
            yield from self._some(depth) or (self.value(depth),)
            if self.skip("]"):
                return
            if not self.skip(","):
                raise ValueError(f"no , and no ] at {self.place}")

    def _some(self, depth: int) -> Sequence[object]:
        """Parse together the elements that end in the text at hand; return none if that fails.

        This is tried once for each piece: one by one, elements take four times as long.
        """
        if self._taken == self._tried:
            return ()
        self._tried = self._taken
        self.skip("")
        start = self._at
        mark = _ENDS.get(self._text[start : start + 1], ",")
        end = len(self._text)
        for _ in range(MAX_TRIES):
            end = self._text.rfind(mark, start, end)
            if end < start:
                break
            some = self._text[start : end + len(mark) - 1]
            # Text that parses is not part of a larger value: its last comma stands between two
            # elements.
            with suppress(ValueError):
                elements: list[object] = decoder.decode(f"[{some}]")
                if depth:
                    self._count(some)
                self._at = start + len(some)
                return elements
        return ()

    def names(self, depth: int = 0) -> Iterator[str]:
        """Iterate over the names in an object whose brace was read; read each value in between."""
        if self.skip("}"):
            return
        while True:
            name = self.value(depth)
            if not isinstance(name, str) or not self.skip(":"):
                raise ValueError(f"no name and : before {self.place}")
            yield name
            if self.skip("}"):
                return
            if not self.skip(","):
                raise ValueError(f"no , and no }} at {self.place}")

    def value(self, depth: int = 0) -> object:
        """Read the next JSON value.

        Args:
            depth: Number of long values around it. All values in the outermost are counted.

        Raises:
            ValueError: There is no value.
            RecursionError: The value is nested too deeply.
            UnreadableError: The value holds too many values.
        """
        if not depth:
            self._values = 0
        self.skip("")
        while True:
            is_long = len(self._text) - self._at >= AT_ONCE
            try:
                value, end = decoder.raw_decode(self._text, self._at)
            except ValueError:
                if is_long and self._text[self._at] in '{["':
                    return self._long_value(depth + 1)
                if is_long or not self._decode():
                    raise
            else:
                # A number may continue in the next piece: "1e+" reads as 1, with two characters
                # left over.
                if end + 2 < len(self._text) or is_long or not self._decode():
                    if depth:
                        self._count(self._text[self._at : end])
                    self._at = end
                    return value

    def _long_value(self, depth: int) -> object:
        """Read a value that is too long to be parsed at once, part by part."""
        if self._are_short:
            raise UnreadableError(f"a row is longer than {AT_ONCE // 1024} KiB")
        if depth > MAX_DEPTH:
            raise RecursionError
        if self.skip("["):
            return list(self.elements(depth))
        if self.skip("{"):
            return {name: self.value(depth) for name in self.names(depth)}
        return self._long_string()

    def _long_string(self) -> str:
        """Read a string, a piece at a time."""
        self.skip('"')
        whole = half = ""
        while True:
            end = _end(_STRETCH, self._text, self._at)
            part: str = half + decoder.decode(f'"{self._text[self._at : end]}"')
            self._at = end
            # A character beyond U+FFFF is two escapes, and the text may end between them.
            if half and "\udc00" <= part[1:2] <= "\udfff":
                part = part[:2].encode("utf-16", "surrogatepass").decode("utf-16") + part[2:]
            half = part[-1:] if "\ud800" <= part[-1:] <= "\udbff" else ""
            whole += part.removesuffix(half)  # In place: `join` would hold the lock for long.
            if self._text[self._at : self._at + 1] == '"':
                self._at += 1
                return whole + half if half else whole
            if len(self._text) - self._at >= ESCAPE_CHARACTERS or not self._decode():
                raise ValueError(f"no end of the string at {self.place}")

    def _count(self, part: str) -> None:
        """Count the values in a part of a long value, or a higher number."""
        bare = part.replace("\\\\", "").replace('\\"', "")
        outside = "".join(bare.split('"')[::2])
        self._values += 1 + sum(map(outside.count, ",:[{"))
        if self._values > MAX_VALUES:
            raise UnreadableError(
                f"it holds more than {MAX_VALUES:,} values, and not so many are read at once"
            )

    def _decode(self) -> bool:
        """Decode one more piece, at least as long as the unread text; return False at the end."""
        start, unread = self._taken, len(self._text) - self._at
        end = start + max(PIECE_BYTES, min(unread, AT_ONCE))
        if start >= len(self._body):
            return False
        piece = self._decoder.decode(self._body[start:end], end >= len(self._body))
        self._text = self._text[self._at :] + piece
        self._behind += self._at
        self._at, self._taken = 0, end
        return True


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Return the end of the match of a pattern that matches everywhere."""
    found = pattern.match(text, start)
    assert found is not None
    return found.end()
