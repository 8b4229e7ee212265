"""A finished run whose artifacts are downloaded, and tests on real time.

Some tests hold up the thread that writes a file until the event loop has done something else, for
which virtual time would not wait: these tests run on real time.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

from attrs import define

from tests.conftest import client_of
from tests.support.peer import Peer
from testvibe_async import Client, RetryPolicy, RunOperation
from testvibe_async.testing import Emulator, Fault

P = ParamSpec("P")


AT_ONCE = RetryPolicy(base_delay=0)


SECRET = "sig=TheSignature"


PATHS = ["trace/locked-out.zip", "screenshots/locked-out.png", "report/index.html"]


CONTENT = bytes(range(256)) * 4_000


def on_real_time(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run a test on an ordinary event loop, and check that no task is left."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def main() -> None:
            async with asyncio.timeout(30):
                await test(*args, **kwargs)
            assert asyncio.all_tasks() == {asyncio.current_task()}

        asyncio.run(main())

    return run


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

    def serve(self, origin: Peer, size: int | None, *paths: str) -> None:
        """Let the service list artifacts on a host, all of one size."""
        paths = paths or ("a.zip",)
        self.list_as(
            *(
                {"path": path, "size": size, "url": f"{origin.url}/{place}?{SECRET}"}
                for place, path in enumerate(paths)
            )
        )

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


def entries(directory: Path) -> list[str]:
    """Return the names of what is in a directory."""
    return [entry.name for entry in directory.iterdir()]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for an effect of a thread or a socket."""
    while not condition():  # noqa: ASYNC110 - neither can set an event of this loop
        await asyncio.sleep(0.001)


def downloads(case: Case) -> int:
    """Return how many requests the emulator's artifact host got."""
    return len(case.emulator.artifact_requests)
