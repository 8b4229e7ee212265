"""Conversion of JSON to models: names, instants, open enums, unknown and unreadable fields.

Decides which deviations are tolerated. Ids and a status must be readable; otherwise an error names
their position. Any other unreadable field is left out, and its value is kept with the unknown
fields. Null and missing are the same. Statuses are recognized in any case, and an undocumented word
stays a string. Numbers may be written as digits, and a list may come bare or in an envelope. This
module knows no operation and does no I/O.
"""

from __future__ import annotations

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

from attrs import NOTHING, fields, has
from cattrs import Converter

from testvibe_async._core.util.serialization import wire_name
from testvibe_async._core.wire.extra import (
    EXTRA,
    MAX_EXTRA_BYTES,
    ExtraMembers,
    UnreadableField,
    extra_members,
    size_of,
)
from testvibe_async._core.wire.scalars import (
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
    read_word,
    refuse_truth,
    shared,
)
from testvibe_async._core.wire.values import (
    Rows,
    UnreadableError,
    array,
    mapping,
    parse,
)
from testvibe_async.models import (
    Diagnosis,
    DispatchedGeneration,
    DispatchedRun,
    Feature,
    Generation,
    Listing,
    Run,
    Snapshot,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

MAX_FAULTS = 10
"""Maximum number of unreadable members of one list that are reported."""

T = TypeVar("T")
Hook: TypeAlias = "Callable[[Any, Any], Any]"
"""Makes a value from JSON; also takes the type, as cattrs calls it."""

WORD_FIELDS = {
    *("status", "overall_status", "verdict", "state"),
    *("conclusion", "overall_conclusion"),
    *("kind", "source"),
}
"""The fields that hold a word of the service, if they are not an enum."""

DECIDING = {(Feature, "status"), (Generation, "feature_status"), (Generation, "request_id")}
"""The fields that may be missing, but must be readable if present."""

END = "finishedUtc"
"""The wire name of the time when an operation ended."""

ID_FIELDS = {"request_id"}
"""The fields that hold an id as text, which may come as a number."""

DISPATCHED_IN = {DispatchedRun: {"run"}, DispatchedGeneration: {"generation", "request"}}
"""The members whose `id` is the id of the dispatched operation."""


class FaultsError(Exception):
    """Values that can't be read, each with its place in the document and the problem."""

    def __init__(self, *faults: tuple[str, str]) -> None:
        super().__init__(*faults)
        self.faults: tuple[tuple[str, str], ...] = faults

    @property
    def problems(self) -> list[str]:
        """A description of each."""
        return [f"{what} at {place}" for place, what in self.faults]


UNREADABLE = (FaultsError, OverflowError, TypeError, ValueError)


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
    if _is_listing(cast("Any", shape)):
        document = Rows(body)
    else:
        document = None if is_optional and not body.strip() else parse(body)
    token = extra_members.set(ExtraMembers([] if unreadable is None else unreadable))
    try:
        return cast("T", _hook_of(shape)(document, shape))
    except UNREADABLE as error:
        raise UnreadableError(*_within("$", error).problems) from error
    finally:
        extra_members.reset(token)


def _within(place: str, *errors: Exception) -> FaultsError:
    """Return the faults of values inside a place."""
    faults: list[tuple[str, str]] = []
    for error in errors:
        inner = error.faults if isinstance(error, FaultsError) else [("", str(error))]
        faults += [(place + at, what) for at, what in inner]
    return FaultsError(*faults)


def _acknowledgement(value: object, _type: object) -> None:
    """Accept any answer to a change as a success, except `{"ok": false}`."""
    if isinstance(value, dict) and cast("dict[str, object]", value).get("ok") is False:
        raise ValueError("the service acknowledges with ok: false")


def _open_enum(union: Any) -> type[StrEnum] | None:  # noqa: ANN401 - a type expression
    """Return the enum of a union such as `RunStatus | str`."""
    members = [member for member in get_args(union) if isinstance(member, type)]
    return next((member for member in members if issubclass(member, StrEnum)), None)


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


def _inner(hint: Any) -> Any:  # noqa: ANN401 - a type expression
    """Return the type of a present value: null is left out."""
    return get_args(hint)[0] if _is_optional(hint) else hint


@cache
def _is_listing(shape: object) -> bool:
    return get_origin(shape) is Listing


def _listing_hook(shape: Any) -> Hook:  # noqa: ANN401 - a type expression
    """Read the rows of a list answer, bare or not, and the members around them."""
    read_members = _members_hook(shape)

    def structure(value: Rows, _type: object) -> Listing[Any]:
        rows, faults = read_members(value)
        if faults and (not rows or len(faults) == MAX_FAULTS):
            raise _within("", *faults)
        # The dropped members might name the next page.
        if size_of(value.envelope, MAX_EXTRA_BYTES) is None:
            most = f"{MAX_EXTRA_BYTES // 1024} KiB"
            raise TypeError(f"expected a list, got an object with more than {most} beside it")
        return Listing(rows, unreadable=tuple(_within("$", *faults).problems), extra=value.envelope)

    return structure


def _is_tuple(shape: object) -> bool:
    return get_origin(shape) is tuple


def _tuple_hook(shape: Any) -> Hook:  # noqa: ANN401 - a type expression
    """Read a list inside a document."""
    read_members = _members_hook(shape)

    def structure(value: object, _type: object) -> tuple[Any, ...]:
        members, faults = read_members(array(value))
        if faults:
            raise _within("", *faults)
        return tuple(members)

    return structure


def _members_hook(
    shape: Any,  # noqa: ANN401 - a type expression
) -> Callable[[Iterable[object]], tuple[list[Any], list[FaultsError]]]:
    """Read the members of a list up to the tenth fault; return the faults too.

    cattrs' own hooks keep an error with its traceback for each, a thousand times their size.
    """
    kind = get_args(shape)[0]
    structure_member = _converter.get_structure_hook(kind)

    def structure(values: Iterable[object]) -> tuple[list[Any], list[FaultsError]]:
        members: list[Any] = []
        faults: list[FaultsError] = []
        for index, value in enumerate(values):
            try:
                members.append(structure_member(value, kind))
            except UNREADABLE as error:
                faults.append(_within(f"[{index}]", error))
                if len(faults) == MAX_FAULTS:
                    break
        return members, faults

    return structure


_NUMBERS: Mapping[Any, tuple[type, ...]] = {int: (int,), float: (float, int), bool: (bool,)}
"""The JSON types of numbers and of true or false, before any conversion."""


def _model_hook(model: type[Any]) -> Hook:
    """Read an object into a model, and its unknown and unreadable members into `extra`.

    A null member is left out, as if it were missing.
    """
    hints = get_type_hints(model)
    attributes = [each for each in fields(model) if each.name != EXTRA]
    known = {
        wire_name(each.name): _field(model, each.name, _inner(hints[each.name]))
        for each in attributes
    }
    needed = {each.name for each in attributes if each.default is NOTHING}
    required = [wire for wire, (name, *_) in known.items() if name in needed]
    deciding = {*required, *(wire_name(name) for of, name in DECIDING if of is model)}
    has_end = END in known and model in get_args(Snapshot)

    def structure(value: Any, _type: object) -> Any:  # noqa: ANN401 - JSON, and a model
        members: dict[str, Any] = value if value.__class__ is dict else mapping(value)
        values: dict[str, Any] = {}
        faults: dict[str, FaultsError] = {}
        is_whole = True
        for wire, member in members.items():
            if member is None or (field := known.get(wire)) is None:
                is_whole = is_whole and wire in known
                continue
            name, plain, of_text, hook = field
            kind = member.__class__
            try:
                if kind is str and of_text is not None and len(member) <= SHARED_LENGTH:
                    values[name] = of_text(member)
                elif kind in plain and abs(member) < LEAST_TOO_LARGE:
                    values[name] = member
                else:
                    values[name] = hook(member, None)
            except UNREADABLE:
                try:  # It says why, unlike a function that only reads short texts.
                    values[name] = hook(member, None)
                except UNREADABLE as error:
                    faults[wire] = _within(f".{wire}", error)
        # It decides whether an undocumented status is in flight.
        is_open = (
            has_end
            and END in members
            and END not in faults
            and values.get("finished_at") is None
            and not isinstance(values.get("status"), StrEnum)
        )
        if faults or is_open or not is_whole or not values.keys() >= needed:
            missing = [wire for wire in required if members.get(wire) is None]
            _require_none(missing, [fault for wire, fault in faults.items() if wire in deciding])
            values[EXTRA] = _extra_of(model, members, known, faults)
            if is_open:
                values[EXTRA][END] = None
        return model(**values)

    return structure


def _require_none(missing: Sequence[str], unreadable: Sequence[FaultsError]) -> None:
    """Raise the faults of required members, if there are any."""
    faults = [FaultsError((f".{wire}", "missing or null")) for wire in missing]
    if faults or unreadable:
        raise _within("", *faults, *unreadable)


def _extra_of(
    model: type[Any],
    members: Mapping[str, object],
    known: Mapping[str, object],
    faults: Mapping[str, FaultsError],
) -> dict[str, object]:
    """Note the unreadable members; return them and the unknown ones, as far as they are kept."""
    noted = extra_members.get()
    for wire, fault in faults.items():
        noted.add(model, wire, _within("$", fault).problems[0])
    return {
        wire: member
        for wire, member in members.items()
        if (wire in faults or wire not in known) and noted.keep(model, wire, member)
    }


OF_TEXTS: Mapping[Any, Callable[[str], Any]] = {
    str: shared,
    datetime: instant_of,
    read_word: documented,
    read_id_text: shared,
}
"""The functions that read a short text, by the type of its field or by its usual reader.

They raise a `ValueError` or an `OverflowError` if the field can't hold the text.
"""


def _field(
    model: type[Any],
    name: str,
    hint: Any,  # noqa: ANN401 - a type expression
) -> tuple[str, tuple[type, ...], Callable[[str], Any] | None, Hook]:
    """Describe how a field is read: its name, the values to keep, and its readers."""
    enum, own = _open_enum(hint), None
    if name in ID_FIELDS:
        own = read_id_text
    elif name in WORD_FIELDS and enum is None:
        own = read_word
    elif name == "log" and model in {Run, Diagnosis}:
        own = read_text_of_lines
    of_text = _word_of(enum) if enum else OF_TEXTS.get(own or hint)
    hook = own or _converter.get_structure_hook(hint)
    return name, _NUMBERS.get(hint, ()), of_text, hook


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


_converter = Converter()
_hook_of: Callable[[Any], Hook] = cache(_converter.get_structure_hook)
_converter.register_structure_hook_func(lambda shape: shape is object, lambda value, _type: value)
_converter.register_structure_hook(NoneType, _acknowledgement)
_converter.register_structure_hook(str, read_name)
_converter.register_structure_hook(int, read_integer)
_converter.register_structure_hook(float, read_number)
_converter.register_structure_hook(bool, refuse_truth)
_converter.register_structure_hook(datetime, read_instant)
_converter.register_structure_hook_factory(has, _model_hook)
_converter.register_structure_hook_factory(lambda shape: shape in DISPATCHED_IN, _dispatched_hook)
_converter.register_structure_hook_factory(_is_listing, _listing_hook)
_converter.register_structure_hook_factory(_is_tuple, _tuple_hook)
_converter.register_structure_hook_func(lambda shape: _open_enum(shape) is not None, read_text)
