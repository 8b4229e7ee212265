"""Clients that give up at any moment, and servers that end: paid is what was asked for, no more."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest

from tests.support.amounts import FULL, amount
from tests.support.mcp_connection import (
    Connection,
    Mode,
    connected,
    connected_by_http,
    content_of,
    text_of,
)
from tests.surfaces.mcp_server.test_http import TOKEN, served
from testvibe_async.testing import Emulator, Fault, Scenario

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

SCHEDULES = (*range(amount(20, 2)), *([76] if FULL else []))
"""The last one ends a server between the finding of a lost dispatch and its storing."""

Wire = Literal["stream", "http"]

by_both_wires = pytest.mark.parametrize("wire", ["stream", "http"])

FEATURES = ("Checkout", "Returns", "Wishlist")

MAX_SERVERS = 400
"""How many servers a client needs for one result, at most."""

EACH_ASKS = 3
"""How many results a client wants."""

TIMEOUTS = (0.0, 0.0, 1.0, 2.0, 5.0, 60.0, 300.0)
"""Seconds after which it gives up, one by chance."""

EXPECTED_ERRORS = ("It may have started", "Call again")
"""What an error says after which it calls again."""


class Impatient:
    """A client that repeats a call until it has the result, with servers that come and go."""

    def __init__(
        self, emulator: Emulator, folder: Path, seed: object, wire: Wire, mode: Mode | None = None
    ) -> None:
        self.random = random.Random(str(seed))  # noqa: S311 - a schedule
        self.emulator = emulator
        self.folder = folder
        self.wire = wire
        self.mode: Mode = mode or cast("Mode", self.random.choice(["auto", "legacy"]))

    @asynccontextmanager
    async def server(self) -> AsyncGenerator[Connection]:
        """Connect to a new server with the same folder."""
        if self.wire == "http":
            async with (
                served(self.emulator, state_folder=self.folder) as url,
                connected_by_http(url, TOKEN, self.mode) as mcp,
            ):
                yield mcp
            return
        async with connected(self.emulator, self.mode, state_folder=self.folder) as mcp:
            yield mcp

    async def result(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call until there is a result, and give up in between."""
        for _ in range(MAX_SERVERS):
            async with self.server() as mcp:
                for _ in range(self.random.randint(1, 3)):
                    content = await self._call(mcp, tool, arguments)
                    if content and not content.get("inFlight"):
                        return content
        raise AssertionError

    async def _call(
        self, mcp: Connection, tool: str, arguments: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Call once; None if the client gave up before it had the answer, or at an error."""
        call = asyncio.create_task(mcp.call_tool(tool, arguments))
        await asyncio.wait([call], timeout=self.random.choice(TIMEOUTS))
        for _ in range(self.random.randint(0, 40)):  # Any moment of what goes on right now.
            await asyncio.sleep(0)
        if not call.done():
            call.cancel()
            await asyncio.wait([call])
        if call.cancelled():
            return None
        if call.result().is_error:
            assert any(words in text_of(call.result()) for words in EXPECTED_ERRORS)
            return None
        return content_of(call.result())


def disturb(emulator: Emulator, chance: random.Random) -> None:
    """Have some dispatches be slow, and some answers be lost."""
    for operation in ("run_feature", "generate_feature"):
        for fault in (Fault.lost(), Fault.delay(7), Fault.delay(50), Fault.status(503)):
            skip = chance.randint(0, 4)
            if chance.random() < 0.3:
                emulator.fail(operation, fault, skip=skip, times=1)


@by_both_wires
@pytest.mark.parametrize("seed", SCHEDULES)
async def test_what_was_asked_for_is_paid(tmp_path: Path, seed: int, wire: Wire) -> None:
    """Each generation is paid once, with time-outs at any moment, lost answers and restarts."""
    scenario = Scenario(failing_runs=0.3, failing_generations=0.3)
    async with Emulator(scenario=scenario) as emulator:
        client = Impatient(emulator, tmp_path, seed, wire)
        disturb(emulator, client.random)
        for name in FEATURES:
            emulator.features[name].status = client.random.choice(["draft", "generated"])
        for asked in range(1, EACH_ASKS + 1):
            name = client.random.choice(FEATURES)
            async with client.server() as mcp:
                status = content_of(await mcp.call_tool("get_generation_status", {"feature": name}))
            replace = {"replace": status["requestId"]} if status["requestId"] else {}
            tool = client.random.choice(["generate_feature", "generate_and_run"])
            content = await client.result(tool, feature=name, **replace)
            made = content.get("generation", content)["requestId"]
            assert made != status["requestId"]
            # What was there before any call does not count.
            paid = [each for each in emulator.generations.values() if each.created_at >= 0]
            assert len(paid) == asked
            if emulator.generations[made].status == "generating":
                emulator.finish_generation(made, client.random.choice(["generated", "failed"]))


@by_both_wires
@pytest.mark.parametrize("seed", SCHEDULES)
async def test_each_result_of_runs_is_delivered_once(tmp_path: Path, seed: int, wire: Wire) -> None:
    """Of two clients that share a folder each gets its results, and each result is one client's."""
    async with Emulator(scenario=Scenario(failing_runs=0.3)) as emulator:
        # The wire of the older protocol tells an answer from a cancellation that crosses it. A
        # signal stops what this process serves over HTTP, so there it is one server.
        clients = [
            Impatient(emulator, tmp_path, f"{seed} {number}", wire, "legacy")
            for number in range(2 if wire == "stream" else 1)
        ]
        chance = clients[0].random
        for name in FEATURES:
            emulator.features[name].status = "generated"
        if late := chance.randint(0, 5):
            emulator.fail("run_feature", Fault.delay(7), times=late)
        tool = chance.choice(["run_feature", "run_features"])
        call = {"feature": "Returns"} if tool == "run_feature" else {"features": list(FEATURES)}
        size = len(call.get("features", [0]))

        async def ask(client: Impatient) -> list[dict[str, Any]]:
            return [await client.result(tool, **call) for _ in range(EACH_ASKS)]

        results = [each for those in await asyncio.gather(*map(ask, clients)) for each in those]
        assert len({content["startedAt"] for content in results}) == len(results)
        # A server that ended before it sent them leaves nothing that proves it.
        unknown = sum(size for content in results if content.get("verdict") == "unknown")
        assert len(results) * size - unknown <= len(emulator.runs) <= len(results) * size
