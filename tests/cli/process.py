"""The command in a process of its own: on real time, with its output in a pipe or on a terminal.

Each wait here is for output or for the end, never for a time; pytest's time-out ends a wait
that would never end.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import termios
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import testvibe_async

if TYPE_CHECKING:
    from collections.abc import Generator

ROOT = Path(testvibe_async.__file__).parents[1]

MODULE = ("-m", "testvibe_async.cli")

ON_A_TERMINAL = (
    "import os, runpy; os.login_tty(0); runpy.run_module('testvibe_async.cli', None, '__main__')"
)
"""Makes its standard input the controlling terminal, then becomes the command."""

Ended = tuple[tuple[str, str], int]
"""Standard output and standard error, and the exit code."""

_SET_FOR_OTHERS = (
    *("TESTVIBE_", "PYTEST_", "PYTHONUNBUFFERED"),
    *("NO_COLOR", "FORCE_COLOR", "TTY_", "COLUMNS", "LINES"),
)


def environment(**variables: str) -> dict[str, str]:
    """Return this process's environment without what would change the command's behaviour."""
    own = {
        name: value for name, value in os.environ.items() if not name.startswith(_SET_FOR_OTHERS)
    }
    return own | {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT)} | variables


def finished(
    *arguments: str, python: tuple[str, ...] = MODULE, stdin: str = "", **variables: str
) -> Ended:
    """Run the command to its end, with some text on its standard input."""
    with started(*arguments, python=python, **variables) as process:
        return process.communicate(stdin), process.returncode


@contextmanager
def started(
    *arguments: str, python: tuple[str, ...] = MODULE, **variables: str
) -> Generator[subprocess.Popen[str]]:
    """Start the command with its input and output in pipes; the context ends it."""
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, *python, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment(**variables),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, *arguments: str, rows: int = 24, **variables: str) -> None:
        self.controller, child = os.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 80, 0, 0))
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-c", ON_A_TERMINAL, *arguments],
            stdin=child,
            stdout=child,
            stderr=child,
            env=environment(**variables),
        )
        os.close(child)
        self.output = ""

    def press_ctrl_c(self) -> None:
        """Type what makes the terminal send SIGINT."""
        os.write(self.controller, b"\x03")

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self.controller, f"{line}\n".encode())

    def read_until(self, text: str) -> None:
        """Read until some text was shown."""
        while text not in self.output:
            assert self._read(), f"the command ended without {text!r}:\n{self.output}"

    def read_to_end(self) -> int:
        """Read all that is still shown, and return the exit code."""
        while self._read():
            pass
        return self.process.wait()

    def _read(self) -> bool:
        try:
            part = os.read(self.controller, 65536)
        except OSError:  # On Linux that is the end of a terminal.
            return False
        self.output += part.decode(errors="replace")
        return bool(part)

    def close(self) -> None:
        """End the command, however it stands."""
        self.process.kill()
        self.process.wait()
        os.close(self.controller)
