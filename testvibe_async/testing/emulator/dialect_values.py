"""The members of a documented answer, as a dialect writes them: words, ids, times, odd types.

Pure. A member is known by its name, as the contract has it, at any depth. It never changes where a
member stands: see `dialect_answers`.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, cast
from uuid import UUID

if TYPE_CHECKING:
    from .dialect import Dialect

__all__ = ["translate"]

_WORDS = frozenset(
    {
        "status",
        "featureStatus",
        "overallStatus",
        "overallConclusion",
        "conclusion",
        "state",
        "verdict",
        "kind",
        "source",
    }
)
_END_MARKS = frozenset({"finishedUtc", "overallConclusion"})
_IDS = frozenset({"id", "runId", "featureId"})
_TESTS = frozenset({"tests", "failures"})
_ELSEWHERE = timezone(timedelta(hours=2))
_DROPPED_BITS = 80  # of 128: 48 are left, which a double holds exactly


def translate(document: object, dialect: Dialect, *, of_tests: bool = False) -> object:
    """Return a document with all its members as the dialect writes them.

    Args:
        document: The document, or a part of it.
        dialect: The dialect.
        of_tests: True within a list of tests, whose statuses keep their documented words.
    """
    if isinstance(document, list):
        rows = cast("list[object]", document)
        return [translate(row, dialect, of_tests=of_tests) for row in rows]
    if isinstance(document, dict):
        members = cast("dict[str, object]", document)
        return {
            name: _member(name, value, dialect, of_tests=of_tests)
            for name, value in members.items()
        }
    return document


def _member(name: str, value: object, dialect: Dialect, *, of_tests: bool) -> object:
    if name in _END_MARKS and not dialect.shows_end:
        value = None
    if name.endswith("Utc"):
        return _time(value, dialect.times)
    if name in dialect.odd_fields:
        return None if value is None else _odd(name, value)
    if name in _IDS and dialect.ids_as_text and isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        if name in _WORDS:
            return _word(value if of_tests else dialect.words.get(value, value), dialect.case)
        if name == "requestId" and dialect.request_id_as_number:
            return UUID(value).int >> _DROPPED_BITS
    return translate(value, dialect, of_tests=of_tests or name in _TESTS)


def _word(word: str, case: str) -> str:
    match case:
        case "upper":
            return word.upper()
        case "title":
            return word.title().replace("_", "")
        case _:
            return word


def _time(value: object, style: str) -> object:
    if style == "empty":
        return ""
    if style == "seconds" or not isinstance(value, str):
        return value
    at = datetime.fromisoformat(value)
    seconds = int(at.timestamp())
    written = {
        "seven_digits": value.replace("Z", ".1234567Z"),
        "offset": at.astimezone(_ELSEWHERE).isoformat(),
        "no_zone": value.removesuffix("Z"),
        "epoch_seconds": seconds,
        "epoch_milliseconds": seconds * 1000,
        "date_call": f"/Date({seconds * 1000})/",
    }
    return written[style]


def _odd(name: str, value: object) -> object:
    match name:
        case "durationMs":
            return f"{value}ms"
        case "error":
            return {"message": value, "stack": str(value).splitlines()}
        case "log":
            lines = value.splitlines() if isinstance(value, str) else cast("list[str]", value)
            return [{"level": "info", "text": line} for line in lines]
        case "summary":
            counts = cast("dict[str, int]", value)
            return {key: str(count) for key, count in counts.items()}
        case "runnerStarted":
            return str(value).lower()
        case _:
            return str(value)
