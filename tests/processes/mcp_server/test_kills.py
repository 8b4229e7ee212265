"""A server that is killed: the next one on its ledger goes on, and pays nothing twice."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.processes.mcp_server.test_stdio import begin, call, raw, result
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

SERVER = """
import asyncio
from testvibe_async.mcp_server import make_server, serve_stdio

asyncio.run(serve_stdio(make_server()))
"""

SLOW = Scenario(
    failing_generations=0,
    outcomes={name: Outcome(run_queue=0, run_duration=2) for name in ("Checkout", "Wishlist")},
)

CALLS: list[tuple[str, dict[str, Any], bool]] = [
    ("run_features", {"features": ["Checkout", "Wishlist"]}, True),
    ("generate_feature", {"feature": "Draft"}, False),
]
"""The calls, and whether their answers arrive before the end of the server."""


def paid(emulator: Emulator) -> int:
    """Return how many operations were started."""
    made = sum(each.created_at >= 0 for each in emulator.generations.values())
    return len(emulator.runs) + made


@pytest.mark.parametrize(("tool", "arguments", "is_answered"), CALLS, ids=str)
async def test_a_killed_server_starts_nothing_twice(
    machine: Path,
    tool: str,
    arguments: dict[str, Any],
    is_answered: bool,  # noqa: FBT001 - a parameter
) -> None:
    """The same call to the next server has what the killed one started."""
    ledger = str(machine / "ledger.sqlite")
    async with Emulator(scenario=SLOW) as emulator:
        emulator.add_feature("Draft", status="draft")
        expected = len(arguments.get("features", "1"))
        if not is_answered:
            emulator.fail(tool.removesuffix("s"), Fault.unanswered(), times=expected)
        with raw(emulator, python=("-c", SERVER), TESTVIBE_LEDGER=ledger) as process:
            await asyncio.to_thread(begin, process)
            call(process, 1, tool, **arguments)
            while paid(emulator) < expected:  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.05)
            process.kill()
            process.wait()
        with raw(emulator, python=("-c", SERVER), TESTVIBE_LEDGER=ledger) as process:
            await asyncio.to_thread(begin, process)
            call(process, 1, tool, **arguments)
            content = await asyncio.to_thread(result, process, 1)
            while tool == "run_features" and content["inFlight"]:
                call(process, 2, "wait_for_batch", batch=content["batch"])
                content = await asyncio.to_thread(result, process, 2)
        assert paid(emulator) == expected
        assert emulator.count(tool.removesuffix("s")) == expected
        assert content["batch"] == 1
    if tool == "run_features":
        assert content["summary"]["succeeded"] + content["summary"]["failed"] == expected
