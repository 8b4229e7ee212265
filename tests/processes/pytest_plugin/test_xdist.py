"""The plugin with pytest-xdist: its workers share one batch."""

import os
import signal
import threading

import pytest

from tests.support.inner_pytest import (
    Inner,
    dispatched,
    end_together,
    endless,
    ids_told,
)
from testvibe_async.testing import Emulator, Outcome, Scenario

pytest.importorskip("xdist")

PLAIN = """
    import pytest

    @pytest.mark.parametrize("number", range(8))
    def test_plain(number): pass
"""


@endless
@pytest.mark.parametrize("dist", ["load", "loadgroup", "each"])
def test_workers_share_one_batch(inner: Inner, service: Emulator, dist: str) -> None:
    """Each run is dispatched once, before the first test, whichever worker has its feature."""
    service.add_feature("Cart")
    end_together(service, 4)
    inner.pytester.makepyfile(PLAIN)
    times = 2 if dist == "each" else 1

    result = inner.workers("--testvibe", f"--dist={dist}", "-v", "--junitxml=report.xml")

    result.assert_outcomes(passed=11 * times, failed=2 * times)
    assert service.count("run_feature") == 4
    result.stdout.fnmatch_lines(["no refund", "run * failed: 1 of 1 test failed*"])
    cases = {each.get("classname") for each in inner.report() if each.get("name") == "Cart works"}
    assert cases == {"testvibe.Cart"}


def test_workers_alone_with_features_dispatch_each_once(inner: Inner, service: Emulator) -> None:
    """Workers that need results at once do not race for the dispatches."""
    for number in range(20):
        service.add_feature(f"Feature {number}")

    result = inner.workers("--testvibe", "-v")

    result.assert_outcomes(passed=22, failed=2)
    assert len(service.runs) == service.count("run_feature") == 23
    workers = {line.split()[0] for line in result.outlines if "testvibe::" in line and "%" in line}
    assert workers == {"[gw0]", "[gw1]"}


@endless
def test_a_worker_that_is_killed_leaves_its_runs_to_others(inner: Inner, service: Emulator) -> None:
    """Its successor attaches to the runs that it dispatched; its own test is a failure."""
    end_together(service, 3)
    inner.pytester.makepyfile(
        """
        import os, signal

        def test_killed():
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    result = inner.workers("--testvibe", "--dist=load")

    assert result.parseoutcomes()["failed"] == 3
    result.stdout.fnmatch_lines(["*worker 'gw*' crashed while running *test_killed*"])
    assert service.count("run_feature") == 3


STOPPING = Scenario(
    run_duration=(1e8, 1e8), failing_runs=1, outcomes={"Login": Outcome(run_duration=20)}
)


@pytest.mark.parametrize("service_options", [{"scenario": STOPPING}], ids=["one fails"])
class TestStopping:
    """A session that ends before all runs are finished."""

    def test_operations_in_flight_are_listed(self, inner: Inner, service: Emulator) -> None:
        """-x stops after one feature; the refs of the others come from the worker."""
        for number in range(10):
            service.add_feature(f"Feature {number}")

        result = inner.workers("--testvibe", "-x", "--dist=load", "--testvibe-timeout=2")

        going_on = {run.id for run in service.active_runs()}
        assert going_on
        assert ids_told(result.outlines) == going_on

    def test_ctrl_c_names_the_runs_in_flight(self, inner: Inner, service: Emulator) -> None:
        """Runs of tests are listed too, also if the workers are interrupted."""
        inner.marked('"Checkout"')

        def interrupt() -> None:
            threading.Timer(0.3, os.killpg, (process.pid, signal.SIGINT)).start()

        dispatched(service, 1, interrupt)
        with inner.started("-p", "xdist", "-n1") as process:
            output, _ = process.communicate(timeout=50)

        assert len(service.active_runs()) == 1, output
        assert ids_told(output.splitlines()) == set(service.runs), output
