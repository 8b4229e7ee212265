"""Errors in the use of a command, and the corrections that they suggest.

This module interprets options that people know from other tools: gh, pytest, Playwright, nextest.
Words for commands are the synonyms of the commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cyclopts.exceptions import UnknownCommandError, UnknownOptionError, UnusedCliTokensError

from testvibe_async.cli.words import NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyclopts import CycloptsError


_LISTED = {"features", "files", "runs"}
"""Groups that run their list command if a call names none of their commands."""

_OPTIONS = {
    word: meant
    for words, meant in {
        "--feature --features -f": "the name without an option: run Checkout",
        "-k -g -E --grep --filter --filterset --match --pattern --prefix": (
            "a name or a glob without an option: run 'Log*'"
        ),
        "--failed-only --lf --last-failed --only-failed --only-failures --rerun --rerun-failed": (
            "--failed"
        ),
        "--junit --junitxml --junit-xml --reporter --output -o --xml": "--report junit.xml",
        "--html": "--report report.html",
        "-x --bail --exitfirst --fail-fast --maxfail --stop-on-failure": "--max-failures N",
        "--max-retries --reruns --retries --retry": "--attempts N, which counts the first one too",
        "-n --concurrency --jobs --numprocesses --parallel --test-threads --workers": (
            "--max-in-flight N"
        ),
        "--collect-only --list": "features list, which shows what --all runs",
        "--continue --resume": f"{NAME} resume",
        "--base-url --url": "--site-url URL",
        "--api-key --key --token --with-token": f"{NAME} login, which asks for the key, or reads "
        "it from standard input; TESTVIBE_API_KEY comes first",
        "--last --latest": f"{NAME} resume, for the last batch",
        "--since": "--days N",
    }.items()
    for word in words.split()
}
"""Options that no command has, and their meanings."""


def as_meant(arguments: Sequence[str]) -> list[str]:
    """Return the arguments, with `help` as an option, and `list` for a group without a command."""
    match arguments:
        case ["help", *rest]:
            return [*rest, "--help"]
        case [group, *rest] if group in _LISTED and not _has_command(rest):
            return [group, "list", *rest]
        case _:
            return list(arguments)


def _has_command(words: Sequence[str]) -> bool:
    """Return whether a group's words name a command, or ask for the group's help."""
    return any(not each.startswith("-") for each in words[:1]) or bool({"-h", "--help"} & {*words})


def usage_sentence(error: CycloptsError) -> str:
    """Return the error of a call, and the command for its help."""
    command = " ".join([NAME, *(error.command_chain or ())])
    return f"{_what(error, command).rstrip(' .,')}; see {command} --help"


def _what(error: CycloptsError, command: str) -> str:
    """Return the library's own sentence, unless ours says more."""
    typed = error.unused_tokens[0] if error.unused_tokens else ""
    match error:
        case UnusedCliTokensError():
            return f"{typed!r} is more than {command} takes: put a name of several words in quotes"
        case UnknownCommandError() if typed.startswith("-"):
            return f"no command stands before {typed}: its options come after it"
        case UnknownOptionError():
            typed = (error.token.keyword or error.token.value).partition("=")[0]
            if meant := _OPTIONS.get(typed):
                return f"unknown option: {typed}. Did you mean {meant}?"
        case _:
            pass
    text = str(error)
    return text[:1].lower() + text[1:]
