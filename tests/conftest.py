"""Fixtures for all tests: virtual time, an emulator, and a client of it."""

import gc
import logging
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from sqlite3 import dbapi2 as sqlite3_dbapi2
from typing import Any, TypeAlias, cast

import aiohttp
import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import WorkStealingScheduling  # type: ignore[import-untyped]

from tests.support.amounts import amount
from tests.support.recorder import Recorder
from tests.support.systems import left_out, missing
from testvibe_async import Client, Project, RunOperation
from testvibe_async.testing import Emulator, Scenario, VirtualTimeLoop

Sent: TypeAlias = aiohttp.ClientRequest
Send: TypeAlias = aiohttp.ClientHandlerType
Received: TypeAlias = aiohttp.ClientResponse

KEY = "tvb_" + "k" * 43

# What a person or a CI system sets, and the package or its libraries read.
MACHINE = (
    *("TESTVIBE_SERVER", "TESTVIBE_API_KEY", "TESTVIBE_PROJECT", "TESTVIBE_MCP_TOKEN"),
    "TESTVIBE_LEDGER",
    *("CI", "BUILD_NUMBER", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"),
    *("NO_COLOR", "FORCE_COLOR", "PYTEST_ADDOPTS", "PYTHONDONTWRITEBYTECODE"),
)

# The same examples in each session, however slow the machine is; other ones are found by
# --hypothesis-profile=default.
settings.register_profile(
    "same",
    derandomize=True,
    deadline=None,
    max_examples=amount(100, few=15),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("same")


class Unsynced(sqlite3.Connection):
    """A connection that does not wait for the disk: no machine loses its power in these tests.

    It is closed with its last reference, without a warning: tests end processes that close nothing.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options | {"check_same_thread": False})

    def __del__(self) -> None:
        """Close it, in whatever thread, unless it could not be opened."""
        with suppress(sqlite3.ProgrammingError):
            self.close()

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """Execute a statement."""
        if "journal_mode" in sql:  # It writes the file.
            super().execute("PRAGMA synchronous = OFF")
        return super().execute(sql.replace("synchronous = FULL", "synchronous = OFF"), *parameters)


def pytest_configure(config: pytest.Config) -> None:
    """Hold all that is sent to the emulator, and all that it answers, against the contract.

    While tests are collected, nothing becomes garbage. Ctrl-C interrupts what the tests start,
    even if a script has started them in the background, where it is ignored. What the machine is
    set to is nothing that a test meets, so that they do the same in a CI system.
    """
    for name in MACHINE:
        os.environ.pop(name, None)
    # Else each worker and each session would rewrite the assertions of all modules anew.
    sys.dont_write_bytecode = False
    for each in (signal.SIGINT, *([signal.SIGQUIT] if os.name == "posix" else [])):
        if signal.getsignal(each) is signal.SIG_IGN:
            default = signal.default_int_handler if each is signal.SIGINT else signal.SIG_DFL
            signal.signal(each, default)
    connect: Any = partial(sqlite3.connect, factory=Unsynced)
    sqlite3.connect = sqlite3_dbapi2.connect = connect
    gc.disable()
    config.pluginmanager.register(Recorder())


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out what needs another system."""
    return True if left_out(collection_path) else None


def pytest_report_header() -> list[str]:
    """Say what is left out."""
    return missing()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that have a longer time-out, so that none is left for one worker."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


def pytest_collection_finish() -> None:
    """Keep what is imported by now out of each collection of garbage that follows."""
    gc.enable()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)  # What a test leaves is little.


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let a worker that has nothing left take from another; tests are not equally long."""
    return WorkStealingScheduling(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Have a worker more than processors, or two for each where tests wait for processes."""
    processors = os.cpu_count() or 1
    return 2 * processors if any("processes" in each for each in config.args) else processors + 1


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], VirtualTimeLoop]]:
    """Run every asynchronous test on virtual time."""
    return {"virtual": VirtualTimeLoop}


@pytest.fixture(autouse=True)
def _no_stored_login(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Keep tests from reading or changing what the developer who runs them has stored."""
    for variable in ("TESTVIBE_SERVER", "TESTVIBE_API_KEY", "TESTVIBE_PROJECT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "no-config"))


@pytest.fixture(autouse=True)
def _loggers_as_they_were() -> Generator[None]:
    """Undo what a command that ran in this process did to the log."""
    loggers = [logging.getLogger(name) for name in ("testvibe_async", "asyncio")]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture
def scenario(request: pytest.FixtureRequest) -> Scenario:
    """How long operations take and how they end: a module says so as SCENARIO, a folder here."""
    module = cast("object", request.module)  # pyright: ignore[reportUnknownMemberType]
    return getattr(module, "SCENARIO", Scenario())


@pytest.fixture
async def emulator(scenario: Scenario) -> AsyncGenerator[Emulator]:
    """The service, with the shop project; it refuses all that the contract does not have."""
    async with Emulator(scenario=scenario, strict=True) as emulator:
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


@pytest.fixture
async def operation(project: Project) -> RunOperation:
    """A run that was dispatched just now."""
    return await project.run_feature("Checkout")


@asynccontextmanager
async def client_through(
    middleware: aiohttp.ClientMiddlewareType, emulator: Emulator, **options: Any
) -> AsyncGenerator[Client]:
    """Make a client whose session passes every request through a middleware of the test."""
    async with (
        aiohttp.ClientSession(middlewares=[middleware]) as session,
        client_of(emulator, session=session, **options) as client,
    ):
        yield client


def settings_of(emulator: Emulator) -> dict[str, str]:
    """Return the variables that name a service, its key and its project."""
    return {
        "TESTVIBE_SERVER": emulator.url,
        "TESTVIBE_API_KEY": emulator.api_key,
        "TESTVIBE_PROJECT": emulator.project_id,
    }


def client_of(emulator: Emulator, **options: Any) -> Client:
    """Make a client of an emulator."""
    return Client(emulator.url, api_key=emulator.api_key, project=emulator.project_id, **options)
