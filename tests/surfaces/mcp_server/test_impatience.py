"""Clients that give up at any moment, and servers that end: paid is what was asked for, no more."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest
from mcp import Client as McpClient

from tests.conftest import client_of
from tests.support.amounts import FULL, amount
from tests.support.mcp_connection import Mode, connected_by_http, content_of, text_of
from tests.surfaces.mcp_server.test_http import TOKEN, served
from testvibe_async.mcp_server import make_server
from testvibe_async.testing import Emulator, Fault, Scenario

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from mcp.types import CallToolResult

SCHEDULES = (*range(amount(20, 2)), *([76] if FULL else []))
"""The last one ends a server between the finding of a lost dispatch and its storing."""

by_both_wires = pytest.mark.parametrize("wire", ["stream", "http"])

FEATURES = ("Checkout", "Returns", "Wishlist")

MAX_CALLS = 400
"""How often a client calls for one result, at most."""


class Impatient:
    """A client that repeats a call until it has the result, with servers that come and go."""

    def __init__(self, emulator: Emulator, folder: Path, seed: int, wire: str) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a schedule
        self.emulator = emulator
        self.folder = folder
        self.wire = wire
        self.mode: Mode = cast("Mode", self.random.choice(["auto", "legacy"]))
        self.calls = 0
        self.cancelled = 0
        self.servers = 0

    @asynccontextmanager
    async def server(self) -> AsyncGenerator[McpClient]:
        """Connect to a new server with the same folder."""
        self.servers += 1
        if self.wire == "http":
            async with (
                served(self.emulator, state_folder=self.folder) as url,
                connected_by_http(url, TOKEN, self.mode) as mcp,
            ):
                yield mcp
            return
        server = make_server(partial(client_of, self.emulator), state_folder=self.folder)
        async with McpClient(server, mode=self.mode) as mcp:
            yield mcp

    async def result(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call until there is a result, and give up in between."""
        for _ in range(MAX_CALLS):
            async with self.server() as mcp:
                for _ in range(self.random.randint(1, 3)):
                    answer = await self._call(mcp, tool, arguments)
                    if answer is None:
                        continue
                    if answer.is_error:
                        text = text_of(answer)
                        assert "It may have started" in text or "Call again" in text
                        continue
                    content = content_of(answer)
                    if not content.get("inFlight"):
                        return content
        raise AssertionError

    async def _call(
        self, mcp: McpClient, tool: str, arguments: dict[str, Any]
    ) -> CallToolResult | None:
        """Call once; None where the client gave up before it had the answer."""
        self.calls += 1
        call = asyncio.create_task(mcp.call_tool(tool, arguments))
        patience = self.random.choice([0.0, 0.0, 1.0, 2.0, 5.0, 60.0, 300.0])
        await asyncio.wait([call], timeout=patience)
        for _ in range(self.random.randint(0, 40)):  # Any moment of what goes on right now.
            await asyncio.sleep(0)
        if not call.done():
            self.cancelled += 1
            call.cancel()
            await asyncio.wait([call])
        return None if call.cancelled() else call.result()


def disturb(emulator: Emulator, chance: random.Random) -> None:
    """Have some dispatches be slow, and some answers be lost."""
    for operation in ("run_feature", "generate_feature"):
        for fault in (Fault.lost(), Fault.delay(7), Fault.delay(50), Fault.status(503)):
            skip = chance.randint(0, 4)
            if chance.random() < 0.3:
                emulator.fail(operation, fault, skip=skip, times=1)


@by_both_wires
@pytest.mark.parametrize("seed", SCHEDULES)
async def test_what_was_asked_for_is_paid(tmp_path: Path, seed: int, wire: str) -> None:
    """Each generation is paid once, with time-outs at any moment, lost answers and restarts."""
    scenario = Scenario(failing_runs=0.3, failing_generations=0.3)
    async with Emulator(scenario=scenario) as emulator:
        client = Impatient(emulator, tmp_path, seed, wire)
        disturb(emulator, client.random)
        for name in FEATURES:
            emulator.features[name].status = client.random.choice(["draft", "generated"])
        for asked in range(1, 4):
            name = client.random.choice(FEATURES)
            async with client.server() as mcp:
                status = content_of(await mcp.call_tool("get_generation_status", {"feature": name}))
            replace = {"replace": status["requestId"]} if status["requestId"] else {}
            tool = client.random.choice(["generate_feature", "generate_and_run"])
            content = await client.result(tool, feature=name, **replace)
            made = content.get("generation", content)["requestId"]
            assert made != status["requestId"]
            assert started(emulator) == asked
            if emulator.generations[made].status == "generating":
                emulator.finish_generation(made, client.random.choice(["generated", "failed"]))


def started(emulator: Emulator) -> int:
    """Return how many generations were paid for."""
    return len({each for each, made in emulator.generations.items() if made.created_at >= 0})


@by_both_wires
@pytest.mark.parametrize("seed", SCHEDULES)
async def test_each_result_of_runs_is_delivered_once(tmp_path: Path, seed: int, wire: str) -> None:
    """Each batch that a client waits for is started once, and its result comes to it once."""
    async with Emulator(scenario=Scenario(failing_runs=0.3)) as emulator:
        client = Impatient(emulator, tmp_path, seed, wire)
        client.mode = "legacy"  # The wire tells an answer from a cancellation that crosses it.
        for name in FEATURES:
            emulator.features[name].status = "generated"
        emulator.fail("run_feature", Fault.delay(7), times=client.random.randint(0, 5))
        delivered = set[str]()
        for _ in range(3):
            before = len(emulator.runs)
            content = await client.result("run_features", features=list(FEATURES))
            delivered.add(content["startedAt"])
            began = len(emulator.runs) - before
            # A server that ended before it sent them leaves nothing that proves it.
            is_unknown = content["verdict"] == "unknown"
            assert began == len(FEATURES) or (is_unknown and began < len(FEATURES))
        assert len(delivered) == 3
