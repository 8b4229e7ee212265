"""The processes that tests fork: they are what Python would have started."""

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.commands import COMMAND, MODULE, environment, finished
from tests.support.processes import ROOT, Process


def test_a_forked_command_is_as_a_started_one() -> None:
    """What it prints to both streams, and its exit code, are the same."""
    for words in (("--version",), ("run", "--no-such-option")):
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
        assert list(threads.map(play, range(6))) == [0, -signal.SIGKILL] * 3


LEAVES_ALL = """
from tests.support.commands import COMMAND, environment
from tests.support.processes import Process
process = Process(COMMAND, "emulator", "--port", "0", env=environment())
process.stdout.readline()
print(process.pid, flush=True)
input()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they outlive it")
def test_none_outlives_the_tests() -> None:
    """Where the tests are killed, the processes that they forked end, and so does their server."""
    with subprocess.Popen(  # noqa: S603 - our own
        [sys.executable, "-c", LEAVES_ALL],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as tests:
        assert tests.stdin is not None
        assert tests.stdout is not None
        pid = int(tests.stdout.readline())
        server = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        tests.kill()
    while any(map(is_running, (pid, server))):
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Say whether a process has not ended yet; one that nobody waits for has."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
