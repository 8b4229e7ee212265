"""The commands by name, and what an exit code means.

It decides which commands there are and how the process ends: 0 when the command did what it is for,
1 when the service or the way to it failed, 2 when it was called wrongly, 128 and the signal's
number when it was stopped. What a command does is in a module of its own.
"""

from __future__ import annotations

import io
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from cyclopts import App

from testvibe_async import ConfigError, VibeError, __version__
from testvibe_async.cli.demo import demo
from testvibe_async.cli.emulator import emulator
from testvibe_async.cli.view import clean

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

__all__ = ["app", "run"]

app = App(
    name="testvibe-async",
    help="Generate and run TestVibe features, or try that out without a service.",
    version=__version__,
)
app.command(emulator)
app.command(demo)


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command, and exit.

    Args:
        arguments: What was typed after `testvibe-async`; None for what this process was given.
    """
    _show_any_text()
    signal.signal(signal.SIGTERM, _exit_in_order)
    try:
        app(sys.argv[1:] if arguments is None else arguments, result_action="return_value")
    except ConfigError as error:
        _fail(error, code=2)
    except VibeError as error:
        _fail(error, code=1)
    sys.exit(0)


def _show_any_text() -> None:
    """Show what the terminal's encoding lacks as an escape, rather than fail on it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _exit_in_order(number: int, _frame: FrameType | None) -> NoReturn:
    """End as at the end of the program, so that a command can put the terminal in order."""
    sys.exit(128 + number)


def _fail(error: VibeError, *, code: int) -> NoReturn:
    sys.stderr.write(f"testvibe-async: {clean(str(error))}\n")
    sys.exit(code)
