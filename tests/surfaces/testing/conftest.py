"""Helpers for the tests of the emulator: a bare HTTP client, with a checked clean-up."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, TypeAlias
from urllib.parse import quote

import aiohttp
import attrs
import pytest
from yarl import URL

from testvibe_async.testing import Emulator, Scenario

EPOCH = 1_781_102_531.0
"""2026-06-10T14:42:11Z."""

PLAIN: dict[str, Any] = {
    "run_queue": 5,
    "run_duration": 30,
    "generation_warm_up": 20,
    "generation_section": 40,
    "verification": 10,
    "failing_runs": 0,
    "failing_generations": 0,
}
"""A scenario with whole seconds, and without failures."""


@attrs.frozen
class Reply:
    """A received answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        """The status, and the code of the error document, which has exactly two texts."""
        document = self.document
        assert set(document) == {"error", "message"}
        assert document["message"].strip()
        return self.status, document["error"]


@attrs.frozen
class Caller:
    """A client that sends requests to an emulator unchanged."""

    emulator: Emulator
    session: aiohttp.ClientSession

    async def send(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send to a full URL, or to a raw path of the API's host."""
        target = URL(url if "://" in url else self.emulator.url + url, encoded=True)
        async with self.session.request(
            method, target, data=body, headers=headers, allow_redirects=False
        ) as response:
            return Reply(response.status, response.headers, await response.read())

    async def ops(self, method: str, path: str, body: object = None, **headers: str) -> Reply:
        """Call the API with the key, by a raw path below `/api/v1/ops`, and a document or bytes."""
        headers = {"Authorization": f"Bearer {self.emulator.api_key}", **headers}
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        return await self.send(method, f"/api/v1/ops{path}", body=content, headers=headers)

    async def __call__(self, method: str, path: str, body: object = None, **headers: str) -> Reply:
        """Call the API as `ops` does, by a raw path below the project."""
        return await self.ops(
            method, f"/projects/{self.emulator.project_id}{path}", body, **headers
        )

    async def get(self, path: str) -> Any:
        """Return the document at a path."""
        reply = await self("GET", path)
        assert reply.status == 200, reply.body
        return reply.document

    async def run(self, feature: str = "Checkout") -> int:
        """Dispatch a run, and return its id."""
        reply = await self("POST", f"/features/{quote(feature, safe='')}/run", {})
        assert reply.status == 202, reply.body
        return int(reply.document["runId"])

    async def generate(self, feature: str = "Checkout") -> str:
        """Dispatch a generation, and return its request id."""
        reply = await self("POST", f"/features/{quote(feature, safe='')}/generate", {})
        assert reply.status == 202, reply.body
        return str(reply.document["requestId"])


Emulate: TypeAlias = Callable[..., Awaitable[Caller]]


@pytest.fixture
async def emulate() -> AsyncGenerator[Emulate]:
    """Return a function that starts emulators; their close must leave no task behind.

    The function takes the emulator's options; `scenario` may also be changes to `PLAIN`.
    """
    async with AsyncExitStack() as stack:

        async def start(
            *, scenario: Scenario | Mapping[str, Any] | None = None, **options: Any
        ) -> Caller:
            if not isinstance(scenario, Scenario):
                scenario = Scenario(**{**PLAIN, **(scenario or {})})
            options = {"epoch": EPOCH, "scenario": scenario, **options}
            emulator = await stack.enter_async_context(Emulator(**options))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            return Caller(emulator, session)

        yield start
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
async def call(emulate: Emulate) -> Caller:
    """Return a client of an emulator with the scenario `PLAIN`."""
    return await emulate()
