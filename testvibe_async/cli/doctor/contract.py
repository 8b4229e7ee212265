"""Exchanges between a client and the service, and their differences from `openapi.json`.

A validator of JSON schemas reports an answer as wrong at its first member, and ignores undeclared
members. Here declared members and observed values become tables by location, so that all values at
one location are compared at once. A difference quotes only two kinds of words of an answer: the
service's status words, and names that look like identifiers. `Tap` listens at the client's session;
it sends and changes nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from datetime import UTC, datetime
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from attrs import field, frozen

from testvibe_async import MalformedResponseError, NotFoundError, ResponseError
from testvibe_async._wire import (
    UnreadableError,
    UnreadableField,
    decode,
    envelope_in,
    openapi_document,
    raise_for_status,
    read,
    read_rows,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from testvibe_async import Client
    from testvibe_async._wire import Request, Response

__all__ = [
    "Exchange",
    "Operation",
    "Tap",
    "differences",
    "error_places",
    "objects_at",
    "operation",
    "operations",
    "shown_name",
    "shown_place",
    "values_by_place",
]

Place: TypeAlias = tuple[str, ...]
"""The names that lead to a value, with `[]` for the rows of an array."""

ROWS = "[]"
_SUCCESSES = ("200", "201", "202")
_TYPES: Mapping[type, str] = {
    type(None): "null",
    bool: "bool",
    int: "int",
    str: "string",
    dict: "object",
    list: "array",
}
_OF_SCHEMAS = {"integer": "int", "boolean": "bool"}
_IDENTIFIER = re.compile(r"(@odata\.)?[A-Za-z_$][A-Za-z_]*[0-9]{0,2}", re.ASCII)
_NAME_CHARACTERS = 32
_WORD = re.compile(r"[A-Za-z][A-Za-z_ ]{0,23}", re.ASCII)
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.(?P<digits>\d+))?(?P<zone>Z|[+-]\d\d:?\d\d)?", re.ASCII
)
_ZONES = {None: "no zone", "Z": "Z"}
_FORMS = {
    "time(/Date/)": re.compile(r"/Date\(-?\d+([+-]\d{4})?\)/"),
    "digits": re.compile(r"-?[0-9]+"),
    "empty": re.compile(""),
}
_STRING = {"string"}
_KINDS_OF = {"int": {"int", "number"}, "digits": _STRING, "empty": _STRING, "time": _STRING}
"""The declared types that a form agrees with, where it is not the type of its name."""

_SEEN = {"digits": "digits in a string", "empty": "an empty string"}
"""Names of forms in a sentence, where their own name does not say the type."""


@frozen
class Declared:
    """The contract's declaration for one location."""

    kinds: frozenset[str]
    """The types, such as `int`, `null` and `time`; empty for any."""

    basis: str
    """`documented` or `assumed`."""

    is_required: bool
    words: Mapping[str, str]
    """The words that are known, each with its basis; empty for any text."""

    @property
    def types(self) -> str:
        """The types in a sentence, such as `int or null`."""
        names = sorted(self.kinds, key=lambda kind: (kind == "null", kind))
        return " or ".join(names).replace("time", "time(Z)")

    def has(self, form: str) -> bool:
        """Return whether a form is one of a declared type."""
        kind = form.partition("(")[0]
        if kind == "time" and "time" in self.kinds:
            return form == "time(Z)"
        return not self.kinds or bool(self.kinds & _KINDS_OF.get(kind, {kind}))


@frozen(kw_only=True)
class Operation:
    """One operation of the contract."""

    name: str
    route: str
    basis: str
    """`documented` or `assumed`: whether its route can be read in the documentation."""

    status: int
    """The status of a success."""

    is_list: bool
    places: Mapping[Place, Declared]
    """The answer, or each row of a list."""

    @property
    def bases(self) -> set[str]:
        """The bases of the route and the members: documented, assumed, or both."""
        members = (each.basis for place, each in self.places.items() if len(place) == 1)
        return {self.basis, *members}


@frozen(order=True)
class Difference:
    """One difference at one place. It holds no value of an answer, except words and names."""

    kind: Literal["needed", "missing", "undeclared", "form", "word", "spelling"]
    """The kind of difference.

    - `needed`: a member without which an answer says little is not there, or not in all rows;
    - `missing`: another declared member is not there;
    - `undeclared`: a member that is there is not declared;
    - `form`: it has another type, or is a time that is written in another form;
    - `word`: it holds a word that is not known;
    - `spelling`: it holds a known word in another case.
    """

    says: str
    """A sentence with `{places}` for the members that differ in the same way."""

    place: str
    """The member, such as `summary.total` or `tests[].durationMs`."""


@cache
def operations() -> Mapping[str, Operation]:
    """Return the operations of the contract, by the service's names."""
    return {each.name: each for each in _operations()}


def operation(name: str) -> Operation:
    """Return an operation by the service's name."""
    return operations()[name]


@cache
def error_places() -> Mapping[Place, Declared]:
    """Return the declarations for every error."""
    return dict(_declared({"$ref": "#/components/schemas/Error"}))


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
                is_list="items" in schema,
                places=dict(_declared(schema.get("items", schema), basis=answer["x-basis"])),
            )


def _declared(
    schema: Mapping[str, Any], place: Place = (), *, basis: str = "assumed", required: bool = False
) -> Iterator[tuple[Place, Declared]]:
    """Go through a schema and all below it."""
    basis = schema.get("x-basis", basis)
    options = [_resolved(each) for each in schema.get("anyOf", [schema])]
    kinds = frozenset(kind for option in options for kind in _kinds(option))
    words = {word: of for of, listed in schema.get("x-words", {}).items() for word in listed}
    yield place, Declared(kinds, basis, required, words)
    for option in options:
        for name, member in option.get("properties", {}).items():
            is_required = name in option.get("required", ())
            yield from _declared(member, (*place, name), basis=basis, required=is_required)
        if "items" in option:
            yield from _declared(option["items"], (*place, ROWS), basis=basis)


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found = openapi_document()
    for part in schema["$ref"].split("/")[1:]:
        found = found[part]
    return {**found, **{name: value for name, value in schema.items() if name != "$ref"}}


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    if schema.get("format") == "date-time":
        return ["time"]
    kinds: str | list[str] = schema.get("type", [])
    return [_OF_SCHEMAS.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)]


def values_by_place(
    values: Iterable[object], *, name_of: Callable[[str], str] = str
) -> Mapping[Place, list[Any]]:
    """Return all values at all depths, by their places.

    Args:
        values: The values.
        name_of: Returns the name of a member as used in places.
    """
    found: defaultdict[Place, list[Any]] = defaultdict(list)

    def visit(place: Place, value: object) -> None:
        found[place].append(value)
        if isinstance(value, dict):
            for name, member in cast("dict[str, object]", value).items():
                visit((*place, name_of(name)), member)
        elif isinstance(value, list):
            for row in cast("list[object]", value):
                visit((*place, ROWS), row)

    for value in values:
        visit((), value)
    return found


def differences(places: Mapping[Place, Declared], values: Iterable[object]) -> Iterator[Difference]:
    """Yield the differences of all observed values.

    Args:
        places: The contract's declaration for each value.
        values: The values, such as the rows of a list.
    """
    seen = values_by_place(values)
    for place, declared in places.items():
        there, shown = seen.get(place, []), shown_place(place)
        if place and place[-1] != ROWS and len(there) < (of := objects_at(seen, place[:-1])):
            often = f" (in {len(there)} of {of})" if there else ""
            says = f"{declared.basis} and not there: {{places}}{often}"
            if declared.is_required:
                yield Difference("needed", says, shown)
            elif not there:
                yield Difference("missing", says, shown)
        for form in sorted({_form_of(value, declared.kinds) for value in there}):
            if not declared.has(form):
                seen_as = _SEEN.get(form, form)
                yield Difference("form", f"{{places}}: {seen_as}, not {declared.types}", shown)
        yield from _other_words(declared, there, shown)
    for place in sorted(seen.keys() - places.keys()):
        parent = places.get(place[:-1])
        if parent is not None and "object" in parent.kinds and place[-1] != ROWS:
            forms = " or ".join(sorted({_form_of(value, frozenset()) for value in seen[place]}))
            shown = shown_place((*place[:-1], shown_name(place[-1])))
            says = "there and nowhere documented: {places}"
            yield Difference("undeclared", says, f"{shown} ({forms})")


def _other_words(declared: Declared, values: Iterable[object], shown: str) -> Iterator[Difference]:
    words = _words_of(declared, values)
    if unknown := [_shown_word(word) for word, basis in words.items() if not basis]:
        says = f"{{places}} has words that are not documented: {', '.join(unknown)}"
        yield Difference("word", says, shown)
    if other := [word for word, basis in words.items() if basis and word not in declared.words]:
        says = f"{{places}}: the known words in another case: {', '.join(other)}"
        yield Difference("spelling", says, shown)


def objects_at(values: Mapping[Place, list[Any]], place: Place) -> int:
    """Return the number of objects at a place."""
    return sum(isinstance(each, dict) for each in values.get(place, ()))


def _words_of(declared: Declared, values: Iterable[object]) -> dict[str, str]:
    """Return the words at a place, each with its basis; that of an unknown one is empty."""
    texts = sorted({value for value in values if declared.words and isinstance(value, str)})
    return {word: declared.words.get(word.casefold(), "") for word in texts}


def _shown_word(word: str) -> str:
    """Return the displayable form of a word that the contract lacks: it may be data."""
    return word if _WORD.fullmatch(word) else f"string({len(word)})"


def shown_place(place: Place) -> str:
    """Return a place as text, such as `tests[].durationMs`."""
    return ".".join(place).replace(f".{ROWS}", ROWS)


def shown_name(name: str) -> str:
    """Return the displayable form of a name that the contract lacks: it may be data."""
    if name and not _IDENTIFIER.fullmatch(name):
        return f"name({len(name)})"
    return name if len(name) <= _NAME_CHARACTERS else f"{name[:_NAME_CHARACTERS]}…"


def _form_of(value: object, kinds: frozenset[str]) -> str:
    """Name the type of a value, and its form where another one than a text's is declared."""
    kind = _TYPES.get(type(value), "number")
    if kind == "int" and "time" in kinds:
        return f"int({len(str(value).lstrip('-'))} digits)"
    if not isinstance(value, str) or (kinds and not kinds & {"time", "int"}):
        return kind
    if found := _TIME.fullmatch(value):
        zone, digits = _ZONES.get(found["zone"], "offset"), len(found["digits"] or "")
        return f"time({digits} digits, {zone})" if digits else f"time({zone})"
    return next((form for form, pattern in _FORMS.items() if pattern.fullmatch(value)), kind)


@frozen(kw_only=True, slots=False, eq=False)
class Exchange:
    """A request, its answer, and the findings in it."""

    at: float
    """Seconds since the first request."""

    request: Request[Any]
    response: Response
    error: ResponseError | None = None
    """The reason why our commands can't use the answer; None if they can."""

    value: Any = None
    """The value that our commands use."""

    unreadable: frozenset[str] = frozenset()
    """The names of the members that our reader left out."""

    @property
    def operation(self) -> Operation:
        """The operation, as the contract has it."""
        return operation(self.request.endpoint.name)

    @property
    def is_not_there(self) -> bool:
        """True if the service itself says that the thing asked for does not exist."""
        return isinstance(self.error, NotFoundError) and self.error.code is not None

    @property
    def envelope(self) -> Sequence[str]:
        """The names of what stands around the rows of a list."""
        is_list = self.operation.is_list and self.error is None
        return sorted(envelope_in(self.response.body)) if is_list else []

    @cached_property
    def rows(self) -> Sequence[object]:
        """The rows of a list, or the document alone; empty for an error, and without JSON."""
        if self.error is not None and not isinstance(self.error, MalformedResponseError):
            return []
        try:
            body = self.response.body
            return list(read_rows(body)) if self.operation.is_list else [read(body, object)]
        except UnreadableError:
            return []

    @cached_property
    def differences(self) -> Sequence[Difference]:
        """Differences between the answer and the contract; empty for an error."""
        found = differences(self.operation.places, self.rows) if self.rows else ()
        return sorted(
            each for each in found if each.kind != "missing" or not self._may_lack(each.place)
        )

    @property
    def words(self) -> Iterator[tuple[str, dict[str, str]]]:
        """The service's words by member, each with its basis, empty for an unknown one."""
        seen = values_by_place(self.rows)
        for place, declared in self.operation.places.items():
            if words := _words_of(declared, seen.get(place, ())):
                yield shown_place(place), {_shown_word(word): of for word, of in words.items()}

    def _may_lack(self, place: str) -> bool:
        """Return whether an answer need not have a member, as things stand."""
        value = self.value
        match self.operation.name:
            case "get_generation_status" | "get_generation_log":
                # It is not documented which of them there are before the first generation.
                return value is None or not value.request_id
            case "diagnose_run":
                return place == "summary.other"
            case "list_runs":
                return place == "summary"
            case "get_run" if value is not None and not value.is_failure:
                is_over = value.is_finished
                return place == "log" or (
                    not is_over and place in {"summary", "tests", "artifacts"}
                )
            case _:
                return False


@frozen(eq=False)
class Tap:
    """Listens to a client, from now on."""

    exchanges: list[Exchange] = field(factory=list[Exchange])
    dispatches: list[str] = field(factory=list[str])
    """The names of the operations that were dispatched, or may have been."""

    started_at: datetime = field(factory=lambda: datetime.now(UTC))
    _now: Callable[[], float] = field(factory=lambda: asyncio.get_running_loop().time)
    _start: float = field(factory=lambda: asyncio.get_running_loop().time())

    def listen_to(self, client: Client) -> None:
        """Note each exchange of a client."""
        http: Any = client._transport._http  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        send = http.send

        async def sent(request: Request[Any], **options: object) -> Response:
            at = self._now() - self._start
            if request.method != "GET":
                self.dispatches.append(request.endpoint.name)
            response: Response = await send(request, **options)
            self.exchanges.append(_read(at, request, response))
            return response

        http.send = sent

    @property
    def reads(self) -> int:
        """The number of answers to requests that only read."""
        return sum(each.request.method == "GET" for each in self.exchanges)

    def of(self, name: str, *, since: int = 0) -> list[Exchange]:
        """Return the exchanges of one operation, from the one of an index on."""
        return [each for each in self.exchanges[since:] if each.request.endpoint.name == name]


def _read(at: float, request: Request[Any], response: Response) -> Exchange:
    left_out: list[UnreadableField] = []
    error, value = None, None
    try:
        raise_for_status(request, response)
        value = decode(request, response, unreadable=left_out)
    except ResponseError as refusal:
        error = refusal
    return Exchange(
        at=at,
        request=request,
        response=response,
        error=error,
        value=value,
        unreadable=frozenset(each.name for each in left_out),
    )
