"""What the contract only assumes: routes, members and words, as a table by location."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from testvibe_async._wire import openapi_document
from testvibe_async.cli.doctor.contract import operations, shown_place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Place: TypeAlias = tuple[str, ...]


def assumptions_of(name: str, documents: Iterable[object]) -> set[str]:
    """Return the assumed route, members and words of an operation that documents show."""
    known = operations()[name]
    found = {known["route"]} if known["x-basis"] == "assumed" else set[str]()
    seen = values_by_place(documents)
    for place, basis, words in _declared(*_answer_of(known)):
        values = [value for value in seen.get(place, ()) if value is not None]
        if place and values and basis == "assumed":
            kinds = " or ".join(sorted({type(value).__name__ for value in values}))
            found.add(f"{shown_place(place)} ({kinds})")
        texts = {value for value in values if isinstance(value, str)}
        found |= {f"{shown_place(place)} {word!r}" for word in texts & {*words["assumed"]}}
    return found


def values_by_place(values: Iterable[object]) -> Mapping[Place, list[Any]]:
    """Return all values at all depths, by their places."""
    found: defaultdict[Place, list[Any]] = defaultdict(list)

    def visit(place: Place, value: object) -> None:
        found[place].append(value)
        if isinstance(value, dict):
            for name, member in cast("dict[str, object]", value).items():
                visit((*place, name), member)
        elif isinstance(value, list):
            for row in cast("list[object]", value):
                visit((*place, "[]"), row)

    for value in values:
        visit((), value)
    return found


def is_list(name: str) -> bool:
    return "items" in _answer_of(operations()[name])[0]


def status_of(name: str) -> int:
    """Return the status of an operation's success."""
    return int(min(operations()[name]["responses"]))


def _answer_of(known: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    answer = known["responses"][min(known["responses"])]
    return _resolved(answer["content"]["application/json"]["schema"]), answer["x-basis"]


def _declared(
    schema: Mapping[str, Any], basis: str, place: Place = ()
) -> Iterator[tuple[Place, str, Mapping[str, list[str]]]]:
    """Yield the place, the basis and the words of a schema and of all below it."""
    basis = schema.get("x-basis", basis)
    yield place, basis, schema.get("x-words", {"assumed": []})
    for option in map(_resolved, schema.get("anyOf", [schema])):
        for name, member in option.get("properties", {}).items():
            yield from _declared(member, basis, (*place, name))
        if "items" in option:
            below = (*place, "[]") if place else place  # The rows of a list are the documents.
            yield from _declared(option["items"], basis, below)


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found = openapi_document()
    for part in schema["$ref"].split("/")[1:]:
        found = found[part]
    return {**found, **{name: value for name, value in schema.items() if name != "$ref"}}
