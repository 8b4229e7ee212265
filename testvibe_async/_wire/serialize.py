"""Values as documents: what `json` can write, in the service's own form.

A field has the service's own name (`run_id` is `runId`), an instant is as on the wire, what the
service sent and this release does not know is kept, and a ref is as `Ref.to_json` writes it, so
that `Ref.from_json` reads it back. It does no I/O.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import singledispatch
from os import PathLike, fspath
from types import NoneType
from typing import Any

from testvibe_async._wire.convert import wire_name
from testvibe_async.errors import ResponseError, VibeError
from testvibe_async.refs import Ref

__all__ = ["serialize"]


@singledispatch
def serialize(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a value as what `json` can write.

    Args:
        value: A value of this package, an error, a path, an instant, plain JSON, or a collection of
            these.

    Raises:
        TypeError: It is none of these.
    """
    fields = getattr(value, "__attrs_attrs__", None)
    if fields is None:
        message = f"{type(value).__name__} has no form in JSON"
        raise TypeError(message)
    document = {
        wire_name(field.name): serialize(getattr(value, field.name))
        for field in fields
        if field.name != "extra"
    }
    return document | serialize(getattr(value, "extra", {}))


@serialize.register(NoneType)
@serialize.register(int)
@serialize.register(float)
def _same(value: object) -> object:
    return value


@serialize.register
def _text(value: str) -> str:
    return str(value)


@serialize.register
def _instant(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


@serialize.register(PathLike)
def _path(value: PathLike[str]) -> str:
    return fspath(value)


@serialize.register(Mapping)
def _mapping(value: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): serialize(member) for name, member in value.items()}


@serialize.register(Iterable)
def _list(value: Iterable[Any]) -> list[Any]:
    return [serialize(member) for member in value]


@serialize.register
def _ref(value: Ref) -> Any:  # noqa: ANN401 - JSON
    return json.loads(value.to_json())


@serialize.register
def _error(value: VibeError) -> dict[str, Any]:
    document = {"type": type(value).__name__, "message": str(value), "ref": serialize(value.ref)}
    if isinstance(value, ResponseError):
        document |= {"status": value.status, "error": value.code}
    return document
