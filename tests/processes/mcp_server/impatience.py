"""Impatient clients in numbers: `python -m tests.processes.mcp_server.impatience [LOOPS]`.

Prints for each wire what was asked for, started and delivered, with the calls that were given up
and the servers that ended. The first rows are on virtual time; for the last ones servers in
processes of their own are killed at any moment, by SIGKILL.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mcp import Client as McpClient
from mcp.client.stdio import StdioServerParameters

from tests.support.commands import MODULE, environment
from tests.support.mcp_connection import connected_by_http
from tests.surfaces.mcp_server.test_impatience import Impatient, Wire, generations, runs
from testvibe_async.testing import Emulator, Scenario
from testvibe_async.testing.clock import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

WIRES: tuple[Wire, ...] = ("stream", "http")

NOTED = """
import os, pathlib, sys
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class Killed(Impatient):
    """A client whose servers, processes that share a folder, are killed."""

    timeouts = (0.05, 0.2, 0.5, 1.0, 5.0)
    """Where the service is fifty times as fast as usual."""

    expected_errors = ("",)

    @asynccontextmanager
    async def server(self) -> AsyncGenerator[McpClient]:
        """Start a server, connect to it, and kill it."""
        with suppress(Exception):  # The connection to a server that was killed.
            async with self._process() as (mcp, process):
                yield mcp
                os.kill(process, signal.SIGKILL)

    @asynccontextmanager
    async def _process(self) -> AsyncGenerator[tuple[McpClient, int]]:
        variables = environment(
            TESTVIBE_SERVER=self.emulator.url,
            TESTVIBE_API_KEY=self.emulator.api_key,
            TESTVIBE_PROJECT=self.emulator.project_id,
            TESTVIBE_MCP_TOKEN="token",
            HOME=str(self.folder),
            XDG_STATE_HOME=str(self.folder),
        )
        if self.wire == "stream":
            noted = self.folder / "process"
            parameters = StdioServerParameters(
                command=sys.executable,
                args=["-c", NOTED, str(noted), *MODULE, "mcp"],
                env=variables,
            )
            async with McpClient(parameters, mode="legacy") as mcp:
                yield mcp, int(noted.read_text())
            return
        with subprocess.Popen(  # noqa: ASYNC220, S603 - its first line is waited for in a thread
            [sys.executable, *MODULE, "mcp", "--http", "0"],
            stderr=subprocess.PIPE,
            text=True,
            env=variables,
        ) as process:
            assert process.stderr is not None
            line = await asyncio.to_thread(process.stderr.readline)
            url = line.removeprefix("Serving MCP at ").split()[0]
            try:
                async with connected_by_http(url, "token", "legacy") as mcp:
                    yield mcp, process.pid
            finally:
                process.kill()


async def killed(folder: Path, seed: int, wire: Wire) -> Counter[str]:
    """Ask for a generation and for runs of servers that are killed; count them."""
    async with Emulator(speed=50, scenario=Scenario(failing_generations=0)) as emulator:
        client = Killed(emulator, folder, seed, wire)
        emulator.features["Returns"].status = "draft"
        made = await client.result("generate_and_run", feature="Returns")
        assert made["generation"]["requestId"] in emulator.generations
        paid = sum(each.created_at >= 0 for each in emulator.generations.values())
        before = len(emulator.runs)
        starts = {
            (await client.result("run_features", features=["Checkout"]))["startedAt"]
            for _ in range(2)
        }
        started = paid + len(emulator.runs) - before
    return client.counts + Counter(started=started, delivered=1 + len(starts))


def main(loops: int) -> None:
    """Print the table."""
    columns = ("loops", "asked", "started", "delivered", "calls", "cancelled", "servers")
    sys.stdout.write(f"{'':22}" + "".join(f"{name:>11}" for name in columns) + "\n")
    for schedule, number in ((generations, loops), (runs, loops), (killed, max(1, loops // 10))):
        for wire in WIRES:
            total = Counter(loops=number)
            for seed in range(number):
                loop = asyncio.new_event_loop() if schedule is killed else VirtualTimeLoop()
                with tempfile.TemporaryDirectory() as folder:
                    total += loop.run_until_complete(schedule(Path(folder), seed, wire))
                loop.close()
            name = f"{schedule.__name__}, {wire}"
            row = "".join(f"{total[column]:11,}" for column in columns)
            sys.stdout.write(f"{name:22}{row}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
