"""The command in a process of its own: on real time, with its output in a pipe or on a terminal.

Each wait here is for output or for the end. One that would never end fails with what was shown.
"""

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Generator
from contextlib import contextmanager

from tests.support.processes import ROOT, Process

COMMAND = "testvibe_async"

MODULE = ("-m", COMMAND)

Ended = tuple[tuple[str, str], int]
"""Standard output and standard error, and the exit code."""

Started = subprocess.Popen[str] | Process

SHOW_SECONDS = 30.0
"""How long a terminal is read for a text, or for the end; a command needs a second or three."""

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
    *arguments: str, python: tuple[str, ...] | None = None, stdin: str = "", **variables: str
) -> Ended:
    """Run the command to its end, with some text on its standard input."""
    with started(*arguments, python=python, **variables) as process:
        return process.communicate(stdin), process.wait()


@contextmanager
def started(
    *arguments: str, python: tuple[str, ...] | None = None, **variables: str
) -> Generator[Started]:
    """Start the command with its input and output in pipes; the context ends it.

    Args:
        arguments: Those of the command.
        python: Those of Python, where its start matters; None for a process without a start.
        variables: The environment's.
    """
    with _process(*arguments, python=python, env=environment(**variables)) as process:
        try:
            yield process
        finally:
            process.kill()


def _process(*arguments: str, python: tuple[str, ...] | None, env: dict[str, str]) -> Started:
    if python is None:
        return Process(COMMAND, *arguments, env=env)
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, *python, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=env,
    )


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, *arguments: str, rows: int = 24, **variables: str) -> None:
        self.controller, child = os.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 80, 0, 0))
        self.process = Process(COMMAND, *arguments, env=environment(**variables), terminal=child)
        self.output = ""

    def press_ctrl_c(self) -> None:
        """Type what makes the terminal send SIGINT."""
        os.write(self.controller, b"\x03")

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self.controller, f"{line}\n".encode())

    def read_until(self, pattern: str) -> None:
        """Read until a text was shown that matches a regular expression, for which it may wait.

        It should not be one that the next frame could replace before it is drawn.
        """
        end = time.monotonic() + SHOW_SECONDS
        while not re.search(pattern, self.output):
            assert self._read(end), f"the command ended without {pattern!r}:\n{self.output}"

    def read_to_end(self) -> int:
        """Read all that is still shown, and return the exit code."""
        end = time.monotonic() + SHOW_SECONDS
        while self._read(end):
            pass
        return self.process.wait(SHOW_SECONDS)

    def _read(self, end: float) -> bool:
        """Read what is shown next; return whether more may come."""
        ready, _, _ = select.select([self.controller], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"not shown, or not over, within {SHOW_SECONDS:g} s:\n{self.output}"
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
