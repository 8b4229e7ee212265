"""The commands by name, and how one is run.

It decides which commands there are and nothing of what they do: each is in a module of its own,
which is loaded when it is called. How a command that went wrong ends is for `faults` to say.
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
from testvibe_async.cli.exits import ExitCode
from testvibe_async.cli.faults import log_to_standard_error, reported
from testvibe_async.cli.output import Output
from testvibe_async.cli.sentences import NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from types import FrameType

    from testvibe_async.cli.faults import Fate

__all__ = ["app", "perform", "run"]

_COMMANDS = {
    "Runs and generations": {
        "run": "run:run",
        "runs": "runs:app",
        "generate": "generate:generate",
        "generation": "generation:app",
        "wait": "wait:wait",
    },
    "The project": {
        "features": "features:app",
        "files": "files:app",
        "configs": "configs:configs",
    },
    "Where and who": {
        "login": "login:login",
        "logout": "login:logout",
        "projects": "projects:projects",
        "use": "projects:use",
        "settings": "settings:settings",
    },
    "Tools": {
        "demo": "demo:demo",
        "emulator": "emulator:emulator",
        "mcp": "mcp:mcp",
        "--install-completion": "completion:install_completion",
    },
}
"""Each command's or group's name, and where its function or `App` is, below this package."""

NAMES = [name for commands in _COMMANDS.values() for name in commands]
"""What may follow `testvibe-async`."""

_HELP = """Generate and run TestVibe features, or try that out without a service.

The server, the API key and the project come from options, variables and files:
`testvibe-async settings --help` says in which order.

Exit codes: 0 passed, 1 failed, 2 called wrongly, 3 refused by the service, 4 still going on,
5 the service can't be reached, 130 stopped with Ctrl-C.
"""

_GROUPS = [Group(title, sort_key=place) for place, title in enumerate(_COMMANDS)]

app = App(name=NAME, help=_HELP, help_format="markdown", version=__version__)
for group, commands in zip(_GROUPS, _COMMANDS.values(), strict=True):
    for name, place in commands.items():
        app.command(f"testvibe_async.cli.{place}", name=name, group=group)
app["--help"].group = app["--version"].group = _GROUPS[-1]


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command, and exit.

    Args:
        arguments: What was typed after `testvibe-async`; None for what this process was given.
    """
    _show_any_text()
    signal.signal(signal.SIGTERM, _exit_in_order)
    with reported() as fate:
        command = _parse(sys.argv[1:] if arguments is None else arguments, fate)
        result = command()
        fate.code = _run(result) if inspect.iscoroutine(result) else result
        sys.stdout.flush()
    sys.exit(fate.code or ExitCode.PASSED)


async def perform(arguments: Sequence[str]) -> ExitCode:
    """Run one command in the running event loop, and return its exit code.

    Args:
        arguments: What would be typed after `testvibe-async`.
    """
    with reported() as fate:
        result = _parse(arguments, fate)()
        fate.code = await result if inspect.iscoroutine(result) else result
    return fate.code or ExitCode.PASSED


def _parse(arguments: Sequence[str], fate: Fate) -> Callable[[], Any]:
    """Return what was asked for, ready to be called."""
    if not arguments or arguments[0] in app.help_flags:
        _load_all()
    command, bound, _ = app.parse_args(
        list(arguments),
        console=Output(color=False if "--no-color" in arguments else None).console,
        exit_on_error=False,
        print_error=False,
        verbose=False,
    )
    common = next((each for each in bound.arguments.values() if isinstance(each, Common)), None)
    fate.verbose = common.verbose if common is not None else 0
    log_to_standard_error(fate.verbose)
    return lambda: command(*bound.args, **bound.kwargs)


def _load_all() -> None:
    """Load all commands: each has its first line of help in its own module."""
    for name in NAMES:
        app[name]


def _run(work: Coroutine[Any, Any, ExitCode | None]) -> ExitCode | None:
    """Run what a command does in an event loop; those that need none do not pay for it."""
    import asyncio  # noqa: PLC0415

    return asyncio.run(work)


def _show_any_text() -> None:
    """Show what the terminal's encoding lacks as an escape, rather than fail on it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _exit_in_order(_number: int, _frame: FrameType | None) -> NoReturn:
    """End as at the end of the program, so that a command can put the terminal in order."""
    sys.exit(ExitCode.TERMINATED)
