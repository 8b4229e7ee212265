"""A service under maintenance: tools say so within two polls, and return the verdict after it."""

from typing import Any

import pytest

from tests.support.amounts import by_turns
from tests.support.mcp_connection import Listener, connected
from tests.support.timing import STEADY, now
from testvibe_async.testing import Emulator, Fault

SCENARIO = STEADY

PAGE = b"<!doctype html><title>We are back soon</title>"

PAGES = {
    "HTML 200": Fault.body(PAGE, content_type="text/html"),
    "302 to a login": Fault.status(302, body=b""),
    "bare 404": Fault.status(404, body=b""),
    "403 page": Fault.status(403, body=PAGE),
    "503 HTML": Fault.status(503, body=PAGE),
}

STARTS = 7.0
"""When the service goes away: after polls at 3 s and 6 s that it answers."""

TWO_POLLS = 10.0
"""Seconds until two polls have failed at the latest: the third interval is the longer one."""

TOOLS: dict[str, dict[str, Any]] = {
    "wait_for_run": {"runId": 214},
    "run_features": {"features": ["Checkout"]},
}


@pytest.mark.parametrize(
    ("page", "tool", "seconds"),
    [(page, *rest) for page, rest in by_turns([*PAGES], [(t, s) for t in TOOLS for s in (10, 60)])],
)
async def test_tools(emulator: Emulator, page: str, tool: str, seconds: int) -> None:
    """A tool that waits reports a long outage as progress, and returns the verdict after it."""
    listener = Listener()
    async with connected(emulator) as mcp:
        if tool == "wait_for_run":
            await mcp.result("run_feature", feature="Checkout")
        begin = now() + STARTS
        emulator.fail("*", PAGES[page], when=lambda _: begin < now() < begin + seconds)
        arguments = {**TOOLS[tool], "timeoutSeconds": 170}
        answer = await mcp.call_tool(tool, arguments, progress_callback=listener)
    content: dict[str, Any] = answer.structured_content or {}
    verdict = content.get("status") or ("passed" if content["summary"]["succeeded"] else "")
    assert (answer.is_error, content["inFlight"], verdict) == (False, False, "passed")
    heard = zip(listener.times, listener.messages, strict=True)
    told = [at - begin for at, message in heard if "answer" in message]
    assert seconds < 60 or told[0] <= TWO_POLLS
