"""The JSON schemas of models, in the service's own form.

Decides what is declared of a document that `serialize` writes. Schemas are derived from the models
alone, so a new field of a model is declared without a change here. It writes no document
(`_util.serialization` does) and reads none (`convert` does).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeAlias, get_args, get_origin, get_type_hints

from attrs import NOTHING, fields, has

from testvibe_async._util.serialization import wire_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from attrs import AttrsInstance

__all__ = ["Schema", "json_schema", "nullable"]

Schema: TypeAlias = dict[str, Any]
"""A JSON schema."""

_JSON_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number"}


def json_schema(
    model: type[AttrsInstance],
    *,
    required: Iterable[str] | None = None,
    also: Mapping[str, Schema] | None = None,
) -> Schema:
    """Return the JSON schema of what `serialize` makes of a model.

    Null is allowed wherever the model allows None, since the service may leave a field out, and
    members beyond the declared ones are allowed. A member that the model can do without may be
    anything: what can't be read is kept as the service wrote it.

    Args:
        model: The model.
        required: The members that are always there; None for those that the model requires.
        also: More members, by name.
    """
    hints = get_type_hints(model)
    known = [field for field in fields(model) if field.name != "extra"]
    properties = {
        wire_name(field.name): _schema_of(hints[field.name])
        if field.default is NOTHING
        else _or_raw(_schema_of(hints[field.name]))
        for field in known
    }
    if required is None:
        required = [wire_name(field.name) for field in known if field.default is NOTHING]
    return {
        "type": "object",
        "properties": {**properties, **(also or {})},
        "required": list(required),
    }


def _or_raw(schema: Schema) -> Schema:
    return {"anyOf": [*schema.get("anyOf", [schema]), {}]}


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
