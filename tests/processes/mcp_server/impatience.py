"""Impatient clients in numbers: `python -m tests.processes.mcp_server.impatience [LOOPS]`.

Prints for each wire what was asked for, started and delivered, with the calls that were given up
and the servers that ended. The first rows are on virtual time; for the last ones servers in
processes of their own are killed at any moment, by SIGKILL.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcp import Client as McpClient
from mcp.client.stdio import StdioServerParameters

from tests.support.commands import MODULE, environment
from tests.support.mcp_connection import connected_by_http, content_of
from tests.surfaces.mcp_server.test_impatience import Wire, generations, runs
from testvibe_async.testing import Emulator, Scenario
from testvibe_async.testing.clock import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

WIRES: tuple[Wire, ...] = ("stream", "http")

TIMEOUTS = (0.05, 0.2, 0.5, 1.0, 5.0)
"""Seconds after which a client gives up, where the service is fifty times as fast as usual."""

MAX_SERVERS = 40
"""How many servers are killed for one result, at most."""

NOTED = """
import os, pathlib, sys
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class Killed:
    """A client whose servers, processes that share a folder, are killed."""

    def __init__(self, emulator: Emulator, folder: Path, seed: int, wire: Wire) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a schedule
        self.counts = Counter[str]()
        self._folder = folder
        self._wire = wire
        self._environment = environment(
            TESTVIBE_SERVER=emulator.url,
            TESTVIBE_API_KEY=emulator.api_key,
            TESTVIBE_PROJECT=emulator.project_id,
            TESTVIBE_MCP_TOKEN="token",
            HOME=str(folder),
            XDG_STATE_HOME=str(folder),
        )

    async def result(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call until there is a result; give up, or kill the server, in between."""
        self.counts["asked"] += 1
        for _ in range(MAX_SERVERS):
            self.counts["servers"] += 1
            content: dict[str, Any] = {"inFlight": True}
            with suppress(Exception):  # The connection to a server that was killed.
                async with self._server() as (mcp, process):
                    for _ in range(self.random.randint(1, 4)):
                        content = await self._call(mcp, tool, arguments) or content
                        if not content.get("inFlight"):
                            break
                    os.kill(process, signal.SIGKILL)
            if not content.get("inFlight"):
                return content
        raise AssertionError

    async def _call(
        self, mcp: McpClient, tool: str, arguments: dict[str, Any]
    ) -> dict[str, Any] | None:
        self.counts["calls"] += 1
        try:
            async with asyncio.timeout(self.random.choice(TIMEOUTS)):
                answer = await mcp.call_tool(tool, arguments)
        except TimeoutError:
            self.counts["cancelled"] += 1
            return None
        return None if answer.is_error else content_of(answer)

    @asynccontextmanager
    async def _server(self) -> AsyncGenerator[tuple[McpClient, int]]:
        """Start a server, and connect to it; yield the id of its process, too."""
        if self._wire == "stream":
            noted = self._folder / "process"
            parameters = StdioServerParameters(
                command=sys.executable,
                args=["-c", NOTED, str(noted), *MODULE, "mcp"],
                env=self._environment,
            )
            async with McpClient(parameters, mode="legacy") as mcp:
                yield mcp, int(noted.read_text())
            return
        with subprocess.Popen(  # noqa: ASYNC220, S603 - its first line is waited for in a thread
            [sys.executable, *MODULE, "mcp", "--http", "0"],
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment,
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
