"""JSON to models: names, instants, open enums, unknown and unreadable fields.

Decides what is tolerated and what is not. Ids and a status must be readable: without them it is an
error that names the place. Any other field that can't be read is left out, and its value is kept
with the unknown ones. Null and missing are the same, statuses are found in any case, an
undocumented word stays a string, numbers may be written as digits, a list comes bare or in an
envelope. It knows no operation and does no I/O.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from functools import cache, lru_cache
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_origin, get_type_hints

from attrs import NOTHING, fields, has

from testvibe_async._util.serialization import wire_name
from testvibe_async._wire.json import (
    Rows,
    UnreadableError,
    envelope_of,
    expected,
    parse,
    rows_of,
)
from testvibe_async._wire.leftovers import (
    EXTRA,
    MAX_EXTRA_BYTES,
    Leftovers,
    UnreadableField,
    size_of,
)
from testvibe_async._wire.scalars import (
    ID_TEXT,
    INSTANT,
    INTEGER,
    LEAST_TOO_LARGE,
    NAME,
    NUMBER,
    SHARED_LENGTH,
    TEXT_OF_LINES,
    TRUTH,
    WORD,
    Reader,
    enum_reader,
)
from testvibe_async._wire.text import AT_ONCE
from testvibe_async.models import (
    Diagnosis,
    DispatchedGeneration,
    DispatchedRun,
    Feature,
    Generation,
    Listing,
    Run,
    RunStatus,
    RunSummary,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["read"]

MAX_FAULTS = 10
"""How many unreadable members of one list are reported."""

T = TypeVar("T")

WORD_FIELDS = {
    *("status", "overall_status", "verdict", "state"),
    *("conclusion", "overall_conclusion"),
    *("kind", "source"),
}
"""The fields that hold such a word, if they are no enum."""

DECIDING = {(Feature, "status"), (Generation, "feature_status"), (Generation, "request_id")}
"""The fields that may be missing, and must be readable where they are not."""

ID_FIELDS = {"request_id"}
"""The fields that hold an id as text, which may come as a number."""

DISPATCHED_IN = {DispatchedRun: {"run"}, DispatchedGeneration: {"generation", "request"}}
"""The members in which an `id` is that of the operation that was dispatched."""

END = "finishedUtc"
"""When a run ended."""

OF_SCALARS: Mapping[Any, Reader] = {
    str: NAME,
    int: INTEGER,
    float: NUMBER,
    bool: TRUTH,
    datetime: INSTANT,
}


class FaultsError(ValueError):
    """What is wrong in a value."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(faults)
        self.faults = faults
        """Each with its place, as `_placed` returns it."""


def read(body: bytes, shape: type[T], *, unreadable: list[UnreadableField] | None = None) -> T:
    """Make a value out of a JSON document.

    Args:
        body: The document, UTF-8.
        shape: What it should hold: a model, a `Listing` of one, `NoneType` for a bare
            acknowledgement, or `object` for JSON as it is. The last two may be empty.
        unreadable: Takes in the fields that were left out.

    Raises:
        UnreadableError: It is not JSON, or does not fit the shape.
    """
    document: object
    if len(body) > AT_ONCE and get_origin(shape) is Listing:
        document = Rows(body)
    elif (shape is NoneType or shape is object) and not body.strip():
        document = None
    else:
        document = parse(body)
    answer = Leftovers([] if unreadable is None else unreadable)
    try:
        return cast("T", _reader(cast("Any", shape)).read(document, answer))
    except (TypeError, ValueError) as error:
        raise UnreadableError(*_placed("$", error)) from error


def _placed(place: str, error: Exception) -> list[str]:
    """Return what is wrong in a value that stands at a place: `missing or null at $.runId`."""
    if not isinstance(error, FaultsError):
        return [f"{error} at {place}"]
    parts = [fault.rpartition(" at ") for fault in error.faults]
    return [f"{what} at {place}{inner}" for what, _, inner in parts]


@cache
def _reader(shape: Any) -> Reader:  # noqa: ANN401 - a type expression
    """Return how a value of a type is read, given the answer's leftovers."""
    arguments = get_args(shape)
    if shape in OF_SCALARS:
        reader = OF_SCALARS[shape]
    elif shape is object:
        reader = Reader(_as_it_is)
    elif shape is NoneType:
        reader = Reader(_acknowledgement)
    elif get_origin(shape) is Listing:
        reader = Reader(_listing(arguments[0]))
    elif get_origin(shape) is tuple:
        reader = Reader(_tuple(arguments[0]))
    elif has(shape):
        reader = Reader(_dispatched(shape) if shape in DISPATCHED_IN else _ModelReader(shape).read)
    elif enums := [each for each in arguments if issubclass(each, StrEnum)]:
        reader = enum_reader(enums[0])
    else:
        reader = _reader(arguments[0])  # `X | None`: a member that is null is left out
    return reader


def _as_it_is(value: object, _answer: Leftovers) -> object:
    return value


def _acknowledgement(value: object, _answer: Leftovers) -> None:
    """Take any answer to a change as a yes, except `{"ok": false}`."""
    if isinstance(value, dict) and cast("dict[str, object]", value).get("ok") is False:
        raise ValueError("the service acknowledges with ok: false")


def _listing(kind: Any) -> Callable[[Any, Leftovers], Listing[Any]]:  # noqa: ANN401 - a type
    """Read the rows of a list answer, bare or not, and what stands around them."""

    def read_listing(value: object, answer: Leftovers) -> Listing[Any]:
        rows, faults = _members(
            value if isinstance(value, Rows) else rows_of(value), _reader(kind), answer
        )
        problems = [problem for fault in faults for problem in fault]
        if faults and (not rows or len(faults) == MAX_FAULTS):
            raise FaultsError(problems)
        around = value.envelope if isinstance(value, Rows) else envelope_of(value)
        # Where the next page is may be in what would be dropped.
        if size_of(around, MAX_EXTRA_BYTES) is None:
            most = f"{MAX_EXTRA_BYTES // 1024} KiB"
            raise TypeError(f"expected a list, got an object with more than {most} beside it")
        return Listing(rows, unreadable=_placed("$", FaultsError(problems)), extra=around)

    return read_listing


def _tuple(kind: Any) -> Callable[[Any, Leftovers], tuple[Any, ...]]:  # noqa: ANN401 - a type
    """Read a list inside a document."""
    reader = _reader(kind)

    def read_tuple(value: Any, answer: Leftovers) -> tuple[Any, ...]:  # noqa: ANN401 - JSON
        values: list[object] = value
        if not isinstance(value, list):
            raise expected("a list", value)
        members, faults = _members(values, reader, answer)
        if faults:
            raise FaultsError([problem for fault in faults for problem in fault])
        return tuple(members)

    return read_tuple


def _members(
    values: Iterable[object], reader: Reader, answer: Leftovers
) -> tuple[list[Any], list[list[str]]]:
    """Read the members of a list up to the tenth that is wrong; return what is wrong as well."""
    members: list[Any] = []
    faults: list[list[str]] = []
    read_member = reader.read
    for index, value in enumerate(values):
        try:
            members.append(read_member(value, answer))
        except (TypeError, ValueError) as error:
            faults.append(_placed(f"[{index}]", error))
            if len(faults) == MAX_FAULTS:
                break
    return members, faults


class _ModelReader:
    """Reads objects into a model, their unknown and unreadable fields into `extra`.

    A member that is null is left out, as if it were missing.
    """

    def __init__(self, model: type[Any]) -> None:
        hints = get_type_hints(model)
        attributes = [each for each in fields(model) if each.name != EXTRA]
        self._model = model
        self._fields = [
            (wire_name(each.name), each.name, _field_reader(model, each.name, hints[each.name]))
            for each in attributes
        ]
        self._known = frozenset(wire_name(each.name) for each in attributes)
        self._needed = {each.name for each in attributes if each.default is NOTHING}
        self._deciding = self._needed | {name for owner, name in DECIDING if owner is model}
        # Most outcomes have one of a few summaries, and share it.
        self._make = lru_cache(maxsize=1024)(model) if model is RunSummary else model

    def read(self, value: Any, answer: Leftovers) -> Any:  # noqa: ANN401 - JSON, and a model
        """Read an object; see `Reader`."""
        members: dict[str, Any] = value
        if not isinstance(value, dict):
            raise expected("an object", value)
        values: dict[str, Any] = {}
        wrong: dict[str, Exception] = {}
        # What nearly all answers hold is read without a call of a function for each member.
        for name, attribute, (read_other, of_text, of_number) in self._fields:
            member: Any = members.get(name)
            if member is None:
                continue
            kind = member.__class__
            try:
                if kind is str and of_text is not None and len(member) <= SHARED_LENGTH:
                    values[attribute] = of_text(member)
                elif kind in of_number and -LEAST_TOO_LARGE < member < LEAST_TOO_LARGE:
                    values[attribute] = member
                else:
                    values[attribute] = read_other(member, answer)
            except (TypeError, ValueError) as error:
                wrong[name] = error
        if wrong or not self._needed <= values.keys():
            self._leave_out(values, wrong, answer)
        # It decides whether a status that is not documented is in flight.
        is_open = (
            self._model is Run
            and END in members
            and END not in wrong
            and values.get("finished_at") is None
            and not isinstance(values["status"], RunStatus)
        )
        if not wrong and not is_open and members.keys() <= self._known:
            return self._make(**values)
        extra = self._extra(members, wrong, answer)
        return self._model(**values, extra=extra | {END: None} if is_open else extra)

    def _leave_out(
        self, values: dict[str, Any], wrong: dict[str, Exception], answer: Leftovers
    ) -> None:
        """Note the fields that can't be read.

        Raises:
            FaultsError: The model can't do without one of them, or without one that is missing.
        """
        faults: list[str] = []
        for name, attribute, *_ in self._fields:
            if name in wrong and attribute in self._deciding:
                faults += _placed(f".{name}", wrong[name])
            elif attribute in self._needed and attribute not in values:
                faults.append(f"missing or null at .{name}")
        if faults:
            raise FaultsError(faults)
        for name, error in wrong.items():
            answer.add(self._model, name, _placed(f"$.{name}", error)[0])

    def _extra(
        self, members: dict[str, Any], wrong: Iterable[str], answer: Leftovers
    ) -> dict[str, Any]:
        """Return what has no field or can't be read, as far as it is kept."""
        return {
            name: member
            for name, member in members.items()
            if (name in wrong or name not in self._known) and answer.keep(self._model, name, member)
        }


def _field_reader(model: type[Any], name: str, hint: object) -> Reader:
    """Return how a field is read, also where its type alone does not say it."""
    reader = _reader(hint)
    if name in ID_FIELDS:
        reader = ID_TEXT
    elif name in WORD_FIELDS and reader is NAME:
        reader = WORD
    elif name == "log" and model in {Run, Diagnosis}:
        reader = TEXT_OF_LINES
    return reader


def _dispatched(shape: type[Any]) -> Callable[[Any, Leftovers], Any]:
    """Read the answer to a dispatch, also one level down: `{"data": {…}}`, `{"run": {"id": 1}}`.

    An id that is nobody's but perhaps the request's own is never taken for the operation's.
    """
    read_flat = _ModelReader(shape).read
    id_name = wire_name(fields(shape)[0].name)

    def read_dispatched(value: Any, answer: Leftovers) -> Any:  # noqa: ANN401 - JSON, and a model
        members: dict[str, Any] = value
        if not isinstance(value, dict):
            raise expected("an object", value)
        if id_name in members:
            return read_flat(members, answer)
        inner = [
            ({id_name: each["id"]} if "id" in each and name in DISPATCHED_IN[shape] else {}) | each
            for name, each in cast("dict[str, dict[str, object]]", members).items()
            if isinstance(each, dict)
        ]
        found = [each for each in inner if id_name in each]
        return read_flat(members | found[0] if len(found) == 1 else members, answer)

    return read_dispatched
