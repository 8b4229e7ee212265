"""The pytest plugin: TestVibe's features as tests, and fixtures for tests of code that uses it.

It declares options, the marker and the fixtures. pytest loads this module at every start, so it
never imports anything except pytest before that is used: `session`, the page to read next, is for
`--testvibe` and for tests that ask for `testvibe_run`; `clients` is for the other fixtures.

All fixtures are plain functions, so that they work in plain tests and beside any plugin for
asynchronous ones.
"""

# ruff: noqa: PLC0415 - see above

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from testvibe_async.pytest_plugin import leftovers, options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from testvibe_async import Client, Run
    from testvibe_async.pytest_plugin.session import FeatureSession
    from testvibe_async.testing import Emulator

SPEED = 100.0
"""Speed of a fixture's emulator, as a multiple of the service's: a run takes about 0.3 s."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options, on the command line and in the configuration file."""
    options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and let features be collected if that is asked for."""
    config.addinivalue_line("markers", options.MARKER)
    node_ids = options.take_node_ids(config)
    if node_ids or options.is_enabled(config):
        _feature_session(config).enable_collection(node_ids)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Let the runs be dispatched that tests ask for, by the fixture, the marker, or both."""
    if any(
        "testvibe_run" in getattr(item, "fixturenames", ()) or item.get_closest_marker("testvibe")
        for item in session.items
    ):
        _feature_session(session.config)


def pytest_report_collectionfinish(config: pytest.Config) -> str | None:
    """Name the options that have no effect, because no test has a run."""
    names = options.given_options(config)
    if not names or config.pluginmanager.has_plugin(options.SESSION):
        return None
    return f"testvibe: without --testvibe there is no effect of {', '.join(names)}"


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:  # noqa: ANN401 - pytest-xdist is optional
    """Note the runs of a worker of pytest-xdist."""
    seen = getattr(node, "workeroutput", {}).get(leftovers.WORKER_OUTPUT, {})
    leftovers.note_runs(node.config, seen)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many runs may still be in flight, and how to wait for them."""
    if lines := leftovers.describe_runs(terminalreporter.config):
        terminalreporter.section("TestVibe operations that may still be running")
        for line in lines:
            terminalreporter.write_line(line)


def _feature_session(config: pytest.Config) -> FeatureSession:
    from testvibe_async.pytest_plugin.session import FeatureSession

    return FeatureSession.of(config)


def _clients() -> ModuleType:
    from testvibe_async.pytest_plugin import clients

    return clients


@pytest.fixture
def testvibe_run(request: pytest.FixtureRequest) -> Run:
    """Return the finished run that the test's `@pytest.mark.testvibe` asks for.

    It may have failed: the test decides what that means. It was dispatched together with those of
    all other tests, and is shared by the tests that ask for the same.
    """
    return _feature_session(request.config).run_of(request.node)


@pytest.fixture
def testvibe_emulator_options() -> dict[str, Any]:
    """Return the arguments of the `Emulator`; override it to choose others.

    By default its time runs 100 times as fast as real time: a run takes about 0.3 s.
    """
    return {"speed": SPEED}


@pytest.fixture(scope="session")
def testvibe_session_emulator_options() -> dict[str, Any]:
    """Return the arguments of the session's `Emulator`; override it to choose others."""
    return {"speed": SPEED}


@pytest.fixture
def testvibe_emulator(testvibe_emulator_options: dict[str, Any]) -> Iterator[Emulator]:
    """Serve the emulator for one test, in a thread of its own.

    It works in plain tests, and beside any plugin for asynchronous ones. It runs on real time: for
    virtual time open an `Emulator` inside the test, in its event loop.
    """
    with _clients().serve_emulator(testvibe_emulator_options) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def testvibe_session_emulator(
    testvibe_session_emulator_options: dict[str, Any],
) -> Iterator[Emulator]:
    """Serve one emulator for all tests that ask for it, in a thread of its own.

    It keeps what tests did to it. Its event loop is its own, so any scope is safe.
    """
    with _clients().serve_emulator(testvibe_session_emulator_options) as emulator:
        yield emulator


@pytest.fixture
def testvibe_client_options() -> dict[str, Any]:
    """Return the arguments of the `Client`, except server and key; override it to choose others."""
    return {}


@pytest.fixture
def testvibe_client(
    testvibe_emulator: Emulator,
    testvibe_emulator_options: dict[str, Any],
    testvibe_client_options: dict[str, Any],
) -> Iterator[Client]:
    """Yield a client of the emulator, even if the environment names a service.

    The client belongs to the event loop that first uses it, and is closed no later than that loop:
    nothing need be awaited.
    """
    emulated = _clients().client_options(testvibe_emulator, testvibe_emulator_options)
    with _clients().loop_bound_client({**emulated, **testvibe_client_options}) as client:
        yield client


@pytest.fixture
def testvibe_service_client(testvibe_client_options: dict[str, Any]) -> Iterator[Client]:
    """Yield a client of the real service, which settings such as `TESTVIBE_SERVER` name.

    It is closed as `testvibe_client` is.
    """
    with _clients().loop_bound_client(testvibe_client_options) as client:
        yield client


@pytest.fixture(scope="session")
def testvibe_shared_client(
    testvibe_session_emulator: Emulator, testvibe_session_emulator_options: dict[str, Any]
) -> Iterator[Callable[[], Client]]:
    """Yield a function that returns the running event loop's client of the session's emulator.

    Each event loop has one, which all tests and fixtures in the loop share, and which is closed
    with it. So it is safe in any scope: with one loop for the session there is one client, with a
    loop for each test one for each.
    """
    emulator, options = testvibe_session_emulator, testvibe_session_emulator_options
    with _clients().client_for_each_loop(_clients().client_options(emulator, options)) as client:
        yield client
