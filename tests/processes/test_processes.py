"""The processes that tests fork: they are what Python would have started."""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.processes import ROOT

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
