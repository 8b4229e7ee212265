"""Commands in processes of their own: what they load, streams that close, signals and kills."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.processes.cli.conftest import environment_of
from tests.support.commands import MODULE, environment, finished, started
from tests.surfaces.cli.conftest import Run, Service

if TYPE_CHECKING:
    from pathlib import Path


SPEED = "10"  # Runs take some seconds.


def output_of(*command: str, **variables: str) -> str:
    """Return what a program prints, which ends well, and says nothing of errors."""
    ended = subprocess.run(  # noqa: S603 - our own
        command, env=environment(**variables), capture_output=True, text=True, check=True
    )
    assert ended.stderr == ""
    return ended.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        "--version",
        "projects",
        "files get Configurations/Mobile.config.js",
    ],
)
def test_a_closed_pipe_is_quiet(arguments: str, served: Service) -> None:
    """The same holds for buffered output, which Python would flush at its exit."""
    command = f"{shlex.join([sys.executable, *MODULE])} {arguments}"
    script = f"{command} | true; echo ${{PIPESTATUS[0]}}"
    assert output_of("/bin/bash", "-c", script, **environment_of(served)) == "141\n"


@pytest.mark.parametrize("command", ["--version", "settings"])
def test_a_command_loads_what_it_needs_alone(command: str) -> None:
    """The version and the settings load neither the client, its HTTP, nor other commands."""
    script = (
        "import sys; from testvibe_async.cli.app import run\n"
        f"try: run(['{command}'])\n"
        "finally: print(*sys.modules)"
    )
    (output, _), code = finished(python=("-c", script))
    loaded = {*output.splitlines()[-1].split()}
    assert code == 0
    assert not {"aiohttp", "asyncio", "cattrs", "testvibe_async.cli.emulator"} & loaded
    assert not {name for name in loaded if name.startswith("testvibe_async.testing")}


@pytest.mark.parametrize(
    ("closed", "arguments", "code"),
    [
        (">&-", "features list", 0),
        ("2>&-", "features show Nope", 3),
        ("<&-", "settings", 0),
        ("<&- >&- 2>&-", "run Nope --wait", 2),
    ],
)
@pytest.mark.usefixtures("served")
def test_a_stream_that_is_closed_is_no_defect(closed: str, arguments: str, code: int) -> None:
    """Started with closed streams, as cron and daemons do, it works and has its usual exit code."""
    command = f"{sys.executable} -m testvibe_async {arguments} {closed}"
    process = subprocess.run(command, shell=True, check=False)  # noqa: S602 - our own command
    assert process.returncode == code


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash on this machine")
@pytest.mark.parametrize(
    ("typed", "expected"), [("fea", "features"), ("projects --no-c", "--no-color")]
)
def test_bash_completes(typed: str, expected: str, run: Run, tmp_path: Path) -> None:
    """bash itself, with the script loaded, completes commands and their options."""
    path = tmp_path / "script"
    assert run(f"--install-completion --shell bash --output {path}").code == 0
    asked = (
        f"{path.read_text(encoding='utf-8')}\nCOMP_WORDS=(testvibe-async {typed})\n"
        f"COMP_CWORD={len(typed.split())}\n_testvibe_async\n"
        "printf '%s\\n' \"${COMPREPLY[@]}\"\n"
    )
    assert output_of("bash", "--norc", "-c", asked).split() == [expected]


USER = """
import asyncio
from testvibe_async import Client

async def main():
    async with Client(poll_interval=0.05) as client:
        run = await (await client.project().run_feature("Checkout"))
        print("run", run.run_id, "is over:", run.is_finished)

asyncio.run(main())
"""


def test_emulator_serves_until_a_signal() -> None:
    """A client that has evaluated the lines works; a signal ends the emulator quietly, with 0."""
    with started("emulator", "--port", "0", "--speed", "100") as process:
        assert process.stdout is not None
        exports = "".join(process.stdout.readline() for _ in range(3))
        user = f"{exports}exec {shlex.join([sys.executable, '-c', USER])}"
        assert output_of("/bin/sh", "-c", user) == "run 214 is over: True\n"
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate()
    url = exports.split("=")[1].split()[0]
    assert (process.returncode, output) == (0, "")
    assert errors == f"Serving 17 features at {url} until Ctrl-C.\n"


def test_after_a_crash(slow_service: Service, machine: Path) -> None:
    """After a kill `resume` ends the batch, and nobody takes it for one that is running."""
    variables = environment_of(slow_service)
    variables["XDG_STATE_HOME"] = str(machine / "state")
    with started("run", "Checkout", "Returns", "--wait", **variables) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "Batch 1.\n"
        for _ in range(2):  # One that is killed within a dispatch may leave it unknown.
            assert "in flight" in process.stdout.readline()
        process.kill()
    (_, errors), code = finished("report", **variables)
    assert (code, "still running" in errors) == (4, False)
    assert "testvibe-async resume 1\n" in errors
    (output, _), code = finished("resume", "1", **variables)
    assert code in {0, 1}, output
    assert re.search(r"\nBatch 1: 2 in .*: ", output)
