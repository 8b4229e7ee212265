"""A headless Chromium, driven over its DevTools protocol, for tests of the page."""

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest

EXECUTABLE = shutil.which("chromium") or shutil.which("chromium-headless-shell")
START_SECONDS = 20
KEYS: dict[str, dict[str, Any]] = {
    "Tab": {"windowsVirtualKeyCode": 9},
    "Enter": {"windowsVirtualKeyCode": 13, "text": "\r"},
    " ": {"code": "Space", "windowsVirtualKeyCode": 32, "text": " "},
    "Escape": {"windowsVirtualKeyCode": 27},
}


class Browser:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = count(1)
        self.events: list[dict[str, Any]] = []

    async def call(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol and return its result; record the events before it."""
        id_ = next(self._ids)
        await self._socket.send_json({"id": id_, "method": method, "params": params})
        while (message := await self._socket.receive_json()).get("id") != id_:
            self.events.append(message)
        assert "error" not in message, message
        return message["result"]

    async def open(self, path: Path) -> None:
        """Open a file, and return when it is loaded."""
        await self.go_to(path.as_uri())

    async def go_to(self, url: str) -> None:
        """Open an address, and return when it is loaded."""
        self.events.clear()
        await self.call("Page.navigate", url=url)
        while all(event["method"] != "Page.loadEventFired" for event in self.events):
            self.events.append(await self._socket.receive_json())

    async def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, or of its promise."""
        answer = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def press(self, *keys: str) -> None:
        """Press keys one after another."""
        for key in keys:
            details: dict[str, Any] = {"key": key, "code": key, **KEYS.get(key, {"text": key})}
            await self.call("Input.dispatchKeyEvent", type="keyDown", **details)
            await self.call("Input.dispatchKeyEvent", type="keyUp", **details)

    async def tab_to(self, selector: str) -> None:
        """Press Tab until the element has the focus."""
        for _ in range(100):
            await self.press("Tab")
            if await self.evaluate(f"document.activeElement.matches({selector!r})"):
                return
        raise AssertionError(f"{selector} can't be reached by the keyboard")

    async def set_screen(self, width: int, scheme: str, *, height: int = 900) -> None:
        """Set the size in pixels, and `light` or `dark`."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await self.call("Emulation.setDeviceMetricsOverride", **size)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        await self.call("Emulation.setEmulatedMedia", features=[feature])

    @property
    def problems(self) -> list[dict[str, Any]]:
        """The errors and policy violations since the page was opened."""
        return [event for event in self.events if event["method"] in _PROBLEMS]

    @property
    def requests(self) -> list[str]:
        """The URLs requested since the page was opened, except its icon's data."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event["method"] == "Network.requestWillBeSent"
            and not event["params"]["request"]["url"].startswith("data:")
        ]


_PROBLEMS = {
    "Runtime.exceptionThrown",
    "Runtime.consoleAPICalled",
    "Log.entryAdded",
    "Audits.issueAdded",
}


@asynccontextmanager
async def started() -> AsyncGenerator[int]:
    """Start a browser, and return its port; skip the test where it does not start."""
    assert EXECUTABLE is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
        quiet = ("--no-first-run", "--disable-background-networking", f"--user-data-dir={profile}")
        process = await asyncio.create_subprocess_exec(
            EXECUTABLE,
            *(*flags, *quiet, "--remote-debugging-port=0"),
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield await _port_of(process)
        finally:
            process.terminate()
            await process.communicate()


async def _port_of(process: asyncio.subprocess.Process) -> int:
    assert process.stderr is not None
    try:
        async with asyncio.timeout(START_SECONDS):
            async for line in process.stderr:
                if found := re.search(rb"ws://127\.0\.0\.1:(\d+)/", line):
                    return int(found[1])
    except TimeoutError:
        pass
    pytest.skip("the browser does not start here")


@asynccontextmanager
async def tab_of(port: int) -> AsyncGenerator[Browser]:
    """Open a tab of the browser at a port."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        async with session.put("/json/new?about:blank") as response:
            address = (await response.json())["webSocketDebuggerUrl"]
        async with session.ws_connect(address, max_msg_size=0) as socket:
            browser = Browser(socket)
            for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
                await browser.call(f"{domain}.enable")
            yield browser
