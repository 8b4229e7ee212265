"""A client that outlives its event loop."""

from __future__ import annotations

import subprocess
import sys

from testvibe_async.testing import Emulator, Fault

LEAVES_ITS_LOOP = """
import asyncio, sys
from testvibe_async import Client

client = Client(sys.argv[1], api_key=sys.argv[2], project=sys.argv[3])

async def leave_behind():
    left = asyncio.ensure_future(client.project().run_feature("Checkout"))
    await asyncio.sleep(0.2)
    return left

loop = asyncio.new_event_loop()
left = loop.run_until_complete(leave_behind())
loop.close()
asyncio.run(asyncio.wait_for(client.aclose(), 5))
print("closed", left.done())
"""


def test_a_client_whose_loop_was_closed_can_be_closed_in_another(
    testvibe_emulator: Emulator,
) -> None:
    """A dispatch that a closed loop left behind is not waited for: nothing can end it there."""
    testvibe_emulator.fail("run_feature", Fault.hang())
    service = testvibe_emulator.url, testvibe_emulator.api_key, testvibe_emulator.project_id
    ended = subprocess.run(  # noqa: S603 - a process of its own, for what it leaves open
        [sys.executable, "-c", LEAVES_ITS_LOOP, *service],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.stdout == "closed False\n", ended.stderr
