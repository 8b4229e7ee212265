"""The words of the command line: one sentence for an error, readable numbers and times.

It decides nothing else; `usage` has the sentences for a wrong call. An error's sentence says what
was wrong and what would be right, and leaves out what only a programmer would look for: -vv shows
that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from testvibe_async import (
    FeatureNotGeneratedError,
    IncompleteListError,
    MalformedResponseError,
    NotSentError,
    ResponseError,
    TransportError,
    UnauthorizedError,
    VibeError,
)
from testvibe_async._util import escape
from testvibe_async.models import DEFAULT_CONFIG

if TYPE_CHECKING:
    from datetime import datetime

    from testvibe_async import BatchItem, Generation, Run
    from testvibe_async.events import Event

__all__ = [
    "NAME",
    "UNSEEN",
    "Item",
    "clock_time",
    "counted",
    "duration",
    "error_sentence",
    "event_sentence",
    "item_name",
    "plural",
    "reason",
    "unless_default",
]

NAME = "testvibe-async"
"""The name of the command."""

Item: TypeAlias = "BatchItem[Run | Generation]"
"""A feature with a configuration: to be dispatched, in flight, or over."""

UNSEEN = "not seen"
"""The word for an operation that may be running or over: its last polls failed."""


def plural(number: int, noun: str) -> str:
    """Return a number of things, such as `1 test` or `2 tests`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def counted(number: int, word: str) -> str:
    """Return how many have a status, such as `2 passed` or `2 errors`."""
    return plural(number, word) if word == "error" else f"{number} {word}"


def duration(seconds: float, *, short: bool = False) -> str:
    """Return a duration, such as `9.5 s`, `1:32` or `1:00:05`; `short` leaves out the tenth."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.0f} s" if short else f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def clock_time(at: datetime) -> str:
    """Return an instant as a clock in this place shows it, such as `16:02:11`."""
    return f"{at.astimezone():%H:%M:%S}"


def unless_default(config: str | None) -> str | None:
    """Return a configuration's name; None for the default one, which is not worth naming."""
    return None if config == DEFAULT_CONFIG else config


def item_name(item: Item) -> str:
    """Return a feature's name, and the configuration if it is not the default one."""
    config = unless_default(item.config or getattr(item.outcome, "config", None))
    return f"{item.feature_name} [{config}]" if config else item.feature_name


def reason(error: VibeError | OSError) -> str:
    """Return why something went wrong, in few words, without an address."""
    if isinstance(error, OSError) and not isinstance(error, VibeError):
        return escape(f"{error.filename or 'this machine'}: {error.strerror or error}")
    # Its import is needed only where something went wrong.
    from testvibe_async.reports import why  # noqa: PLC0415

    return escape(why(error))


def error_sentence(error: VibeError) -> str:
    """Return the error of a command, and the remedy."""
    if isinstance(error, IncompleteListError):
        return error.message
    if isinstance(error, TransportError):
        return _unreachable(error)
    if isinstance(error, MalformedResponseError) or not isinstance(error, ResponseError):
        return reason(error)
    code = f"{error.status} {error.code}" if error.code else str(error.status)
    return f"{error.message} ({code}){_advice(error)}"


def _unreachable(error: TransportError) -> str:
    host = urlsplit(error.url).netloc
    if isinstance(error, NotSentError):
        return f"{host} is not reachable: {error.what}"
    return f"{host} gave no whole answer: {error.what}"


def event_sentence(event: Event) -> str | None:
    """Return what a user needs to know of an event that is logged; None if the log's line is it.

    Args:
        event: The event, whose own line has the names of classes and fields.
    """
    # It brings asyncio, which commands without requests do without.
    from testvibe_async.events import Paused  # noqa: PLC0415

    if isinstance(event, Paused):
        seconds = f"{event.seconds:.3g} s"
        return f"the service asks for a pause, so nothing is sent for {seconds}: " + reason(
            event.error
        )
    return None


def _advice(error: ResponseError) -> str:
    """Return the notes that the command added; else what errors of this kind call for."""
    if notes := getattr(error, "__notes__", ()):
        return f"; {'; '.join(notes)}"
    if isinstance(error, UnauthorizedError):
        return "; testvibe-async settings shows the key in force"
    if isinstance(error, FeatureNotGeneratedError):
        return "; generate it first"
    return ""
