"""The words of the command line: one sentence for an error, readable numbers and times.

It decides nothing else. An error's sentence says what was wrong and what would be right, and leaves
out what only a programmer would look for: -vv shows that.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cyclopts.exceptions import (
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

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

    from cyclopts import CycloptsError

    from testvibe_async import Event

__all__ = [
    "NAME",
    "clock_time",
    "counted",
    "duration",
    "error_sentence",
    "event_sentence",
    "plural",
    "reason",
    "unless_default",
    "usage_sentence",
]

NAME = "testvibe-async"
"""What the command is called."""


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
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def clock_time(at: datetime) -> str:
    """Return an instant as a clock in this place shows it, such as `16:02:11`."""
    return f"{at.astimezone():%H:%M:%S}"


def unless_default(config: str | None) -> str | None:
    """Return a configuration's name; None for the default one, which is not worth naming."""
    return None if config == DEFAULT_CONFIG else config


def reason(error: VibeError) -> str:
    """Return why something went wrong, in few words, without an address."""
    # Its import is needed only where something went wrong.
    from testvibe_async.reports import why  # noqa: PLC0415

    return escape(why(error))


def error_sentence(error: VibeError) -> str:
    """Return what went wrong with a command, and what to do about it."""
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
    """Return what a user needs to know of an event that is logged; None where the log's line is it.

    Args:
        event: The event, whose own line has the names of classes and fields.
    """
    # It brings asyncio, which commands without requests do without.
    from testvibe_async import Paused  # noqa: PLC0415

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


_MEANT = {
    "artifacts": "runs artifacts ID",
    "cancel": "generation cancel FEATURE",
    "diagnose": "runs diagnose ID",
    "download": "runs download ID DIRECTORY",
    "list": "features list, or runs list",
    "log": "generation log FEATURE",
    "logs": "generation log FEATURE",
    "rerun": "run --failed",
    "retry": "run --failed",
    "show": "features show FEATURE, or runs show ID",
    "status": "generation status FEATURE, or runs show ID",
    "watch": "wait",
}
"""What those who type a word that is no command usually mean."""

_MEANT_OPTIONS = {
    "--html": "--report report.html",
    "--junit": "--report junit.xml",
    "--output": "--report FILE",
    "--parallel": "--max-in-flight N",
    "--retries": "--attempts N",
    "--rerun-failed": "--failed",
    "--workers": "--max-in-flight N",
}
"""The same for options of commands that wait."""


def usage_sentence(error: CycloptsError) -> str:
    """Return what was wrong with a call, and where its help is."""
    command = " ".join([NAME, *(error.command_chain or ())])
    return f"{_usage_error(error, command).rstrip('.')}; see {command} --help"


def _usage_error(error: CycloptsError, command: str) -> str:
    if isinstance(error, MissingArgumentError):
        return _missing(error, command)
    first = error.unused_tokens[0] if error.unused_tokens else ""
    if isinstance(error, UnusedCliTokensError):
        return f"{first!r} is more than {command} takes: put a name of several words in quotes"
    if isinstance(error, UnknownCommandError):
        assert error.app is not None
        return _unknown(first, [name for name in error.app if not name.startswith("-")])
    word = (
        (error.token.keyword or error.token.value) if isinstance(error, UnknownOptionError) else ""
    )
    if word in _MEANT_OPTIONS:
        return f"unknown option {word}: did you mean {_MEANT_OPTIONS[word]}?"
    text = str(error)
    return text[:1].lower() + text[1:]


def _unknown(word: str, commands: list[str]) -> str:
    """Suggest what is usually meant, the most similar command, or all; none is loaded for that."""
    if word.startswith("-"):
        return f"unknown option {word}: options stand after the command"
    if word in _MEANT and "run" in commands:
        return f"unknown command {word!r}: did you mean {_MEANT[word]}?"
    similar = get_close_matches(word, commands, n=1)
    right = f"did you mean {similar[0]}?" if similar else f"there are {', '.join(commands)}"
    return f"unknown command {word!r}: {right}"


def _missing(error: MissingArgumentError, command: str) -> str:
    """Distinguish an option without its value from one that was left out."""
    argument = error.argument
    assert argument is not None
    typed = error.keyword or next((token.keyword for token in argument.tokens), None)
    if typed is not None:
        return f"{typed} needs a value"
    is_positional = argument.index is not None
    return f"{command} needs {argument.name.upper() if is_positional else argument.name}"
