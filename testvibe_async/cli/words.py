"""What the command line says in words: texts from the service made harmless, numbers made readable.

Pure functions, for all commands. Nothing that came from the service reaches a terminal but through
`clean`: neither colours nor control characters in it take effect.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from testvibe_async import ResponseError, TransportError
from testvibe_async.models import DEFAULT_CONFIG

if TYPE_CHECKING:
    from testvibe_async import VibeError

__all__ = ["clean", "counted", "duration", "many", "reason", "unusual"]

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def clean(text: str) -> str:
    """Return a text without its colours, and with all else that a terminal might obey escaped."""
    return _UNPRINTABLE.sub(_escape, _COLOURS.sub("", text))


def reason(error: VibeError) -> str:
    """Return why something went wrong, as shortly as the error allows."""
    if isinstance(error, ResponseError):
        return clean(error.message)
    return clean(error.what if isinstance(error, TransportError) else str(error))


def many(number: int, noun: str) -> str:
    """Return a number of things, such as `1 test` or `2 tests`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def counted(number: int, word: str) -> str:
    """Return how many stand so, such as `2 passed` or `2 errors`."""
    return many(number, word) if word == "error" else f"{number} {word}"


def duration(seconds: float) -> str:
    """Return a time that went by, such as `9.5 s`, `1:32` or `1:00:05`."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def unusual(config: str | None) -> str | None:
    """Return a configuration's name, but for the usual one, which goes without saying."""
    return None if config == DEFAULT_CONFIG else config


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
