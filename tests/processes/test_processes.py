"""The processes that tests fork: they are what Python would have started."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

from tests.support.commands import COMMAND, MODULE, environment, finished
from tests.support.processes import Process


def test_a_forked_command_is_as_a_started_one() -> None:
    """What it prints to both streams, and its exit code, are the same."""
    for words in (("--version",), ("features", "list"), ("run", "--no-such-option")):
        assert finished(*words) == finished(*words, python=MODULE)


def test_each_has_its_own_exit_code() -> None:
    """Many at once, waited for in threads, each end as they did: by an exit or by a signal."""

    def play(number: int) -> int:
        with Process(COMMAND, "emulator", "--port", "0", env=environment()) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal((signal.SIGINT, signal.SIGKILL)[number % 2])
            return process.wait(30)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(play, range(12))) == [0, -signal.SIGKILL] * 6
