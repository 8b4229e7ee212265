"""The `mcp` command: its output, its options, and its imports."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.processes.mcp_server.test_stdio import LONG, begin, raw, receive, send, service
from tests.support.commands import Terminal, environment, finished, started
from tests.support.mcp_connection import connected_by_http, on_real_time, result_of
from testvibe_async.cli.mcp import mcp as command
from testvibe_async.testing import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client as McpClient
    from mcp.server.mcpserver import MCPServer

WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1:]))
from testvibe_async.cli import main
sys.argv = ["testvibe-async", "mcp"]
main()
"""
"""Run the command `mcp` as if the packages named by the arguments were not installed."""


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
@on_real_time
async def test_it_serves_http_with_a_token_of_its_own(stop: signal.Signals) -> None:
    """The command shows its address and token, serves clients with it, and stops on a signal."""
    async with Emulator(scenario=LONG) as emulator:
        with started("mcp", "--http", "0", python=None, **service(emulator)) as process:
            assert process.stderr is not None
            lines = "".join([await asyncio.to_thread(process.stderr.readline) for _ in range(2)])
            shown = re.fullmatch(
                r"Serving MCP at (http://127\.0\.0\.1:\d+/mcp) until Ctrl-C\. "
                r"It asks for:\n  Authorization: Bearer (\S{43})\n",
                lines,
            )
            assert shown is not None, lines
            await use(shown[1], shown[2], lambda: process.send_signal(stop))
            ended = await asyncio.to_thread(lambda: process.communicate())  # noqa: PLW0108 - of two types
            assert (process.returncode, ended) == (0, ("", ""))
            assert len(emulator.active_runs()) == 1


async def use(url: str, token: str, stop: Callable[[], None]) -> None:
    """Have a wait in flight when the server stops, which cuts the client off with any error."""
    try:
        async with connected_by_http(url, token) as mcp:
            await asyncio.wait([await waiting(mcp, stop)])
    except (ExceptionGroup, OSError):
        pass


async def waiting(mcp: McpClient, stop: Callable[[], None]) -> asyncio.Task[Any]:
    run = await result_of(mcp, "run_feature", feature="Checkout")

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        stop()

    return asyncio.create_task(
        mcp.call_tool("wait_for_run", {"runId": run["runId"]}, progress_callback=on_progress)
    )


async def test_a_token_that_was_given_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A token that the caller chose is not written to the output."""

    async def serve(
        _server: object, *, token: str, announce: Callable[[str], None], **_: Any
    ) -> None:
        assert token == "mine"
        announce("http://127.0.0.1:1/mcp")

    monkeypatch.setattr("testvibe_async.mcp_server.serve_http", serve)
    await command(http=1, token="mine")
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.endswith("It asks for the token that you gave.\n")


async def test_without_an_option_it_serves_its_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a port the command serves standard input and output."""
    served: list[object] = []

    async def serve(server: object, *, announce: object) -> None:
        assert announce is None  # there is no terminal
        served.append(server)

    monkeypatch.setattr("testvibe_async.mcp_server.serve_stdio", serve)
    await command()
    assert len(served) == 1


def test_on_a_terminal_it_says_what_it_is_for() -> None:
    """On a terminal the command says what it is for, and Ctrl-C stops it."""
    with closing(Terminal("mcp")) as terminal:
        terminal.read_until("An MCP client should start this command.")
        terminal.press_ctrl_c()
        assert terminal.read_to_end() == 0


def test_the_token_comes_from_the_environment() -> None:
    """An empty variable is refused as a token, in one sentence."""
    (_, errors), code = finished("mcp", "--http", "0", TESTVIBE_MCP_TOKEN="")
    assert code == 2
    assert "the token is empty" in errors


@pytest.mark.parametrize(("missing", "extra"), [("mcp", "mcp"), ("h11", "all")])
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


async def test_another_missing_module_is_no_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing module of this package is a defect, and is raised as one."""
    monkeypatch.delitem(sys.modules, "testvibe_async.mcp_server", raising=False)
    monkeypatch.setitem(sys.modules, "testvibe_async.mcp_server.serving", None)
    with pytest.raises(ModuleNotFoundError):
        await command()


@pytest.mark.parametrize(
    "code",
    [
        "import testvibe_async",
        "import testvibe_async.cli.app",
        "import testvibe_async.cli.mcp",
        "from testvibe_async.cli.app import app, _load_all; _load_all(); app['mcp']",
    ],
)
def test_nothing_else_imports_the_extra(code: str) -> None:
    """Neither the package nor the command line imports `mcp` before it serves."""
    check = f"{code}\nimport sys\nprint([name for name in sys.modules if name.startswith('mcp')])"
    result = subprocess.run(  # noqa: S603 - the code above
        [sys.executable, "-c", check],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    assert result.stdout.splitlines()[-1] == "[]"


def test_its_help_names_its_variables() -> None:
    """The help lists the options, and the variable for the token."""
    (output, errors), code = finished("mcp", "--help-all")
    assert (code, errors) == (0, "")
    for word in ("--http", "--token", "TESTVIBE_MCP_TOKEN"):
        assert word in output


@pytest.mark.parametrize("options", [(), ("-v",)], ids=["", "-v"])
@on_real_time
async def test_a_warning_is_logged_once(options: tuple[str, ...]) -> None:
    """An outage is one line on standard error, with and without -v."""
    async with Emulator() as emulator:
        emulator.fail("list_features", Fault.status(503), times=4)
        with raw(emulator, *options) as process:
            await asyncio.to_thread(begin, process)
            call = {"name": "run_features", "arguments": {"all": True, "timeoutSeconds": 5}}
            send(process, "tools/call", id=1, params=call)
            await asyncio.to_thread(receive, process)
            _, errors = await asyncio.to_thread(lambda: process.communicate())  # noqa: PLW0108 - of two types
    assert errors.count("OutageStarted") == 1


def test_a_port_out_of_range_is_refused() -> None:
    """A port out of range is a usage error."""
    with started("mcp", "--http", "70000") as process:
        output, errors = process.communicate()
    assert (process.returncode, output) == (2, "")
    assert "70000" in errors


async def test_its_limits_reach_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person sets is what the server offers."""
    offered: list[set[str]] = []

    async def serve(server: MCPServer[Any], **_: object) -> None:
        offered.append({tool.name for tool in await server.list_tools()})

    monkeypatch.setattr("testvibe_async.mcp_server.serve_stdio", serve)
    await command(tools=("get_run", "run_feature", "list_runs"), exclude_tools=("list_runs",))
    await command(tools=("get_run", "run_feature"), read_only=True)
    assert offered == [{"get_run", "run_feature"}, {"get_run"}]


def test_a_tool_that_does_not_exist_is_named() -> None:
    """A misspelt tool is one sentence, and nothing is served."""
    (output, errors), code = finished("mcp", "--tools", "run_features_now")
    assert (output, code) == ("", 2)
    assert "there is no tool 'run_features_now'; there are list_projects, " in errors
