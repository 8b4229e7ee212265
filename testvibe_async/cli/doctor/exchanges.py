"""Exchanges between a client and the service, and what the client notes of an answer.

The client's own reading is the measure: it keeps the members that it does not know, or can't read,
and words that are not documented. A note quotes only two kinds of words of an answer: the service's
status words, and names that look like identifiers. `Tap` listens at the client's session; it sends
and changes nothing.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from attrs import field, fields, frozen, has

from testvibe_async import Listing, ResponseError
from testvibe_async._core.util.serialization import NotSent, wire_name
from testvibe_async._core.wire import EXTRA, decode, openapi_document, raise_for_status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from testvibe_async import Client
    from testvibe_async._core.wire import Request, Response

_MEMBERS = [
    member
    for schema in openapi_document()["components"]["schemas"].values()
    for member in schema.get("properties", {}).items()
]
NAMES = {name for name, _ in _MEMBERS}
"""The names of all members of the contract."""

WORDS = {
    word for _, schema in _MEMBERS for words in schema.get("x-words", {}).values() for word in words
}
"""The words of the contract that a status may be."""

STATUS_MEMBERS = {name for name, schema in _MEMBERS if "x-words" in schema} - {"error"}
"""The members that hold a word of the service; the error of a test is its own text."""

DEFAULT_FILE = "Configurations/Default.config.js"
"""The file that the documentation names."""

_TYPES = {"float": "number", "str": "string", "dict": "object", "list": "array"}
"""The names of JSON's types, where they are not Python's."""

_IDENTIFIER = re.compile(r"((@odata\.)?[A-Za-z_$][A-Za-z_]{0,31}[0-9]{0,2})?", re.ASCII)
_WORD = re.compile(r"[A-Za-z][A-Za-z_ -]{0,23}", re.ASCII)


def shown_name(name: str) -> str:
    """Return the displayable form of a name that the contract lacks: it may be data."""
    return name if _IDENTIFIER.fullmatch(name) else f"name({len(name)})"


def notes_on(value: Any, place: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401 - of an answer
    """Yield what the client noted of a value, and of all in it: a kind, and a place in words.

    - `undeclared`: a member is there that the client does not know;
    - `unreadable`: the client can't read it, and leaves it out;
    - `missing`: a name is not there;
    - `word`: it holds a word that is not known.
    """
    if isinstance(value, Listing | tuple):
        for each in cast("Sequence[object]", value):
            yield from notes_on(each, f"{place}[]" if place else "")
    elif isinstance(value, str):
        yield from _notes_on_text(value, place)
    elif has(value.__class__):
        prefix = f"{place}." if place else ""
        names = {wire_name(each.name): each.name for each in fields(value.__class__)}
        for wire in names.keys() - {EXTRA}:
            yield from notes_on(getattr(value, names[wire]), prefix + wire)
        for name, member in value.extra.items():
            if name not in names:
                yield "undeclared", f"{prefix}{shown_name(name)} ({_type_of(member)})"
            elif member is not None:
                yield "unreadable", f"{prefix}{name} ({_type_of(member)})"


def _notes_on_text(text: str, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(text, NotSent):
        yield "missing", place
    elif place.rpartition(".")[2] in STATUS_MEMBERS and text.casefold() not in WORDS:
        yield "word", f"{place} ({text if _WORD.fullmatch(text) else f'string({len(text)})'})"


def _type_of(member: object) -> str:
    name = type(member).__name__
    return "an empty string" if member == "" else _TYPES.get(name, name)


@frozen(kw_only=True, eq=False)
class Exchange:
    """A request, its answer, and what the client makes of it."""

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
