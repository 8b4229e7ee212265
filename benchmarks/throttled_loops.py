"""Two ways to run many features at a service that refuses requests: the client, and plain loops."""

from __future__ import annotations

import asyncio
import json
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

from aiohttp import ClientSession, DummyCookieJar, TCPConnector
from attrs import frozen

from testvibe_async import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from testvibe_async.testing import Emulator

__all__ = ["NAME", "Share", "Way", "run_by_client", "run_by_loops"]

CONNECTIONS = 32
INTERVAL = 1.0
NAME = "X-Client"
"""The header that says whose a request is."""


@frozen
class Share:
    """What one client is to do."""

    features: Sequence[int]
    """The ids of the features to run."""

    in_flight: int
    """How many at once."""

    name: str


Way: TypeAlias = "Callable[[Emulator, Share], Coroutine[Any, Any, int]]"
"""Runs features at a service; returns how many of them could not be dispatched for sure."""


async def run_by_client(emulator: Emulator, share: Share) -> int:
    """Run features as one batch."""
    async with (
        _session(share.name) as session,
        Client(
            emulator.url,
            api_key=emulator.api_key,
            project=emulator.project_id,
            poll_interval=INTERVAL,
            max_connections=CONNECTIONS,
            session=session,
        ) as client,
    ):
        items = await client.project().run_features(share.features, max_in_flight=share.in_flight)
    return sum(item.outcome is None for item in items)


async def run_by_loops(emulator: Emulator, share: Share) -> int:
    """Run features by a loop each; a refused request is sent again when it may be."""
    project = f"{emulator.url}/api/v1/ops/projects/{emulator.project_id}"
    slots = asyncio.Semaphore(share.in_flight)
    async with _session(share.name, Authorization=f"Bearer {emulator.api_key}") as session:

        async def ask(method: str, path: str, **options: object) -> dict[str, Any]:
            while True:
                async with session.request(method, project + path, **options) as response:  # type: ignore[arg-type]
                    body = await response.read()
                    seconds = response.headers.get("Retry-After")
                if seconds is None:
                    document: dict[str, Any] = json.loads(body)
                    return document
                await asyncio.sleep(float(seconds))

        async def run(feature: int) -> None:
            async with slots:
                run_id = (await ask("POST", f"/features/{feature}/run", json={}))["runId"]
                for _ in count():
                    await asyncio.sleep(INTERVAL)
                    if (await ask("GET", f"/runs/{run_id}"))["status"] != "running":
                        return

        await asyncio.gather(*map(run, share.features))
    return 0


def _session(name: str, **headers: str) -> ClientSession:
    return ClientSession(
        headers={NAME: name, **headers},
        connector=TCPConnector(limit=CONNECTIONS),
        cookie_jar=DummyCookieJar(),
    )
