"""What all tests share: virtual time, an emulator, and a client on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from testvibe_async import Client
from testvibe_async.testing import Emulator, VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from pathlib import Path

    from testvibe_async import Project

KEY = "tvb_" + "k" * 43


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], VirtualTimeLoop]]:
    """Run every asynchronous test on virtual time."""
    return {"virtual": VirtualTimeLoop}


@pytest.fixture(autouse=True)
def _nobody_is_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reads what the developer who runs it has stored, or changes it."""
    for variable in ("TESTVIBE_SERVER", "TESTVIBE_API_KEY", "TESTVIBE_PROJECT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nobody"))


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
