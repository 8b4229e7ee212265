"""Models as the service's documents, and the JSON schemas of those documents.

Pure, and derived from the models alone, so that a field that is added there is answered and
declared here. Names are the wire's, in camelCase; fields that this release does not know pass
through; null is allowed wherever the service may leave something out.
"""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeAlias, cast, get_args, get_origin, get_type_hints

from attrs import NOTHING, fields, has

from testvibe_async._wire import serialize, wire_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from attrs import Attribute, AttrsInstance

__all__ = [
    "Document",
    "Schema",
    "document",
    "encodable",
    "nullable",
    "rows",
    "schema",
    "schema_of_rows",
]

Document: TypeAlias = dict[str, Any]
Schema: TypeAlias = dict[str, Any]

_JSON_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number"}


def document(value: AttrsInstance) -> Document:
    """Return a model as the service's document: every known field, and what else came with it."""
    text = json.dumps(serialize(value), ensure_ascii=False)
    return cast("Document", json.loads(encodable(text)))


def rows(name: str, values: Iterable[AttrsInstance]) -> Document:
    """Return a list as an object of one member. Its rows leave out what the service left out."""
    return {
        name: [
            {field: member for field, member in document(value).items() if member is not None}
            for value in values
        ]
    }


def _known(model: type[AttrsInstance]) -> list[Attribute[Any]]:
    return [member for member in fields(model) if member.name != "extra"]


def encodable(text: str) -> str:
    """Return a text without halves of characters: JSON can hold them, what we send can't."""
    return text.encode(errors="replace").decode()


def schema(
    model: type[AttrsInstance],
    *,
    required: Iterable[str] | None = None,
    also: Mapping[str, Schema] | None = None,
) -> Schema:
    """Return the JSON schema of a model's document. Members beyond it are allowed.

    Args:
        model: The model.
        required: The members that are always there; None for those that the model requires.
        also: Members of ours beside the model's.
    """
    hints = get_type_hints(model)
    properties = {wire_name(member.name): _schema(hints[member.name]) for member in _known(model)}
    if required is None:
        required = [wire_name(m.name) for m in _known(model) if m.default is NOTHING]
    return {
        "type": "object",
        "properties": {**properties, **(also or {})},
        "required": list(required),
    }


def schema_of_rows(name: str, model: type[AttrsInstance]) -> Schema:
    """Return the JSON schema of what `rows` makes of a list of models."""
    array = {"type": "array", "items": schema(model)}
    return {"type": "object", "properties": {name: array}, "required": [name]}


def _schema(hint: Any) -> Schema:  # noqa: ANN401 - a type expression
    """Return the schema of one member's type."""
    members = [member for member in get_args(hint) if member is not NoneType]
    if get_origin(hint) is tuple:
        return {"type": "array", "items": _schema(members[0])}
    words = next((kind for kind in members if issubclass(kind, StrEnum)), None)
    if words is not None:
        known = ", ".join(words)
        plain: Schema = {"type": "string", "description": f"{known}, or another word"}
    elif members:
        plain = _schema(members[0])
    else:
        plain = _schema_of_class(hint)
    return nullable(plain) if NoneType in get_args(hint) else plain


def nullable(plain: Schema) -> Schema:
    """Return the schema of what may be null besides. A list of types would be less portable."""
    return {"anyOf": [plain, {"type": "null"}]}


def _schema_of_class(kind: type[Any]) -> Schema:
    if has(kind):
        return schema(kind)
    if kind is datetime:
        return {"type": "string", "format": "date-time"}
    return {"type": _JSON_TYPES[kind]}
