"""Conversion of JSON to models: names, instants, open enums, unknown and unreadable fields.

Decides which deviations are tolerated. Ids and a status must be readable; otherwise an error names
their position. Any other unreadable field is left out, and its value is kept with the unknown
fields. Null and missing are the same. Statuses are recognized in any case, and an undocumented word
stays a string. Numbers may be written as digits, and a list may come bare or in an envelope. This
module knows no operation and does no I/O.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from functools import cache, lru_cache
from types import NoneType
from typing import (
    TYPE_CHECKING,
    Any,
    TypeAlias,
    TypeVar,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from attrs import NOTHING, evolve, fields, has
from cattrs import Converter, transform_error
from cattrs.errors import (
    BaseValidationError,
    ClassValidationError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, override

from testvibe_async._util.serialization import wire_name
from testvibe_async._wire.json import (
    AT_ONCE,
    Rows,
    UnreadableError,
    array,
    envelope_of,
    mapping,
    parse,
    rows_of,
)
from testvibe_async._wire.leftovers import (
    EXTRA,
    MAX_EXTRA_BYTES,
    Leftovers,
    UnreadableField,
    leftovers,
    size_of,
)
from testvibe_async._wire.scalars import (
    LEAST_TOO_LARGE,
    SHARED_LENGTH,
    documented,
    instant_of,
    read_id_text,
    read_instant,
    read_integer,
    read_name,
    read_number,
    read_text,
    read_text_of_lines,
    read_truth,
    read_word,
    shared,
)
from testvibe_async.models import (
    Diagnosis,
    DispatchedGeneration,
    DispatchedRun,
    Feature,
    Generation,
    Listing,
    Run,
    RunSummary,
    Snapshot,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MAX_FAULTS = 10
"""Maximum number of unreadable members of one list that are reported."""

MANY_TESTS = 1_000_000
"""Number of tests from which a summary is not shared: equal ones are rare, hostile ones huge."""

T = TypeVar("T")
Hook: TypeAlias = "Callable[[Any, Any], Any]"
"""Makes a value of a type from JSON."""

WORD_FIELDS = {
    *("status", "overall_status", "verdict", "state"),
    *("conclusion", "overall_conclusion"),
    *("kind", "source"),
}
"""The fields that hold a word of the service, if they are not an enum."""

DECIDING = {(Feature, "status"), (Generation, "feature_status"), (Generation, "request_id")}
"""The fields that may be missing, but must be readable if present."""

ID_FIELDS = {"request_id"}
"""The fields that hold an id as text, which may come as a number."""

END = "finishedUtc"
"""The wire name of the time when an operation ended."""

DISPATCHED_IN = {DispatchedRun: {"run"}, DispatchedGeneration: {"generation", "request"}}
"""The members whose `id` is the id of the dispatched operation."""


def read(body: bytes, shape: type[T], *, unreadable: list[UnreadableField] | None = None) -> T:
    """Make a value from a JSON document.

    Args:
        body: The document, UTF-8.
        shape: The expected type: a model, a `Listing` of one, `NoneType` for a bare
            acknowledgement, or `object` for unconverted JSON. For the last two, the document may be
            empty.
        unreadable: Receives the fields that were left out.

    Raises:
        UnreadableError: The document is not JSON, or does not fit the shape.
    """
    is_optional = shape is NoneType or shape is object
    document: object
    if len(body) > AT_ONCE and _is_listing(shape):
        document = Rows(body)
    else:
        document = None if is_optional and not body.strip() else parse(body)
    token = leftovers.set(Leftovers([] if unreadable is None else unreadable))
    try:
        return _converter.structure(document, shape)
    except (BaseValidationError, TypeError, ValueError) as error:
        raise UnreadableError(*_problems(error)) from error
    finally:
        leftovers.reset(token)


def _problems(error: Exception) -> list[str]:
    """Describe each fault and its position, in the document's own spelling."""
    return [
        f"{what} at {re.sub(r'[a-z_]+', lambda name: wire_name(name[0]), place)}"
        for what, _, place in (
            problem.rpartition(" @ ")
            for problem in transform_error(error, format_exception=_describe)
        )
    ]


def _describe(error: BaseException, _type: type | None) -> str:
    return "missing or null" if isinstance(error, KeyError) else str(error)


def _acknowledgement(value: object, _type: object) -> None:
    """Accept any answer to a change as a success, except `{"ok": false}`."""
    if isinstance(value, dict) and cast("dict[str, object]", value).get("ok") is False:
        raise ValueError("the service acknowledges with ok: false")


def _open_enum(union: Any) -> type[StrEnum] | None:  # noqa: ANN401 - a type expression
    """Return the enum of a union such as `RunStatus | str`."""
    members = [member for member in get_args(union) if isinstance(member, type)]
    return next((member for member in members if issubclass(member, StrEnum)), None)


def _open_enum_hook(union: Any) -> Hook:  # noqa: ANN401 - a type expression
    enum = _open_enum(union)
    assert enum is not None
    word_of = _word_of(enum)

    def structure(value: object, _type: object) -> str:
        word = read_text(value, str)
        return word_of(word) if len(word) <= SHARED_LENGTH else word

    return structure


@cache
def _word_of(enum: type[StrEnum]) -> Callable[[str], str]:
    """Return a function that finds a word of an enum in any case.

    Other words stay strings, such as `draft`, which is known in any case too.
    """
    words: dict[str, str] = {member.value: member for member in enum}

    @lru_cache(maxsize=1024)
    def word_of(text: str) -> str:
        return words.get(text.casefold()) or documented(text)

    return word_of


def _is_optional(shape: object) -> bool:
    """Return whether a type is a union of one type with None."""
    members = get_args(shape)
    return len(members) == 2 and members[1] is NoneType  # noqa: PLR2004 - the type, and None


def _optional_hook(shape: Any) -> Hook:  # noqa: ANN401 - a type expression
    """Read a present value: `_model_hook` leaves out null."""
    return _converter.get_structure_hook(get_args(shape)[0])


def _is_listing(shape: object) -> bool:
    return get_origin(shape) is Listing


def _listing_hook(shape: Any) -> Hook:  # noqa: ANN401 - a type expression
    """Read the rows of a list answer, bare or not, and the members around them."""
    read_members = _members_hook(shape)

    def structure(value: object, _type: object) -> Listing[Any]:
        rows, faults = read_members(value if isinstance(value, Rows) else rows_of(value))
        if faults and (not rows or len(faults) == MAX_FAULTS):
            raise _of_list(faults, shape)
        unreadable = _problems(_of_list(faults, shape)) if faults else ()
        around = value.envelope if isinstance(value, Rows) else envelope_of(value)
        # The dropped members might name the next page.
        if size_of(around, MAX_EXTRA_BYTES) is None:
            most = f"{MAX_EXTRA_BYTES // 1024} KiB"
            raise TypeError(f"expected a list, got an object with more than {most} beside it")
        return Listing(rows, unreadable=unreadable, extra=around)

    return structure


def _is_tuple(shape: object) -> bool:
    return get_origin(shape) is tuple


def _tuple_hook(shape: Any) -> Hook:  # noqa: ANN401 - a type expression
    """Read a list inside a document."""
    read_members = _members_hook(shape)

    def structure(value: object, _type: object) -> tuple[Any, ...]:
        members, faults = read_members(array(value))
        if faults:
            raise _of_list(faults, shape)
        return tuple(members)

    return structure


def _members_hook(
    shape: Any,  # noqa: ANN401 - a type expression
) -> Callable[[Iterable[object]], tuple[list[Any], list[Exception]]]:
    """Read the members of a list up to the tenth fault; return the faults too.

    cattrs' own hooks keep an error with its traceback for each, a thousand times their size.
    """
    kind = get_args(shape)[0]
    structure_member = _converter.get_structure_hook(kind)

    def structure(values: Iterable[object]) -> tuple[list[Any], list[Exception]]:
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
        return members, faults

    return structure


def _of_list(faults: list[Exception], shape: Any) -> IterableValidationError:  # noqa: ANN401 - a type
    what = "members of a list"
    return IterableValidationError(what, faults, shape)  # pyright: ignore[reportCallIssue]


def _model_hook(model: type[Any]) -> Hook:
    """Read an object into a model, and its unknown and unreadable fields into `extra`.

    A null member is left out, as if it were missing.
    """
    attributes = [each for each in fields(model) if each.name != EXTRA]
    known = frozenset(wire_name(each.name) for each in attributes)
    optional = {
        each.name
        for each in attributes
        if each.default is not NOTHING and (model, each.name) not in DECIDING
    }
    has_end = END in known and model in get_args(Snapshot)
    hints = get_type_hints(model)
    overrides = {each.name: _override(model, each.name, hints[each.name]) for each in attributes}
    structure_known = make_dict_structure_fn(
        model, _converter, extra=override(omit=True), **overrides
    )
    hooks = {
        overrides[name].rename: overrides[name].struct_hook
        or _converter.get_structure_hook(hints[name])
        for name in optional
    }

    def structure(value: object, _type: object) -> Any:  # noqa: ANN401 - an instance of model
        members = mapping(value)
        there = members
        if None in members.values():
            there = {name: member for name, member in members.items() if member is not None}
        unreadable: set[str] = set()
        # A field that was unreadable in one row is most likely wrong in all, and errors are slow.
        noted = leftovers.get()
        if noted.names:
            unreadable = {
                name
                for name in noted.names.get(model, ())
                if name in there and not _can_read(there[name], hooks.get(name))
            }
        if unreadable:
            there = {name: member for name, member in there.items() if name not in unreadable}
        try:
            instance = structure_known(there, model)
        except ClassValidationError as error:
            unreadable |= _leave_out(error, model, optional)
            there = {name: member for name, member in there.items() if name not in unreadable}
            instance = structure_known(there, model)
        # It decides whether an undocumented status is in flight.
        is_open = (
            has_end
            and END in members
            and instance.finished_at is None
            and END not in unreadable
            and not isinstance(instance.status, StrEnum)
        )
        if not unreadable and not is_open and members.keys() <= known:
            return instance
        kept = {
            name: member
            for name, member in members.items()
            if (name in unreadable or name not in known) and noted.keep(model, name, member)
        }
        if is_open:
            kept[END] = None
        return evolve(instance, extra=kept)

    return _usual_hook(model, hints, overrides, otherwise=structure)


_NUMBERS: Mapping[Any, tuple[type, ...]] = {int: (int,), float: (float, int), bool: (bool,)}
"""The JSON types of numbers and of true or false, before any conversion."""


def _usual_hook(
    model: type[Any], hints: Mapping[str, Any], overrides: Mapping[str, Any], *, otherwise: Hook
) -> Hook:
    """Read an object of the usual form with few calls, and any other one with `otherwise`."""
    table = [
        (
            wire_name(name),
            name,
            _NUMBERS.get(hint := _inner(hints[name]), ()),
            _text_reader(hint, overrides[name].struct_hook),
            overrides[name].struct_hook or _converter.get_structure_hook(hint),
        )
        for name in overrides
    ]
    known = frozenset(wire for wire, *_ in table)
    needed = sum(each.default is NOTHING for each in fields(model))
    has_end = END in known and model in get_args(Snapshot)

    def structure(value: Any, _type: object) -> Any:  # noqa: ANN401 - JSON, and a model
        if value.__class__ is not dict or not value.keys() <= known:
            return otherwise(value, model)
        values: dict[str, Any] = {}
        try:
            for wire, name, plain, of_text, hook in table:
                member = value.get(wire)
                if member is None:
                    continue
                kind = member.__class__
                if kind is str and of_text is not None and len(member) <= SHARED_LENGTH:
                    values[name] = of_text(member)
                elif kind in plain and abs(member) < LEAST_TOO_LARGE:
                    values[name] = member
                else:
                    values[name] = hook(member, None)
            # An operation with an undocumented status needs the careful way to tell whether it has
            # finished.
            is_clear = not has_end or END not in value or isinstance(values["status"], StrEnum)
            if is_clear and len(values) >= needed:
                return model(**values)
        except (BaseValidationError, KeyError, OverflowError, TypeError, ValueError):
            pass
        return otherwise(value, model)

    return structure


def _inner(hint: Any) -> Any:  # noqa: ANN401 - a type expression
    return get_args(hint)[0] if _is_optional(hint) else hint


OF_TEXTS: Mapping[Any, Callable[[str], Any]] = {
    str: shared,
    datetime: instant_of,
    read_word: documented,
    read_id_text: shared,
}
"""The functions that read a short text, by the type of its field or by its usual reader."""


def _text_reader(
    hint: Any,  # noqa: ANN401 - a type expression
    hook: Hook | None,
) -> Callable[[str], Any] | None:
    """Return a function that reads a short text into a field directly; None if there is none.

    It raises a `ValueError` or an `OverflowError` if the field can't hold the text.
    """
    if (enum := _open_enum(hint)) is not None:
        return _word_of(enum)
    return OF_TEXTS.get(hint if hook is None else hook)


def _override(model: type[Any], name: str, hint: object) -> Any:  # noqa: ANN401 - cattrs' own
    """Describe how a field is read, if its type alone does not."""
    hook: Hook | None = None
    if name in ID_FIELDS:
        hook = read_id_text
    elif name in WORD_FIELDS and _open_enum(hint) is None:
        hook = read_word
    elif name == "log" and model in {Run, Diagnosis}:
        hook = read_text_of_lines
    return override(rename=wire_name(name), struct_hook=hook)


def _leave_out(error: ClassValidationError, model: type[Any], optional: set[str]) -> set[str]:
    """Note the fields that can't be read, and return their names on the wire.

    Raises:
        ClassValidationError: The model requires one of them.
    """
    faults, others = error.group_exceptions()
    others += [fault for fault, note in faults if note.name not in optional]
    if others:
        raise _of_model(others, model)
    for fault, note in faults:
        problem = _problems(_of_model([fault], model))[0]
        leftovers.get().add(model, wire_name(note.name), problem)
    return {wire_name(note.name) for _, note in faults}


def _of_model(faults: list[Exception], model: type[Any]) -> ClassValidationError:
    return ClassValidationError("fields", faults, model)  # pyright: ignore[reportCallIssue]


def _can_read(value: object, hook: Hook | None) -> bool:
    """Return whether a field can be read that was unreadable in another object of the answer."""
    if hook is not None:
        try:
            hook(value, None)
        except (BaseValidationError, TypeError, ValueError):
            return False
    return True


def _dispatched_hook(shape: type[Any]) -> Hook:
    """Read the answer to a dispatch, also one level down: `{"data": {…}}`, `{"run": {"id": 1}}`.

    An id of unclear origin, perhaps the request's own, is never treated as the operation's.
    """
    structure_flat = _model_hook(shape)
    id_name = wire_name(next(each.name for each in fields(shape) if each.name != EXTRA))

    def structure(value: object, _type: object) -> Any:  # noqa: ANN401 - an instance of shape
        members = mapping(value)
        if id_name in members:
            return structure_flat(members, shape)
        inner = [
            ({id_name: each["id"]} if "id" in each and name in DISPATCHED_IN[shape] else {}) | each
            for name, each in cast("dict[str, dict[str, object]]", members).items()
            if isinstance(each, dict)
        ]
        found = [each for each in inner if id_name in each]
        return structure_flat(members | found[0] if len(found) == 1 else members, shape)

    return structure


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


@lru_cache(maxsize=1024, typed=True)  # a count that was not sent has a type of its own
def _shared_summary(total: int, passed: int, failed: int, other: int) -> RunSummary:
    return RunSummary(total=total, passed=passed, failed=failed, other=other)


_converter = Converter(detailed_validation=True)
_converter.register_structure_hook_func(lambda shape: shape is object, lambda value, _type: value)
_converter.register_structure_hook(NoneType, _acknowledgement)
_converter.register_structure_hook(str, read_name)
_converter.register_structure_hook(int, read_integer)
_converter.register_structure_hook(float, read_number)
_converter.register_structure_hook(bool, read_truth)
_converter.register_structure_hook(datetime, read_instant)
_converter.register_structure_hook_factory(has, _model_hook)
_converter.register_structure_hook_factory(lambda shape: shape is RunSummary, _summary_hook)
_converter.register_structure_hook_factory(_is_optional, _optional_hook)
_converter.register_structure_hook_factory(lambda shape: shape in DISPATCHED_IN, _dispatched_hook)
_converter.register_structure_hook_factory(_is_listing, _listing_hook)
_converter.register_structure_hook_factory(_is_tuple, _tuple_hook)
_converter.register_structure_hook_factory(
    lambda shape: _open_enum(shape) is not None, _open_enum_hook
)
