"""A session with features: dispatched together, reported in their order, stopped like tests."""

import signal
import threading
import time

import pytest

from tests.support import inner_pytest
from tests.support.inner_pytest import FEATURES, Inner, dispatched, endless, finish, ids_told
from tests.surfaces.pytest_plugin.test_choice import reported
from testvibe_async.testing import Emulator, Fault


class CtrlC:
    """A plugin for the inner pytest that sends Ctrl-C some time after a test."""

    def __init__(self, service: Emulator, node_id: str) -> None:
        self._service = service
        self._node_id = node_id

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.nodeid == self._node_id and report.when == "teardown":
            while self._service.count("run_feature") < len(FEATURES):
                time.sleep(0.01)
            main = threading.main_thread().ident
            threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGINT)).start()


@endless
def test_all_are_dispatched_before_the_first_test(inner: Inner, service: Emulator) -> None:
    """Runs go on during tests of any kind; features are reported last, in their order."""
    inner.pytester.makepyfile(
        f"""
        import urllib.request
        def test_plain():
            request = urllib.request.Request(
                "{service.url}/api/v1/ops/projects/{service.project_id}/runs",
                headers={{"Authorization": "Bearer {service.api_key}"}},
            )
            while urllib.request.urlopen(request).read().count(b"runId") < 3:
                pass
        """
    )
    inner_pytest.end_together(service, 3)
    result = inner.features("-v")

    inner_pytest.shows(
        result, "*::test_plain PASSED *", "testvibe::Login PASSED *", passed=3, failed=2
    )
    assert reported(result) == list(FEATURES)
    assert service.max_active_runs == 3


@endless
@pytest.mark.parametrize(
    ("argument", "failed"), [("-x", ["Login"]), ("--maxfail=3", ["Login", "Checkout"])]
)
def test_pytest_counts_the_failures(
    inner: Inner, service: Emulator, argument: str, failed: list[str]
) -> None:
    """-x and --maxfail count subtests too, and stop; the summary names what is in flight."""
    dispatched(service, 3, lambda: finish(service, Login="failed", Checkout="failed"))
    result = inner.features("-v", argument)

    assert reported(result) == failed
    result.stdout.fnmatch_lines([f"!* stopping after {2 * len(failed)} failures !*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert service.max_active_runs == 3
    (going_on,) = service.active_runs()
    assert going_on.id in ids_told(result.outlines)


@endless
def test_ctrl_c_names_the_runs_in_flight(inner: Inner, service: Emulator) -> None:
    """Ctrl-C ends the wait at once, cancels nothing, and says how to wait for the runs."""
    dispatched(service, 3, lambda: finish(service, Login="failed", Checkout="passed"))
    result = inner.features(plugins=(CtrlC(service, "testvibe::Checkout"),))

    assert result.ret == pytest.ExitCode.INTERRUPTED
    (going_on,) = service.active_runs()
    wait = f"  testvibe-async wait {going_on.id} --project *"
    result.stdout.fnmatch_lines([wait, "!* KeyboardInterrupt !*"])


@endless
def test_a_late_id_is_not_lost(inner: Inner, service: Emulator) -> None:
    """A dispatch in progress at Ctrl-C is finished, and its ref is reported."""
    path = inner.pytester.makepyfile("def test_plain(): pass")
    service.fail("run_feature", Fault.delay(0.3))
    result = inner.features(plugins=(CtrlC(service, f"{path.name}::test_plain"),))

    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert len(service.runs) == 3
    assert ids_told(result.outlines) == set(service.runs)
