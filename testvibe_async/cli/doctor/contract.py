"""Where an answer differs from what `openapi.json` declares, member by member. Pure.

A validator of JSON schemas would say that an answer is wrong at its first member, and nothing of
what nobody declared. This is one walk over both, for all values at one place at once: which members
are there, missing or more, and of which type and form each is. A difference holds no value of an
answer but two kinds of words: the service's status words, and names that look like identifiers.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from attrs import frozen

from testvibe_async._wire import openapi_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Difference", "Operation", "differences", "error_schema", "operation", "shown_name"]

Kind: TypeAlias = Literal[
    "needed", "missing", "undeclared", "type", "form", "word", "spelling", "known word"
]

_SUCCESSES = ("200", "201", "202")
_NAMES = {"integer": "int", "boolean": "bool"}
_IDENTIFIER = re.compile(r"(@odata\.)?[A-Za-z_$][A-Za-z_]*[0-9]{0,2}", re.ASCII)
_NAME_CHARACTERS = 32
_WORD = re.compile(r"[A-Za-z][A-Za-z_ ]{0,23}", re.ASCII)
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.(?P<digits>\d+))?(?P<zone>Z|[+-]\d\d:?\d\d)?", re.ASCII
)
_FORMS = {
    "time(/Date/)": re.compile(r"/Date\(-?\d+([+-]\d{4})?\)/"),
    "guid": re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE),
    "url": re.compile(r"https?://.*", re.DOTALL),
    "digits": re.compile(r"-?[0-9]+"),
    "empty": re.compile(""),
}


@frozen
class Operation:
    """One operation of the contract."""

    name: str
    route: str
    basis: str
    """`documented` or `assumed`: whether its route can be read in the documentation."""

    status: int
    """The status of a success."""

    answer: Mapping[str, Any]
    """The schema of the answer, or of each row of a list."""

    is_list: bool

    @property
    def bases(self) -> set[str]:
        """The bases of the route and the members: documented, assumed, or both."""
        members = _resolved(self.answer).get("properties", {}).values()
        return {self.basis, *(member.get("x-basis", self.basis) for member in members)}


@frozen(order=True)
class Difference:
    """One difference at one place."""

    kind: Kind
    """The kind of difference.

    - `needed`: a member without which an answer says little is not there, or not in all rows;
    - `missing`: another declared member is not there;
    - `undeclared`: a member that is there is not declared;
    - `type`: it has another type;
    - `form`: it is a time, and written in another form;
    - `word`: it holds a word that is not known;
    - `spelling`: it holds a known word in another case;
    - `known word`: no difference: a word that was seen.
    """

    place: str
    """The member, such as `summary.total` or `tests[].durationMs`; empty for the answer itself."""

    basis: str
    """`documented` or `assumed`, of the declaration."""

    declared: str
    """The declared types, such as `int or null`; empty where nothing is declared."""

    seen: str
    """The form that was seen, such as `digits` or `time(7 digits, Z)`; empty where none was."""


@cache
def operation(name: str) -> Operation:
    """Return an operation by the service's name.

    Raises:
        KeyError: There is none.
    """
    return {each.name: each for each in _operations()}[name]


def error_schema() -> Mapping[str, Any]:
    """Return what is declared of every error."""
    return _resolved({"$ref": "#/components/schemas/Error"})


def _operations() -> Iterator[Operation]:
    for path, methods in openapi_document()["paths"].items():
        for method, definition in methods.items():
            if method == "parameters":
                continue
            status = next(each for each in _SUCCESSES if each in definition["responses"])
            answer = definition["responses"][status]
            schema = _resolved(answer["content"]["application/json"]["schema"])
            yield Operation(
                name=definition["operationId"],
                route=f"{method.upper()} {path}",
                basis=definition["x-basis"],
                status=int(status),
                answer={"x-basis": answer["x-basis"], **schema.get("items", schema)},
                is_list="items" in schema,
            )


def differences(
    schema: Mapping[str, Any], values: Sequence[object], *, place: str = "", basis: str = "assumed"
) -> Iterator[Difference]:
    """Go through the differences of all values that were seen at one place.

    Args:
        schema: What the contract says of each value.
        values: The values, such as the same member of all rows.
        place: Where they are in the answer.
        basis: `documented` or `assumed`, of the place above.
    """
    basis = schema.get("x-basis", basis)
    options = [_resolved(each) for each in schema.get("anyOf", [schema])]
    kinds = {kind for option in options for kind in _kinds(option)}
    if not kinds:
        return
    declared = " or ".join(sorted(kinds, key=lambda kind: (kind == "null", kind)))
    declared = declared.replace("time", "time(Z)")
    for form in sorted({_form_of(value, kinds) for value in values}):
        if not _is_declared(form, kinds):
            is_time = "time" in kinds and form.startswith("time(")
            yield Difference("form" if is_time else "type", place, basis, declared, form)
    if "x-words" in schema:
        yield from _words(schema["x-words"], values, place=place, basis=basis)
    objects = [cast("dict[str, Any]", value) for value in values if isinstance(value, dict)]
    lists: list[list[Any]] = [value for value in values if isinstance(value, list)]
    rows = [row for each in lists for row in each]
    for option in options:
        if objects and "properties" in option:
            yield from _members(option, objects, place=place, basis=basis)
        if rows and "items" in option:
            yield from differences(option["items"], rows, place=f"{place}[]", basis=basis)


def _words(
    words: Mapping[str, Sequence[str]], values: Sequence[object], *, place: str, basis: str
) -> Iterator[Difference]:
    known = {word: of for of, listed in words.items() for word in listed}
    texts = {value for value in values if isinstance(value, str)}
    for word in sorted(texts):
        shown = word if _WORD.fullmatch(word) else f"string({len(word)})"
        if word.casefold() not in known:
            yield Difference("word", place, basis, ", ".join(known), shown)
        else:
            yield Difference("known word", place, known[word.casefold()], "", shown)
            if word not in known:
                yield Difference("spelling", place, basis, ", ".join(known), shown)


def _members(
    schema: Mapping[str, Any], objects: list[dict[str, Any]], *, place: str, basis: str
) -> Iterator[Difference]:
    prefix = f"{place}." if place else ""
    for name, member in schema["properties"].items():
        there = [each[name] for each in objects if name in each]
        of = member.get("x-basis", basis)
        if len(there) < len(objects) and name in schema.get("required", ()):
            how_often = f"in {len(there)} of {len(objects)}" if there else ""
            yield Difference("needed", prefix + name, of, "", how_often)
        elif not there:
            yield Difference("missing", prefix + name, of, "", "")
        if there:
            yield from differences(member, there, place=prefix + name, basis=basis)
    for name in sorted({name for each in objects for name in each} - schema["properties"].keys()):
        forms = {_form_of(each[name], set()) for each in objects if name in each}
        seen = " or ".join(sorted(forms))
        yield Difference("undeclared", prefix + shown_name(name), "undeclared", "", seen)


def shown_name(name: str) -> str:
    """Return what may be shown of a name that the contract does not have: it may be data."""
    if name and not _IDENTIFIER.fullmatch(name):
        return f"name({len(name)})"
    return name if len(name) <= _NAME_CHARACTERS else f"{name[:_NAME_CHARACTERS]}…"


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found = openapi_document()
    for part in schema["$ref"].split("/")[1:]:
        found = found[part]
    return {**found, **{name: value for name, value in schema.items() if name != "$ref"}}


def _kinds(schema: Mapping[str, Any]) -> Iterator[str]:
    if schema.get("format") == "date-time":
        yield "time"
        return
    kinds = schema.get("type", ())
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        yield _NAMES.get(kind, kind)


def _is_declared(form: str, kinds: set[str]) -> bool:
    if form.startswith("time(") and "time" in kinds:
        return form == "time(Z)"
    kind = form.partition("(")[0]
    if kind in {"guid", "url", "digits", "empty", "time"}:
        kind = "string"
    return kind in kinds or (kind == "int" and "number" in kinds)


def _form_of(value: object, kinds: set[str]) -> str:  # noqa: PLR0911 - one for each type
    """Name the type of a value, and the form where it has a known one."""
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int():
            return f"int({len(str(abs(value)))} digits)" if "time" in kinds else "int"
        case str():
            return _form_of_text(value, kinds)
        case dict():
            return "object"
        case list():
            return "array"
        case _:
            return "number"


def _form_of_text(text: str, kinds: set[str]) -> str:
    if kinds and not kinds & {"time", "int"}:
        return "string"
    if found := _TIME.fullmatch(text):
        zone = {None: "no zone", "Z": "Z"}.get(found["zone"], "offset")
        digits = len(found["digits"] or "")
        return f"time({digits} digits, {zone})" if digits else f"time({zone})"
    return next((form for form, pattern in _FORMS.items() if pattern.fullmatch(text)), "string")
