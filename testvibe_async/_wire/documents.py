"""Values as JSON documents in the service's own form, and the JSON schemas of models.

Decides how a value is written: a field has the service's own name (`run_id` is `runId`), an instant
is as on the wire, unknown fields are kept, and a ref is as `Ref.to_json` writes it. Schemas are
derived from the models alone, so a new field of a model is declared without a change here. It never
reads a document (`convert` does), and does no I/O.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import singledispatch
from os import PathLike, fspath
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeAlias, get_args, get_origin, get_type_hints

from attrs import NOTHING, fields, has

from testvibe_async._wire.convert import wire_name
from testvibe_async.errors import ResponseError, VibeError
from testvibe_async.refs import Ref

if TYPE_CHECKING:
    from attrs import Attribute, AttrsInstance

__all__ = ["Schema", "json_schema", "nullable", "serialize"]

Schema: TypeAlias = dict[str, Any]
"""A JSON schema."""

_JSON_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number"}


@singledispatch
def serialize(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a value as what `json` can write.

    Args:
        value: A value of this package, an error, a path, an instant, plain JSON, or a collection of
            these.

    Raises:
        TypeError: It is none of these.
    """
    model = value.__class__
    if not has(model):
        message = f"{model.__name__} has no form in JSON"
        raise TypeError(message)
    document = {
        wire_name(field.name): serialize(getattr(value, field.name))
        for field in _known_fields(model)
    }
    return document | serialize(getattr(value, "extra", {}))


def _known_fields(model: type[AttrsInstance]) -> list[Attribute[Any]]:
    return [field for field in fields(model) if field.name != "extra"]


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


def json_schema(
    model: type[AttrsInstance],
    *,
    required: Iterable[str] | None = None,
    also: Mapping[str, Schema] | None = None,
) -> Schema:
    """Return the JSON schema of what `serialize` makes of a model.

    Null is allowed wherever the model allows None, since the service may leave a field out, and
    members beyond the declared ones are allowed.

    Args:
        model: The model.
        required: The members that are always there; None for those that the model requires.
        also: More members, by name.
    """
    hints = get_type_hints(model)
    known = _known_fields(model)
    properties = {wire_name(field.name): _schema_of(hints[field.name]) for field in known}
    if required is None:
        required = [wire_name(field.name) for field in known if field.default is NOTHING]
    return {
        "type": "object",
        "properties": {**properties, **(also or {})},
        "required": list(required),
    }


def nullable(schema: Schema) -> Schema:
    """Return a schema that allows null as well. A list of types would be less portable."""
    return {"anyOf": [schema, {"type": "null"}]}


def _schema_of(hint: Any) -> Schema:  # noqa: ANN401 - a type expression
    """Return the schema of one field's type."""
    members = [member for member in get_args(hint) if member is not NoneType]
    if get_origin(hint) is tuple:
        return {"type": "array", "items": _schema_of(members[0])}
    words = next((kind for kind in members if issubclass(kind, StrEnum)), None)
    if words is not None:
        known = ", ".join(words)
        schema: Schema = {"type": "string", "description": f"{known}, or another word"}
    elif members:
        schema = _schema_of(members[0])
    else:
        schema = _schema_of_class(hint)
    return nullable(schema) if NoneType in get_args(hint) else schema


def _schema_of_class(kind: type[Any]) -> Schema:
    if has(kind):
        return json_schema(kind)
    if kind is datetime:
        return {"type": "string", "format": "date-time"}
    return {"type": _JSON_TYPES[kind]}
