"""Between JSON and models: names, instants, open enums, unknown fields.

Decides what is tolerated and what is not: unknown fields are kept, null and missing are the same,
an undocumented word of an enum stays a string, a list comes bare or in an envelope; a value of the
wrong type is an error that names its place. It knows no operation and does no I/O.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8, getincrementaldecoder
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from math import isinf
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast, get_args, get_origin

from attrs import evolve, fields, has
from cattrs import Converter, transform_error
from cattrs.cols import homogenous_tuple_structure_factory, list_structure_factory
from cattrs.errors import BaseValidationError
from cattrs.gen import make_dict_structure_fn, override

from testvibe_async.models import Diagnosis, Run, RunSummary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["UnreadableError", "read", "read_rows"]

SHARED_LENGTH = 64
"""Up to how many characters a string is most likely a name, which other answers have too."""

PIECE_BYTES = 2**20
"""How much of a long list is decoded at once: more than most lists have."""

MANY_TESTS = 1_000_000
"""From how many tests on two summaries are hardly equal, and a hostile one may be huge."""

T = TypeVar("T")
Hook: TypeAlias = "Callable[[Any, Any], Any]"


class UnreadableError(Exception):
    """A document is not what it should be."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems


def read(body: bytes, shape: type[T]) -> T:
    """Make a value out of a JSON document.

    Args:
        body: The document, UTF-8.
        shape: What it should hold: a model, a list of one, `NoneType` for a bare
            acknowledgement, or `object` for JSON as it is. The last two may be empty. `bytes` for
            the body itself, unread.

    Raises:
        UnreadableError: It is not JSON, or does not fit the shape.
    """
    if shape is bytes:
        return cast("T", body)
    is_optional = shape is NoneType or shape is object
    document = None if is_optional and not body.strip() else _parse(body)
    try:
        return _converter.structure(document, shape)
    except (BaseValidationError, TypeError, ValueError) as error:
        raise UnreadableError(*_problems(error)) from error


def _parse(body: bytes) -> object:
    try:
        return _decoder.decode(_decoded(body))
    except (ValueError, RecursionError) as error:
        raise UnreadableError(_why_not_json(body, error)) from error


def _decoded(body: bytes) -> str:
    """Decode a document, without the mark that some begin with; it is what `utf-8-sig` does."""
    return body.removeprefix(BOM_UTF8).decode()


def _finite(text: str) -> float:
    number = float(text)
    if isinf(number):
        message = f"{text} is beyond what a number can hold"
        raise ValueError(message)
    return number


def read_rows(body: bytes) -> Iterator[object]:
    """Go through the rows of a list answer, decoding each only when its turn comes.

    A long list costs much to decode, and a caller that pauses in between blocks nobody.

    Raises:
        UnreadableError: It is no list, or breaks off; the rows before that were given.
    """
    text = _Text(body)
    try:
        if not text.skip("["):
            yield from _array(_only_list(_object(_parse(body))))
            return
        if text.skip("]"):
            return
        while True:
            yield text.value()
            if text.skip("]"):
                return
            if not text.skip(","):
                raise UnreadableError(_why_not_json(body, ValueError(f"no row at {text.place}")))
    except (TypeError, ValueError, RecursionError) as error:
        raise UnreadableError(_why_not_json(body, error)) from error


class _Text:
    """A document's text, decoded piece by piece, so that a long one is not in memory twice."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._decoder = getincrementaldecoder("utf-8-sig")()
        self._taken = 0
        """How many bytes were decoded."""
        self._text = ""
        """What of them was not left behind yet."""
        self._behind = self._at = 0

    @property
    def place(self) -> str:
        """Where it was read up to."""
        return f"character {self._behind + self._at}"

    def skip(self, sign: str) -> bool:
        """Go over space, and a sign if it comes next; say whether it did."""
        while (following := self._text[self._at : self._at + 1]) in _JSON_SPACE:
            if following:
                self._at += 1
            elif not self._decode():
                return False
        is_next = following == sign
        self._at += is_next
        return is_next

    def value(self) -> object:
        """Read the JSON value that comes next.

        Raises:
            ValueError: There is none.
        """
        self.skip("")
        while True:
            try:
                value, end = _decoder.raw_decode(self._text, self._at)
            except ValueError:
                if not self._decode():
                    raise
            else:
                # A number may go on in the next piece: "1e+" reads as 1, with two left over.
                if end + 2 < len(self._text) or not self._decode():
                    self._at = end
                    return value

    def _decode(self) -> bool:
        """Decode a piece more, at least as long as what is not read yet; False at the end."""
        start, end = self._taken, self._taken + max(PIECE_BYTES, len(self._text) - self._at)
        if start >= len(self._body):
            return False
        piece = self._decoder.decode(self._body[start:end], end >= len(self._body))
        self._text = self._text[self._at :] + piece
        self._behind += self._at
        self._at, self._taken = 0, end
        return True


_JSON_SPACE = frozenset(["", *" \t\n\r"])


def _refuse_constant(word: str) -> None:
    message = f"{word} is not JSON"
    raise ValueError(message)


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def _why_not_json(body: bytes, error: Exception) -> str:
    if not body.strip():
        return "expected JSON, got an empty body"
    if isinstance(error, RecursionError):
        return "the JSON is nested too deep"
    start = body[:60].decode(errors="replace")
    return f"expected JSON, got {start!r} ({error})"


def _problems(error: Exception) -> list[str]:
    """Name each fault and its place, in the document's own spelling."""
    return [
        f"{what} at {re.sub(r'[a-z_]+', lambda name: wire_name(name[0]), place)}"
        for what, _, place in (
            problem.rpartition(" @ ")
            for problem in transform_error(error, format_exception=_describe)
        )
    ]


def _describe(error: BaseException, _type: type | None) -> str:
    return "missing" if isinstance(error, KeyError) else str(error)


def wire_name(name: str) -> str:
    """Return the wire's name of a model's field: camelCase, `Utc` for `_at`, no `_bytes`."""
    head, *rest = re.sub(r"_at$", "_utc", name.removesuffix("_bytes")).split("_")
    return head + "".join(word.capitalize() for word in rest)


def _expected(what: str, value: object) -> TypeError:
    text = repr(value)
    shown = text if len(text) <= 60 else f"{text[:60]}…"  # noqa: PLR2004 - a line of a message
    return TypeError(f"expected {what}, got {shown}")


def _text(value: object, _type: object) -> str:
    if not isinstance(value, str):
        raise _expected("a string", value)
    return value


def _name(value: object, _type: object) -> str:
    """Read a text that is most likely a name, if it is short."""
    text = _text(value, str)
    return _shared(text) if len(text) <= SHARED_LENGTH else text


@lru_cache(maxsize=4096)
def _shared(value: T) -> T:
    """Return one object for equal ones: outcomes repeat the same names thousands of times."""
    return value


def _integer(value: object, _type: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _expected("an integer", value)
    return value


def _count(value: object, _type: object) -> int:
    return 0 if value is None else _integer(value, int)


def _number(value: object, _type: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _expected("a number", value)
    return value


def _truth(value: object, _type: object) -> bool:
    if not isinstance(value, bool):
        raise _expected("true or false", value)
    return value


def _instant(value: object, _type: object) -> datetime:
    try:
        return _instant_of(cast("str", value))
    except (TypeError, ValueError):
        raise _expected("a time such as 2026-06-10T14:32:07Z", value) from None


@lru_cache(maxsize=1024)
def _instant_of(text: str) -> datetime:
    instant = datetime.fromisoformat(text if len(text) <= SHARED_LENGTH else "")
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _text_of_lines(value: object, _type: object) -> str | None:
    """Read a log, whose type is not documented: a string, or a list of lines."""
    if isinstance(value, list):
        return "\n".join(_text(line, str) for line in cast("list[object]", value))
    return None if value is None else _text(value, str)


def _acknowledgement(value: object, _type: object) -> None:
    """Take any answer to a change for a yes, but for one that says no."""
    if isinstance(value, dict) and cast("dict[str, object]", value).get("ok") is False:
        message = "the service acknowledges with ok: false"
        raise ValueError(message)


def _open_enum(union: Any) -> type[StrEnum] | None:  # noqa: ANN401 - a type expression
    """Return the enum of a union such as `RunStatus | str`."""
    members = [member for member in get_args(union) if isinstance(member, type)]
    return next((member for member in members if issubclass(member, StrEnum)), None)


def _open_enum_hook(union: Any) -> Hook:  # noqa: ANN401 - a type expression
    words = {member.value: member for member in _open_enum(union) or ()}
    is_optional = type(None) in get_args(union)

    def structure(value: object, _type: object) -> str | None:
        if value is None and is_optional:
            return None
        return words.get(word := _text(value, str), word)

    return structure


def _array(value: object) -> list[object]:
    if not isinstance(value, list):
        raise _expected("a list", value)
    return cast("list[object]", value)


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _expected("an object", value)
    return cast("dict[str, object]", value)


def _is_optional(shape: object) -> bool:
    """Say whether a type is a union of one type with None."""
    members = get_args(shape)
    return len(members) == 2 and members[1] is NoneType  # noqa: PLR2004 - the type, and None


def _optional_hook(shape: Any) -> Hook:  # noqa: ANN401 - a type expression
    """Read null as None. It does what cattrs does, without a look-up for each value."""
    member = get_args(shape)[0]
    structure_member = _converter.get_structure_hook(member)

    def structure(value: object, _type: object) -> Any:  # noqa: ANN401 - what the member is
        return None if value is None else structure_member(value, member)

    return structure


def _is_list(shape: object) -> bool:
    return get_origin(shape) is list


def _list_hook(shape: Any) -> Hook:  # noqa: ANN401 - a type expression
    """Read the rows of a list answer: bare, or as the one list of an object around it."""
    rows = list_structure_factory(shape, _converter)

    def structure(value: object, _type: object) -> list[Any]:
        if isinstance(value, dict):
            value = _only_list(cast("dict[str, object]", value))
        return cast("list[Any]", rows(_array(value), shape))

    return structure


def _only_list(envelope: dict[str, object]) -> object:
    lists: list[object] = [member for member in envelope.values() if isinstance(member, list)]
    return lists[0] if len(lists) == 1 else envelope


def _is_tuple(shape: object) -> bool:
    return get_origin(shape) is tuple


def _tuple_hook(shape: Any) -> Hook:  # noqa: ANN401 - a type expression
    """Read a list inside a document, where null and missing are an empty one."""
    members = homogenous_tuple_structure_factory(shape, _converter)

    def structure(value: object, _type: object) -> tuple[Any, ...]:
        return () if value is None else cast("tuple[Any, ...]", members(_array(value), shape))

    return structure


def _is_small_summary(value: object) -> bool:
    """Say whether it is one of the few summaries that most outcomes have."""
    return isinstance(value, RunSummary) and all(
        abs(count) < MANY_TESTS for count in (value.total, value.passed, value.failed, value.other)
    )


def _model_hook(model: type[Any]) -> Hook:
    """Read an object into a model, its unknown fields into `extra`."""
    names = {field.name: wire_name(field.name) for field in fields(model) if field.name != "extra"}
    known = frozenset(names.values())
    overrides: dict[str, Any] = {name: override(rename=wire) for name, wire in names.items()}
    if model in (Run, Diagnosis):
        overrides["log"] = override(struct_hook=_text_of_lines)
    if model is RunSummary:
        overrides = {
            name: override(rename=wire, struct_hook=_count) for name, wire in names.items()
        }
    structure_known = make_dict_structure_fn(
        model, _converter, extra=override(omit=True), **overrides
    )

    def structure(value: object, _type: object) -> Any:  # noqa: ANN401 - an instance of model
        members = _object(value)
        instance = structure_known(members, model)
        if members.keys() <= known:
            return _shared(instance) if _is_small_summary(instance) else instance
        extra = {name: member for name, member in members.items() if name not in known}
        return evolve(instance, extra=extra)

    return structure


_converter = Converter(detailed_validation=True)
_converter.register_structure_hook_func(lambda shape: shape is object, lambda value, _type: value)
_converter.register_structure_hook(NoneType, _acknowledgement)
_converter.register_structure_hook(str, _name)
_converter.register_structure_hook(int, _integer)
_converter.register_structure_hook(float, _number)
_converter.register_structure_hook(bool, _truth)
_converter.register_structure_hook(datetime, _instant)
_converter.register_structure_hook_factory(has, _model_hook)
_converter.register_structure_hook_factory(_is_optional, _optional_hook)
_converter.register_structure_hook_factory(_is_list, _list_hook)
_converter.register_structure_hook_factory(_is_tuple, _tuple_hook)
_converter.register_structure_hook_factory(
    lambda shape: _open_enum(shape) is not None, _open_enum_hook
)
