"""What all tests share: virtual time, an emulator, and a client on it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
import aioresponses.core
import pytest

from testvibe_async import Client
from testvibe_async.testing import Emulator, VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from testvibe_async import Project

KEY = "tvb_" + "k" * 43


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], VirtualTimeLoop]]:
    """Run every asynchronous test on virtual time."""
    return {"virtual": VirtualTimeLoop}


class _PatchedResponse(aiohttp.ClientResponse):
    """Lets aioresponses 0.7.9 make responses with aiohttp 3.14, which asks for one argument more.

    Delete it once aioresponses passes `stream_writer` itself.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", SimpleNamespace(output_size=0))
        super().__init__(*args, **kwargs)


aioresponses.core.ClientResponse = _PatchedResponse  # type: ignore[misc]


@pytest.fixture
async def emulator() -> AsyncGenerator[Emulator]:
    """The service, with the shop project."""
    async with Emulator() as emulator:
        yield emulator


@pytest.fixture
async def client(emulator: Emulator) -> AsyncGenerator[Client]:
    """A client of the emulator."""
    async with client_of(emulator) as client:
        yield client


@pytest.fixture
def project(client: Client) -> Project:
    """The shop project."""
    return client.project()


def client_of(emulator: Emulator, **options: Any) -> Client:
    """Make a client of an emulator."""
    return Client(emulator.url, api_key=emulator.api_key, project=emulator.project_id, **options)
