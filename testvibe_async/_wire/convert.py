"""JSON to models: names, instants, open enums, unknown fields.

Decides what is tolerated and what is not: unknown fields are kept, null and missing are the same,
an undocumented word of an enum stays a string, a list comes bare or in an envelope; a value of the
wrong type is an error that names its place. It knows no operation and does no I/O.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast, get_args, get_origin

from attrs import evolve, fields, has
from cattrs import Converter, transform_error
from cattrs.errors import (
    BaseValidationError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, override

from testvibe_async._util.serialization import wire_name
from testvibe_async._wire.json import UnreadableError, array, expected, mapping, parse, rows_of
from testvibe_async.models import Diagnosis, Run, RunSummary

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["read"]

SHARED_LENGTH = 64
"""Up to this length a string is most likely a name, which other answers have too."""

MAX_DIGITS = 100
"""The most digits of an integer: one of 309 is beyond any float, and so beyond arithmetic."""

LEAST_TOO_LARGE = 10**MAX_DIGITS

MAX_FAULTS = 10
"""How many unreadable members of one list are reported."""

MAX_DEPTH = 64
"""How deep unknown fields may be nested: JSON that is deeper can be read and not written."""

MANY_TESTS = 1_000_000
"""From this many tests on a summary is not shared: equal ones are rare, hostile ones huge."""

T = TypeVar("T")
Hook: TypeAlias = "Callable[[Any, Any], Any]"


def read(body: bytes, shape: type[T]) -> T:
    """Make a value out of a JSON document.

    Args:
        body: The document, UTF-8.
        shape: What it should hold: a model, a list of one, `NoneType` for a bare
            acknowledgement, or `object` for JSON as it is. The last two may be empty.

    Raises:
        UnreadableError: It is not JSON, or does not fit the shape.
    """
    is_optional = shape is NoneType or shape is object
    document = None if is_optional and not body.strip() else parse(body)
    try:
        return _converter.structure(document, shape)
    except (BaseValidationError, TypeError, ValueError) as error:
        raise UnreadableError(*_problems(error)) from error


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
    return "missing or null" if isinstance(error, KeyError) else str(error)


def _text(value: object, _type: object) -> str:
    if not isinstance(value, str):
        raise expected("a string", value)
    return value


def _name(value: object, _type: object) -> str:
    """Read a text that is most likely a name, if it is short."""
    text = _text(value, str)
    return _shared(text) if len(text) <= SHARED_LENGTH else text


@lru_cache(maxsize=1024)
def _shared(name: str) -> str:
    """Return one object for equal ones: outcomes repeat the same names thousands of times."""
    return name


def _integer(value: object, _type: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise expected("an integer", value)
    if abs(value) >= LEAST_TOO_LARGE:
        raise expected(f"an integer of at most {MAX_DIGITS} digits", value)
    return value


def _number(value: object, _type: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise expected("a number", value)
    return value if isinstance(value, float) else _integer(value, int)


def _truth(value: object, _type: object) -> bool:
    if not isinstance(value, bool):
        raise expected("true or false", value)
    return value


def _instant(value: object, _type: object) -> datetime:
    try:
        return _instant_of(cast("str", value))
    except (TypeError, ValueError):
        raise expected("a time such as 2026-06-10T14:32:07Z", value) from None


@lru_cache(maxsize=1024)
def _instant_of(text: str) -> datetime:
    instant = datetime.fromisoformat(text if len(text) <= SHARED_LENGTH else "")
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _text_of_lines(value: object, _type: object) -> str:
    """Read a log, whose type is not documented: a string, or a list of lines."""
    if isinstance(value, list):
        return "\n".join(_text(line, str) for line in cast("list[object]", value))
    return _text(value, str)


def _acknowledgement(value: object, _type: object) -> None:
    """Take any answer to a change as a yes, except `{"ok": false}`."""
    if isinstance(value, dict) and cast("dict[str, object]", value).get("ok") is False:
        raise ValueError("the service acknowledges with ok: false")


def _open_enum(union: Any) -> type[StrEnum] | None:  # noqa: ANN401 - a type expression
    """Return the enum of a union such as `RunStatus | str`."""
    members = [member for member in get_args(union) if isinstance(member, type)]
    return next((member for member in members if issubclass(member, StrEnum)), None)


def _open_enum_hook(union: Any) -> Hook:  # noqa: ANN401 - a type expression
    words = {member.value: member for member in _open_enum(union) or ()}

    def structure(value: object, _type: object) -> str:
        return words.get(word := _text(value, str), word)

    return structure


def _is_optional(shape: object) -> bool:
    """Say whether a type is a union of one type with None."""
    members = get_args(shape)
    return len(members) == 2 and members[1] is NoneType  # noqa: PLR2004 - the type, and None


def _optional_hook(shape: Any) -> Hook:  # noqa: ANN401 - a type expression
    """Read what is there: `_model_hook` leaves out what is null."""
    return _converter.get_structure_hook(get_args(shape)[0])


def _is_list(shape: object) -> bool:
    return get_origin(shape) is list


def _list_hook(shape: Any) -> Hook:  # noqa: ANN401 - a type expression
    """Read the rows of a list answer, bare or not."""
    members = _members_hook(shape)

    def structure(value: object, _type: object) -> list[Any]:
        return members(rows_of(value))

    return structure


def _is_tuple(shape: object) -> bool:
    return get_origin(shape) is tuple


def _tuple_hook(shape: Any) -> Hook:  # noqa: ANN401 - a type expression
    """Read a list inside a document."""
    members = _members_hook(shape)

    def structure(value: object, _type: object) -> tuple[Any, ...]:
        return tuple(members(array(value)))

    return structure


def _members_hook(shape: Any) -> Callable[[list[object]], list[Any]]:  # noqa: ANN401 - a type
    """Read the members of a list up to the tenth that is wrong.

    cattrs' own hooks keep an error with its traceback for each, a thousand times their size.
    """
    kind = get_args(shape)[0]
    structure_member = _converter.get_structure_hook(kind)

    def structure(values: list[object]) -> list[Any]:
        members: list[Any] = []
        faults: list[Exception] = []
        for place, value in enumerate(values):
            try:
                members.append(structure_member(value, kind))
            except (BaseValidationError, TypeError, ValueError) as error:
                note = IterableValidationNote(f"place {place}", place, kind)
                error.add_note(note)
                faults.append(error)
                if len(faults) == MAX_FAULTS:
                    break
        if faults:
            what = "members of a list"
            raise IterableValidationError(what, faults, shape)  # pyright: ignore[reportCallIssue]
        return members

    return structure


def _model_hook(model: type[Any]) -> Hook:
    """Read an object into a model, its unknown fields into `extra`.

    A member that is null is left out, as if it were missing.
    """
    names = {field.name: wire_name(field.name) for field in fields(model) if field.name != "extra"}
    known = frozenset(names.values())
    overrides: dict[str, Any] = {name: override(rename=wire) for name, wire in names.items()}
    if model in (Run, Diagnosis):
        overrides["log"] = override(struct_hook=_text_of_lines)
    structure_known = make_dict_structure_fn(
        model, _converter, extra=override(omit=True), **overrides
    )

    def structure(value: object, _type: object) -> Any:  # noqa: ANN401 - an instance of model
        members = mapping(value)
        there = members
        if None in members.values():
            there = {name: member for name, member in members.items() if member is not None}
        instance = structure_known(there, model)
        if members.keys() <= known:
            return instance
        extra = {name: member for name, member in members.items() if name not in known}
        _check_depth(extra)
        return evolve(instance, extra=extra)

    return structure


def _check_depth(value: object) -> None:
    """Refuse JSON that is nested too deep.

    Raises:
        ValueError: It is.
    """
    layer = [value]
    for _ in range(MAX_DEPTH):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not layer:
            return
    raise ValueError(f"unknown fields are nested deeper than {MAX_DEPTH} times")


def _summary_hook(shape: type[RunSummary]) -> Hook:
    """Read counts into a shared object: most outcomes have one of a few summaries."""
    structure_summary = _model_hook(shape)

    def structure(value: object, _type: object) -> RunSummary:
        summary: RunSummary = structure_summary(value, shape)
        counts = summary.total, summary.passed, summary.failed, summary.other
        if summary.extra or max(map(abs, counts)) >= MANY_TESTS:
            return summary
        return _shared_summary(*counts)

    return structure


@lru_cache(maxsize=1024, typed=True)  # a count that was not sent is of a type of its own
def _shared_summary(total: int, passed: int, failed: int, other: int) -> RunSummary:
    return RunSummary(total=total, passed=passed, failed=failed, other=other)


_converter = Converter(detailed_validation=True)
_converter.register_structure_hook_func(lambda shape: shape is object, lambda value, _type: value)
_converter.register_structure_hook(NoneType, _acknowledgement)
_converter.register_structure_hook(str, _name)
_converter.register_structure_hook(int, _integer)
_converter.register_structure_hook(float, _number)
_converter.register_structure_hook(bool, _truth)
_converter.register_structure_hook(datetime, _instant)
_converter.register_structure_hook_factory(has, _model_hook)
_converter.register_structure_hook_factory(lambda shape: shape is RunSummary, _summary_hook)
_converter.register_structure_hook_factory(_is_optional, _optional_hook)
_converter.register_structure_hook_factory(_is_list, _list_hook)
_converter.register_structure_hook_factory(_is_tuple, _tuple_hook)
_converter.register_structure_hook_factory(
    lambda shape: _open_enum(shape) is not None, _open_enum_hook
)
