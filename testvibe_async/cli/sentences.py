"""What went wrong, in one sentence for whoever typed the command.

It decides nothing but words. A sentence says what was wrong and what would be right, and leaves out
what only a programmer would look for: -vv shows that.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from cyclopts.exceptions import MissingArgumentError, UnknownCommandError, UnusedCliTokensError

from testvibe_async import (
    FeatureNotGeneratedError,
    MalformedResponseError,
    ResponseError,
    UnauthorizedError,
)

if TYPE_CHECKING:
    from cyclopts import CycloptsError

    from testvibe_async import VibeError

__all__ = ["NAME", "error_sentence", "usage_sentence"]

NAME = "testvibe-async"
"""What the command is called."""


def error_sentence(error: VibeError) -> str:
    """Return what an error says, a refusal in the service's own words."""
    if isinstance(error, MalformedResponseError) or not isinstance(error, ResponseError):
        return str(error)
    code = f"{error.status} {error.code}" if error.code else str(error.status)
    return f"{error.message} ({code}){_advice(error)}"


def _advice(error: ResponseError) -> str:
    """Return what to add: what the command noted of it, else what its kind calls for."""
    if notes := getattr(error, "__notes__", ()):
        return f"; {'; '.join(notes)}"
    if isinstance(error, UnauthorizedError):
        return "; testvibe-async settings shows the key in force"
    if isinstance(error, FeatureNotGeneratedError):
        return "; generate it first"
    return ""


def usage_sentence(error: CycloptsError) -> str:
    """Return what was wrong with a call, and how to read what would be right."""
    command = " ".join([NAME, *(error.command_chain or ())])
    return f"{_fault(error, command).rstrip('.')}; see {command} --help"


def _fault(error: CycloptsError, command: str) -> str:
    if isinstance(error, MissingArgumentError):
        return _missing(error, command)
    first = error.unused_tokens[0] if error.unused_tokens else ""
    if isinstance(error, UnusedCliTokensError):
        return f"{first!r} is more than {command} takes: put a name of several words in quotes"
    if isinstance(error, UnknownCommandError):
        assert error.app is not None
        return _unknown(first, [name for name in error.app if not name.startswith("-")])
    text = str(error)
    return text[:1].lower() + text[1:]


def _unknown(word: str, commands: list[str]) -> str:
    """Name the command that was meant, else all. No module is loaded for that."""
    if word.startswith("-"):
        return f"unknown option {word}: options stand after the command"
    similar = get_close_matches(word, commands, n=1)
    right = f"did you mean {similar[0]}?" if similar else f"there are {', '.join(commands)}"
    return f"unknown command {word!r}: {right}"


def _missing(error: MissingArgumentError, command: str) -> str:
    """Tell an option without its value from one that was left out."""
    argument = error.argument
    assert argument is not None
    typed = error.keyword or next((token.keyword for token in argument.tokens), None)
    if typed is not None:
        return f"{typed} needs a value"
    is_positional = argument.index is not None
    return f"{command} needs {argument.name.upper() if is_positional else argument.name}"
