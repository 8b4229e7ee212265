"""`emulator` in a process of its own."""

from __future__ import annotations

import shlex
import signal
import socket
import subprocess
import sys

import pytest

from tests.support.commands import environment, finished, started

USER = """
import asyncio
from testvibe_async import Client

async def main():
    async with Client(poll_interval=0.05) as client:
        run = await (await client.project().run_feature("Checkout"))
        print("run", run.run_id, "is over:", run.is_finished)

asyncio.run(main())
"""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_serves_another_process_until_a_signal(stop: signal.Signals) -> None:
    """A client that has evaluated the lines works; a signal ends the emulator quietly, with 0."""
    with started("emulator", "--port", "0", "--speed", "100") as process:
        assert process.stdout is not None
        exports = "".join(process.stdout.readline() for _ in range(3))
        user = subprocess.run(  # noqa: S603 - our own
            ["/bin/sh", "-c", f"{exports}exec {shlex.join([sys.executable, '-c', USER])}"],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (user.stdout, user.stderr) == ("run 214 is over: True\n", "")
        process.send_signal(stop)
        output, errors = process.communicate()
    assert process.returncode == 0
    assert output == ""
    assert errors.splitlines() == [
        f"Serving 17 features at {exports.split('=')[1].split()[0]} until Ctrl-C."
    ]


def test_port_in_use_is_one_sentence() -> None:
    """A port that another process has is named, with what to do, and nothing is printed to eval."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        (output, errors), code = finished("emulator", "--port", str(port))
    assert (code, output) == (2, "")
    assert f"port {port} of 127.0.0.1" in errors
    assert "in use" in errors
    assert errors.count("\n") == 1
