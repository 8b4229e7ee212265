"""Clients that give up and call again: nothing is started twice, and each result is obtained."""

import asyncio
import random
from itertools import pairwise
from pathlib import Path
from typing import Any, cast, get_args

import pytest

from tests.conftest import client_of
from tests.support import mcp_connection
from tests.support.amounts import amount
from tests.support.mcp_connection import Mode, connected, content_of, text_of, without_tests
from tests.support.timing import now
from testvibe_async.testing import Emulator, Fault, Scenario

WAITS: list[tuple[str, dict[str, Any], int]] = [
    ("wait_for_run", {"runId": 214}, 120),
    ("wait_for_generation", {"feature": "Returns"}, 120),
    ("run_features", {"features": ["Checkout"]}, 45),
    ("wait_for_batch", {"batch": 1}, 45),
]


@pytest.mark.parametrize(("tool", "arguments", "seconds"), WAITS, ids=[each[0] for each in WAITS])
async def test_a_wait_has_an_end(
    emulator: Emulator, tool: str, arguments: dict[str, Any], seconds: int
) -> None:
    """A wait returns after 45 or 120 s, and says something at least every 10 s until then."""
    listener = mcp_connection.Listener()
    async with connected(emulator) as mcp:
        await mcp.result("run_features", features=["Checkout"], timeoutSeconds=1)
        if "gener" in tool:
            without_tests(emulator)
            await mcp.result("generate_feature", feature="Returns")
        emulator.fail("get_run", Fault.edit(lambda run: {**run, "status": "running"}))
        emulator.fail("list_runs", Fault.status(404))
        await mcp.list_tools()
        began = now()
        answer = await mcp.call_tool(tool, arguments, progress_callback=listener)
        assert now() - began == pytest.approx(seconds, abs=1.5)
    assert content_of(answer)["inFlight"] is True
    assert max(later - earlier for earlier, later in pairwise([began, *listener.times])) < 10.5
    assert all(earlier < later for earlier, later in pairwise(listener.numbers))


async def test_a_batch_is_the_same_in_any_order_and_case(emulator: Emulator) -> None:
    """The same features are the same call, a feature named twice runs once; others are another."""
    number = str(emulator.features["Checkout"].id)
    emulator.add_feature("Masse")
    async with connected(emulator) as mcp:
        for features, config, runs in (
            (["Checkout", "Wishlist"], None, 2),
            (["WISHLIST", "checkout"], None, 2),
            (["Checkout", "CHECKOUT", number], None, 3),
            (["Checkout"], "Default", 4),
            (["Checkout"], "default", 4),
            (["Masse"], None, 5),
            (["Maße"], None, 6),
        ):
            home = emulator.project_id.upper() if config == "default" else emulator.project_id
            call = {"features": features, "config": config, "project": home, "timeoutSeconds": 1}
            await mcp.result("run_features", **call)
            assert emulator.count("run_feature") == runs


@pytest.mark.parametrize("is_repeated", [False, True], ids=["wait_for_batch", "repeated"])
async def test_a_batch_is_continued_after_a_restart(emulator: Emulator, is_repeated: bool) -> None:  # noqa: FBT001 - a parameter
    """The next server waits for the runs in flight, and starts those that were not started yet."""
    call: dict[str, Any] = {"features": ["Checkout"], "repeat": 3, "timeoutSeconds": 10}
    async with connected(emulator) as mcp:
        first = await mcp.result("run_features", **call)
        assert (len(emulator.runs), first["inFlight"]) == (1, True)
    async with connected(emulator) as mcp:
        if is_repeated:
            answer = await mcp.result("run_features", **call)
            assert (answer["batch"], answer["startedAt"]) == (first["batch"], first["startedAt"])
            assert "Nothing was started: your call at" in answer["note"]
        digest = await mcp.result("wait_for_batch", batch=first["batch"], timeoutSeconds=170)
    assert digest["summary"]["total"] == len(emulator.runs) == 3
    assert digest["inFlight"] is False
    assert emulator.count("run_feature") == 3


async def test_a_batch_of_the_command_line_is_only_shown(emulator: Emulator, machine: Path) -> None:
    """A tool neither continues a batch that no tool has started, nor one of generations."""
    path = machine / "ledger.sqlite"
    async with client_of(emulator, ledger=path) as client:
        async with client.project().run_features(["Checkout"], key="a"):
            pass
        async with client.project().generate_features(["Returns"], key="b"):
            pass
    sent = len(emulator.runs), len(emulator.generations)
    async with connected(emulator, ledger=path) as mcp:
        await mcp.result("wait_for_batch", batch=1)
        assert "batch 2 is one of generations" in await mcp.refused("wait_for_batch", batch=2)
    assert (len(emulator.runs), len(emulator.generations)) == sent


TIMEOUTS = (0.0, 0.0, 1.0, 2.0, 5.0, 60.0, 300.0)
"""Seconds after which a client gives up, one by chance."""

EXPECTED_ERRORS = ("It may have started", "Call again")
"""What an error says after which it calls again."""


class Impatient:
    """A client that repeats a call until it has the answer."""

    def __init__(self, mcp: mcp_connection.Connection, chance: random.Random) -> None:
        self.mcp = mcp
        self.random = chance

    async def result(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call until there is an answer, and give up in between."""
        for _ in range(400):
            if content := await self._call(tool, arguments):
                return content
        raise AssertionError

    async def _call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """Call once; None if the client gave up before it had the answer, or at an error."""
        call = asyncio.create_task(self.mcp.call_tool(tool, arguments))
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


@pytest.mark.parametrize("seed", range(amount(20, few=1)))
async def test_each_result_of_runs_is_obtained(seed: int) -> None:
    """A client that gives up at any moment has, by its repetitions, all results of its batch."""
    chance = random.Random(seed)  # noqa: S311 - a schedule
    async with (
        Emulator(scenario=Scenario(failing_runs=0.3)) as emulator,
        connected(emulator, cast("Mode", chance.choice(get_args(Mode)))) as mcp,
    ):
        client = Impatient(mcp, chance)
        names = [each.name for each in emulator.features.values() if each.status == "generated"]
        if late := chance.randint(0, 5):
            emulator.fail("run_feature", Fault.delay(7), times=late)
        started = await client.result("run_features", features=names, timeoutSeconds=5)
        digest: dict[str, Any] = {"inFlight": True}
        while digest["inFlight"]:
            digest = await client.result("wait_for_batch", batch=started["batch"])
        assert digest["summary"]["total"] == len(names)
        assert digest["summary"]["unknown"] == 0
        assert len(emulator.runs) <= 2 * len(names)
