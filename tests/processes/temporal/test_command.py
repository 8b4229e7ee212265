"""`testvibe-async worker` as an operator starts, watches and ends it."""

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from temporalio.client import Client as Engine

from tests.conftest import settings_of
from tests.processes.temporal.conftest import Server
from tests.processes.temporal.test_batches import started, working
from tests.processes.temporal.test_kills import dispatched, filled, some_dispatched
from tests.support.processes import Process
from testvibe_async.temporal import TemporalBatch
from testvibe_async.testing import Fault

pytestmark = pytest.mark.timeout(120)


async def test_a_worker_from_the_command_line(tmp_path: Path) -> None:
    """It says when it starts, and when the engine goes and comes; a signal ends it with 0."""
    server = Server(tmp_path)
    emulator, names = filled(10)
    async with emulator:
        env = {**os.environ, **settings_of(emulator), "HOME": str(tmp_path)}
        words = ("worker", "--address", server.address)
        with Process("testvibe_async", *words, env=env) as process:
            try:
                errors = process.stderr
                assert errors is not None
                assert "Temporal can't be reached" in await asyncio.to_thread(errors.readline)
                server.start()
                assert "Temporal answers again" in await asyncio.to_thread(errors.readline)
                said = await asyncio.to_thread(errors.readline)
                assert server.address in said
                batch = await TemporalBatch.start(
                    await server.connected(), {"features": names, "maxInFlight": 2}, key="command"
                )
                await some_dispatched(emulator, 3)
                server.kill()
                assert "Temporal can't be reached" in await asyncio.to_thread(errors.readline)
                server.start()
                assert "Temporal answers again" in await asyncio.to_thread(errors.readline)
                assert batch.key == "command"
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, 15) == 0
                assert settings_of(emulator)["TESTVIBE_API_KEY"] not in said
            finally:
                server.kill()
                process.kill()
    assert max(dispatched(emulator).values()) == 1


async def test_the_service_away_at_the_start_of_a_batch(
    engine: Engine, shared_server: Server, tmp_path: Path
) -> None:
    """The worker prints one line for it, and lists the features once the service answers."""
    emulator, names = filled(3)
    outage = emulator.fail("list_features", Fault.status(503))
    async with emulator:
        env = {**os.environ, **settings_of(emulator), "HOME": str(tmp_path)}
        words = ("worker", "--address", shared_server.address, "--task-queue", "away")
        with Process("testvibe_async", *words, env=env) as process:
            errors = process.stderr
            assert errors is not None
            assert "Carrying batches" in await asyncio.to_thread(errors.readline)
            batch = await started(engine, "away")
            said = await asyncio.to_thread(errors.readline)
            outage.remove()
            await batch.result()
            process.send_signal(signal.SIGTERM)
            said += await asyncio.to_thread(errors.read)
    lines = said.splitlines()
    assert ["can't be reached" in line for line in lines] == [True, False]
    assert "answers again" in lines[-1]
    assert dispatched(emulator) == Counter(names)


async def test_a_report(engine: Engine, shared_server: Server, tmp_path: Path) -> None:
    """`report --temporal` writes a report of a workflow, and `doctor` finds the engine."""
    emulator, names = filled(3)
    junit = tmp_path / "junit.xml"
    async with working(engine, emulator, "reported"):
        await (await started(engine, "reported", features=names)).result()
        env = {**os.environ, **settings_of(emulator), "TEMPORAL_ADDRESS": shared_server.address}
        words = ("report", "--temporal", "reported", "--report", str(junit))
        with Process("testvibe_async", *words, env=env) as process:
            assert await asyncio.to_thread(process.wait, 60) == 0
        with Process("testvibe_async", "doctor", env=env) as process:
            output = process.stdout
            assert output is not None
            lines = (await asyncio.to_thread(output.read)).splitlines()
    suites = ET.parse(junit).getroot()  # noqa: S314 - our own
    assert [suite.get("name") for suite in suites] == names
    assert [line.split()[0] for line in lines if " temporal" in line or "\ttemporal" in line] == [
        "holds"
    ]
