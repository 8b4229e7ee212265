"""Conversion of single JSON values: texts, numbers, instants, and the service's words.

Decides which forms of each are accepted; a `TypeError` names the expected form. It knows no field.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import NoReturn, cast

from testvibe_async._core.wire.values import expected
from testvibe_async.models import DRAFT, FeatureStatus, RunStatus

SHARED_LENGTH = 64
"""Maximum length of a string that is most likely a name, shared by many answers."""

MAX_DIGITS = 100
"""Maximum number of digits of an integer: one of 309 exceeds any float, and breaks arithmetic."""

LEAST_TOO_LARGE = 10**MAX_DIGITS

WORDS = {
    *(*RunStatus, *FeatureStatus, DRAFT),
    *("feature", "suggestion"),
    *("queued", "in_progress", "completed", "success", "failure"),
    *("trace", "screenshot", "video", "report"),
    *("template", "stored"),
}
"""The service's words, documented and assumed. They are recognized in any case."""

WORDS_IN_FLIGHT = {
    *("running", "generating", "queued", "pending"),
    *("inprogress", "executing", "starting", "planning"),
}
"""Documented or likely words for an unfinished operation, without spaces, `-` and `_`."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ASSUMED = timezone(timedelta(), "UTC")
"""The zone of an instant that was read from a text without one; equal to UTC, not the same."""

MIN_MILLISECONDS = 1e11
"""Number from which an instant counts milliseconds, not seconds: 1973, or the year 5138."""


def read_text(value: object, _type: object = None) -> str:
    """Read a text."""
    if not isinstance(value, str):
        raise expected("a string", value)
    return value


def read_name(value: object, _type: object = None) -> str:
    """Read a text that is most likely a name, if it is short."""
    text = read_text(value)
    return shared(text) if len(text) <= SHARED_LENGTH else text


@lru_cache(maxsize=1024)
def shared(name: str) -> str:
    """Return one object for equal names: outcomes repeat the same names thousands of times."""
    return name


def read_id_text(value: object, _type: object = None) -> str:
    """Read an id that is a text, and may come as a number."""
    return str(read_integer(value)) if type(value) is int else read_name(value)


def read_word(value: object, _type: object = None) -> str:
    """Read a word of the service, in the documented spelling if it is known."""
    text = read_text(value)
    return documented(text) if len(text) <= SHARED_LENGTH else text


@lru_cache(maxsize=1024)
def documented(text: str) -> str:
    """Return a word in its documented spelling if it is known."""
    return known if (known := text.casefold()) in WORDS else text


def says_in_flight(word: str) -> bool:
    """Return whether a status can only mean that an operation has not finished."""
    return len(word) <= SHARED_LENGTH and _says_in_flight(word)


@lru_cache(maxsize=1024)
def _says_in_flight(word: str) -> bool:
    return re.sub(r"[\s_-]", "", word.casefold()) in WORDS_IN_FLIGHT


def read_integer(value: object, _type: object = None) -> int:
    """Read an integer, which may be written as digits."""
    if isinstance(value, str) and re.fullmatch(rf"-?[0-9]{{1,{MAX_DIGITS}}}", value):
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise expected("an integer", value)
    if abs(value) >= LEAST_TOO_LARGE:
        raise expected(f"an integer of at most {MAX_DIGITS} digits", value)
    return value


def read_number(value: object, _type: object = None) -> float:
    """Read a number, whole or not."""
    if isinstance(value, float):
        return value
    try:
        return read_integer(value)
    except TypeError:
        raise expected("a number", value) from None


def refuse_truth(value: object, _type: object = None) -> NoReturn:
    """Refuse what is neither true nor false: those are kept as they are."""
    raise expected("true or false", value)


def read_instant(value: object, _type: object = None) -> datetime | None:
    """Read an instant: a text such as 2026-06-10T14:32:07Z, or a number since 1970.

    None for the year 1: .NET writes its first instant for a missing one.
    """
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _instant_at(value)
        return instant_of(cast("str", value))
    except (TypeError, ValueError, OverflowError):
        raise expected("a time such as 2026-06-10T14:32:07Z", value) from None


def _instant_at(number: float) -> datetime | None:
    """Read an instant as a number: seconds since 1970, or milliseconds if it is very large."""
    seconds = number / 1000 if abs(number) >= MIN_MILLISECONDS else number
    instant = EPOCH + timedelta(seconds=seconds)
    return None if instant.year == 1 else instant


@lru_cache(maxsize=1024)
def instant_of(text: str) -> datetime | None:
    """Read an instant as a text; raise a `ValueError` or `OverflowError` if it is not one."""
    text = text if len(text) <= SHARED_LENGTH else ""
    if dotnet := re.fullmatch(r"/Date\((-?[0-9]+)([+-][0-9]{4})?\)/", text):
        instant = EPOCH + timedelta(milliseconds=int(dotnet[1]))  # The zone is only for display.
        return None if instant.year == 1 else instant
    instant = datetime.fromisoformat(text)
    if instant.year == 1:
        return None
    return instant.replace(tzinfo=ASSUMED) if instant.tzinfo is None else instant.astimezone(UTC)


def read_text_of_lines(value: object, _type: object = None) -> str:
    """Read a log, whose type is not documented: a string, or a list of lines."""
    if isinstance(value, list):
        return "\n".join(read_text(line) for line in cast("list[object]", value))
    return read_text(value)
