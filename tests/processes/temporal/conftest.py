"""The engine's development server, as a process of its own, and workers that can be killed."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Generator
from datetime import timedelta
from pathlib import Path

import pytest

from testvibe_async._core.dispatch import dispatch

pytest.importorskip("temporalio", reason="batches on Temporal need the extra `temporal`")

import temporalio.client
from temporalio.service import RPCError

from testvibe_async.temporal import chunks, workers, workflow

PLACES = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

FOUND = shutil.which("temporal", path=PLACES)

SKIPPING = shutil.which("temporal-test-server", path=PLACES)
"""The server that skips the time in which nothing happens."""


class Server:
    """A development server on a port of its own, which keeps its state in a file."""

    def __init__(self, folder: Path) -> None:
        if FOUND is None:
            pytest.skip("no command `temporal`: install the group `processes`, as .ci/run does")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, with what it knew before."""
        options = {
            "--ip": "127.0.0.1",
            "--port": str(self.port),
            "--db-filename": str(self._folder / "temporal.db"),
            "--log-level": "never",
        }
        words = [word for pair in options.items() for word in pair]
        assert FOUND is not None
        self._process = subprocess.Popen(  # noqa: S603 - our own
            [FOUND, "server", "start-dev", "--headless", *words],
            env={**os.environ, "HOME": str(self._folder)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def connected(self) -> temporalio.client.Client:
        """Return a connection, once workflows can be started and listed.

        Each part of the server learns by itself that the namespace is there: lists may be answered
        while a start still is refused.
        """
        async with asyncio.timeout(60):
            while True:
                try:
                    client = await temporalio.client.Client.connect(self.address)
                    await client.count_workflows()
                    name = f"ready-{uuid.uuid4()}"
                    started = await client.start_workflow(name, id=name, task_queue=name)
                    await started.terminate()
                except (RuntimeError, RPCError):
                    await asyncio.sleep(0.1)
                else:
                    return client


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    server = Server(tmp_path_factory.mktemp("temporal"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def engine(shared_server: Server) -> temporalio.client.Client:
    return await shared_server.connected()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let chunks be small, be taken over within seconds, and lost requests expire as soon."""
    quicken(monkeypatch.setattr)


def quicken(set_value: Callable[[object, str, object], None]) -> None:
    """Shorten the times of this process: those of the engine are real."""
    set_value(chunks, "BEAT_SECONDS", 0.5)
    set_value(workers, "BUSY_SECONDS", 0.5)
    set_value(workflow, "CHUNK_SIZE", 20)
    set_value(workflow, "HEARTBEAT_TIMEOUT", timedelta(seconds=3))
    set_value(dispatch, "LATE_SECONDS", 2.0)
