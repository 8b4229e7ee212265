"""`emulator` and `demo`: what they serve and show, on virtual time, and how they end."""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import ROOT
from tests.surfaces.cli.conftest import Call, later, press_ctrl_c
from testvibe_async import (
    Client,
)
from testvibe_async.cli import app
from testvibe_async.testing import Emulator, Fault, Scenario

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager

    Serve = Callable[..., AbstractAsyncContextManager[Client]]

LINE = re.compile(r" *[\d.]+ s +\d+/\d+  (run \d+|generation) +(\w+) +(.*)")
SCENARIO = Scenario()


@pytest.fixture
def emulators(monkeypatch: pytest.MonkeyPatch) -> list[Emulator]:
    """The emulators that were started."""
    made: list[Emulator] = []
    start = Emulator.start

    async def kept(emulator: Emulator) -> None:
        made.append(emulator)
        await start(emulator)

    monkeypatch.setattr(Emulator, "start", kept)
    return made


@pytest.fixture
def serve(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Serves while a client of what was printed is open; then a signal ends it without an error."""

    @asynccontextmanager
    async def serving(
        typed: str = "", stop: signal.Signals | None = signal.SIGINT, **options: object
    ) -> AsyncGenerator[Client]:
        capsys.readouterr()
        words = ["emulator", "--port", "0", *shlex.split(typed)]
        command, printed = asyncio.create_task(app.perform(words)), ""
        while printed.count("\n") < 3:
            assert not command.done()
            await asyncio.sleep(0.1)
            printed += capsys.readouterr().out
        for name, value in re.findall(r"^export (TESTVIBE_\w+)=(.*)$", printed, re.MULTILINE):
            monkeypatch.setenv(name, shlex.split(value)[0])
        async with Client(**options) as client:  # type: ignore[arg-type]
            yield client
        if stop is None:  # A command that ran meanwhile has taken its own handlers away.
            command.cancel()
            await asyncio.wait([command])
            return
        signal.raise_signal(stop)
        assert await command == 0

    return serving


async def test_port_that_can_not_be_used(
    emulator: Emulator, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port in use, or that may not be used, exits with 2 and the reason."""
    port = emulator.url.rpartition(":")[2]
    ended = await call(f"emulator --port {port}")
    assert re.search(f"port {port} of 127.0.0.1 .* already in use", ended.errors)

    async def start(_emulator: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Emulator, "start", start)
    ended = await call("emulator --port 80")
    ended.refuses("can't be listened on: Permission denied")


REHEARSALS = re.findall(
    r"^\| .* \| `testvibe-async (emulator .*)` \| `testvibe-async (.*)` \| (\d): .* \|$",
    (ROOT / "testvibe_async/testing/README.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


@pytest.mark.parametrize("number", range(3))
async def test_a_rehearsal_of_the_page_ends_as_it_says(
    number: int, serve: Serve, call: Call, emulators: list[Emulator]
) -> None:
    """The pipeline ends with the code that the page names, and no feature runs twice."""
    assert len(REHEARSALS) == 3
    served, pipeline, code = REHEARSALS[number]
    async with serve(served.removeprefix("emulator"), None):
        assert (await call(pipeline)).code == int(code)
    features = [run.feature_name for run in emulators[-1].runs.values()]
    assert sorted(features) == ["Checkout", "Returns", "Wishlist"]


@pytest.mark.parametrize(("seconds", "left"), [(1.0, "generation"), (10.0, "run")])
async def test_a_stopped_demo_names_what_is_in_flight(
    seconds: float, left: str, call: Call
) -> None:
    """Ctrl-C ends it with 130 and the operations in flight; no further command begins."""
    press_ctrl_c(seconds)
    ended = await call("demo")
    assert ended.code == 130
    assert ended.output.count("$ testvibe-async") == (1 if left == "generation" else 2)
    stopped = (ended.output + ended.errors).partition("Stopped. ")[2]
    assert re.search(rf"^  {left} ", stopped, re.MULTILINE)
    assert "testvibe-async wait" not in stopped
    assert "The emulated service has stopped" in ended.output


async def test_a_failed_command_ends_the_demo(call: Call, emulators: list[Emulator]) -> None:
    """Where the service refuses, the exit code is that of the command, and nothing more begins."""
    later(0, lambda: emulators[-1].fail("generate_feature", Fault.status(403)))
    ended = await call("demo")
    assert (ended.code, ended.output.count("$ testvibe-async")) == (3, 1)
