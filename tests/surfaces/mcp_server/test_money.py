"""Generations cost credits: each tool pays for exactly what was asked for, and runs run once.

The table has each tool that starts something, and each mishap of an answer, a client or a server.
Dispatches are counted at the service.
"""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from attrs import define

from tests.support.amounts import some
from tests.support.mcp_connection import Connection, connected, content_of, text_of
from tests.support.timing import STEADY
from testvibe_async.testing import Emulator, Fault

SCENARIO = STEADY

HOUR = 3_600.0

TOOLS: dict[str, tuple[str, dict[str, Any]]] = {
    "generate_feature": ("generate_feature", {"feature": "Draft"}),
    "generate_feature, replace": ("generate_feature", {"feature": "Checkout"}),
    "run_feature": ("run_feature", {"feature": "Checkout"}),
    "run_features": ("run_features", {"features": ["Checkout"], "timeoutSeconds": 10}),
}


@define
class Stage:
    """A service, the file of a ledger, and a call of a tool."""

    emulator: Emulator
    path: Path
    tool: str
    arguments: dict[str, Any]

    @property
    def started(self) -> int:
        """The number of operations that calls have started."""
        if self.tool.startswith("run"):
            return len(self.emulator.runs)
        return sum(made.created_at >= 0 for made in self.emulator.generations.values())

    @asynccontextmanager
    async def server(self) -> AsyncGenerator[Connection]:
        """A server on the ledger, and its client."""
        async with connected(self.emulator, ledger=self.path) as mcp:
            if self.arguments.get("feature") == "Checkout" and self.tool.startswith("generate"):
                self.arguments.setdefault("replace", await mcp.latest("Checkout"))
            yield mcp

    async def call(self, mcp: Connection) -> str:
        """Call the tool until it has started what it is to start, or says why not."""
        for _ in range(20):
            answer = await mcp.call_tool(self.tool, self.arguments)
            if answer.is_error or not {"runId", "requestId", "runs"}.isdisjoint(content_of(answer)):
                return text_of(answer)
        raise AssertionError


Mishap: TypeAlias = "Callable[[Stage], Awaitable[None]]"


def faulty(fault: Fault) -> Mishap:
    """Return the mishap of one faulty answer to the dispatch."""

    async def happen(stage: Stage) -> None:
        stage.emulator.fail(stage.tool.removesuffix("s"), fault, times=1)
        async with stage.server() as mcp:
            await stage.call(mcp)
            await stage.call(mcp)

    return happen


async def given_up(stage: Stage) -> None:
    """Cancel the call while the answer is on its way, and repeat it to the same server."""
    stage.emulator.fail(stage.tool.removesuffix("s"), Fault.delay(7), times=1)
    async with stage.server() as mcp:
        await mcp.give_up(stage.tool, seconds=1, **stage.arguments)
        await stage.call(mcp)


async def gone(stage: Stage) -> None:
    """Close the connection, which ends the server, while the answer is on its way."""
    stage.emulator.fail(stage.tool.removesuffix("s"), Fault.unanswered(), times=1)
    async with stage.server() as mcp:
        call = asyncio.create_task(mcp.call_tool(stage.tool, stage.arguments))
        await asyncio.sleep(5)
    await asyncio.wait([call])
    assert stage.started == 1


async def killed(stage: Stage) -> None:
    """End the server while the answer is on its way, as it is on the disk then."""
    stage.emulator.fail(stage.tool.removesuffix("s"), Fault.unanswered(), times=1)
    async with stage.server() as mcp:
        call = asyncio.create_task(mcp.call_tool(stage.tool, stage.arguments))
        await asyncio.sleep(5)
        assert stage.started == 1
        left = stage.path.with_name("left.sqlite")
        shutil.copy(stage.path, left)
        silence = stage.emulator.fail("*", Fault.hang())
    await asyncio.wait([call])
    silence.remove()
    stage.path = left


async def repeated(stage: Stage) -> None:
    """Call at once, one after the other, and by another server on the same ledger."""
    async with stage.server() as mcp, stage.server() as other:
        await asyncio.gather(*(stage.call(each) for each in (mcp, mcp, other)))
        await stage.call(mcp)
        await stage.call(other)


MISHAPS: dict[str, Mishap] = {
    "answer lost": faulty(Fault.lost()),
    "a page as the 2xx": faulty(Fault.edit(lambda _: b"<!doctype html><title>Accepted</title>")),
    "cancelled": given_up,
    "client gone": gone,
    "server killed": killed,
    "repeated": repeated,
}


def without_id(status: Any) -> Any:
    return {**status, "requestId": None}


@pytest.mark.parametrize(
    ("mishap", "name", "pause"), some(product(MISHAPS, TOOLS, [0.0, HOUR]), few=3)
)
async def test_one_request_is_paid_once(
    emulator: Emulator, machine: Path, mishap: str, name: str, pause: float
) -> None:
    """Whatever happens, one operation is started, also by a call after the end of a generation."""
    emulator.add_feature("Draft", status="draft")
    tool, arguments = TOOLS[name]
    stage = Stage(emulator, machine / "ledger.sqlite", tool, dict(arguments))
    if name == "generate_feature" and pause:  # What has no id is the harder one to recognize.
        emulator.fail("get_generation_status", Fault.edit(without_id))
    await MISHAPS[mishap](stage)
    assert stage.started == 1
    await asyncio.sleep(pause)
    if not (pause and tool.startswith("run")):
        async with stage.server() as mcp:
            await stage.call(mcp)
    assert stage.started == 1
    assert emulator.count(tool.removesuffix("s")) == 1
