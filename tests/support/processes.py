"""Processes of their own that need not import anything: a server that has imported all forks them.

A process is real in all that a test may do to it: it has streams, a terminal and an environment of
its own, and dies of signals. How Python starts, and what is imported when, it does not show: tests
of that start Python. It saves the half second of CPU that the imports of a command take.
"""

import ctypes
import multiprocessing.connection
import os
import runpy
import signal
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from subprocess import TimeoutExpired
from threading import Lock
from typing import Any, Self, TextIO

import pytest

ROOT = Path(__file__).parents[2]

PR_SET_PDEATHSIG = 1

_exit_codes = Lock()
"""An exit code is read from a pipe, once: by one thread at a time."""

Streams = tuple["Connection[object, object]", ...]
"""Standard input, output and error, as the child has them."""


class Process:
    """A process that runs a module, with the methods of `subprocess.Popen` in text mode."""

    def __init__(
        self, module: str, *arguments: str, env: Mapping[str, str], terminal: int | None = None
    ) -> None:
        """Start it.

        Args:
            module: Is run as `python -m` does.
            arguments: Those of the command line.
            env: All of its environment.
            terminal: The descriptor that is to be its streams, and its controlling terminal; None
                for pipes. It is closed here.
        """
        ours: list[int] = []
        streams: Streams
        if terminal is None:
            pipes = [os.pipe() for _ in range(3)]
            ours = [pipes[0][1], pipes[1][0], pipes[2][0]]
            ends = (pipes[0][0], pipes[1][1], pipes[2][1])
            streams = tuple(Connection(end) for end in ends)
        else:
            streams = (Connection(terminal),)
        self.args = (module, *arguments)
        self._process = _server().Process(
            target=_become, args=(module, arguments, dict(env), Path.cwd(), streams), daemon=True
        )
        with _exit_codes:
            self._process.start()  # It reads the exit codes of others, too.
        for stream in streams:
            stream.close()
        self.stdin: TextIO | None = None
        self.stdout: TextIO | None = None
        self.stderr: TextIO | None = None
        if ours:
            self.stdin = open(ours[0], "w", encoding="utf-8")  # noqa: PTH123, SIM115 - descriptors
            self.stdout = open(ours[1], encoding="utf-8")  # noqa: PTH123, SIM115
            self.stderr = open(ours[2], encoding="utf-8")  # noqa: PTH123, SIM115

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or minus the signal that it died of; None while it runs."""
        with _exit_codes:
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, for so many seconds at the most."""
        multiprocessing.connection.wait([self._process.sentinel], timeout)
        code = self.returncode
        if code is None:
            raise TimeoutExpired(self.args, timeout or 0)
        return code

    def communicate(self, stdin: str | None = None) -> tuple[str, str]:
        """Write all of its input, read all of its output, and wait for its end."""
        assert self.stdin is not None
        assert self.stdout is not None
        assert self.stderr is not None
        with ThreadPoolExecutor(2) as threads:
            read = [threads.submit(stream.read) for stream in (self.stdout, self.stderr)]
            with suppress(BrokenPipeError):  # It may end without reading all.
                self.stdin.write(stdin or "")
                self.stdin.close()
            output, errors = (each.result() for each in read)
        self.wait()
        return output, errors

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.kill()  # A thread that still reads a stream would hold its close.
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):  # The rest of its input has no reader.
                    stream.close()
        self.wait()


@cache
def _server() -> ForkServerContext:
    """Start the server of this process; it ends with it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.preloaded", "pytest"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.chdir(ROOT)
        forkserver.ensure_running()
    return context


def _end_with_the_server() -> None:
    """Let the server end with the tests, and this process with the server, also if all are killed.

    The server lives for as long as the pipe to the tests has a writer, which each child is.
    """
    inner: Any = forkserver
    os.close(inner._forkserver._forkserver_alive_fd)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _become(
    module: str, arguments: Sequence[str], env: Mapping[str, str], folder: Path, streams: Streams
) -> None:
    """Run a module as its own process would, in a child of the server."""
    _end_with_the_server()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    if len(streams) == 1:
        os.login_tty(streams[0].fileno())
    else:
        for number, stream in enumerate(streams):
            os.dup2(stream.fileno(), number)
            stream.close()
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - descriptors
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
