"""A session that is killed, and the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.inner_pytest import ENDLESS
from tests.surfaces.pytest_plugin.test_journal import JOURNAL, kept
from testvibe_async.testing import Fault

if TYPE_CHECKING:
    from tests.support.inner_pytest import Inner
    from testvibe_async.testing import Emulator
pytest_plugins = ["pytester"]


class TestKilled:
    @pytest.fixture
    def service_options(self) -> dict[str, Any]:
        """Return options with runs that take an hour, unless they are finished early.

        The service's clock is as fast as ours: a lost dispatch is known by when its run began.
        """
        return {"scenario": ENDLESS, "speed": 1.0}

    def kill(
        self, inner: Inner, service: Emulator, monkeypatch: pytest.MonkeyPatch, *, after: float
    ) -> None:
        """Run a session in a process of its own, and kill it some time after the third dispatch.

        After no time, the service has begun the run, and has not answered yet.
        """

        def dispatched(document: Any) -> Any:
            if len(service.runs) == 3:
                killing = threading.Timer(after, os.kill, (process.pid, signal.SIGKILL))
                killing.start()
                if not after:
                    process.wait(timeout=50)
            return document

        service.fail("run_feature", Fault.edit(dispatched))
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        command = [sys.executable, "-m", "pytest", "-p", "testvibe_async.pytest_plugin"]
        with subprocess.Popen(  # noqa: S603 - a fixed command
            [*command, "--testvibe", "--testvibe-poll-interval=0.02", JOURNAL],
            cwd=inner.pytester.path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        ) as process:
            assert process.wait(timeout=50) == -signal.SIGKILL
        monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")

    @pytest.mark.parametrize("after", [0, 0.3])
    def test_the_next_session_goes_on(
        self, inner: Inner, service: Emulator, monkeypatch: pytest.MonkeyPatch, after: float
    ) -> None:
        """It dispatches nothing again, and reports the runs of the one that was killed."""
        self.kill(inner, service, monkeypatch, after=after)
        assert kept(inner) == 3
        for run in service.active_runs():
            service.finish_run(run.id, "failed" if run.feature_name == "Returns" else "passed")

        result = inner.features(JOURNAL)

        result.assert_outcomes(passed=2, failed=2)
        assert len(service.runs) == 3
        assert kept(inner) == 0
