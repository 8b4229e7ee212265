"""What of an answer no field takes in: unknown fields, and those that can't be read.

Decides how much of it is kept, and notes which fields were left out. It knows no model.
"""

from __future__ import annotations

from collections import defaultdict
from contextvars import ContextVar
from typing import Any, cast

from attrs import field, frozen

__all__ = ["EXTRA", "MAX_EXTRA_BYTES", "Leftovers", "UnreadableField", "leftovers", "size_of"]

EXTRA = "extra"
"""The field that takes in what has no field of its own."""

MAX_DEPTH = 64
"""How deep unknown fields may be nested: JSON that is deeper can be read and not written."""

MAX_EXTRA_BYTES = 64 * 1024
"""How much of an answer's unknown and unreadable fields is kept, in all values of it together."""

VALUE_BYTES = 16
"""What a value counts for beside its text."""


@frozen
class UnreadableField:
    """A field that could not be read, and was left out."""

    model: str
    """The model that it is a field of, such as `CaseResult`."""

    name: str
    """Its name on the wire, such as `durationMs`."""

    problem: str = field(eq=False)
    """What was wrong with it."""


class Leftovers:
    """The fields of one answer that were left out."""

    def __init__(self, fields: list[UnreadableField]) -> None:
        self.fields = fields
        self.names: defaultdict[type[Any], set[str]] = defaultdict(set)
        """By model, their names on the wire."""
        self.spare_bytes = MAX_EXTRA_BYTES
        """How much more may be kept of what has no field, or can't be read."""

    def add(self, model: type[Any], name: str, problem: str) -> None:
        """Note a field, once: each of very many rows may have it."""
        if name not in self.names[model]:
            self.names[model].add(name)
            self.fields.append(UnreadableField(model.__name__, name, problem))

    def keep(self, model: type[Any], name: str, value: object) -> bool:
        """Say whether a field goes to `extra`; note it where it is too large or deep for that."""
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


leftovers: ContextVar[Leftovers] = ContextVar("the fields of an answer that were left out")


def size_of(value: object, most: int) -> int | None:
    """Return about how many bytes a JSON value takes; None where it is more than so many.

    Raises:
        RecursionError: It is nested deeper than `MAX_DEPTH`.
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
