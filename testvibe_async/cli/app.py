"""The table of commands, the call of one of them, and what its help shows.

Decides which commands exist, not what they do: the module of a command is loaded when the command
is called. `exits` decides the exit code and the message of a failed command.
"""

from __future__ import annotations

import inspect
import io
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from attrs import evolve, frozen
from cyclopts import App, Group, Parameter
from cyclopts.help import DefaultFormatter

from testvibe_async import ConfigError
from testvibe_async._core.util import __version__
from testvibe_async.cli.common import OF_EVERY_COMMAND, Common, common
from testvibe_async.cli.exits import ENDING, log_to_standard_error, report
from testvibe_async.cli.render import new_console
from testvibe_async.runner.codes import ExitCode
from testvibe_async.runner.words import NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions
    from rich.text import Text


_COMMANDS = {
    "Runs and generations": {
        "run": "start:run",
        "runs": "service:runs",
        "generate": "start:generate",
        "generation": "service:generation",
        "wait": "wait:wait",
        "resume": "resume:resume",
        "report": "history:report",
        "history": "history:history",
    },
    "The project": {
        "features": "service:features",
        "files": "service:files",
    },
    "Connection": {
        "login": "settings:login",
        "logout": "settings:logout",
        "projects": "settings:projects",
        "use": "settings:use",
        "settings": "settings:settings",
        "doctor": "doctor.command:doctor",
    },
    "Tools": {
        "demo": "emulator:demo",
        "emulator": "emulator:emulator",
        "mcp": "servers:mcp",
        "worker": "servers:worker",
    },
}
"""The function or `App` of each command or group, by their help's sections."""

NAMES = [name for commands in _COMMANDS.values() for name in commands]
"""All of these names."""

_HELP = """Generate and run TestVibe features, or try that out without a service.

The server, the API key and the project come from options, variables and files:
`testvibe-async settings --help` says in which order.

Exit codes: 0 passed, 1 failed, 2 usage error, 3 refused by the service, 4 still running,
5 the service can't be reached, 130 stopped with Ctrl-C.
"""

_GROUPS = [Group(title, sort_key=place) for place, title in enumerate(_COMMANDS)]

app: App = App(
    name=NAME,
    help=_HELP,
    help_format="markdown",
    version=__version__,
    default_parameter=Parameter(
        negative=(), show_default=lambda value: str(value) if value else None
    ),
)
for _group, _commands in zip(_GROUPS, _COMMANDS.values(), strict=True):
    for _name, _place in _commands.items():
        app.command(f"testvibe_async.cli.{_place}", name=_name, group=_group)
app.register_install_completion_command()  # pyright: ignore[reportUnknownMemberType]
for _name in ("--help", "--version", "--install-completion"):
    app[_name].group = _GROUPS[-1]


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command, and exit.

    Args:
        arguments: Arguments after `testvibe-async`; None for those of this process.
    """
    _escape_unencodable()
    for each in ENDING:
        # An exception lets a command restore the terminal.
        signal.signal(each, lambda number, _: sys.exit(ExitCode(128 + number)))
    try:
        code = parse(sys.argv[1:] if arguments is None else arguments)()
        if inspect.iscoroutine(code):
            import asyncio  # noqa: PLC0415 - commands without I/O do without it

            code = asyncio.run(code)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - what is not reported is raised again
        code = report(error)
    sys.exit(code or ExitCode.PASSED)


async def perform(arguments: Sequence[str]) -> ExitCode:
    """Run one command in the running event loop, and return its exit code.

    Args:
        arguments: Arguments after `testvibe-async`.
    """
    try:
        code = parse(arguments)()
        return (await code if inspect.iscoroutine(code) else code) or ExitCode.PASSED
    except BaseException as error:  # noqa: BLE001 - what is not reported is raised again
        return report(error)


@app.meta.default
def _read(
    *words: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    options: Common = Common(),
) -> tuple[tuple[str, ...], Common]:
    """Return the words of a call without the options of every command, and those."""
    return words, options


def parse(arguments: Sequence[str]) -> Callable[[], Any]:
    """Return the command that was typed, bound to its arguments."""
    log_to_standard_error(0)
    is_help = arguments[:1] == ["help"]
    # A flag with an optional value is more than cyclopts has.
    lines = {"--json=lines", "-j=lines"}
    typed = ["--json-lines" if each in lines else each for each in arguments[is_help:]]
    typed += ["--help"] * is_help
    is_overall = not typed or typed[0] in app.help_flags
    app.help_formatter = HelpPage(is_overall=is_overall)
    app.help_epilogue = None if is_overall else f"{OF_EVERY_COMMAND}: {NAME} --help"
    if is_overall:
        for name in NAMES:  # Their modules have the lines of the overall help.
            app[name]
    options: dict[str, Any] = {
        "console": new_console(color=False if "--no-color" in typed else None),
        "exit_on_error": False,
        "print_error": False,
        "verbose": False,
    }
    end = typed.index("--") if "--" in typed else len(typed)
    command, bound, _ = app.meta.parse_args(typed[:end], **options)
    if command is not _read:  # It is the help, or the version.
        return lambda: command(*bound.args, **bound.kwargs)
    read, given = command(*bound.args, **bound.kwargs)
    command, bound, _ = app.parse_args([*read, *typed[end:]], **options)
    log_to_standard_error(given.verbose)
    if {*read[:1]} & _ALONE and evolve(given, verbose=0, no_color=False) != Common():
        raise ConfigError("this command asks no service, and takes no option for one")
    common.set(evolve(given))  # Each call has an output of its own.
    return lambda: command(*bound.args, **bound.kwargs)


_ALONE = {"demo", "emulator"}
"""The commands that call no service but their own."""


def _escape_unencodable() -> None:
    """Print what the terminal's encoding lacks as an escape, rather than fail on it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@frozen
class HelpPage:
    """Prints the panels of a help, as the `HelpFormatter` of cyclopts."""

    is_overall: bool
    """True for the help of all commands, which alone has the options of each of them."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print a panel."""
        if self.is_overall or panel.title != OF_EVERY_COMMAND:
            DefaultFormatter()(console, options, panel)

    def render_usage(self, console: Console, _options: ConsoleOptions, usage: Text) -> None:
        """Print the usage."""
        console.print(f"Usage: {usage.plain}", markup=False)
