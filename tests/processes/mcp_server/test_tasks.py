"""A task over stdio, whose server is killed."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from mcp import Client as McpClient
from mcp.client.stdio import StdioServerParameters

from tests.processes.mcp_server.test_stdio import COMMAND, raw, receive, send, service
from tests.support.commands import environment
from tests.support.mcp_connection import (
    on_real_time,
)
from tests.surfaces.mcp_server.test_tasks import TASKS, TasksClient, ask, ended
from testvibe_async.testing import Emulator, Outcome, Scenario


@on_real_time
async def test_a_task_over_stdio_survives_the_server_s_death() -> None:
    """A server that is killed is followed by one that goes on with its task."""
    process = StdioServerParameters(command=sys.executable, args=[*COMMAND, "--tasks"])
    long = Scenario(outcomes={"Checkout": Outcome(run_queue=0, run_duration=600)})
    async with Emulator(scenario=long) as emulator:
        process.env = environment(**service(emulator))
        with raw(emulator, "--tasks") as killed:
            me: dict[str, Any] = {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}},
            }
            call: dict[str, Any] = {
                "name": "run_features",
                "arguments": {"features": ["Checkout"]},
                "_meta": me,
            }
            send(killed, "tools/call", id=1, params=call)
            made = (await asyncio.to_thread(receive, killed))["result"]
            assert (made["resultType"], made["status"]) == ("task", "working")
            killed.kill()
            killed.wait()
        async with McpClient(process, extensions=[TasksClient()]) as mcp:
            assert (await ask(mcp, "tasks/get", made["taskId"]))["status"] == "working"
            emulator.finish_run(214, "passed")
            assert (await ended(mcp, made["taskId"]))["status"] == "completed"
        assert emulator.count("run_feature") == 1
