"""The plugin with pytest-xdist: features stay together, workers dispatch only their own runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.inner_pytest import ENDLESS, end_together, refs_told
from testvibe_async.testing import Fault, Outcome, Scenario

if TYPE_CHECKING:
    from typing import Any

    from tests.support.inner_pytest import Inner
    from testvibe_async.testing import Emulator

pytest_plugins = ["pytester"]

pytest.importorskip("xdist")

PLAIN = """
    import pytest

    @pytest.mark.parametrize("number", range(8))
    def test_plain(number): pass
"""


class TestTogether:
    """Features among other tests."""

    @pytest.fixture
    def service_options(self) -> dict[str, Any]:
        """Return options with runs that go on until all are dispatched."""
        return {"scenario": ENDLESS}

    @pytest.mark.parametrize("dist", ["load", "worksteal", "loadfile"])
    def test_one_worker_has_all(self, inner: Inner, service: Emulator, dist: str) -> None:
        """One worker dispatches all features at once; other tests are shared as usual."""
        service.add_feature("Cart")
        end_together(service, 4)
        inner.pytester.makepyfile(PLAIN)

        result = inner.workers("--testvibe", f"--dist={dist}", "-v")

        result.assert_outcomes(passed=11, failed=2)
        features = [line for line in result.outlines if "testvibe::" in line and line[0] == "["]
        assert len({line.split()[0] for line in features}) == 1
        assert service.count("run_feature") == 4
        result.stdout.fnmatch_lines(["no refund", "run * failed: 1 of 1 test failed*"])


def test_nothing_but_features(inner: Inner, service: Emulator) -> None:
    """Workers without tests cause no error."""
    result = inner.workers("--testvibe", "--testvibe-select=Login")

    result.assert_outcomes(passed=1)
    assert service.count("run_feature") == 1


@pytest.mark.parametrize("dist", ["load", "worksteal"])
def test_tests_that_ask_for_runs(inner: Inner, service: Emulator, dist: str) -> None:
    """Each test's run is dispatched once, by the worker that runs the test."""
    inner.pytester.makepyfile(
        """
        import pytest

        @pytest.mark.testvibe("Login")
        def test_login(testvibe_run):
            assert testvibe_run.is_success

        @pytest.mark.testvibe("Checkout")
        def test_checkout(testvibe_run):
            assert testvibe_run.is_success

        @pytest.mark.testvibe
        def test_wrong(testvibe_run): ...
        """
    )
    result = inner.workers(f"--dist={dist}")

    result.assert_outcomes(passed=2, errors=1)
    assert service.count("run_feature") == 2


def test_tests_of_one_file_share_a_run(inner: Inner, service: Emulator) -> None:
    """With `loadfile` they are in one worker, which dispatches the run once."""
    inner.pytester.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.testvibe("Login")

        def test_passed(testvibe_run):
            assert testvibe_run.is_success

        def test_fast(testvibe_run):
            assert testvibe_run.tests
        """
    )
    result = inner.workers("--dist=loadfile")

    result.assert_outcomes(passed=2)
    assert service.count("run_feature") == 1


class TestStopping:
    """A session that ends before all runs are finished."""

    @pytest.fixture
    def service_options(self) -> dict[str, Any]:
        """Return options with failing runs, the one of Login short."""
        soon = Outcome(run_duration=20)
        endless = (1e8, 1e8)
        return {
            "scenario": Scenario(run_duration=endless, failing_runs=1, outcomes={"Login": soon})
        }

    def test_operations_in_flight_are_listed(self, inner: Inner, service: Emulator) -> None:
        """-x stops after one feature; the refs of the others come from the worker."""
        for number in range(10):
            service.add_feature(f"Feature {number}")

        result = inner.workers("--testvibe", "-x", "--dist=load")

        refs = refs_told(result.outlines)
        going_on = {run.id for run in service.active_runs()}
        assert going_on
        assert {ref.key[-1] for ref in refs} >= going_on

    def test_ctrl_c_names_the_runs_in_flight(
        self, inner: Inner, service: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Runs of tests are listed too, also if the workers are interrupted."""
        inner.pytester.makepyfile(
            """
            import pytest

            @pytest.mark.testvibe("Checkout")
            def test_checkout(testvibe_run): ...
            """
        )

        def interrupt(document: Any) -> Any:
            threading.Timer(0.3, os.killpg, (process.pid, signal.SIGINT)).start()
            return document

        service.fail("run_feature", Fault.edit(interrupt))
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        command = [sys.executable, "-m", "pytest", "-p", "testvibe_async.pytest_plugin"]
        with subprocess.Popen(  # noqa: S603 - a fixed command
            [*command, "-p", "xdist", "-n1"],
            cwd=inner.pytester.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        ) as process:
            output, _ = process.communicate(timeout=50)

        assert len(service.active_runs()) == 1, output
        refs = refs_told(output.splitlines())
        assert [ref.key[-1] for ref in refs] == list(service.runs), output


def test_settings_are_checked_once(inner: Inner) -> None:
    """Missing settings are reported before workers are started."""
    result = inner.workers("--testvibe")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: testvibe: no server: *"])


def test_no_features_are_an_error(inner: Inner, service: Emulator) -> None:
    """A project without features is an error with workers too, beside a test that passes."""
    service.fail("list_features", Fault.edit(lambda _: []))
    inner.pytester.makepyfile(PLAIN)
    result = inner.workers("--testvibe")

    assert result.ret not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
    result.stdout.fnmatch_lines(["*the project has none*"])


def test_what_was_not_run_is_not_green(inner: Inner, service: Emulator) -> None:
    """With pytest-xdist a worker decides the same."""
    service.add_feature("Gift cards", status="draft")
    service.fail("run_feature", Fault.status(403), when=lambda r: "Login" in str(r.feature))
    inner.pytester.makeini("[pytest]\ntestvibe_xfail = *: the bank is closed")
    result = inner.workers("--testvibe")

    result.assert_outcomes(skipped=1, failed=1, xfailed=1, xpassed=1)
    assert len(service.runs) == 2
