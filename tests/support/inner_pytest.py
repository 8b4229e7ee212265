"""Helpers for the tests of the plugin: a service in a thread, and pytest inside pytest."""

import asyncio
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree as ET

import anyio.pytest_plugin
import attrs
import pytest
import pytest_asyncio.plugin
from anyio.from_thread import start_blocking_portal

from testvibe_async import pytest_plugin
from testvibe_async.pytest_plugin import clients, session, suite
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

LOADED = (clients, session)
"""Imported here once, so that not every pytest inside pytest imports them again."""

SPEED = 1000.0

QUICK = ("-o", "testvibe_poll_interval=0.01")
"""Polls as often as the service's speed asks for; an option of a test overrides it."""

WITHOUT = (
    # It collects garbage five times at the end of each session. The outer one raises as much.
    "unraisableexception",
    *("debugging", "doctest", "faulthandler", "legacypath", "logging", "pastebin", "unittest"),
)
"""Plugins of pytest that no test needs, and that take a fifth of the time of each session."""

ARGUMENTS = ("-W", "error", *(f"-pno:{name}" for name in WITHOUT), *QUICK)

ASYNCHRONOUS = (anyio.pytest_plugin, pytest_asyncio.plugin)
"""Loaded without a search of all packages, which would take half of the time of each session."""

SHOP = Scenario(
    run_queue=(5, 5),
    run_duration=(25, 25),
    failing_runs=0,
    outcomes={
        "Returns": Outcome(run_status="failed", failing=("Returns works",), error="no refund"),
        "Slow": Outcome(run_duration=45),
    },
)
"""Runs take 30 s, and those of Returns fail."""

ENDLESS = Scenario(
    run_queue=(0, 0),
    run_duration=(1e8, 1e8),
    outcomes={"Returns": Outcome(failing=("Returns works",), error="no refund")},
)
"""Runs go on until they are ended."""

endless = pytest.mark.parametrize("service_options", [{"scenario": ENDLESS}], ids=["endless"])
"""The mark of a test, or of a class, whose runs go on until they are ended."""

RERUN = """
    import pytest
    from _pytest.runner import runtestprotocol

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(item, nextitem):
        "Log reports only after the teardown, and those of a failed attempt as `rerun`."
        for is_last in (False, True):
            reports = runtestprotocol(item, log=False, nextitem=nextitem)
            runs_again = not is_last and any(report.failed for report in reports)
            for report in reports:
                if report.failed and runs_again:
                    report.outcome = "rerun"
                item.ihook.pytest_runtest_logreport(report=report)
            if not runs_again:
                return True

    def pytest_report_teststatus(report):
        return ("rerun", "R", "RERUN") if report.outcome == "rerun" else None
"""
"""What pytest-rerunfailures does, without its own corrections of what pytest counted."""

FEATURES = ("Login", "Checkout", "Returns")

LIMIT = 9
"""Seconds of a session's time-out that no test waits for: see `SkippingLoop`."""


class SkippingLoop(asyncio.SelectorEventLoop):
    """The event loop of a session's client, whose clock skips the time-out when a test says so.

    So a time-out follows what the test is about, on a machine of any speed.
    """

    def __init__(self, is_over: Callable[[], bool]) -> None:
        self._is_over = is_over
        self._skipped = 0.0
        super().__init__()
        self._look()

    def time(self) -> float:
        """Return the time, with what was skipped."""
        return super().time() + self._skipped

    def _look(self) -> None:
        if self._is_over():
            self._skipped = LIMIT + 0.5
        self.call_later(0.01, self._look)


def polled(service: Emulator, runs: int = 1, polls: int = 6) -> Callable[[], bool]:
    """Return a function that tells whether so many runs were sent, and polls of each."""

    def is_over() -> bool:
        seen = service.count("get_run") + service.count("list_runs")
        return service.count("run_feature") >= runs and seen >= runs * polls

    return is_over


def sent(service: Emulator, requests: int) -> Callable[[], bool]:
    """Return a function that tells whether so many requests were sent."""
    return lambda: service.count() >= requests


@pytest.fixture
def service_options() -> dict[str, Any]:
    """Return the emulator's options; test classes override them."""
    return {}


@pytest.fixture
def service(
    service_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Generator[Emulator]:
    """Serve three features, and set the environment variables for it."""
    options: dict[str, Any] = {"shop": False, "speed": SPEED, "scenario": SHOP, **service_options}
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Emulator(**options)) as emulator,
    ):
        for name in FEATURES:
            emulator.add_feature(name)
        monkeypatch.setenv("TESTVIBE_SERVER", emulator.url)
        monkeypatch.setenv("TESTVIBE_API_KEY", emulator.api_key)
        monkeypatch.setenv("TESTVIBE_PROJECT", emulator.project_id)
        yield emulator


def end_together(service: Emulator, count: int) -> None:
    """Finish all runs as soon as `count` are dispatched; those of Returns fail."""
    dispatched(service, count, lambda: finish(service))


def finish(service: Emulator, **statuses: Literal["passed", "failed"]) -> None:
    """Finish all runs, or those of some features; those of Returns fail if no status is given."""
    for run in service.active_runs():
        name = run.feature_name or ""
        if not statuses or name in statuses:
            service.finish_run(
                run.id, statuses.get(name, "failed" if name == "Returns" else "passed")
            )


def fail_first_run(service: Emulator, feature: str = "") -> None:
    """Have the first run that is dispatched, of any feature or of one, fail."""

    def dispatched(document: Any) -> Any:
        service.finish_run(document["runId"], "failed")
        return document

    rule = Fault.edit(dispatched)
    service.fail("run_feature", rule, times=1, when=lambda each: feature in str(each.feature))


def dispatched(service: Emulator, count: int, then: Callable[[], object]) -> None:
    """Call a function as soon as `count` runs are dispatched."""

    def edit(document: Any) -> Any:
        if len(service.runs) == count:
            then()
        return document

    service.fail("run_feature", Fault.edit(edit))


def ids_told(lines: Iterable[str]) -> set[int]:
    """Return the ids of the runs in the commands that are shown."""
    commands = [line for line in lines if line.startswith("  testvibe-async wait ")]
    assert commands
    return {
        int(word)
        for command in commands
        for word in takewhile(str.isdecimal, shlex.split(command)[2:])
    }


def shows(result: pytest.RunResult, *lines: str, **outcomes: int) -> None:
    """Check the outcomes of a session, and that it printed these lines in this order."""
    result.assert_outcomes(**outcomes)
    result.stdout.fnmatch_lines(lines)


@attrs.frozen
class Inner:
    """Pytest inside pytest, where every warning is an error."""

    pytester: pytest.Pytester

    def __call__(
        self,
        *arguments: str,
        plugins: tuple[object, ...] = (),
        time_out: Callable[[], bool] | None = None,
    ) -> pytest.RunResult:
        """Run it in this process, without unrelated plugins.

        Args:
            arguments: The arguments of pytest.
            plugins: Further plugins.
            time_out: Returns whether the time-out of the runs has passed; None for none.
        """
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
            if time_out is not None:
                loop = {"loop_factory": partial(SkippingLoop, time_out)}
                portal = partial(start_blocking_portal, backend_options=loop)
                patch.setattr(suite, "start_blocking_portal", portal)
                arguments = (*arguments, f"--testvibe-timeout={LIMIT}")
            return self.pytester.runpytest_inprocess(
                *ARGUMENTS, *arguments, plugins=(pytest_plugin, *plugins), no_reraise_ctrlc=True
            )

    def report(self) -> ET.Element:
        """Return the suite of the JUnit report that `--junitxml=report.xml` wrote."""
        (suite,) = ET.parse(self.pytester.path / "report.xml").getroot()  # noqa: S314 - ours
        return suite

    def marked(self, *markers: str, body: str = "...") -> None:
        """Write a test for each marker, which is given by its arguments."""
        tests = (
            f"@pytest.mark.testvibe({marker})\ndef test_{number}(testvibe_run): {body}"
            for number, marker in enumerate(markers)
        )
        self.pytester.makepyfile("\n".join(["import pytest", *tests]))

    def mark(self, mark: str, condition: str = "True") -> None:
        """Have a conftest.py mark each item for which a condition holds."""
        self.pytester.makeconftest(
            f"""
            import pytest

            def pytest_collection_modifyitems(items):
                for item in items:
                    if {condition}:
                        item.add_marker(pytest.mark.{mark})
            """
        )

    def features(self, *arguments: str, **options: Any) -> pytest.RunResult:
        """Run it with features."""
        return self("--testvibe", *arguments, **options)

    def feature(self, name: str, *arguments: str, **options: Any) -> pytest.RunResult:
        """Run it with one feature, or those that a pattern selects."""
        return self(f"--testvibe-select={name}", *arguments, **options)

    def asynchronous(self, *arguments: str) -> pytest.RunResult:
        """Run it with the plugins for asynchronous tests, pytest-asyncio's in its auto mode."""
        loops = ("asyncio_default_fixture_loop_scope=function", "asyncio_mode=auto", *arguments)
        return self(*(word for loop in loops for word in ("-o", loop)), plugins=ASYNCHRONOUS)

    def bare(self, *arguments: str) -> pytest.RunResult:
        """Run it in a process of its own, with only this plugin and those that are named."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
            return self.pytester.runpytest_subprocess(
                *("-p", "testvibe_async.pytest_plugin", *QUICK), *arguments
            )

    @contextmanager
    def started(self, *arguments: str) -> Generator[subprocess.Popen[str]]:
        """Start it in a process group of its own, with only this plugin and those named."""
        command = [sys.executable, "-m", "pytest", "-p", "testvibe_async.pytest_plugin", *QUICK]
        with subprocess.Popen(  # noqa: S603 - a fixed command
            [*command, *arguments],
            cwd=self.pytester.path,
            env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        ) as process:
            yield process

    def workers(self, *arguments: str) -> pytest.RunResult:
        """Run it with two workers of pytest-xdist."""
        return self.bare("-p", "xdist", "-n2", *arguments)


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Inner:
    """Return a pytest inside pytest, in a directory of its own, with a ledger of its own."""
    monkeypatch.setenv("TESTVIBE_LEDGER", str(tmp_path / "ledger.sqlite"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    return Inner(pytester)
