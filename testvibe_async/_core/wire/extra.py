"""The parts of an answer without a field: unknown members, and unreadable ones.

Decides how much of them is kept, and notes which fields were left out. It knows no model.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, cast

from attrs import field, frozen

EXTRA = "extra"
"""The field that receives all members without a field of their own."""

MAX_DEPTH = 64
"""Maximum nesting of unknown fields: deeper JSON can be read but not written."""

MAX_EXTRA_BYTES = 64 * 1024
"""Maximum number of bytes kept of an answer's unknown and unreadable fields, in total."""

VALUE_BYTES = 16
"""Number of bytes that a value counts for besides its text."""


@frozen
class UnreadableField:
    """A field that could not be read, and was left out."""

    model: str
    """The field's model, such as `CaseResult`."""

    name: str
    """The field's name on the wire, such as `durationMs`."""

    problem: str = field(eq=False)
    """The reason why the field could not be read."""


class ExtraMembers:
    """The fields of one answer that were left out."""

    def __init__(self, fields: list[UnreadableField]) -> None:
        self.fields = fields
        self.names: set[tuple[type[Any], str]] = set()
        """The models and wire names of these fields."""
        self.spare_bytes = MAX_EXTRA_BYTES
        """Number of bytes that may still be kept of members without a field, or unreadable ones."""

    def add(self, model: type[Any], name: str, problem: str) -> None:
        """Note a field, once: each of very many rows may have it."""
        if (model, name) not in self.names:
            self.names.add((model, name))
            self.fields.append(UnreadableField(model.__name__, name, problem))

    def keep(self, model: type[Any], name: str, value: object) -> bool:
        """Return whether a field goes to `extra`; note it if it is too large or deep for that."""
        try:
            size = size_of({name: value}, self.spare_bytes)
        except RecursionError:
            self.add(model, name, f"nested deeper than {MAX_DEPTH} times")
            return False
        if size is None:
            what = f"only {MAX_EXTRA_BYTES // 1024} KiB of an answer's other fields are kept"
            self.add(model, EXTRA, what)
            return False
        self.spare_bytes -= size
        return True


extra_members: ContextVar[ExtraMembers] = ContextVar("the fields of an answer that were left out")


def size_of(value: object, most: int) -> int | None:
    """Return the approximate size of a JSON value in bytes; None if it exceeds the maximum.

    Raises:
        RecursionError: The value is nested deeper than `MAX_DEPTH`.
    """
    size, layer = 0, [value]
    for _ in range(MAX_DEPTH + 1):
        inner: list[object] = []
        for each in layer:
            size += VALUE_BYTES
            match each:
                case str():
                    size += len(each) if each.isascii() else 4 * len(each)
                case int():
                    size += each.bit_length() // 8
                case dict() | list():
                    members = cast("dict[str, object] | list[object]", each)
                    if VALUE_BYTES * len(members) > most:
                        return None
                    inner += members
                    inner += members.values() if isinstance(members, dict) else ()
                case _:
                    pass
            if size > most:
                return None
        if not inner:
            return size
        layer = inner
    raise RecursionError
