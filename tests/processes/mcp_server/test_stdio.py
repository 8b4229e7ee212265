"""The server as clients start it: the command in a process of its own, on real time."""

import json
import signal
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from mcp.client.stdio import StdioServerParameters

from tests.conftest import settings_of
from tests.support.commands import Started, environment, started
from tests.support.mcp_connection import Connection, Listener, content_of
from tests.surfaces.mcp_server.test_tools import COMBINED, OPERATIONS
from testvibe_async.testing import Emulator, Outcome, Scenario

COMMAND = ("-m", "testvibe_async", "mcp")

LONG = Scenario(outcomes={"Checkout": Outcome(run_queue=0, run_duration=600)})

SOON_SECONDS = 30

"""Limit of a shutdown, which takes less than a second on a machine that is not busy."""

STRAY = """
import asyncio, os, subprocess
from attrs import evolve
from testvibe_async import Client
from testvibe_async.mcp_server import make_server, serve_stdio

def stray(event):
    print("printed by a hook")
    print("left in the buffer", end="")
    os.write(1, b"written by a hook")
    subprocess.run(["echo", "echoed by a child"])

def client(*, hooks, **given):
    return Client(hooks=evolve(hooks, on_request=stray), **given)

asyncio.run(serve_stdio(make_server(client)))
"""


@pytest.fixture
def emulator_of_long_runs() -> Generator[Emulator]:
    """Serve in a thread of its own, with runs of Checkout that take ten minutes."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Emulator(scenario=LONG)) as emulator,
    ):
        yield emulator


@asynccontextmanager
async def served(emulator: Emulator) -> AsyncGenerator[Connection]:
    """Have the official client start the command, and connect to it."""
    parameters = StdioServerParameters(
        command=sys.executable, args=list(COMMAND), env=environment(**settings_of(emulator))
    )
    async with Connection(parameters) as mcp:
        yield mcp


async def test_the_official_client_is_served() -> None:
    """The command lists each tool to the official client, and a run reports its progress."""
    listener = Listener()
    async with Emulator(speed=1e3) as emulator, served(emulator) as mcp:
        assert {tool.name for tool in (await mcp.list_tools()).tools} == OPERATIONS | COMBINED
        run = await mcp.result("run_feature", feature="Wishlist")
        wait = {"runId": run["runId"]}
        over = content_of(await mcp.call_tool("wait_for_run", wait, progress_callback=listener))
    assert over["inFlight"] is False
    assert listener.messages[-1].startswith(f"Run {run['runId']} of ")


@contextmanager
def raw(
    emulator: Emulator, *options: str, python: tuple[str, ...] | None = None, **variables: str
) -> Generator[Started]:
    """Start the server with pipes as its streams, and kill it at the end of the context."""
    arguments = options if python else ("mcp", *options)
    with started(*arguments, python=python, **settings_of(emulator), **variables) as process:
        yield process


def send(process: Started, method: str, **message: Any) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps({"jsonrpc": "2.0", "method": method, **message}) + "\n")
    process.stdin.flush()


def receive(process: Started) -> dict[str, Any]:
    assert process.stdout is not None
    message = json.loads(process.stdout.readline())
    assert message["jsonrpc"] == "2.0"
    return dict(message)


def begin(process: Started) -> None:
    """Initialize the session."""
    me = {"name": "test", "version": "1"}
    parameters = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": me}
    send(process, "initialize", id=0, params=parameters)
    assert receive(process)["result"]["serverInfo"]["name"] == "testvibe"
    send(process, "notifications/initialized")


def call(process: Started, number: int, tool: str, **arguments: Any) -> None:
    """Call a tool, and ask for its progress."""
    parameters = {"name": tool, "arguments": arguments, "_meta": {"progressToken": number}}
    send(process, "tools/call", id=number, params=parameters)


def result(process: Started, number: int) -> dict[str, Any]:
    """Return the content of a call's result, which must not be an error, after its progress."""
    while (message := receive(process)).get("id") != number:
        assert "method" in message
    assert not message["result"]["isError"], message
    content: dict[str, Any] = message["result"]["structuredContent"]
    return content


def start_waiting(process: Started) -> None:
    """Have two waits in flight, one for a run and one for a batch."""
    begin(process)
    call(process, 1, "run_feature", feature="Checkout")
    run = result(process, 1)["runId"]
    call(process, 2, "wait_for_run", runId=run)
    assert receive(process)["method"] == "notifications/progress"
    call(process, 3, "run_features", features=["Checkout"])
    call(process, 4, "get_run", runId=run)
    assert result(process, 4)["runId"] == run


def test_it_stops_when_its_output_is_closed(emulator_of_long_runs: Emulator) -> None:
    """A client that closes both streams, with a call in flight, is no error."""
    with raw(emulator_of_long_runs) as process:
        begin(process)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        call(process, 1, "list_projects")
        process.stdin.close()
        assert process.wait(timeout=SOON_SECONDS) == 0
        assert process.stderr is not None
        assert "testvibe-async:" not in process.stderr.read()


@pytest.mark.parametrize("stop", [None, signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once(emulator_of_long_runs: Emulator, stop: signal.Signals | None) -> None:
    """The end of the input, or a signal, stops the server in order, with waits in flight."""
    with raw(emulator_of_long_runs) as process:
        start_waiting(process)
        assert process.stdin is not None
        if stop is None:
            process.stdin.close()
        else:
            process.send_signal(stop)
        assert process.wait(timeout=SOON_SECONDS) == 0
        assert process.stderr is not None
        assert process.stdout is not None
        assert process.stderr.read() == ""
        for line in process.stdout.read().splitlines():
            assert json.loads(line)["jsonrpc"] == "2.0"


def test_stray_output_never_reaches_the_protocol(emulator_of_long_runs: Emulator) -> None:
    """Output of a hook or its child process goes to standard error, the buffered part too."""
    with raw(emulator_of_long_runs, python=("-c", STRAY)) as process:
        begin(process)
        for number in range(1, 4):
            call(process, number, "list_features")
            assert receive(process)["id"] == number
        assert process.stdin is not None
        process.stdin.close()
        output, errors = process.stdout, process.stderr
        assert output is not None
        assert errors is not None
        assert output.read() == ""
        shown = errors.read()
    for words in ("printed by a hook", "left in the buffer", "written by a hook", "echoed by"):
        assert shown.count(words) == 3


def test_a_dispatch_can_be_logged(emulator_of_long_runs: Emulator) -> None:
    """With -v standard error shows each dispatch once, and standard output the protocol alone.

    Lines that are no JSON-RPC do not stop the server, and `--project` overrides the variable.
    """
    other = emulator_of_long_runs.add_project("Other")
    emulator_of_long_runs.add_feature("Elsewhere", project=other)
    with raw(emulator_of_long_runs, "-v", "--project", other.id) as process:
        begin(process)
        assert process.stdin is not None
        process.stdin.write("hello\n{}\n[1]\n")
        call(process, 1, "run_feature", feature="Elsewhere")
        while (message := receive(process)).get("id") != 1:
            assert "error" in message or "method" in message
        assert "runId" in message["result"]["structuredContent"]
        output, errors = process.communicate()
    assert output == ""
    assert errors.count("Dispatched ref=run") == 1
