"""The example of a service runs on a real server, and a restart loses no run."""

import asyncio
import re
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest
import uvicorn

from tests.support.finished_run import until
from tests.surfaces.cli.conftest import use
from tests.surfaces.pages.test_readme import LIBRARY
from testvibe_async import Client
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

SECTION = re.search(
    r"^## A service that runs features$.*?^```python\n(.*?)^```$", LIBRARY, re.DOTALL | re.MULTILINE
)
SHOP = Scenario(
    run_queue=0.1,
    run_duration=0.7,
    failing_runs=0,
    outcomes={"Returns": Outcome(run_duration=2.0, run_status="failed")},
)
"""Checkout is over in a second, Returns only after the service's restart."""


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@asynccontextmanager
async def shop(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Emulator]:
    """Serve an emulator on real time, and name it in the environment."""
    async with asyncio.timeout(30), Emulator(scenario=SHOP) as emulator:
        use(emulator, monkeypatch)
        yield emulator


def printed(max_age: str = "0.1") -> ModuleType:
    """Return the page's service, as a module that polls often."""
    assert SECTION is not None
    module = ModuleType("service")
    code = SECTION[1].replace("max_age=3", f"max_age={max_age}")
    exec(compile(code, "testvibe_async/README.md", "exec"), vars(module))  # noqa: S102 - our own page
    vars(module).update({"Client": partial(Client, poll_interval=0.1)})
    return module


@asynccontextmanager
async def example() -> AsyncGenerator[aiohttp.ClientSession]:
    """Start the printed service as a new process would, and shut it down."""
    config = uvicorn.Config(
        printed().app, log_config=None, ws="none", lifespan="on", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            while not server.started:
                assert not serving.done(), "it did not start"
                await asyncio.sleep(0.01)
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            async with aiohttp.ClientSession(url) as http:
                yield http
                server.should_exit = True
                await serving  # The session is still open: a stream is not ended by its reader.
        finally:
            server.should_exit = True
            await serving


async def start(http: aiohttp.ClientSession, feature: str, key: str = "") -> int:
    async with http.post(f"/runs/{feature}", params={"key": key} if key else {}) as response:
        assert response.status == 202
        ref = await response.json()
    assert ref["testvibe"] == "run"
    return int(ref["runId"])


async def status(http: aiohttp.ClientSession, run_id: int) -> dict[str, Any]:
    async with http.get(f"/runs/{run_id}") as response:
        assert response.status == 200
        run: dict[str, Any] = await response.json()
    assert run["runId"] == run_id
    return run


async def finished(http: aiohttp.ClientSession, run_id: int) -> dict[str, Any]:
    while True:
        run = await status(http, run_id)
        if run["status"] != "running":
            return run
        await asyncio.sleep(0.05)


async def test_a_run_is_started_and_its_status_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is dispatched once, its status page shows its end, and an unknown one is not found."""
    async with shop(monkeypatch) as emulator, example() as http:
        emulator.add_feature("Draft", status="draft")
        run_id = await start(http, "Checkout")
        run = await finished(http, run_id)
        async with http.get("/runs/999999") as unknown:
            assert unknown.status == 404
        async with http.post("/runs/Draft") as refused:
            assert refused.status == 409
            assert (await refused.json())["type"] == "FeatureNotGeneratedError"

    assert run["status"] == "passed"
    assert run["summary"]["failed"] == 0
    assert emulator.count("run_feature", feature="Checkout") == 1


async def test_workers_share_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A POST with the key of an earlier one, at another worker too, returns the same run."""
    async with shop(monkeypatch) as emulator:
        async with example() as one, example() as other:
            posts = (start(each, "Checkout", "deploy-7") for each in (one, other))
            runs = await asyncio.gather(*posts)
        async with example() as http:
            runs.append(await start(http, "Checkout", "deploy-7"))

    assert len({*runs}) == 1
    assert emulator.count("run_feature") == 1


async def test_a_shutdown_during_a_dispatch_loses_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run of a POST that the shutdown cancels is returned to a POST with the same key."""
    async with shop(monkeypatch) as emulator:
        emulator.fail("run_feature", Fault.delay(1.5), times=1)
        async with example() as http:
            starting = asyncio.create_task(start(http, "Checkout", "deploy-8"))
            await until(lambda: emulator.count("run_feature") == 1)
        with pytest.raises((aiohttp.ClientError, AssertionError)):
            await starting

        async with example() as http:
            run_id = await start(http, "Checkout", "deploy-8")

    assert [*emulator.runs] == [run_id]
    assert emulator.count("run_feature") == 1
