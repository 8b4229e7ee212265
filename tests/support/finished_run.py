"""A finished run whose artifacts are downloaded."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest
from attrs import define

from tests.conftest import client_of
from tests.support.peer import Answering, Peer, Serving, peer, scripted
from testvibe_async import Client, RetryPolicy, RunOperation
from testvibe_async.testing import Emulator, Fault

AT_ONCE = RetryPolicy(base_delay=0)
SECRET = "sig=TheSignature"
PATHS = ["trace/locked-out.zip", "screenshots/locked-out.png", "report/index.html"]
CONTENT = bytes(range(256)) * 4_000


@define
class Case:
    """A run that is over, and where its artifacts go."""

    emulator: Emulator
    client: Client
    run: RunOperation
    directory: Path

    def list_as(self, *rows: dict[str, Any]) -> None:
        """Let the service list these artifacts and no others."""
        plain = {"kind": "trace", "size": None, "url": None}
        self.emulator.fail("get_run_artifacts", Fault.edit(lambda _: [plain | r for r in rows]))

    @asynccontextmanager
    async def serving(
        self, answer: Answering | Serving, size: int | None, *paths: str
    ) -> AsyncGenerator[Peer]:
        """Let the service list artifacts on a host, all of one size.

        The host answers as a `peer` does, or as a coroutine function for `scripted` says.
        """
        start: Any = scripted if iscoroutinefunction(answer) else peer
        async with start(answer) as origin:
            rows = (
                {"path": path, "size": size, "url": f"{origin.url}/{index}?{SECRET}"}
                for index, path in enumerate(paths or ("a.zip",))
            )
            self.list_as(*rows)
            yield origin

    async def download(self, **options: Any) -> list[Path]:
        """Download what the run left."""
        return await self.run.download_artifacts(self.directory, **options)

    def files(self) -> dict[str, bytes]:
        """Return what is in the directory, by relative path."""
        return {
            found.relative_to(self.directory).as_posix(): found.read_bytes()
            for found in self.directory.rglob("*")
            if found.is_file()
        }


@asynccontextmanager
async def finished_run(tmp_path: Path, **options: Any) -> AsyncGenerator[Case]:
    """Run a feature, with one test that fails, to its end."""
    middleware = options.pop("middleware", None)
    async with (
        Emulator(shop=False, middleware=middleware) as emulator,
        client_of(emulator, **{"retry": AT_ONCE} | options) as client,
    ):
        emulator.add_feature("F", "Feature: F\n  Scenario: Locked out\n")
        run = await client.project().run_feature("F")
        emulator.finish_run(run.run_id, "failed")
        yield Case(emulator, client, run, tmp_path / "artifacts")
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
async def case(tmp_path: Path) -> AsyncGenerator[Case]:
    """A run that is over, and where its artifacts go; each `conftest.py` imports it."""
    async with finished_run(tmp_path) as case:
        yield case


def entries(directory: Path) -> list[str]:
    """Return the names of what is in a directory."""
    return [entry.name for entry in directory.iterdir()]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for an effect of a thread or a socket, for which virtual time does not."""
    while not condition():  # noqa: ASYNC110 - neither can set an event of this loop
        await asyncio.sleep(0)


def downloads(case: Case) -> int:
    """Return how many requests the emulator's artifact host got."""
    return len(case.emulator.artifact_requests)
