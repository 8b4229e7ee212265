"""What was wrong with a call, and what was probably meant, in one sentence.

It decides what the words mean that people know from other tools: gh, pytest, Playwright, nextest.
Nothing is run for them that was not typed; `app` has the few that are plainly another name.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from cyclopts.exceptions import (
    CoercionError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from testvibe_async.cli.words import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cyclopts import CycloptsError

__all__ = ["usage_sentence"]


def _by_word(meanings: Mapping[str, str]) -> dict[str, str]:
    """Return what each word means, from the words that mean each thing."""
    return {word: meant for words, meant in meanings.items() for word in words.split()}


_COMMANDS = _by_word(
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
)
"""What words mean that are no commands, where a word that looks similar means something else."""

_OF_A_GROUP = {
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
            "wait watch": f"{NAME} wait ID",
        }
    ),
}
"""The same for the commands of a group."""

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


def usage_sentence(error: CycloptsError) -> str:
    """Return what was wrong with a call, and where its help is."""
    command = " ".join([NAME, *(error.command_chain or ())])
    return f"{_what(error, command).rstrip('.')}; see {command} --help"


def _what(error: CycloptsError, command: str) -> str:
    first = error.unused_tokens[0] if error.unused_tokens else ""
    match error:
        case MissingArgumentError():
            return _missing(error, command)
        case UnusedCliTokensError():
            return f"{first!r} is more than {command} takes: put a name of several words in quotes"
        case UnknownCommandError():
            assert error.app is not None
            group = next(iter(error.command_chain or ()), None)
            return _unknown_command(first, [n for n in error.app if not n.startswith("-")], group)
        case UnknownOptionError():
            options = [name for each in error.argument_collection for name in each.names]
            return _unknown_option(error.token.keyword or error.token.value, options)
        case CoercionError(target_type=type(__name__="int")) if error.token is not None:
            return _no_number(error)
        case _:
            text = str(error)
            return text[:1].lower() + text[1:]


def _unknown_command(word: str, commands: list[str], group: str | None) -> str:
    """Suggest what is usually meant, the most similar command, or all; none is loaded for that."""
    if word.startswith("-"):
        return f"unknown option {word}: options stand after the command"
    meant = (_COMMANDS if group is None else _OF_A_GROUP.get(group, {})).get(word)
    similar = get_close_matches(word, commands, n=1)
    return f"unknown command {word!r}: {_question(meant, similar)}" + (
        "" if meant or similar else f"there are {', '.join(commands)}"
    )


def _unknown_option(typed: str, options: Iterable[str]) -> str:
    word = typed.partition("=")[0]
    similar = get_close_matches(word, list(options), n=1, cutoff=0.75)
    question = _question(_OPTIONS.get(word), similar)
    return f"unknown option {word}: {question}" if question else f"unknown option {word}"


def _question(meant: str | None, similar: list[str]) -> str:
    """Ask whether something was meant; what is known to be comes before what looks similar."""
    found = meant or next(iter(similar), None)
    if found is None:
        return ""
    return f"did you mean {found}" + ("" if "?" in found else "?")


def _no_number(error: CoercionError) -> str:
    assert error.token is not None
    name = error.argument.name.lstrip("-").upper() if error.argument is not None else "it"
    name = error.token.keyword or name
    where = f"; {NAME} runs list shows the ids" if name == "RUN" else ""
    return f"{name} is a whole number, and {error.token.value!r} is none{where}"


def _missing(error: MissingArgumentError, command: str) -> str:
    """Distinguish an option without its value from one that was left out."""
    argument = error.argument
    assert argument is not None
    typed = error.keyword or next((token.keyword for token in argument.tokens), None)
    if typed is not None:
        return f"{typed} needs a value"
    is_positional = argument.index is not None
    return (
        f"{command} needs {argument.name.lstrip('-').upper() if is_positional else argument.name}"
    )
