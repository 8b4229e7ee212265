"""What was wrong with a call, and what was probably meant.

It decides what the words mean that people know from other tools: gh, pytest, Playwright, nextest.
The few that are plainly another name of a command are taken for it; of the others a sentence asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cyclopts.exceptions import UnknownCommandError, UnknownOptionError, UnusedCliTokensError

from testvibe_async.cli.words import NAME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cyclopts import CycloptsError

__all__ = ["as_meant", "usage_sentence"]


def _by_word(meanings: Mapping[str, str]) -> dict[str, str]:
    """Return what each word means, from the words that mean each thing."""
    return {word: meant for words, meant in meanings.items() for word in words.split()}


_SAME = {
    "version": "--version",
    "watch": "wait",
    "runs watch": "wait",
    "run watch N": "wait N",
    "run view N": "runs show N",
    "run show N": "runs show N",
    "runs N": "runs show N",
    "auth login": "login",
    "auth logout": "logout",
    "configs list": "configs",
    "configs ls": "configs",
    "projects list": "projects",
    "projects ls": "projects",
    "features ls": "features list",
    "files ls": "files list",
    "runs ls": "runs list",
}
"""The beginnings of calls that are another name; N is a number."""

_LISTED = {"features", "files", "runs"}
"""The groups that list what they are about, where no command of theirs is typed."""

_COMMANDS = {
    "": _by_word(
        {
            "artifacts files": "runs artifacts ID",
            "abort cancel kill stop": "generation cancel FEATURE? A run can't be cancelled; Ctrl-C "
            "stops waiting for it, and resume goes on",
            "auth configure init setup signin": "login",
            "config env whoami": "settings",
            "continue restart": "resume",
            "debug diagnose explain why": "runs diagnose ID",
            "download": "runs download ID DIRECTORY",
            "flaky stats trends": "history",
            "codegen create gen": "generate FEATURE",
            "list": "features list, or runs list",
            "log logs": "generation log FEATURE, or runs diagnose ID",
            "rerun retry": "run --failed",
            "show view": "features show FEATURE, or runs show ID",
            "show-report show-trace trace": "open ID",
            "start test": "run FEATURE --wait",
            "status": "generation status FEATURE, or runs show ID",
        }
    ),
    "features": _by_word(
        {
            "add new": "create",
            "cat get view": "show",
            "edit set": "update",
            "remove rm": "delete",
            "gen generate": f"{NAME} generate FEATURE",
            "run test": f"{NAME} run FEATURE --wait",
        }
    ),
    "runs": _by_word(
        {
            "cancel": f"Ctrl-C? It stops waiting, and a run can't be cancelled; {NAME} resume",
            "explain log logs why": "diagnose",
            "get view": "show",
            "open trace": f"{NAME} open ID",
            "rerun retry": f"{NAME} run --failed",
            "wait": f"{NAME} wait ID",
        }
    ),
}
"""What words mean that are no commands, by the group that they were typed in."""

_GLOB = "a name or a glob without an option: run 'Log*'"

_OPTIONS = _by_word(
    {
        "--feature --features -f": "the name without an option: run Checkout",
        "-k -g -E --grep --filter --filterset --match --pattern --prefix": _GLOB,
        "--failed-only --lf --last-failed --only-failed --only-failures --rerun --rerun-failed": (
            "--failed"
        ),
        "--junit --junitxml --junit-xml --reporter --output -o --xml": "--report junit.xml",
        "--html": "--report report.html",
        "-x --bail --exitfirst --fail-fast --max-failures --maxfail": "--stop-on-failure",
        "--max-retries --reruns --retries --retry": "--attempts N, which counts the first one too",
        "-n --concurrency --jobs --numprocesses --parallel --test-threads --workers": (
            "--max-in-flight N"
        ),
        "--collect-only --dry-run --list": "features list, which shows what --all runs",
        "--continue --resume": f"{NAME} resume",
        "--base-url --url": "--site-url URL",
        "--api-key --key --token --with-token": f"{NAME} login, which asks for the key, or reads "
        "it from standard input; TESTVIBE_API_KEY comes first",
        "--last --latest": f"{NAME} resume, for the last batch",
        "--since": "--days N",
    }
)
"""What options mean that no command has."""


def as_meant(arguments: Sequence[str]) -> list[str]:
    """Return what was typed, with another name of a command replaced by its own."""
    match arguments:
        case ["help", *rest]:
            return [*rest, "--help"]
        case [group, *rest] if group in _LISTED and not _has_command(rest):
            return [group, "list", *rest]
        case _:
            pass
    for guess, meant in _SAME.items():
        length = len(guess.split())
        numbers = [each for each in arguments[1:length] if each.isdecimal()]
        if " ".join("N" if each in numbers else each for each in arguments[:length]) == guess:
            return [*" ".join([meant.removesuffix(" N"), *numbers]).split(), *arguments[length:]]
    return list(arguments)


def _has_command(words: Sequence[str]) -> bool:
    """Return whether a group's words name a command, or ask for the group's help."""
    return any(not each.startswith("-") for each in words[:1]) or bool({"-h", "--help"} & {*words})


def usage_sentence(error: CycloptsError) -> str:
    """Return what was wrong with a call, and where its help is."""
    command = " ".join([NAME, *(error.command_chain or ())])
    return f"{_what(error, command).rstrip('.')}; see {command} --help"


def _what(error: CycloptsError, command: str) -> str:
    """Return the library's own sentence, unless ours says more."""
    typed = error.unused_tokens[0] if error.unused_tokens else ""
    meant = None
    match error:
        case UnusedCliTokensError():
            return f"{typed!r} is more than {command} takes: put a name of several words in quotes"
        case UnknownCommandError() if typed.startswith("-"):
            return f"unknown option {typed}: options stand after the command"
        case UnknownCommandError():
            meant = _COMMANDS.get(" ".join(error.command_chain or ()), {}).get(typed)
        case UnknownOptionError():
            typed = (error.token.keyword or error.token.value).partition("=")[0]
            meant = _OPTIONS.get(typed)
        case _:
            pass
    text = str(error) if meant is None else f"Unknown: {typed}. Did you mean {meant}?"
    return text[:1].lower() + text[1:]
