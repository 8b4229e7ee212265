"""The example of a service runs on a real server, and loses no run at a restart."""

import asyncio
import json
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


@asynccontextmanager
async def example(**changes: Any) -> AsyncGenerator[aiohttp.ClientSession]:
    """Start the printed service as a new process would, and shut it down.

    Args:
        changes: Values in place of the service's constants.
    """
    assert SECTION is not None
    module = ModuleType("service")
    exec(compile(SECTION[1], "testvibe_async/README.md", "exec"), vars(module))  # noqa: S102 - our own page
    vars(module).update({"Client": partial(Client, poll_interval=0.1), **changes})
    config = uvicorn.Config(
        module.app, log_config=None, ws="none", lifespan="on", timeout_graceful_shutdown=1
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


async def event(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """Read the next server-sent event."""
    field, _, data = (await response.content.readuntil(b"\n\n")).decode().partition(": ")
    assert field == "data"
    value: dict[str, Any] = json.loads(data)
    return value


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


async def test_readers_of_events_share_the_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reader gets the transitions of all runs until the last ends, for one stream of polls."""
    async with shop(monkeypatch) as emulator, example() as http:
        runs = {await start(http, "Checkout"): "passed", await start(http, "Returns"): "failed"}
        readers = [await http.get("/events") for _ in range(5)]
        streams = [await reader.text() for reader in readers]
        polls = emulator.count("get_run") + emulator.count("list_runs")

    for stream in streams:
        events = [json.loads(line.removeprefix("data: ")) for line in stream.split("\n\n") if line]
        assert len(events) >= 4
        assert {each["runId"]: each["status"] for each in events} == runs
    assert polls < 60  # Two runs for 2 s; five readers with polls of their own take about 150.


async def test_a_shutdown_loses_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shutdown ends the open stream and cancels nothing; the next start attaches again."""
    async with shop(monkeypatch) as emulator:
        async with example() as http:
            run_id = await start(http, "Returns")
            events = await http.get("/events")
            seen = [await event(events), await event(events)]
        assert [each["runId"] for each in seen] == [run_id, run_id]

        async with example() as http:
            stream = await http.get("/events")
            attached = await event(stream)
            run = await finished(http, run_id)

    assert attached["runId"] == run_id
    assert run["status"] == "failed"
    assert emulator.count("run_feature") == 1
    assert not emulator.count("cancel_generation")


async def test_a_repeated_post_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A POST with the key of an earlier one, also before a restart, returns the same run."""
    async with shop(monkeypatch) as emulator:
        async with example() as http:
            runs = [await start(http, "Checkout", "deploy-7") for _ in range(2)]
        async with example() as http:
            runs.append(await start(http, "Checkout", "deploy-7"))
            await finished(http, runs[0])

    assert len({*runs}) == 1
    assert emulator.count("run_feature") == 1


async def test_a_second_lifespan(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application that is started again in its process follows the runs of its new client."""
    assert SECTION is not None
    service = ModuleType("service")
    exec(compile(SECTION[1], "testvibe_async/README.md", "exec"), vars(service))  # noqa: S102 - our own page
    vars(service).update({"Client": partial(Client, poll_interval=0.1), "KEPT": 1})
    async with shop(monkeypatch) as emulator:
        async with service.lifespan(service.app):
            for feature in ("Checkout", "Returns"):
                await service.start(feature)
        async with service.lifespan(service.app):
            runs = list(service.runs.values())
            seen = [run async for run, _ in service.app.state.client.changes(runs)]
        assert {run.run_id for run in seen} == {max(emulator.runs)}


async def test_old_runs_are_dropped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The file shrinks at each start to the newest refs; runs that are over leave the memory."""
    async with shop(monkeypatch):
        async with example(KEPT=2) as http:
            over = [await start(http, "Checkout") for _ in range(4)]
            for run_id in over:
                await finished(http, run_id)
            running = await start(http, "Returns")
            async with http.get(f"/runs/{over[0]}") as dropped:
                assert dropped.status == 404
            assert [(await status(http, each))["runId"] for each in (*over[2:], running)]
        assert len((tmp_path / "refs.jsonl").read_text().splitlines()) == 5
        async with example(KEPT=2) as http:
            assert (await status(http, running))["runId"] == running
    assert len((tmp_path / "refs.jsonl").read_text().splitlines()) == 2


async def test_a_shutdown_during_a_dispatch_loses_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ref of a dispatch whose handler the shutdown cancels is stored nevertheless."""
    async with shop(monkeypatch) as emulator:
        emulator.fail("run_feature", Fault.delay(1.5), times=1)
        async with example() as http:
            starting = asyncio.create_task(start(http, "Checkout"))
            await until(lambda: emulator.count("run_feature") == 1)
        with pytest.raises((aiohttp.ClientError, AssertionError)):
            await starting

        async with example() as http:
            (run_id,) = emulator.runs
            run = await finished(http, run_id)

    assert run["status"] == "passed"
    assert emulator.count("run_feature") == 1
