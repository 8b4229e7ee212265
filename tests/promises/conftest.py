"""What tests of promises share: the service as a test marks it, a client's events, and a rival."""

from collections.abc import AsyncGenerator
from typing import Any, TypeVar

import pytest

from tests.conftest import client_of
from tests.support.peer import hooks_into
from testvibe_async import Client, Project
from testvibe_async.testing import Emulator, Scenario

E = TypeVar("E")


class Events(list[Any]):
    """What the hooks of a client were told, in order."""

    def of(self, kind: type[E]) -> list[E]:
        """Return those of one kind."""
        return [event for event in self if isinstance(event, kind)]


@pytest.fixture
async def emulator(request: pytest.FixtureRequest, scenario: Scenario) -> AsyncGenerator[Emulator]:
    """The service, with the options that a test's mark `service` has."""
    item: pytest.Item = request.node
    mark = item.get_closest_marker("service")
    usual: dict[str, Any] = {"scenario": scenario, "strict": True}
    async with Emulator(**usual | dict(mark.kwargs if mark else {})) as emulator:
        yield emulator


@pytest.fixture
def events() -> Events:
    """All events of `client`."""
    return Events()


@pytest.fixture
async def client(request: pytest.FixtureRequest, emulator: Emulator) -> AsyncGenerator[Client]:
    """A client of the emulator; it has hooks where the test takes its events."""
    options: dict[str, Any] = {}
    if "events" in request.fixturenames:
        options["hooks"] = hooks_into(request.getfixturevalue("events"))
    async with client_of(emulator, **options) as client:
        yield client


@pytest.fixture
async def rival(emulator: Emulator) -> AsyncGenerator[Project]:
    """The shop project, for somebody else with a client of their own."""
    async with client_of(emulator) as other:
        yield other.project()
