"""The `mcp` command: its output, its options, and its imports."""

import asyncio
import re
import signal
import subprocess
import sys
from contextlib import closing, suppress

import pytest

from tests.conftest import settings_of
from tests.processes.mcp_server.test_stdio import LONG
from tests.support.commands import Terminal, environment, started
from tests.support.mcp_connection import connected_by_http
from testvibe_async.testing import Emulator

WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1:]))
from testvibe_async.cli import main
sys.argv = ["testvibe-async", "mcp"]
main()
"""
"""Run the command `mcp` as if the packages named by the arguments were not installed."""


async def test_it_serves_http_with_a_token_of_its_own() -> None:
    """The command shows its address and token, serves clients with it, and stops on a signal."""
    async with Emulator(scenario=LONG) as emulator:
        with started("mcp", "--http", "0", python=None, **settings_of(emulator)) as process:
            assert process.stderr is not None
            lines = "".join([await asyncio.to_thread(process.stderr.readline) for _ in range(2)])
            shown = re.fullmatch(
                r"Serving MCP at (http://127\.0\.0\.1:\d+/mcp) until Ctrl-C\. "
                r"It asks for:\n  Authorization: Bearer (\S{43})\n",
                lines,
            )
            assert shown is not None, lines

            async def stop(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
                process.send_signal(signal.SIGTERM)

            with suppress(ExceptionGroup, OSError):  # The end of the server cuts the client off.
                async with connected_by_http(shown[1], shown[2]) as mcp:
                    run = await mcp.result("run_feature", feature="Checkout")
                    call = {"runId": run["runId"]}
                    wait = mcp.call_tool("wait_for_run", call, progress_callback=stop)
                    await asyncio.wait([asyncio.create_task(wait)])
            ended = await asyncio.to_thread(lambda: process.communicate())  # noqa: PLW0108 - of two types
            assert (process.returncode, ended) == (0, ("", ""))
            assert len(emulator.active_runs()) == 1


def test_on_a_terminal_it_says_what_it_is_for() -> None:
    """On a terminal the command says what it is for, and Ctrl-C stops it."""
    with closing(Terminal("mcp")) as terminal:
        terminal.read_until("An MCP client should start this command.")
        terminal.press_ctrl_c()
        assert terminal.read_to_end() == 0


@pytest.mark.parametrize(("missing", "extra"), [("mcp", "mcp"), ("uvicorn", "all")])
def test_a_missing_extra_is_named_in_one_sentence(missing: str, extra: str) -> None:
    """Without the extra the command says what to install, and standard output stays empty."""
    with subprocess.Popen(  # noqa: S603 - this package's command
        [sys.executable, "-c", WITHOUT, missing],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        output, errors = process.communicate()
    assert (process.returncode, output) == (2, "")
    assert missing in errors
    assert errors.endswith(f": pip install 'testvibe-async[{extra}]'\n")
    assert errors.count("\n") == 1
