"""Single values of JSON: texts, numbers, instants, and the service's words.

Decides in which forms each may come; a `TypeError` says what was expected. It knows no field.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from testvibe_async._wire.json import expected
from testvibe_async.models import DRAFT, FeatureStatus, RunStatus

if TYPE_CHECKING:
    from collections.abc import Callable
    from enum import StrEnum

__all__ = [
    "ID_TEXT",
    "INSTANT",
    "INTEGER",
    "LEAST_TOO_LARGE",
    "NAME",
    "NUMBER",
    "SHARED_LENGTH",
    "TEXT_OF_LINES",
    "TRUTH",
    "WORD",
    "Reader",
    "enum_reader",
    "read_instant",
    "read_integer",
    "says_in_flight",
]

SHARED_LENGTH = 64
"""Up to this length a string is most likely a name, which other answers have too."""

MAX_DIGITS = 100
"""The most digits of an integer: one of 309 is beyond any float, and so beyond arithmetic."""

LEAST_TOO_LARGE = 10**MAX_DIGITS

WORDS = {
    *(*RunStatus, *FeatureStatus, DRAFT),
    *("feature", "suggestion"),
    *("queued", "in_progress", "completed", "success", "failure"),
    *("trace", "screenshot", "video", "report"),
    *("template", "stored"),
}
"""The service's words, documented and assumed. They are found in any case."""

WORDS_IN_FLIGHT = {
    *("running", "generating", "queued", "pending"),
    *("inprogress", "executing", "starting", "planning"),
}
"""The words for what is not over, documented or likely, without spaces, hyphens and underscores."""

TIME = "a time such as 2026-06-10T14:32:07Z"

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

MIN_MILLISECONDS = 1e11
"""From here on an instant as a number counts milliseconds, not seconds: 1973, or the year 5138."""


class Reader(NamedTuple):
    """How a value is read: in any form, and the usual forms at once."""

    read: Callable[[Any, Any], Any]
    """Takes a value that is not null, in any form, and what else is known of the answer.

    It raises a `TypeError` or a `ValueError`.
    """

    of_text: Callable[[str], Any] | None = None
    """Takes a text of at most `SHARED_LENGTH` characters; None where `read` must see it."""

    of_number: frozenset[type] = frozenset()
    """The types whose values are what they should be, if they are below `LEAST_TOO_LARGE`."""


def _read_text(value: object, _answer: object = None) -> str:
    if not isinstance(value, str):
        raise expected("a string", value)
    return value


def _read_name(value: object, _answer: object = None) -> str:
    """Read a text that is most likely a name, if it is short."""
    text = _read_text(value)
    return _shared(text) if len(text) <= SHARED_LENGTH else text


@lru_cache(maxsize=1024)
def _shared(name: str) -> str:
    """Return one object for equal ones: outcomes repeat the same names thousands of times."""
    return name


def _read_id_text(value: object, _answer: object = None) -> str:
    """Read an id that is a text, and may come as a number."""
    return str(read_integer(value)) if type(value) is int else _read_name(value)


@lru_cache(maxsize=1024)
def _word(text: str) -> str:
    """Return a word of the service, in the documented spelling if it is a known one."""
    return known if (known := text.casefold()) in WORDS else text


def enum_reader(kind: type[StrEnum]) -> Reader:
    """Read a word of an enum; another word stays a plain string."""
    words: dict[str, str] = {member.value: member for member in kind}

    @lru_cache(maxsize=1024)
    def of_text(text: str) -> str:
        return words.get(text.casefold(), text)

    return Reader(_read_text, of_text)


def says_in_flight(word: str) -> bool:
    """Say whether a status can only mean that an operation is not over."""
    return len(word) <= SHARED_LENGTH and _says_in_flight(word)


@lru_cache(maxsize=1024)
def _says_in_flight(word: str) -> bool:
    return re.sub(r"[\s_-]", "", word.casefold()) in WORDS_IN_FLIGHT


def read_integer(value: object, _answer: object = None) -> int:
    """Read an integer, which may be written as digits."""
    if isinstance(value, str) and re.fullmatch(rf"-?[0-9]{{1,{MAX_DIGITS}}}", value):
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise expected("an integer", value)
    if abs(value) >= LEAST_TOO_LARGE:
        raise expected(f"an integer of at most {MAX_DIGITS} digits", value)
    return value


def _read_number(value: object, _answer: object = None) -> float:
    """Read a number, whole or not."""
    if isinstance(value, float):
        return value
    try:
        return read_integer(value)
    except TypeError:
        raise expected("a number", value) from None


def _read_truth(value: object, _answer: object = None) -> bool:
    if not isinstance(value, bool):
        raise expected("true or false", value)
    return value


def read_instant(value: object, _answer: object = None) -> datetime | None:
    """Read an instant: a text such as 2026-06-10T14:32:07Z, or a number since 1970.

    None for the first year: .NET writes its first instant where there is none.
    """
    if isinstance(value, str) and len(value) <= SHARED_LENGTH:
        return _instant_of(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            return _instant_at(value)
    raise expected(TIME, value)


def _instant_at(number: float) -> datetime | None:
    """Read an instant as a number: seconds since 1970, or milliseconds where it is very large."""
    seconds = number / 1000 if abs(number) >= MIN_MILLISECONDS else number
    instant = EPOCH + timedelta(seconds=seconds)
    return None if instant.year == 1 else instant


@lru_cache(maxsize=1024)
def _instant_of(text: str) -> datetime | None:
    try:
        if dotnet := re.fullmatch(r"/Date\((-?[0-9]+)([+-][0-9]{4})?\)/", text):
            # The zone is how it was shown.
            instant = EPOCH + timedelta(milliseconds=int(dotnet[1]))
        else:
            instant = datetime.fromisoformat(text)
        if instant.year == 1:
            return None
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):
        raise expected(TIME, text) from None


def _read_text_of_lines(value: object, _answer: object = None) -> str:
    """Read a log, whose type is not documented: a string, or a list of lines."""
    if isinstance(value, list):
        return "\n".join(_read_text(line) for line in cast("list[object]", value))
    return _read_text(value)


NAME = Reader(_read_name, _shared)
WORD = Reader(_read_text, _word)
ID_TEXT = Reader(_read_id_text, _shared)
TEXT_OF_LINES = Reader(_read_text_of_lines)
INSTANT = Reader(read_instant, _instant_of)
INTEGER = Reader(read_integer, of_number=frozenset({int}))
NUMBER = Reader(_read_number, of_number=frozenset({int, float}))
TRUTH = Reader(_read_truth, of_number=frozenset({bool}))
