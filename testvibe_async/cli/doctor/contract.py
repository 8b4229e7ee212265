"""What the contract declares of an answer: the OpenAPI document, as far as a check needs it. Pure.

It decides nothing about an answer: `shapes` says what was seen, `differences` compares both.

A validator of JSON schemas would say that an answer is wrong at its first member, and nothing of
what nobody declared. What is needed is one walk over both, that counts which members are there,
which are missing, which are more, and of which type and form each is: so it is a walk, with no
dependency, over the few keywords that the document uses for answers.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from testvibe_async._wire import openapi_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["ANY", "Basis", "Declared", "Operation", "error_answer", "operation"]

Basis = str
"""`documented` or `assumed`."""

_NAMES = {"integer": "int", "boolean": "bool"}
"""What the types of JSON schema are called here; the others keep their names."""

_SUCCESSES = ("200", "201", "202")


@frozen
class Declared:
    """What is declared of a value."""

    kinds: frozenset[str] = frozenset()
    """`string`, `time`, `int`, `number`, `bool`, `null`, `array`, `object`; none where nothing is
    declared."""

    basis: Basis = "assumed"
    members: Mapping[str, Declared] = field(factory=dict[str, "Declared"])
    required: frozenset[str] = frozenset()
    """The members without which an answer says nothing."""

    items: Declared | None = None
    words: Mapping[str, Basis] = field(factory=dict[str, str])
    """The known words of a string, and whether each is documented."""

    @property
    def holds_words(self) -> bool:
        """Whether it is one of the service's words, and no text of anybody's."""
        return bool(self.words)

    @property
    def text(self) -> str:
        """The types that it may have, such as `string or null`."""
        named = sorted(self.kinds - {"null"}) + sorted(self.kinds & {"null"})
        return " or ".join("time(Z)" if kind == "time" else kind for kind in named)


ANY = Declared()
"""What is declared of a member that the contract does not have: nothing."""


@frozen
class Operation:
    """One operation of the contract."""

    name: str
    basis: Basis
    """Whether its route is documented."""

    status: int
    """The status of a success."""

    answer: Declared

    @property
    def is_list(self) -> bool:
        """Whether its answer is a list of rows."""
        return "array" in self.answer.kinds

    @property
    def row(self) -> Declared:
        """What is declared of the answer, or of each row of a list."""
        return self.answer.items or ANY if self.is_list else self.answer


@cache
def operation(name: str) -> Operation:
    """Return an operation by the service's name.

    Raises:
        KeyError: There is none.
    """
    return {each.name: each for each in _operations()}[name]


@cache
def error_answer() -> Declared:
    """Return what is declared of every error."""
    return _declared({"$ref": "#/components/schemas/Error"}, "documented")


def _operations() -> Iterator[Operation]:
    for path in openapi_document()["paths"].values():
        for method, definition in path.items():
            if method != "parameters":
                yield _operation(definition)


def _operation(definition: Mapping[str, Any]) -> Operation:
    answers: Mapping[str, Any] = definition["responses"]
    status = next(each for each in _SUCCESSES if each in answers)
    schema = answers[status]["content"]["application/json"]["schema"]
    return Operation(
        name=definition["operationId"],
        basis=definition["x-basis"],
        status=int(status),
        answer=_declared(schema, answers[status]["x-basis"]),
    )


def _declared(schema: Mapping[str, Any], basis: Basis) -> Declared:
    """Return what a schema declares; what is said beside a reference counts before it."""
    basis = schema.get("x-basis", basis)
    alternatives = [_resolved(each) for each in schema.get("anyOf", [schema])]
    kinds = {kind for each in alternatives for kind in _kinds(each)}
    words = schema.get("x-words", {})
    members: dict[str, Declared] = {}
    required: set[str] = set()
    items = None
    for each in alternatives:
        members |= {
            name: _declared(member, basis) for name, member in each.get("properties", {}).items()
        }
        required |= set(each.get("required", ()))
        items = _declared(each["items"], basis) if "items" in each else items
    return Declared(
        kinds=frozenset(kinds),
        basis=basis,
        members=members,
        required=frozenset(required),
        items=items,
        words={word: kind for kind, known in words.items() for word in known},
    )


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found = openapi_document()
    for part in schema["$ref"].split("/")[1:]:
        found = found[part]
    return found


def _kinds(schema: Mapping[str, Any]) -> Iterator[str]:
    if schema.get("format") == "date-time":
        yield "time"
        return
    kinds = schema.get("type", ())
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        yield _NAMES.get(kind, kind)
