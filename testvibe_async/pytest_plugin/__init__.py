"""The pytest plugin: TestVibe's features as tests, and fixtures for tests of code that uses it.

pytest loads this module at every start, so it imports nothing but pytest. It declares options, the
marker and the fixtures, and brings in the rest only where it is used: `session`, the page to read
next, with `--testvibe` or for tests that ask for `testvibe_run`, and `service` for fixtures.

All fixtures are plain functions, so that they work in plain tests and beside any plugin for
asynchronous ones.
"""

# ruff: noqa: PLC0415 - see above

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from testvibe_async.pytest_plugin.declaration import (
    MARKER,
    WORKER_OUTPUT,
    add_options,
    is_wanted,
    take_node_ids,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from testvibe_async import Client, Run
    from testvibe_async.pytest_plugin.session import FeatureSession
    from testvibe_async.testing import Emulator

__all__ = [
    "testvibe_client",
    "testvibe_client_options",
    "testvibe_emulator",
    "testvibe_emulator_options",
    "testvibe_run",
    "testvibe_session_emulator",
    "testvibe_session_emulator_options",
    "testvibe_shared_client",
]

SPEED = 100.0
"""How many times faster than the service the emulator of a fixture is: a run takes about 0.3 s."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options, on the command line and in the configuration file."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and have the features collected where that is asked for."""
    config.addinivalue_line("markers", MARKER)
    node_ids = take_node_ids(config)
    if node_ids or is_wanted(config):
        _take_part(config).collects(node_ids)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Have the runs made that tests ask for."""
    if any("testvibe_run" in getattr(item, "fixturenames", ()) for item in session.items):
        _take_part(session.config).serves(session)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:  # noqa: ANN401 - pytest-xdist is optional
    """Hear what a worker of pytest-xdist leaves behind."""
    if refs := getattr(node, "workeroutput", {}).get(WORKER_OUTPUT):
        from testvibe_async.pytest_plugin.leftovers import Leftovers

        Leftovers.of(node.config).hear(refs)


def _take_part(config: pytest.Config) -> FeatureSession:
    from testvibe_async.pytest_plugin.session import FeatureSession

    return FeatureSession.of(config)


@pytest.fixture
def testvibe_run(request: pytest.FixtureRequest) -> Run:
    """Return the finished run that the test's `@pytest.mark.testvibe` asks for.

    It may have failed: what that means is the test's business. It was dispatched together with
    those of all other tests, and is shared by the tests that ask for the same.
    """
    return _take_part(request.config).run_of(request.node)


@pytest.fixture
def testvibe_emulator_options() -> dict[str, Any]:
    """Return the arguments of the `Emulator`. Override it to choose others.

    By default its time runs 100 times as fast as ours: a run takes about 0.3 s.
    """
    return {"speed": SPEED}


@pytest.fixture(scope="session")
def testvibe_session_emulator_options() -> dict[str, Any]:
    """Return the arguments of the session's `Emulator`. Override it to choose others."""
    return {"speed": SPEED}


@pytest.fixture
def testvibe_emulator(
    request: pytest.FixtureRequest, testvibe_emulator_options: dict[str, Any]
) -> Iterator[Emulator]:
    """Serve the emulator for one test, in a thread of its own.

    So it works in plain tests, and beside any plugin for asynchronous ones. It runs on real time:
    for virtual time open an `Emulator` inside the test, in its event loop.
    """
    from testvibe_async.pytest_plugin.service import require_real_time, served

    require_real_time(request)
    with served(testvibe_emulator_options) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def testvibe_session_emulator(
    testvibe_session_emulator_options: dict[str, Any],
) -> Iterator[Emulator]:
    """Serve one emulator for all tests that ask for it, in a thread of its own.

    It keeps what tests did to it. Its event loop is its own, so any scope is safe.
    """
    from testvibe_async.pytest_plugin.service import served

    with served(testvibe_session_emulator_options) as emulator:
        yield emulator


@pytest.fixture
def testvibe_client_options() -> dict[str, Any]:
    """Return the arguments of the `Client`, beyond where the service is. Override it for others."""
    return {}


@pytest.fixture
def testvibe_client(
    request: pytest.FixtureRequest, testvibe_client_options: dict[str, Any]
) -> Iterator[Client]:
    """Give a client of the service that `TESTVIBE_SERVER` names, else of the emulator.

    A test that asks for `testvibe_emulator` too gets a client of that. The client belongs to the
    event loop that it is first used in, and is closed no later than that: nothing need be awaited.
    """
    from testvibe_async.pytest_plugin.clients import LoopBoundClient
    from testvibe_async.pytest_plugin.service import require_real_time, whereabouts

    require_real_time(request)
    bound = LoopBoundClient(
        {**whereabouts(request, "testvibe_emulator"), **testvibe_client_options}
    )
    yield bound.client
    bound.close()


@pytest.fixture(scope="session")
def testvibe_shared_client(request: pytest.FixtureRequest) -> Iterator[Callable[[], Client]]:
    """Give a function that returns the client of the event loop that runs now.

    There is one for each event loop, made at first, shared by all tests and fixtures in the loop,
    and closed with it. So it is safe in any scope: with one loop for the session it is one client,
    with a loop for each test it is one for each. It is a client of the service that
    `TESTVIBE_SERVER` names, else of `testvibe_session_emulator`.
    """
    from testvibe_async.pytest_plugin.clients import ClientForEachLoop
    from testvibe_async.pytest_plugin.service import whereabouts

    clients = ClientForEachLoop(whereabouts(request, "testvibe_session_emulator"))
    yield clients
    clients.close()
