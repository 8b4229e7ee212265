"""Workers and engines that are killed or suspended: each feature is dispatched once.

The service is served, and its dispatches counted, by the process of the tests.
"""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from tests.conftest import settings_of
from tests.processes.temporal.conftest import Server
from tests.support.processes import Process
from testvibe_async.temporal import TemporalBatch
from testvibe_async.testing import Emulator, Scenario

pytestmark = pytest.mark.timeout(120)

FAST = Scenario(
    run_queue=(0.05, 0.1),
    run_duration=(0.2, 0.6),
    failing_runs=0,
    generation_warm_up=(0.05, 0.05),
    generation_section=(0.02, 0.04),
    verification=(0.02, 0.02),
    failing_generations=0,
)
"""Everything succeeds, in half a second."""


class Workers:
    """Worker processes of one task queue."""

    def __init__(self, server: Server, emulator: Emulator, queue: str) -> None:
        self._options = {"address": server.address, "queue": queue}
        self._env = {**os.environ, **settings_of(emulator)}
        self.all: list[Process] = []

    async def start(self, **options: Any) -> Process:
        """Start one, and wait until it works."""
        asked = json.dumps(self._options | options)
        process = Process("tests.processes.temporal.worker", asked, env=self._env)
        self.all.append(process)
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.all:
            with process:
                process.send_signal(signal.SIGCONT)
                process.kill()


def dispatched(emulator: Emulator) -> Counter[str]:
    """Return how often the service began each feature."""
    names = {feature.id: name for name, feature in emulator.features.items()}
    began = Counter(run.feature_name for run in emulator.runs.values())
    return began + Counter(names[each.feature_id] for each in emulator.generations.values())


def filled(
    count: int = 40, *, kind: str = "run", scenario: Scenario = FAST
) -> tuple[Emulator, list[str]]:
    """Return a service with features, and their names."""
    emulator = Emulator(scenario=scenario, shop=False, record=False)
    names = [f"Feature {number}" for number in range(count)]
    for name in names:
        emulator.add_feature(name, status="draft" if kind == "generation" else "generated")
    return emulator, names


async def some_dispatched(emulator: Emulator, count: int) -> None:
    """Wait until the service has begun so many."""
    while sum(dispatched(emulator).values()) < count:  # noqa: ASYNC110 - by other processes
        await asyncio.sleep(0.02)


@asynccontextmanager
async def each_once(
    server: Server, queue: str, *, count: int = 40, kind: str = "run", **first: Any
) -> AsyncGenerator[tuple[Emulator, Workers, Process]]:
    """Start a batch with one worker; at the end, each feature was dispatched once and succeeded."""
    emulator, names = filled(count, kind=kind)
    request = {"features": names, "kind": kind, "maxInFlight": 10}
    engine = await server.connected()
    async with emulator:
        with Workers(server, emulator, queue) as workers:
            worker = await workers.start(**first)
            await TemporalBatch.start(engine, request, key=queue, task_queue=queue)
            yield emulator, workers, worker
            batch = TemporalBatch(await server.connected(), queue)
            result, items = await batch.result(), await batch.items()
    assert result == {"summary": {"succeeded": count}, "cancelled": False}
    assert [item.feature for item in items] == names
    assert dispatched(emulator) == Counter(names)


async def test_many_features(shared_server: Server) -> None:
    """Several workers share the chunks of a batch."""
    async with each_once(shared_server, "many", count=120) as (_, workers, _):
        await workers.start()
        await workers.start()


@pytest.mark.parametrize(
    ("kind", "step"), [("run", "after the POST"), ("generation", "after the row")]
)
async def test_a_killed_worker(shared_server: Server, kind: str, step: str) -> None:
    """Another worker adopts what was dispatched, and dispatches only what was not."""
    dying: Any = {"step": step, "count": 8, "timeout": 2.0}
    async with each_once(shared_server, f"killed {kind}", kind=kind, **dying) as (_, workers, died):
        assert await asyncio.to_thread(died.wait) == -signal.SIGKILL
        # With one slot, it refuses the other chunk, whose rows must be kept until then.
        await workers.start(chunks=1)


async def test_a_suspended_worker(shared_server: Server) -> None:
    """A worker that continues after another has taken over dispatches nothing more."""
    async with each_once(shared_server, "suspended") as (emulator, workers, suspended):
        await some_dispatched(emulator, 8)
        suspended.send_signal(signal.SIGSTOP)
        await workers.start()
        await some_dispatched(emulator, 20)
        suspended.send_signal(signal.SIGCONT)


async def test_a_worker_that_is_told_to_end(shared_server: Server) -> None:
    """It gives its chunks back at once, and no result is lost."""
    async with each_once(shared_server, "ended") as (emulator, workers, ended):
        await some_dispatched(emulator, 10)
        await workers.start()
        ended.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(ended.wait) == 0


async def test_a_killed_engine(tmp_path: Path) -> None:
    """While it is away nothing is dispatched; then the batch continues."""
    server = Server(tmp_path)
    server.start()
    try:
        async with each_once(server, "engine") as (emulator, _, _):
            await some_dispatched(emulator, 10)
            server.kill()
            await asyncio.sleep(6)  # Longer than a row may take to be stored.
            server.start()
    finally:
        server.kill()
