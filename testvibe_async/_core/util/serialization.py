"""Conversion of values to JSON documents, in the service's own form.

Decides how a value is written: a field has the service's own name (`run_id` is `runId`), an instant
has the form of the wire, and unknown fields are written unchanged. Every public value inherits
`to_dict` from here. The command line and the MCP server write the same document with `serialize`,
nulls included. This module never reads a document, and does no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import UTC, date, datetime
from functools import cache, lru_cache
from operator import attrgetter
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, cast

from attrs import fields

if TYPE_CHECKING:
    from attrs import AttrsInstance

_PLAIN = {type(None), bool, int, float, str}
"""The types that JSON writes without conversion."""


class NotSent:
    """The type of a default for a value that the service did not send, besides None and ()."""

    __slots__ = ()


class Serializable:
    """The base of values with a JSON document; for an attrs class, it has all fields."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return a new plain dict that `json.dumps` accepts, with the service's own field names.

        Nested values are dicts too. Values that are None or empty because the service did not send
        them are left out; fields that this release does not know (`extra`) are unchanged.
        """
        return self._document(nulls=False)

    def _document(self, *, nulls: bool) -> dict[str, Any]:
        """Return the document, with or without empty members."""
        document: dict[str, Any] = {}
        for name, member in self._members().items():
            # Nearly all members are plain, and need no call.
            if type(member) in _PLAIN:
                if nulls or member is not None:
                    document[name] = member
            elif nulls or not (member == () or isinstance(member, NotSent)):
                document[name] = serialize(member, nulls=nulls)
        extra = getattr(self, "extra", None)
        if extra is not None and not isinstance(extra, NotSent):
            document |= serialize(extra)
        return document

    def _members(self) -> dict[str, object]:
        """Return the known members of the document, by their names in it."""
        names, values_of = _fields_of(cast("Hashable", type(self)))
        return dict(zip(names, values_of(self), strict=False))


def serialize(value: object, *, nulls: bool = True) -> Any:  # noqa: ANN401 - JSON
    """Return a value in a form that `json` can write.

    Args:
        value: A value of this package, an error, a path, an instant, plain JSON, or a collection of
            these.
        nulls: True to keep the empty members of this package's values.

    Raises:
        TypeError: The value has none of these types.
    """
    match value:
        case None | int() | float():
            plain: Any = value
        case str():
            plain = str(value)
        case datetime():
            plain = value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case date():
            plain = value.isoformat()
        case Serializable():
            plain = value._document(nulls=nulls)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        case PathLike():
            plain = fspath(cast("PathLike[str]", value))
        case Mapping():
            members = cast("Mapping[object, object]", value).items()
            plain = {str(name): serialize(member, nulls=nulls) for name, member in members}
        case Iterable():
            each = cast("Iterable[object]", value)
            plain = [serialize(member, nulls=nulls) for member in each]
        case _:
            raise TypeError(f"{type(value).__name__} has no form in JSON")
    return plain


@lru_cache(maxsize=256)  # a long list repeats the same names
def wire_name(name: str) -> str:
    """Return the wire's name of a model's field: camelCase, `Utc` for `_at`, no `_bytes`."""
    head, *rest = re.sub(r"_at$", "_utc", name.removesuffix("_bytes")).split("_")
    return head + "".join(word.capitalize() for word in rest)


@cache
def _fields_of(kind: Hashable) -> tuple[tuple[str, ...], Callable[[object], Iterable[object]]]:
    """Return the names of a class's fields on the wire, and a function that reads them."""
    known = fields(cast("type[AttrsInstance]", kind))
    names = [each.name for each in known if each.name != "extra"]
    # `attrgetter` returns a tuple only for two names or more.
    return tuple(map(wire_name, names)), attrgetter(*names, *names[:1])
