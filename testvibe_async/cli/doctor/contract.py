"""Exchanges between a client and the service, and where they differ from the contract.

The client's own reading is the measure: a document is compared, member by member, with what the
client reads in it. A difference quotes only two kinds of words of an answer: the service's status
words, and names that look like identifiers. `Tap` listens at the client's session; it sends and
changes nothing.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from attrs import field, fields, frozen, has

from testvibe_async import Listing, NotFoundError, ResponseError
from testvibe_async._util.serialization import wire_name
from testvibe_async._wire import (
    EXTRA,
    Request,
    Response,
    decode,
    openapi_document,
    raise_for_status,
    read,
    read_rows,
    serialize,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from testvibe_async import Client


def all_of(key: str, node: object, *, alternatives: bool = True) -> Iterator[Any]:
    """Yield each value of a key in a part of the contract, with or without its alternatives."""
    if isinstance(node, dict):
        for name, inner in cast("dict[str, Any]", node).items():
            if name == key:
                yield inner
            part = inner
            if name == "$ref":
                *_, group, schema = inner.split("/")
                part = openapi_document()["components"][group][schema]
            yield from all_of(key, part, alternatives=alternatives)
    elif isinstance(node, list) and alternatives:
        for inner in cast("list[object]", node):
            yield from all_of(key, inner)


def _names_in(part: object) -> frozenset[str]:
    return frozenset(name for properties in all_of("properties", part) for name in properties)


OPERATIONS: Mapping[str, Any] = {
    definition["operationId"]: definition
    for methods in openapi_document()["paths"].values()
    for method, definition in methods.items()
    if method != "parameters"
}
"""The operations of the contract, by the service's names."""

NAMES = _names_in(openapi_document())
"""The names of all members of the contract."""

WORDS = frozenset(
    word
    for words in all_of("x-words", openapi_document())
    for listed in words.values()
    for word in listed
)
"""The words of the contract that a status may be."""

STATUS_MEMBERS = frozenset(
    name
    for properties in all_of("properties", openapi_document())
    for name, schema in properties.items()
    if "x-words" in schema
) - {"error"}
"""The members that hold a word of the service; the error of a test is its own text."""

_MAY_LACK = {"log", "summary.other", "specs[].kind"}
"""Declared members that an answer need not have."""

_TYPES = {"float": "number", "str": "string", "dict": "object", "list": "array", "NoneType": "null"}
"""The names of JSON's types, where they are not Python's."""
_IDENTIFIER = re.compile(r"(@odata\.)?[A-Za-z_$][A-Za-z_]*[0-9]{0,2}", re.ASCII)
_NAME_CHARACTERS = 32
_WORD = re.compile(r"[A-Za-z][A-Za-z_ -]{0,23}", re.ASCII)

Difference: TypeAlias = tuple[str, str, str]
"""A kind, a place such as `tests[].durationMs`, and a form or a word: no value of an answer.

- `undeclared`: a member that is there is not declared;
- `missing`: a declared member is not there;
- `unreadable`: the client can't read it, and leaves it out;
- `form`: it is written in another form, or a known word in another case;
- `word`: it holds a word that is not known.
"""


def _differences(
    raw: object,
    value: Any,  # noqa: ANN401 - what was read
    there: set[str],
    place: str = "",
) -> Iterator[Difference]:
    """Compare a document with what the client reads in it; `there` receives all of its places."""
    whole, kind = raw, value.__class__  # Its type is unknown once it was found to be no list.
    if isinstance(raw, dict) and has(kind):
        members = cast("dict[str, object]", raw)
        prefix = f"{place}." if place else ""
        names = [each.name for each in fields(kind) if each.name != EXTRA]
        known = {wire_name(name): getattr(value, name) for name in names}
        there.update(prefix + name for name in members)
        for name, member in known.items():
            if name not in members and not member:
                yield "missing", prefix + name, ""
        for name, member in members.items():
            if name not in known:
                yield "undeclared", prefix + shown_name(name), _form_of(member)
            elif member is not None and name in value.extra:
                yield "unreadable", prefix + name, _form_of(member)
            else:
                yield from _differences(member, known[name], there, prefix + name)
    elif isinstance(raw, list) and kind is tuple:
        for row, member in zip(cast("list[object]", raw), value, strict=True):
            yield from _differences(row, member, there, f"{place}[]")
    elif raw is not None:
        yield from _of_value(whole, value, place)


def _of_value(raw: object, value: object, place: str) -> Iterator[Difference]:
    word = raw if isinstance(raw, str) and _last(place) in STATUS_MEMBERS else None
    if word is not None and word.casefold() not in WORDS:
        yield "word", place, word if is_word(word) else f"string({len(word)})"
    elif raw != serialize(value):
        yield "form", place, word or _form_of(raw, is_time=isinstance(value, datetime))


def _last(place: str) -> str:
    return place.rpartition(".")[2]


def _form_of(value: object, *, is_time: bool = False) -> str:
    """Name the type of a value; show the form of a time with 9 for each digit."""
    if is_time:
        return re.sub(r"\d", "9", str(value))
    if isinstance(value, str) and not value.strip("0123456789"):
        return "digits in a string" if value else "an empty string"
    name = type(value).__name__
    return _TYPES.get(name, name)


def is_word(text: str) -> bool:
    """Return whether a status looks like a word: anything else may be data, and is not shown."""
    return _WORD.fullmatch(text) is not None


def shown_name(name: str) -> str:
    """Return the displayable form of a name that the contract lacks: it may be data."""
    if name and not _IDENTIFIER.fullmatch(name):
        return f"name({len(name)})"
    return name if len(name) <= _NAME_CHARACTERS else f"{name[:_NAME_CHARACTERS]}…"


@frozen(kw_only=True, eq=False)
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

    @property
    def name(self) -> str:
        """The operation, by the service's name."""
        return self.request.endpoint.name

    @property
    def usual_status(self) -> int:
        """The status of a success in the contract."""
        return int(min(OPERATIONS[self.name]["responses"]))

    @property
    def contract(self) -> Any:  # noqa: ANN401 - a part of a document
        """The operation's basis, and the content of a success, in the contract."""
        operation = OPERATIONS[self.name]
        content = operation["responses"][str(self.usual_status)]["content"]
        return {"x-basis": operation["x-basis"], "content": content}

    @property
    def is_not_there(self) -> bool:
        """True if the service itself says that the thing asked for does not exist."""
        return isinstance(self.error, NotFoundError) and self.error.code is not None

    @property
    def is_list(self) -> bool:
        """True if the answer is a list that can be used."""
        return isinstance(self.value, Listing)

    @property
    def differences(self) -> list[Difference]:
        """Differences between a usable answer and the contract, in order."""
        body = self.response.body
        rows = list(read_rows(body)) if self.is_list else [read(body, object)]
        values = list(self.value) if self.is_list else [self.value]
        if len(rows) != len(values):  # It is not known which ones can't be read.
            return []
        there: set[str] = set()
        pairs = zip(rows, values, strict=True)
        found = {each for pair in pairs for each in _differences(*pair, there)}
        # It is not documented which members there are before an end, or a first generation.
        is_whole = all(getattr(self.value, each, True) for each in ("request_id", "is_finished"))
        wanted = _names_in(self.contract) if is_whole else ()
        return sorted(
            (kind, place, detail)
            for kind, place, detail in found
            if kind != "missing" or (_last(place) in wanted and place not in there | _MAY_LACK)
        )


@frozen(eq=False)
class Tap:
    """Listens to a client, from now on."""

    exchanges: list[Exchange] = field(factory=list[Exchange])
    started_at: datetime = field(factory=lambda: datetime.now(UTC))
    _start: float = field(factory=lambda: asyncio.get_running_loop().time())

    def listen_to(self, client: Client) -> None:
        """Note each exchange of a client."""
        http: Any = client._transport._http  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        send = http.send

        async def sent(request: Request[Any], **options: object) -> Response:
            at = asyncio.get_running_loop().time() - self._start
            response: Response = await send(request, **options)
            error, value = None, None
            try:
                raise_for_status(request, response)
                value = decode(request, response)
            except ResponseError as refusal:
                error = refusal
            self.exchanges.append(
                Exchange(at=at, request=request, response=response, error=error, value=value)
            )
            return response

        http.send = sent

    def of(self, name: str) -> list[Exchange]:
        """Return the exchanges of one operation."""
        return [each for each in self.exchanges if each.name == name]
