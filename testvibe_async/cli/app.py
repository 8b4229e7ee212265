"""The commands by name, and how one is run.

It decides which commands there are, and nothing of what they do: their modules are loaded when they
are called. The exit code and message of a command that failed are decided in `exits`.
"""

from __future__ import annotations

import inspect
import io
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from cyclopts import App, Group

from testvibe_async._util import __version__
from testvibe_async.cli.common import Common
from testvibe_async.cli.exits import ENDING, ExitCode, log_to_standard_error, reporting
from testvibe_async.cli.help import SCREENS, screen
from testvibe_async.cli.output import Output
from testvibe_async.cli.words import NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from types import FrameType

    from testvibe_async.cli.exits import CommandResult

__all__ = ["app", "perform", "run"]

_COMMANDS = {
    "Runs and generations": {
        "run": "run:run",
        "runs": "runs:app",
        "generate": "generate:generate",
        "generation": "generate:app",
        "wait": "resume:wait",
        "resume": "resume:resume",
        "report": "resume:report",
        "discard": "resume:discard",
        "history": "history:history",
        "open": "runs:open_run",
        "batch": "batch:app",
    },
    "The project": {
        "features": "features:app",
        "files": "features:files",
        "configs": "features:configs",
    },
    "Where and who": {
        "login": "login:login",
        "logout": "login:logout",
        "projects": "settings:projects",
        "use": "settings:use",
        "settings": "settings:settings",
        "doctor": "doctor:doctor",
    },
    "Tools": {
        "demo": "demo:demo",
        "emulator": "emulator:emulator",
        "mcp": "mcp:mcp",
        "--install-completion": "completion:install_completion",
    },
}
"""The name of each command or group, and its function or `App`, by their help's sections."""

NAMES = [name for commands in _COMMANDS.values() for name in commands]
"""All of these names."""

_HELP = """Generate and run TestVibe features, or try that out without a service.

The server, the API key and the project come from options, variables and files:
`testvibe-async settings --help` says in which order.

Exit codes: 0 passed, 1 failed, 2 called wrongly, 3 refused by the service, 4 still going on,
5 the service can't be reached, 130 stopped with Ctrl-C.
"""

_GROUPS = [Group(title, sort_key=place) for place, title in enumerate(_COMMANDS)]

app: App = App(name=NAME, help=_HELP, help_format="markdown", version=__version__)
for _group, _commands in zip(_GROUPS, _COMMANDS.values(), strict=True):
    for _name, _place in _commands.items():
        app.command(f"testvibe_async.cli.{_place}", name=_name, group=_group)
app["--help"].group = app["--version"].group = _GROUPS[-1]


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command, and exit.

    Args:
        arguments: What was typed after `testvibe-async`; None for what this process was given.
    """
    _escape_unencodable()
    for each in ENDING:
        signal.signal(each, _exit_on_signal)
    with reporting() as result:
        returned = _parse(sys.argv[1:] if arguments is None else arguments, result)()
        result.code = _run(returned) if inspect.iscoroutine(returned) else returned
        sys.stdout.flush()
    sys.exit(result.code or ExitCode.PASSED)


async def perform(arguments: Sequence[str]) -> ExitCode:
    """Run one command in the running event loop, and return its exit code.

    Args:
        arguments: What would be typed after `testvibe-async`.
    """
    with reporting() as result:
        returned = _parse(arguments, result)()
        result.code = await returned if inspect.iscoroutine(returned) else returned
    return result.code or ExitCode.PASSED


def _parse(arguments: Sequence[str], result: CommandResult) -> Callable[[], Any]:
    """Return the command that was typed, bound to its arguments."""
    before, typed = _options_before(list(arguments))
    arguments = [*_as_meant(typed), *before]
    words = set(arguments)
    if words & {"--help", "-h"} and arguments[0] in SCREENS:
        return lambda: Output().text(screen(arguments[0]))
    if "--help-all" in words:
        arguments = ["--help" if each == "--help-all" else each for each in arguments]
    # A flag with an optional value is more than cyclopts has.
    arguments = ["--json-lines" if each == "--json=lines" else each for each in arguments]
    if not arguments or arguments[0] in app.help_flags:
        _load_all()
    command, bound, _ = app.parse_args(
        arguments,
        console=Output(color=False if "--no-color" in arguments else None).console,
        exit_on_error=False,
        print_error=False,
        verbose=False,
    )
    common = next((each for each in bound.arguments.values() if isinstance(each, Common)), None)
    result.verbose = common.verbose if common is not None else 0
    log_to_standard_error(result.verbose)
    return lambda: command(*bound.args, **bound.kwargs)


def _options_before(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Split off the options of every command that were typed before the command."""
    match arguments:
        case ["-p" | "--project" | "--server" as option, value, *rest] if rest:
            before, command = _options_before(rest)
            return [option, value, *before], command
        case ["--allow-http" | "-v" | "-vv" | "--no-color" as flag, *rest] if rest:
            before, command = _options_before(rest)
            return [flag, *before], command
        case _:
            return [], arguments


def _as_meant(arguments: list[str]) -> list[str]:  # noqa: C901, PLR0911 - a case for each
    """Return what was typed, with a few other ways of saying it spelt out.

    `help run`, `features`, `runs 214`, `configs list`, `runs ls`, `version`, and from gh `auth
    login`, `run view 214` and `run watch 214` are what people guess first.
    """
    match arguments:
        case ["help", *rest]:
            return [*rest, "--help"]
        case ["version"]:
            return ["--version"]
        case ["features" | "files" | "runs" as group]:
            return [group, "list"]
        case ["features" | "files" | "runs" as group, "ls", *rest]:
            return [group, "list", *rest]
        case ["runs", number, *rest] if number.isdecimal():
            return ["runs", "show", number, *rest]
        case ["run", "view" | "show", number, *rest] if number.isdecimal():
            return ["runs", "show", number, *rest]
        case ["run", "watch", number, *rest] if number.isdecimal():
            return ["wait", number, *rest]
        case ["watch", *rest] | ["runs", "watch", *rest]:
            return ["wait", *rest]
        case ["auth", "login" | "logout" as command, *rest]:
            return [command, *rest]
        case ["configs" | "projects" as command, "list" | "ls", *rest]:
            return [command, *rest]
        case _:
            return arguments


def _load_all() -> None:
    """Load the modules of all commands, which have the lines of the overall help."""
    for name in NAMES:
        app[name]


def _run(work: Coroutine[Any, Any, ExitCode | None]) -> ExitCode | None:
    """Run a command in an event loop."""
    import asyncio  # noqa: PLC0415 - commands without I/O do without it

    return asyncio.run(work)


def _escape_unencodable() -> None:
    """Print what the terminal's encoding lacks as an escape, rather than fail on it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _exit_on_signal(number: int, _frame: FrameType | None) -> NoReturn:
    """Exit by an exception, so that a command can restore the terminal."""
    sys.exit(ExitCode(128 + number))
